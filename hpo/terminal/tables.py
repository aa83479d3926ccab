"""Print the outcome of a search, the status of a study, and the results of retraining and baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from hpo.results.formatting import (
    describe_systems,
    format_cost,
    format_duration,
    format_outcomes,
    format_throughput,
    format_values,
    join_labels,
    metric_heading,
)
from hpo.results.study_status import StudyRow, StudyStatus, TrialColumn, TrialRow, study_status, trial_columns
from hpo.search.budget import stop_message, why_ended
from hpo.store.run_record import RunRecord
from hpo.study.spec import StudySpec
from hpo.terminal.console import outcome_style, print_line
from hpo.terminal.table_layout import Column, print_columns

if TYPE_CHECKING:
    from optuna import Study

    from hpo.api_results import RetrainResult

MAX_ROWS, BEST_ROWS = 40, 20  # of more than MAX_ROWS trials, only the best are printed, and a summary of the others
MAX_NUMBERS = 5  # numbers of trials that a line lists
MAX_LABELS = 12  # class labels that a line lists
ALL_TRIALS = "`hpo show --json` or `hpo export --format trials-csv`"
EXTRA_METRICS = ("accuracy", "f1_macro", "roc_auc", "log_loss")  # metrics of a baseline besides the objective


def print_search_outcome(study: Study, spec: StudySpec, next_command: str = "") -> None:
    """Print how the search ended, the best trial, and the next command."""
    status = study_status(study)
    saved = f"; pruning saved {status.saved_by_pruning:.0%}" if status.saved_by_pruning >= 0.005 else ""
    print_line(
        f"{spec.name}: {status.finished} of {spec.search.trials} trials finished ({format_outcomes(status.outcomes)}) "
        f"in {format_duration(status.seconds)}{saved}"
    )
    # The search has printed already that its stopping rule ended it.
    if status.finished < spec.search.trials and not stop_message(study.user_attrs):
        print_line(f"the search ended early: {why_ended(study, spec)}")
    if status.best is None:
        print_line("no trial is complete, so there is no best trial. Why the trials ended:")
        if len(status.trials) > BEST_ROWS:
            _print_groups(status.trials)
        else:
            for row in status.trials:
                print_line(f"  #{row.trial} {row.reason or row.outcome}")
        return
    print_line(f"best trial #{status.best.trial}: {spec.objective} {status.best.value:.4f} on validation")
    for name, value in status.best.values.items():
        print_line(f"  {name} = {value!r}")
    print_line(f"its weights: {spec.folder / 'best'}", whole=True)
    print_next(next_command)


def print_next(command: str) -> None:
    """Print the next command, if there is one."""
    if command:
        print_line(f"next: {command}", whole=True)


def print_retrained(result: RetrainResult, next_command: str = "") -> None:
    """Print the path of the winner's model, and the next command."""
    rows = "" if result.trained_on == "train" else f", trained on {result.trained_on}"
    print_line(f"model of {result.system}, seed {result.seed}{rows}: {result.model_folder}", whole=True)
    print_next(next_command)


def print_studies(rows: Sequence[StudyRow]) -> None:
    """Print all studies of a store as a table."""
    if not rows:
        print_line("the store has no studies")
        return
    print_columns(
        [
            Column("study", [row.study for row in rows], is_text=True, is_required=True),
            Column("objective", [row.objective for row in rows], is_text=True),
            Column("trials", [str(row.trials) for row in rows]),
            Column("best", [_format_score(row.best) for row in rows]),
            Column("started", [row.started or "" for row in rows], is_text=True),
        ]
    )


def print_study(status: StudyStatus) -> None:
    """Print the status of one study and the table of its trials.

    If there are many trials, the best are printed, and one line per outcome for the others.
    """
    _print_summary(status)
    rows = status.trials
    printed = rows if len(rows) <= MAX_ROWS else rows[:BEST_ROWS]
    if printed:
        print_columns(_build_columns(printed, status.objectives))
    for row in printed:
        if text := describe_trial(row):
            print_line(f"#{row.trial} {text}")
    if len(printed) < len(rows):
        print_line(f"and {len(rows) - len(printed):,} more; {ALL_TRIALS} lists all:")
        _print_groups(rows[len(printed) :])


def print_baselines(spec: StudySpec, baselines: Mapping[str, Sequence[RunRecord]]) -> None:
    """Print validation scores and costs of baselines. Scores on test are left to `hpo compare`."""
    complete = {name: [run for run in runs if run.is_complete] for name, runs in baselines.items()}
    metrics = [spec.objective, *(name for name in EXTRA_METRICS if name != spec.objective)]
    scores = {metric: [_validation_scores(runs, metric) for runs in complete.values()] for metric in metrics}
    fit_seconds = [[run.seconds.fit or 0.0 for run in runs] for runs in complete.values()]
    throughputs = [
        [run.predicted_per_second for run in runs if run.predicted_per_second is not None] for runs in complete.values()
    ]
    spreads = [f"{stdev(values):.4f}" if len(values) > 1 else "" for values in scores[spec.objective]]
    print_columns(
        [
            Column("", list(baselines), is_text=True, is_required=True),
            Column(spec.objective, _format_means(scores[spec.objective], _format_score), is_required=True),
            Column("sd", spreads),
            *(Column(metric_heading(name), _format_means(scores[name], _format_score)) for name in metrics[1:]),
            Column("fit", _format_means(fit_seconds, format_cost)),
            Column("texts/s", _format_means(throughputs, format_throughput)),
        ],
        "hpo compare --json",
    )
    note = "" if spec.final.train_on == "train" else ", which they were trained on, so these scores are too good"
    print_line(f"mean scores over seeds on validation{note}; fit: device time of one fit; test scores: hpo compare")
    for name, runs in baselines.items():
        if reasons := [run.reason or run.outcome for run in runs if not run.is_complete]:
            print_line(f"{name}: {len(reasons)} of {len(runs)} runs failed: {reasons[0]}")
    descriptions = {
        name: next((run.description for run in runs if run.description), None) for name, runs in baselines.items()
    }
    for line in describe_systems(descriptions):
        print_line(line)


def describe_trial(row: TrialRow) -> str:
    """Return what the table does not show of a trial: a retry, the reason of a failure, or a published source."""
    if row.retry_of is not None:
        return f"retry of #{row.retry_of}"
    if row.reason and row.outcome not in {"pruned", row.reason}:
        return row.reason
    return f"starting point: {row.source}" if row.source else ""


def _print_summary(status: StudyStatus) -> None:
    wanted = "" if status.wanted is None else f" of {status.wanted}"
    outcomes = format_outcomes(status.outcomes)
    print_line(f"{status.study}: {status.finished}{wanted} trials finished ({outcomes})")
    print_line(f"state: {status.state}")
    if status.seconds:
        print_line(f"time: {format_duration(status.seconds)}; pruning saved {status.saved_by_pruning:.0%}")
    if status.accelerations:
        print_line(f"accelerations: {format_values(status.accelerations)}")
    if status.data:
        rows = ", ".join(f"{count:,} {split}" for split, count in status.data["rows"].items())
        labels = status.data["labels"]
        more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
        print_line(f"data: {rows}; labels {join_labels(labels[:MAX_LABELS])}{more}")
        print_line(f"device: {status.device}")
    if best := status.best:
        print_line(f"best: #{best.trial}, {status.objective} {best.value:.4f} ({status.direction})")
    for output in status.outputs:
        age = f"{output.made:%Y-%m-%d %H:%M} UTC" + (", before the last complete trial" if output.is_outdated else "")
        print_line(f"{output.name} ({age}): {output.content}", whole=output.name != "verdict")
    if status.front:
        print_line(f"Pareto front of {status.objective} ({status.direction}): {_format_numbers(status.front)}")


def _build_columns(rows: Sequence[TrialRow], objectives: Sequence[str]) -> list[Column]:
    columns = [_build_column(column, rows) for column in trial_columns(rows, objectives)]
    return [column for column in columns if column.is_required or any(column.cells)]


def _build_column(column: TrialColumn, rows: Sequence[TrialRow]) -> Column:
    values = [column.value(row) for row in rows]
    cells = ["" if value is None else column.format(value) for value in values]
    styles = [outcome_style(row.outcome) for row in rows] if column.heading == "outcome" else []
    return Column(column.heading, cells, column.is_text, column.is_required, styles)


def _print_groups(rows: Sequence[TrialRow]) -> None:
    """Print one line per outcome: number of trials, range of values, and the first reason."""
    for outcome, group in groupby(sorted(rows, key=_outcome), key=_outcome):
        members = list(group)
        values = [row.value for row in members if isinstance(row.value, float)]
        numbers = [row.trial for row in members]
        parts = [f"{len(members):,} {outcome}"]
        parts.append(f"values {values[0]:.4f} to {values[-1]:.4f}" if values else _format_numbers(numbers))
        details = [text for row in members if (text := (row.reason or "").partition(": ")[2])]
        if details and outcome != "pruned":
            parts.append(f"for example {details[0]}")
        print_line("  " + "; ".join(parts))


def _outcome(row: TrialRow) -> str:
    return row.outcome


def _format_numbers(numbers: Sequence[int]) -> str:
    """Return `#3, #17 and 4 more`."""
    more = f" and {len(numbers) - MAX_NUMBERS:,} more" if len(numbers) > MAX_NUMBERS else ""
    return ", ".join(f"#{number}" for number in numbers[:MAX_NUMBERS]) + more


def _validation_scores(runs: Sequence[RunRecord], metric: str) -> list[float]:
    return [run.validation.metrics[metric] for run in runs if run.validation and metric in run.validation.metrics]


def _format_means(groups: Sequence[Sequence[float]], format_mean: Callable[[float], str]) -> list[str]:
    return [format_mean(mean(values)) if values else "" for values in groups]


def _format_score(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
