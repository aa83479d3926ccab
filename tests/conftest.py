"""Fixtures of all tests: shared data, no network, a private cache, and a small study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared with real data and weights; without it the test is skipped, but in CI it fails."""
    if not (SHARED / "data").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the data in {SHARED}")
        pytest.skip("needs the folder ../shared with IMDb, SST-2 and MiniLM")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["HPO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _keep_warnings() -> Iterator[None]:
    """Keep commands from silencing the libraries: all tests share this process, and warnings are errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpo.cli.options.silence_libraries", lambda optuna=True: None)
        yield


SMALL = """\
name = "small"
[data]
source = "builtin:reviews"
rows = { train = 96, validation = 32, test = 32 }
validation = 32
[model]
checkpoint = "builtin:tiny"
max_length = 32
[space.parameters.learning_rate]
low = 1e-5
high = 1e-2
log = true
[search]
trials = 3
pruner = "none"
[training]
per_device_train_batch_size = 16
num_train_epochs = 1
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A study file whose trials take one second."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file
