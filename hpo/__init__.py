"""Search hyperparameters of transformer text classifiers, cheaply, and believe the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from hpo.output.predict import Predictor

__version__ = "0.1.0"


def load(path: str | PathLike[str], trust_remote_code: bool = False) -> Predictor:
    """The model of a study file or a model folder, to be asked: `hpo.load("studies/imdb.toml").predict(texts)`.

    Code that a model brings runs only where the study file says so, or `trust_remote_code`. Raises SpecError for the
    study file, ModelError for a folder that is not there, was not made by `hpo retrain`, or is damaged.
    """
    from hpo.output.predict import load as load_predictor

    return load_predictor(path, trust_remote_code)
