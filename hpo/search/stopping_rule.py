"""`search.stop = "noise"`: end a search once the expected gain of another trial is below the noise of a score."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.search.budget import ExpectedGain
from hpo.store.attributes import write_attributes
from hpo.store.optuna_internals import unit_cube
from hpo.store.study_record import StudyRecord, study_attributes
from hpo.store.trial_order import best_first, sign
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from hpo.study.search_space import SearchSpace

MIN_COMPLETE = 10  # complete trials before the rule is evaluated at all
CONSECUTIVE = 3  # complete trials in a row after each of which it must hold
MAX_FITTED = 200  # trials that the process is fitted to, the best ones: its cost grows with the cube of their number
RANDOM_CANDIDATES = 1000  # points of the whole space at which the gain is computed
LOCAL_CANDIDATES = 100  # further points near each of the best three trials
LOCAL_SCALE = 0.1  # standard deviation of those, as a fraction of each axis
Array = NDArray[np.float64]


def has_stopped(study: Study, spec: StudySpec) -> bool:
    """Whether the rule has stopped the study. Clears the mark if the study no longer uses the rule."""
    is_stopped = bool(StudyRecord.from_attributes(study.user_attrs).stopped)
    if is_stopped and spec.search.stop == "none":
        write_attributes(study, study_attributes(stopped=None))
        return False
    return is_stopped


def should_stop(study: Study, spec: StudySpec, rows: int) -> bool:
    """Whether the rule stops the study now; if so, the gain is stored with the study.

    It stops if the largest expected gain of another trial was below the noise after each of the last three complete
    trials, the first of them no earlier than the tenth. Pruned and failed trials are ignored. `rows` is the number of
    validation rows.
    """
    if spec.search.stop == "none":
        return False
    # In the order in which they ended: with several workers, that is the order in which the study learned of them.
    complete = sorted(
        (trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"), key=_completed
    )
    if len(complete) < MIN_COMPLETE + CONSECUTIVE - 1:
        return False
    gains = []
    for latest in range(CONSECUTIVE):
        gain = expected_gain(complete[: len(complete) - latest], spec.space, study.direction.name, rows)
        if gain.expected > 0 and gain.expected >= gain.noise:
            return False
        gains.append(gain)
    write_attributes(study, study_attributes(stopped=gains[0]))
    return True


def _completed(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete
    return trial.datetime_complete


def expected_gain(complete: Sequence[FrozenTrial], space: SearchSpace, direction: str, rows: int) -> ExpectedGain:
    """Return the largest expected improvement over the space (Jones et al. 1998), and the noise.

    Both come from a Gaussian process fitted to the complete trials; the improvement is over the best of its means at
    them. Ending a search when that improvement is small is the rule of Nguyen et al. 2017 ("Regret for Expected
    Improvement over the Best-Observed Value and Stopping Condition"). Comparing it with the error of the validation
    score is that of Makarova et al. 2022 ("Automatic Termination for Hyperparameter Optimization"), whose own bound on
    the regret is still ten times the noise after 40 trials. The noise is what the process finds between trials of
    similar values, and at least the standard error of the best score as a proportion of so many rows. A metric that
    is minimized is no proportion, so it has no such lower limit.
    """
    from scipy.stats import norm

    best = best_first(complete, direction)[:MAX_FITTED]
    values = sign(direction) * np.array([trial.value for trial in best], dtype=np.float64)
    noise = _standard_error(float(values[0]), rows) if sign(direction) == 1 else 0.0
    unit = float(values.std())
    if unit == 0:
        return ExpectedGain(0.0, noise, len(complete))
    scale = unit_cube({name: axis.distribution() for name, axis in space.parameters.items()})
    points = np.array([scale.transform(trial.params) for trial in best])
    process, noise_level = _fit_process(points, (values - values.mean()) / unit)
    mean, deviation = process.predict(_candidates(points, scale), return_std=True)
    # The deviation of the mean itself: scikit-learn adds the noise of a trial to it, which no search can gain.
    deviation = np.sqrt(np.maximum(deviation**2 - noise_level**2, 1e-12))
    above = (mean - process.predict(points).max()) / deviation
    improvement = deviation * (above * norm.cdf(above) + norm.pdf(above))
    return ExpectedGain(float(improvement.max()) * unit, max(noise, noise_level * unit), len(complete))


def _fit_process(points: Array, values: Array) -> tuple[Any, float]:
    """Fit a Gaussian process to standardized values at points (n, axes) of the unit cube; return it and its noise.

    The bounds keep so few trials from being explained by noise alone, by no noise at all, or by a single axis.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    shape = kernels.Matern(np.full(points.shape[1], 0.5), (0.1, 3.0), nu=2.5)
    kernel = kernels.ConstantKernel(1.0, (0.1, 10.0)) * shape + kernels.WhiteKernel(0.05, (1e-4, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of values at their bounds, which is what bounds are for
        process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=0).fit(points, values)
    return process, math.sqrt(process.kernel_.k2.noise_level)


def _candidates(points: Array, scale: Any) -> Array:
    """Draw points of the unit cube: anywhere, and near the first three points, which belong to the best trials."""
    rng = np.random.default_rng(0)
    near = points[:3].repeat(LOCAL_CANDIDATES, axis=0)
    near = near + LOCAL_SCALE * rng.standard_normal(near.shape)
    candidates = np.concatenate([rng.random((RANDOM_CANDIDATES, points.shape[1])), near.clip(0, 1)])
    # There and back, so that integers and choices are where real trials have them.
    return np.array([scale.transform(scale.untransform(candidate)) for candidate in candidates])


def _standard_error(score: float, rows: int) -> float:
    """Return the binomial standard error of a proportion; adding a success and a failure keeps it above 0."""
    proportion = (min(max(score, 0.0), 1.0) * rows + 1) / (rows + 2)
    return math.sqrt(proportion * (1 - proportion) / rows)
