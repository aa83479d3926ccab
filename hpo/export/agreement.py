"""Decide whether the scores of a reproduction agree with the original ones."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, computed_field
from scipy import stats

from hpo.errors import StudyError, TrainingError
from hpo.evaluation.scores import summarize_seeds
from hpo.export.bundle import OriginalResult
from hpo.results.best_config import SeedScores
from hpo.results.formatting import format_mean_sd
from hpo.store.run_record import RunRecord

CONFIDENCE = 0.95
ROUNDING = 1e-12  # scores that differ by less differ by rounding only


class Reproduction(BaseModel):
    """The scores of a bundle's runs, those of their reproduction, and whether they agree."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    study: str
    objective: str
    split: str
    original: SeedScores = Field(alias="before", description="Scores in the bundle")
    repeated: SeedScores = Field(alias="again", description="Scores of the runs on this machine")
    low: float | None = Field(description="Prediction interval of the repeated mean; null without any spread")
    high: float | None
    failed: list[str] = Field(description="Why runs on this machine failed")
    identical_seeds: list[int] = Field(alias="same", description="Common seeds whose scores agree to the last bit")
    common_seeds: list[int] = Field(alias="shared")
    reproduced: bool

    @computed_field  # type: ignore[prop-decorator]  # mypy does not know it on properties
    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        return f"{'reproduced' if self.reproduced else 'not reproduced'}: {self._explanation()}"

    def _explanation(self) -> str:
        count, common, identical = len(self.repeated.values), len(self.common_seeds), len(self.identical_seeds)
        if self.failed and not self.reproduced:
            return f"{len(self.failed)} of {len(self.failed) + count} runs failed here: {self.failed[0]}"
        if common and identical == common:
            seeds = "the common seed" if common == 1 else f"each of the {common} common seeds"
            return f"{seeds} scores the same to the last bit"
        if self.low is None:
            return "the scores differ, and one run on each side has no spread to compare with; try --seeds 5"
        position = "inside" if self.reproduced else "outside"
        of_what = f"means of {count} such runs" if count > 1 else "such runs"
        sentence = (
            f"{self.repeated.mean:.4f} is {position} [{self.low:.4f}, {self.high:.4f}], "
            f"which holds {CONFIDENCE:.0%} of {of_what}"
        )
        return sentence + (f"; {identical} of {common} seeds score the same to the last bit" if identical else "")

    def sentences(self) -> list[str]:
        """Return the scores of both sides, and the verdict."""
        sides = {"original": self.original, "here": self.repeated}
        lines = [
            f"{side}: {self.objective} {format_mean_sd(scores)} on {self.split}, "
            f"seed{'s' * (len(scores.seeds) > 1)} {', '.join(map(str, scores.seeds))}"
            for side, scores in sides.items()
        ]
        return [*lines, self.verdict]


def judge_reproduction(name: str, original: OriginalResult, runs: Sequence[RunRecord]) -> Reproduction:
    """Decide whether runs agree with those of a bundle: on test if both were scored there, else on validation.

    They agree if their mean is in the prediction interval, or if each common seed scores the same to the last bit, and
    if no more runs failed than in the original. Raises TrainingError if every run failed.
    """
    complete = [run for run in runs if run.is_complete]
    failed = [run.reason or run.outcome for run in runs if not run.is_complete]
    if not complete:
        raise TrainingError(f"every run failed: {failed[0]}")
    split = "test" if original.test and all(run.test for run in complete) else "validation"
    reference = original.test if split == "test" else original.validation
    repeated = SeedScores.from_runs(complete, split, original.objective)
    if reference is None or repeated is None:
        raise StudyError(
            "the bundle's runs were trained on the validation rows and scored on test, but here is no test split; "
            "name it with --set data.test=PATH"
        )
    there, here = (dict(zip(scores.seeds, scores.values, strict=True)) for scores in (reference, repeated))
    common = sorted(there.keys() & here.keys())
    identical = [seed for seed in common if there[seed] == here[seed]]
    low, high = prediction_interval(reference, repeated.values)
    is_inside = low is not None and high is not None and low - ROUNDING <= repeated.mean <= high + ROUNDING
    agrees = is_inside or (bool(common) and identical == common)
    return Reproduction(
        study=name,
        objective=original.objective,
        split=split,
        original=reference,
        repeated=repeated,
        low=low,
        high=high,
        failed=failed,
        identical_seeds=identical,
        common_seeds=common,
        reproduced=agrees and len(failed) <= original.failed,
    )


def prediction_interval(original: SeedScores, repeated: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % prediction interval of the mean of repeated runs, if they are like the original ones.

    The prediction interval of the mean of m normal values from mean and sd of n others: Student's t with n - 1 degrees
    of freedom, times sd * sqrt(1/n + 1/m) (Hahn & Meeker 1991). Common seeds make the two means more alike than this
    assumes, so the interval is rather too wide than too narrow. None and None if neither side has several runs.
    """
    # Only the original runs give the spread. Pooled with the repeated ones, a reproduction in which some runs diverge
    # would widen its own interval until it passes. A single original run has no spread, so there the others give it.
    sample = original.values if len(original.values) > 1 else list(repeated)
    if len(sample) < 2:
        return None, None
    sd = summarize_seeds(sample).sd or 0.0
    quantile = stats.t.isf((1 - CONFIDENCE) / 2, len(sample) - 1)
    half_width = quantile * sd * (1 / len(original.values) + 1 / len(repeated)) ** 0.5
    return float(original.mean - half_width), float(original.mean + half_width)
