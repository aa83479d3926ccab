"""Paths of the real data and weights that benchmarks use. They are next to the repository and not part of it."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
MODELS = SHARED / "models"


def data_file(name: str, split: str) -> Path:
    """Return a parquet file with the columns text and label: imdb or sst2; train, validation or test."""
    return SHARED / "data" / name / f"{split}.parquet"


def require_shared_data() -> None:
    """Exit with a clear message if the real data are missing."""
    if not SHARED.is_dir():
        raise SystemExit(f"no folder {SHARED}: this benchmark uses IMDb, SST-2 and MiniLM, which are not part of hpo")
