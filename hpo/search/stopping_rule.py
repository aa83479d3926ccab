"""`search.stop = "noise"`: whether the expected gain of another trial is below the noise of a score."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.search.budget import STOPPED_ATTRIBUTE
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.study.search_space import SearchSpace

MIN_COMPLETE = 10  # complete trials before the rule is asked at all
CONSECUTIVE = 3  # complete trials after each of which it must hold
MAX_FITTED = 200  # trials that a gain is told from, the best ones: its cost rises with their cube
RANDOM_CANDIDATES, LOCAL_CANDIDATES = (
    1000,
    100,
)  # points at which a gain is looked for: in the whole space, and near each of the best three
LOCAL_SCALE = 0.1  # how near that is, as a share of each axis
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExpectedGain:
    """What another trial is expected to gain, and the noise that this must exceed, both in the objective's units."""

    expected: float
    noise: float
    complete: int  # trials that the study had


def has_stopped(study: Study, spec: StudySpec) -> bool:
    """Whether the rule has stopped the study before; its word is taken back where the study has no such rule now."""
    stopped = bool(study.user_attrs.get(STOPPED_ATTRIBUTE))
    if stopped and spec.search.stop == "none":
        study.set_user_attr(STOPPED_ATTRIBUTE, None)
        return False
    return stopped


def should_stop(study: Study, spec: StudySpec, rows: int) -> bool:
    """Whether the rule stops the study now, where it has one; the attribute `stopped` then holds the gain.

    It does where the largest expected gain of another trial was below the noise after each of the last three complete
    trials, the first of them no earlier than the tenth. Pruned and failed trials count for nothing. `rows` is the
    number of validation rows.
    """
    if spec.search.stop == "none":
        return False
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.datetime_complete]
    complete = sorted((trial for trial in complete if trial.state.name == "COMPLETE"), key=_ended)
    if len(complete) < MIN_COMPLETE + CONSECUTIVE - 1:
        return False
    maximize = study.direction.name == "MAXIMIZE"
    last = None
    for latest in range(CONSECUTIVE):
        found = expected_gain(complete[: len(complete) - latest], spec.space, maximize, rows)
        if found.expected > 0 and found.expected >= found.noise:
            return False
        last = last or found
    assert last
    study.set_user_attr(STOPPED_ATTRIBUTE, asdict(last))
    return True


def _ended(trial: FrozenTrial) -> datetime:
    """By which trials of several workers come in the order in which the study knew them."""
    assert trial.datetime_complete
    return trial.datetime_complete


def expected_gain(complete: Sequence[FrozenTrial], space: SearchSpace, maximize: bool, rows: int) -> ExpectedGain:
    """The largest expected improvement over the space (Jones et al. 1998), and the noise.

    Both come from a Gaussian process fitted to the complete trials; what is to be improved is the best of its means
    among them. To end a search where that is small is the rule of Nguyen et al. 2017 ("Regret for Expected Improvement
    over the Best-Observed Value and Stopping Condition"); to measure it by the error of the validation score is that
    of Makarova et al. 2022 ("Automatic Termination for Hyperparameter Optimization"), whose own bound on the regret
    is still ten times the noise after 40 trials. The noise is what the process sees between trials of near values,
    but no less than the standard error of the best score as a share of so many rows; what is minimized is no share.
    """
    from optuna._transform import _SearchSpaceTransform  # the unit cube in which Optuna's own samplers draw
    from scipy.stats import norm

    sign = 1 if maximize else -1
    found = sorted(complete, key=lambda trial: -sign * (trial.value or 0.0))[:MAX_FITTED]
    values = sign * np.array([trial.value for trial in found], dtype=np.float64)
    noise = _standard_error(float(values[0]), rows) if maximize else 0.0
    unit = float(values.std())
    if unit == 0:
        return ExpectedGain(0.0, noise, len(complete))
    axes = {name: axis.distribution() for name, axis in space.parameters.items()}
    scale = _SearchSpaceTransform(axes, transform_0_1=True)
    points = np.array([scale.transform(trial.params) for trial in found])
    process, seen = _fitted(points, (values - values.mean()) / unit)
    mean, deviation = process.predict(_candidates(points, scale), return_std=True)
    deviation = np.sqrt(np.maximum(deviation**2 - seen**2, 1e-12))  # of the mean itself, without a trial's noise
    above = (mean - process.predict(points).max()) / deviation
    improvement = deviation * (above * norm.cdf(above) + norm.pdf(above))
    return ExpectedGain(float(improvement.max()) * unit, max(noise, seen * unit), len(complete))


def _fitted(points: Array, values: Array) -> tuple[Any, float]:
    """The process of standardised values at points (n, columns) of the unit cube, and the noise that it sees.

    The bounds keep so few trials from being explained by noise alone, by no noise at all, or by one axis.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    shape = kernels.Matern(np.full(points.shape[1], 0.5), (0.1, 3.0), nu=2.5)
    kernel = kernels.ConstantKernel(1.0, (0.1, 10.0)) * shape + kernels.WhiteKernel(0.05, (1e-4, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a value at its bound is what the bounds are for
        process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=0).fit(points, values)
    return process, math.sqrt(process.kernel_.k2.noise_level)


def _candidates(points: Array, scale: Any) -> Array:
    """Points of the space, as the unit cube has them: anywhere, and near the first three, which are the best."""
    draw = np.random.default_rng(0)
    near = points[:3].repeat(LOCAL_CANDIDATES, axis=0)
    near = near + LOCAL_SCALE * draw.standard_normal(near.shape)
    drawn = np.concatenate([draw.random((RANDOM_CANDIDATES, points.shape[1])), near.clip(0, 1)])
    return np.array([scale.transform(scale.untransform(each)) for each in drawn])  # integers and choices as they are


def _standard_error(score: float, rows: int) -> float:
    """The binomial standard error of a share of rows; one more right and one more wrong keep it above 0."""
    share = (min(max(score, 0.0), 1.0) * rows + 1) / (rows + 2)
    return math.sqrt(share * (1 - share) / rows)
