"""Search hyperparameters of transformer text classifiers, cheaply, and believe the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from hpo.api import Study
    from hpo.predict import Predictor

__all__ = ["Study", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> type[Study]:
    """`hpo.Study`, imported when it is asked for, so that `hpo --help` is quick."""
    if name != "Study":
        raise AttributeError(f"module 'hpo' has no attribute {name!r}")
    from hpo.api import Study

    return Study


def load(path: str | PathLike[str], trust_remote_code: bool = False) -> Predictor:
    """Load the retrained model of a study file or a model folder: `hpo.load("studies/imdb.toml").predict(texts)`.

    `predict` returns a Prediction per text with `label`, `probability` and `probabilities`; `stream` yields them while
    texts are still being read. Code that comes with a model runs only if the study file or the argument sets
    `trust_remote_code`. Raises SpecError for the study file; ModelError for a folder that does not exist, was not
    created by `hpo retrain`, or is damaged.
    """
    from hpo.predict import load_predictor

    return load_predictor(path, trust_remote_code)
