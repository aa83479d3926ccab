"""Report sections on the search: its course, the importance of hyperparameters, and its timeline."""

from __future__ import annotations

from hpo.plots import importance, importance_warning, sampling_note
from hpo.report.blocks import Block, Paragraph, Section, Table, figure_blocks
from hpo.results.formatting import TextTable, format_duration, format_outcomes, format_value
from hpo.results.study_results import StudyResults

MAX_TRIALS = 10  # in the table of the best trials
MIN_SAVED_SHARE = 0.005  # savings below this share round to 0 % and are not mentioned


def search_section(results: StudyResults) -> Section:
    """Show the best score over trials and device time, the curve of each trial, and the best trials."""
    anchor, title = "search", "The search"
    if not results.trials:
        return Section(anchor, title, [Paragraph("No trial has started yet.")])
    blocks: list[Block] = [Paragraph(_describe_course(results))]
    if len(results.directions) == 2:
        blocks += figure_blocks(results, "pareto", "Pareto front of the two objectives")
    blocks += figure_blocks(results, "history", "Trials, and the best score so far", "No trial has a value to plot.")
    blocks += figure_blocks(results, "history_by_time", "Best score so far over device time")
    blocks += figure_blocks(
        results, "expected_best", "Best score to expect from fewer trials, if those of this search came in random order"
    )
    blocks += figure_blocks(results, "curves", "Score of each trial at its rungs")
    if note := sampling_note(results):
        blocks.append(Paragraph(note))
    if results.complete:
        blocks.append(_best_trials(results))
    return Section(anchor, title, blocks)


def hyperparameters_section(results: StudyResults) -> Section:
    """Show the importance of each hyperparameter, and which of its values score well."""
    blocks: list[Block] = []
    if warning := importance_warning(results):
        blocks.append(Paragraph(warning, caution=True))
    if importances := importance(results):
        rows = [[name, f"{share:.3f}"] for name, share in importances.items()]
        caption = "Importance (PED-ANOVA), as shares; pruned trials count too, unlike in optuna-dashboard"
        blocks.append(Table(caption, TextTable(["", "importance"], rows)))
    blocks += figure_blocks(results, "importances", "Importance of each hyperparameter")
    blocks += figure_blocks(results, "slices", "Objective over each hyperparameter")
    blocks += figure_blocks(results, "parallel", "Trials in parallel coordinates")
    blocks += figure_blocks(results, "contour", "Objective over two hyperparameters")
    too_few = Paragraph("There are too few trials to estimate importance.")
    return Section("hyperparameters", "Hyperparameter importance", blocks or [too_few])


def timeline_section(results: StudyResults) -> Section:
    """Show when each worker ran which trial."""
    blocks = figure_blocks(results, "timeline", "Trials over time, by worker", "No trial has run yet.")
    return Section("timeline", "Timeline", blocks)


def _describe_course(results: StudyResults) -> str:
    status = results.status
    budget = f" of {status.wanted}" if status.wanted else ""
    device_time = format_duration(sum(trial.seconds.wall for trial in results.trials))
    text = (
        f"{status.finished}{budget} trials finished ({format_outcomes(status.outcomes)}) "
        f"in {format_duration(status.seconds)}, {device_time} of device time"
    )
    if status.saved_by_pruning >= MIN_SAVED_SHARE:
        text += f"; pruning saved {status.saved_by_pruning:.0%} of the time that the search would have taken without it"
    return f"{text}. State: {status.state}."


def _best_trials(results: StudyResults) -> Table:
    """Return the best complete trials with their values, or those of the Pareto front."""
    if results.best is None:
        trials = [results.trials[number] for number in results.status.front or []][:MAX_TRIALS]
        caption = "Trials of the Pareto front"
    else:
        trials, caption = results.ranked[:MAX_TRIALS], "The best complete trials, scored on validation"
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            f"#{trial.number}",
            *(f"{value:.4f}" for value in trial.values),
            format_duration(trial.seconds.wall),
            *(format_value(trial.params.get(name, "")) for name in names),
        ]
        for trial in trials
    ]
    if len(results.complete) > len(trials):
        caption += f" ({len(trials)} of {len(results.complete)})"
    return Table(caption, TextTable(["trial", *results.objectives, "time", *names], rows))
