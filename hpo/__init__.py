"""Search hyperparameters of transformer text classifiers: cheap, reproducible, and compared with honest baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo import errors

if TYPE_CHECKING:
    from os import PathLike

    from hpo.api import Study
    from hpo.predict import Predictor

__all__ = ["Study", "__version__", "errors", "load"]
__version__ = "0.2.0"


def __getattr__(name: str) -> type[Study]:
    """Import `hpo.Study` on first use: it brings Optuna with it, and `hpo --help` must stay fast."""
    if name != "Study":
        raise AttributeError(f"module 'hpo' has no attribute {name!r}")
    from hpo.api import Study

    return Study


def load(path: str | PathLike[str], trust_remote_code: bool = False) -> Predictor:
    """Load the winner's model of a study file, or any model folder: `hpo.load("studies/imdb.toml").predict(texts)`.

    `predict` returns a Prediction per text with `label`, `probability` and `probabilities`; `stream` yields them while
    texts are still being read. Code that comes with a model runs only if the study file or the argument sets
    `trust_remote_code`. Raises SpecError for the study file; ModelError for a folder that does not exist, was not
    created by hpo, or is damaged.
    """
    from hpo.predict import load_predictor

    return load_predictor(path, trust_remote_code)
