"""The real data and weights that measurements are made on; they lie beside the repository and are not part of it."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
MODELS = SHARED / "models"


def data_file(name: str, split: str) -> Path:
    """A parquet file with the columns text and label: imdb or sst2; train, validation or test."""
    return SHARED / "data" / name / f"{split}.parquet"


def need() -> None:
    """Exit with a clear line where the real data are not there."""
    if not SHARED.is_dir():
        raise SystemExit(f"no folder {SHARED}: this measures on IMDb, SST-2 and MiniLM, which are not part of hpo")
