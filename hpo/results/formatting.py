"""Text of results: the tables and sentences of a comparison, and number formats.

The shell, the report, the dashboard and the model card all use these, so their figures agree to the last digit.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.escaping import escape_controls
from hpo.evaluation.verdict import (
    difference_unit,
    format_amount,
    format_confidence_interval,
    format_difference,
)

if TYPE_CHECKING:
    from hpo.evaluation.comparison_result import (
        ComparisonResult,
        DifferenceResult,
        LostGain,
        SeedSummary,
        SystemResult,
    )

# The metrics that tables show, in this order; the objective is added to them. Two are no metrics of METRICS: nothing
# can be searched for them, because only final runs compute them.
TABLE_METRICS = (
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "f1_weighted",
    "roc_auc",
    "log_loss",
    "brier",
    "ece",
)
_EXTRA_HEADINGS = {"brier": "Brier", "ece": "ECE"}
TUNED_ON_TRAIN = ("tfidf-logreg-tuned",)  # baselines that tune without the validation rows
MAX_THROUGHPUT = 1_000_000  # texts per second; a faster model differs by noise only


@dataclass(frozen=True)
class TextTable:
    """A table of text: column headings, rows, and how many columns from the left hold words instead of numbers.

    Control characters are escaped: a line break in the name of a class would tear the table in the shell and in
    Markdown.
    """

    heads: list[str]
    rows: list[list[str]]
    words: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", list(map(escape_controls, self.heads)))
        object.__setattr__(self, "rows", [list(map(escape_controls, row)) for row in self.rows])


def gains_table(comparison: ComparisonResult) -> TextTable:
    """Return a row per system: score, spread over seeds, the winner's gain with its interval and p-value, and cost."""
    heads = ["", "score", "sd", "gain", "95 % interval", "p", "cost", "texts/s"]
    return TextTable(heads, [_gains_row(system, comparison) for system in comparison.systems])


def explain_gains_table(objective: str) -> str:
    """Explain the columns of `gains_table`."""
    unit = difference_unit(objective)
    gain = "gain: of the winner over this system" + (f", in{unit}" if unit else "")
    return (
        f"score and sd: mean and standard deviation over seeds; {gain}; interval and p: corrected for the number of "
        "baselines (Holm); cost: device time of one fit, for the winner with its search"
    )


def scores_table(comparison: ComparisonResult) -> TextTable:
    """Return a row per system with the common metrics on the test split, means over seeds."""
    names = table_metrics(comparison.objective)
    rows = [
        [system.system, *(f"{system.test[name].mean:.3f}" if name in system.test else "" for name in names)]
        for system in comparison.systems
    ]
    return TextTable(["", *map(metric_heading, names)], rows)


def table_metrics(objective: str) -> list[str]:
    """Return the metrics that a table of scores shows, the objective among them."""
    return [*([] if objective in TABLE_METRICS else [objective]), *TABLE_METRICS]


def metric_heading(name: str) -> str:
    """Return the short heading of a metric's column."""
    from hpo.training.metrics import METRICS  # imports scikit-learn, which `hpo show` does without

    return METRICS[name].heading if name in METRICS else _EXTRA_HEADINGS.get(name, name)


def classes_table(comparison: ComparisonResult) -> TextTable:
    """Return a row per system and class: precision, recall, F1, and how often each label was predicted."""
    rows = []
    for system in comparison.systems:
        for index, (label, counts) in enumerate(zip(comparison.labels, system.confusion, strict=True)):
            scores = [f"{system.per_class[label][name].mean:.3f}" for name in ("precision", "recall", "f1")]
            rows.append([system.system if index == 0 else "", label, *scores, *(f"{count:,.0f}" for count in counts)])
    predicted = [f"predicted {label}" for label in comparison.labels]
    return TextTable(["", "class", "prec", "recall", "F1", *predicted], rows, words=2)


def generalization_sentences(comparison: ComparisonResult) -> list[str]:
    """Compare the search's best score with the scores of retraining with fresh seeds, in sentences."""
    result = comparison.generalization
    scores = [
        f"{format_mean_sd(summary)} on {split} ({_describe_gap(gap, comparison.objective)})"
        for split, summary, gap in (
            ("validation", result.validation, result.gap.validation),
            ("test", result.test, result.gap.test),
        )
        if summary is not None and gap is not None
    ]
    count = len(comparison.winner_system.runs)
    seeds = "1 fresh seed" if count == 1 else f"{count} fresh seeds"
    sentences = [
        f"best validation score of the search: {result.search:.4f}; retrained with {seeds}: {' and '.join(scores)}"
    ]
    if result.chosen_among > 1:
        sentences.append(
            f"the winner was chosen among the {result.chosen_among} best trials by runs with other seeds, which are "
            "not in the comparison"
        )
    if result.lost_gain:
        sentences.append(_describe_lost_gain(result.lost_gain, comparison.objective))
    if result.validation is None:
        sentences.append("the final runs were trained on the validation rows too, so there is no validation score")
    return sentences


def comparison_remarks(comparison: ComparisonResult) -> list[str]:
    """List what limits a comparison: an unfinished search, missing or failed baselines, and uses of the test split."""
    remarks = []
    if comparison.search.finished < comparison.search.wanted:
        remarks.append(f"the search is not finished: {comparison.search.finished} of {comparison.search.wanted} trials")
    remarks += [
        f"baseline {name} has not been run; `{comparison.baseline_command} {shlex.quote(name)}` runs it"
        for name in comparison.missing
    ]
    remarks += [f"baseline {name}: every run failed: {reason}" for name, reason in comparison.failed.items()]
    remarks += describe_systems({system.system: system.description for system in comparison.systems})
    if any(system.system in TUNED_ON_TRAIN for system in comparison.systems):
        remarks.append(
            f"baseline {' and '.join(TUNED_ON_TRAIN)} chose by cross-validation on train, where the search chose by "
            f"the {comparison.rows['validation']:,} validation rows besides"
        )
    uses = comparison.test_uses
    remarks.append(describe_uses(comparison))
    if not uses.recorded:
        remarks.append("this use of the test split could not be recorded, because the store cannot be written")
    for study, count in uses.elsewhere.items():
        times = "once" if count == 1 else f"{count} times"
        remarks.append(f"study {study} also used {format_test_share(uses.shares.get(study, 1.0))}, {times}")
    return remarks


def describe_uses(comparison: ComparisonResult) -> str:
    """Describe how often the test split was used, and what that means for the scores."""
    uses = comparison.test_uses
    by_runs = sum(use.run is not None for use in uses.entries)
    return (
        f"the test split was used {uses.count} times since {uses.first[:16].replace('T', ' ')} UTC: {by_runs} times to "
        "score a run, otherwise to show a comparison; if anything was changed after one, the scores are too favorable"
    )


def format_test_share(share: float) -> str:
    """Return which part of the test rows other studies used."""
    return "all of the test rows" if share == 1.0 else f"{share:.1%} of the test rows"


def join_labels(labels: Sequence[str]) -> str:
    """Return names of classes for a sentence: `bad, good`."""
    return ", ".join(map(escape_controls, labels))


def describe_systems(descriptions: Mapping[str, str | None]) -> list[str]:
    """Return `pretrained: a linear probe`, one line per description; systems with the same one share its line."""
    names: dict[str, list[str]] = {}
    for name, description in descriptions.items():
        if description:
            names.setdefault(description, []).append(name)
    return [f"{', '.join(systems)}: {description}" for description, systems in names.items()]


def format_outcomes(counts: Mapping[str, int]) -> str:
    """Return `15 pruned, 10 complete`, or `none yet`."""
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "none yet"


def format_mean_sd(summary: SeedSummary) -> str:
    """Return `0.9105 +/- 0.0250`, or the mean alone for a single seed."""
    return f"{summary.mean:.4f}" + ("" if summary.sd is None else f" +/- {summary.sd:.4f}")


def format_interval(difference: DifferenceResult, objective: str) -> str:
    """Return the 95 % interval of a difference: `[14.4, 22.9]`."""
    return f"[{format_difference(difference.low, objective)}, {format_difference(difference.high, objective)}]"


def format_p(p: float) -> str:
    """Return a p-value with three digits: `0.031`, `<.001`."""
    return f"{p:.3f}" if p >= 0.001 else "<.001"


def format_value(value: Any) -> str:
    """Return a hyperparameter's value, floats with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_values(values: Mapping[str, Any]) -> str:
    """Return `name=value` pairs separated by spaces."""
    return " ".join(f"{name}={format_value(value)}" for name, value in values.items())


def format_duration(seconds: float) -> str:
    """Return `45 s`, `12 min` or `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def format_cost(seconds: float) -> str:
    """Return a device time, with tenths of a second below 10 s."""
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def format_throughput(texts_per_second: float) -> str:
    """Return texts per second, up to a limit above which differences mean nothing."""
    return f"{texts_per_second:,.0f}" if texts_per_second < MAX_THROUGHPUT else f">{MAX_THROUGHPUT - 1:,}"


def _describe_gap(gap: float, objective: str) -> str:
    amount = format_amount(gap, objective)
    note = ": the fresh seeds score better than the search" if amount.startswith("-") else ""
    return f"generalization gap {amount}{note}"


def _describe_lost_gain(lost: LostGain, objective: str) -> str:
    """Describe what is left of the promised gain over the recipe: `the search promised 2.1 points ...`."""
    sentence = (
        f"the search promised a gain of {format_amount(lost.promised, objective)} over the recipe on validation, of "
        f"which {format_amount(lost.kept, objective)} are left on test: {format_amount(lost.lost, objective)} lost "
        f"({format_confidence_interval(lost.low, lost.high, objective)})"
    )
    return sentence + (", so a loss is not certain" if lost.low <= 0 <= lost.high else "")


def _gains_row(system: SystemResult, comparison: ComparisonResult) -> list[str]:
    objective = comparison.objective
    score = system.test[objective]
    gain = ["", "", ""]
    if difference := comparison.difference_to(system.system):
        interval = format_interval(difference, objective)
        # Over test rows only, it would look like a finding.
        p = "-" if difference.outcome == "untested" else format_p(difference.p_holm)
        gain = [format_difference(difference.difference, objective), interval, p]
    spread = "" if score.sd is None else f"{score.sd:.4f}"
    speed = "" if system.texts_per_second is None else format_throughput(system.texts_per_second)
    cost = [format_cost(system.cost_seconds), speed]
    return [system.system, f"{score.mean:.4f}", spread, *gain, *cost]


def format_size(size: float) -> str:
    """Format a number of bytes: `0.2 MB`, `96 MB`, `1.3 GB`."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.{0 if size >= 1e7 else 1}f} MB"
