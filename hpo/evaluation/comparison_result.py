"""The comparison of a winner with its baselines as typed, versioned records: what `hpo compare --json` prints.

`ComparisonResult.model_json_schema()` documents the JSON; docs/comparison-schema.json holds it. Everything that shows a
comparison (shell, report, plots, dashboard, model card, bundle) reads these records, so its figures agree.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from hpo.study.spec_tables import RERUN

COMPARISON_VERSION = 3


class FrozenRecord(BaseModel):
    """An immutable record; an unknown key of a later version is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class SeedSummary(FrozenRecord):
    """One score over the runs of a system, a run per seed."""

    mean: float
    sd: float | None = Field(description="Standard deviation over the seeds; null for a single run")
    values: list[float]


class RunFailures(FrozenRecord):
    """Runs of one system that are of no use: they did not end, or predict one class for every text."""

    runs: int = Field(description="All runs, one per seed")
    failed: int = Field(description="Runs that did not complete, and so have no score")
    collapsed: list[int] = Field(description="Seeds of complete runs that predict one class for every test row")
    rate_below: float = Field(
        description="Upper end of the one-sided 95 % interval of the share of such runs (Clopper & Pearson 1934)"
    )
    mean_without: float | None = Field(description="Mean objective on test without collapsed runs; null if all are")

    @property
    def count(self) -> int:
        """The number of failed and collapsed runs."""
        return self.failed + len(self.collapsed)


class SystemResult(FrozenRecord):
    """The winner or a baseline: its runs, scores and cost."""

    system: str = Field(description='"winner", or the name of a baseline')
    description: str | None = Field(description="What a baseline turned out to be, if its name does not tell")
    source: str | None = Field(
        None,
        description="What a system was that hpo did not train: sha256 of its file or folder, or owner/name@commit",
    )
    values: dict[str, Any] = Field(description="Hyperparameters, for fine-tuned systems")
    runs: list[int] = Field(description="Numbers of its complete runs in the companion study")
    seeds: list[int]
    failed: list[str] = Field(description="Why its other runs did not complete")
    failures: RunFailures | None = Field(None, description="Null if other seeds would give the same run")
    validation: dict[str, SeedSummary] | None = Field(description="Null if trained on, or not predicted")
    test: dict[str, SeedSummary] = Field(description="Metric -> score; of predicted labels alone, without some")
    per_class: dict[str, dict[str, SeedSummary]]
    confusion: list[list[float]] = Field(description="Mean counts over the runs; rows are true labels")
    cost_seconds: float = Field(description="Device time to obtain the system; for the winner with its search")
    texts_per_second: float | None = Field(description="Null if the system was not run here")


class McNemarResult(FrozenRecord):
    """McNemar's exact test between the deployed runs of two systems."""

    only_ours: int = Field(description="Test rows that only the winner has right")
    only_theirs: int
    p: float


Outcome = Literal["better", "none", "worse", "untested"]
SeedNoise = Literal["measured", "borrowed", "unknown"]


class DifferenceResult(FrozenRecord):
    """The winner against one baseline. Positive differences are gains, whatever the metric's direction."""

    against: str
    same_runs: bool = Field(description="The search chose the baseline's own values, so both have the same runs")
    difference: float
    low: float = Field(description="Lower end of the confidence interval, which contains 0 if the outcome is none")
    high: float
    confidence: float = Field(
        0.95, description="Level of the interval: 0.95, corrected for the number of baselines as p is (Holm 1979)"
    )
    standard_error: float
    df: float | None = Field(description="Degrees of freedom of the seeds' part; null if no side's runs differ")
    p: float
    p_holm: float = Field(description="Corrected for the number of baselines (Holm 1979)")
    test: str = Field(description="Name of the statistical test")
    seed_noise: SeedNoise = Field(
        "measured",
        description="measured: the interval covers other seeds. borrowed: one side has a single run, which is assumed "
        "to vary between seeds as much as the other side. unknown: the interval covers other rows only",
    )
    runs_won: float | None = Field(
        None,
        description="Share of the pairs of a run of the winner and a run of the baseline in which the winner's scores "
        "better on test; ties count half. Not tested",
    )
    mcnemar: McNemarResult
    outcome: Outcome = Field(description='"untested" if nothing is known of how much seeds matter')
    verdict: str = ""

    def is_not_worse(self, margin: float) -> bool:
        """Whether the winner loses less than `margin`, in the objective's unit (a test of non-inferiority)."""
        return self.outcome != "untested" and self.low > -margin


class GapPerSplit(FrozenRecord):
    """How far the search's score lies above the retrained mean; positive if the search promised too much."""

    validation: float | None
    test: float | None


class LostGain(FrozenRecord):
    """The gain over the recipe that the search promised on validation, and what is left of it on test.

    It varies less than the generalization gap, because how hard validation and test happen to be affects both systems.
    """

    promised: float = Field(description="Best score of the search minus the recipe's mean on validation")
    kept: float = Field(description="Gain of the winner's mean over the recipe's on test")
    lost: float
    low: float = Field(description="Lower end of the 95 % interval of `lost`, over other test rows and other seeds")
    high: float


class EqualCost(FrozenRecord):
    """What the recipe would have given for the cost of the search: more seeds, whose runs vote."""

    affordable: int = Field(description="Runs of the recipe that cost as much as the winner with its search")
    voting: int = Field(description="Runs whose mean probabilities were scored: all that are stored, or `affordable`")
    score: float = Field(description="Objective of their mean probabilities on test")


class Generalization(FrozenRecord):
    """The search's best score, compared with the scores of retraining with fresh seeds."""

    search: float = Field(description="Best validation score of the search")
    chosen_among: int = Field(description="Trials that were retrained (final.top_k)")
    validation: SeedSummary | None = Field(description="Null if validation rows were trained on")
    test: SeedSummary
    gap: GapPerSplit
    lost_gain: LostGain | None = Field(None, description="Null without several runs of the recipe with scores on both")


class WinnerResult(FrozenRecord):
    """The winning trial."""

    trial: int
    values: dict[str, Any]


class SearchProgressResult(FrozenRecord):
    """How much of the search's budget is spent."""

    finished: int
    wanted: int


class SplitUse(FrozenRecord):
    """One entry of the test-split ledger."""

    when: str
    command: str
    spec_hash: str
    test: str
    run: int | None = None


class SplitUses(FrozenRecord):
    """How often the test split was used, and by whom."""

    count: int
    first: str
    studies: list[str] = Field(description="Hashes of the study files that used it")
    elsewhere: dict[str, int] = Field(description="Other studies of the store with some of the rows -> number of uses")
    shares: dict[str, float] = Field(
        default_factory=dict, description="Other studies of the store -> share of this study's test rows that they used"
    )
    share: float = Field(0.0, description="Share of the test rows that any other study of the store used")
    recorded: bool = Field(True, description="Whether this use is among them; false if the store cannot be written")
    entries: list[SplitUse]


class ComparisonResult(FrozenRecord):
    """The winner of a study against its baselines on the test split."""

    version: int = COMPARISON_VERSION
    study: str
    objective: str
    direction: Literal["maximize", "minimize"]
    labels: list[str]
    rows: dict[str, int]
    trained_on: str
    winner: WinnerResult
    search: SearchProgressResult
    systems: list[SystemResult] = Field(description="The winner first")
    differences: list[DifferenceResult]
    margin: float = Field(0.005, description="Loss in the objective that does not matter (final.margin)")
    missing: list[str] = Field(description="Baselines of the study that were not run yet")
    failed: dict[str, str] = Field(description="Baselines of which every run failed -> reason")
    baseline_command: str = Field(description="The command that runs missing baselines")
    generalization: Generalization
    recipe_at_equal_cost: EqualCost | None = Field(None, description="Null if the cost does not buy two runs")
    test_uses: SplitUses
    verdict: str = ""

    def without_paths(self) -> Self:
        """Return a copy for other people: the command of this machine holds the path of its study file."""
        return self.model_copy(update={"baseline_command": "hpo baseline STUDY"})

    @property
    def winner_system(self) -> SystemResult:
        """The winner's scores."""
        return self.systems[0]

    @property
    def rivals(self) -> list[DifferenceResult]:
        """The differences to the baselines that do not have the winner's own values, the smallest gain first."""
        rivals = [each for each in self.differences if each.against != RERUN and not each.same_runs]
        return sorted(rivals, key=lambda each: each.difference)

    def system(self, name: str) -> SystemResult:
        """Return a system by name. Raises KeyError for a system that was not compared."""
        for result in self.systems:
            if result.system == name:
                return result
        raise KeyError(name)

    def difference_to(self, name: str) -> DifferenceResult | None:
        """Return the winner's difference to a baseline, or None for the winner itself."""
        return next((difference for difference in self.differences if difference.against == name), None)
