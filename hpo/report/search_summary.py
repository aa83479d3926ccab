"""The search itself: how it went, which hyperparameters mattered, and when what ran."""

from __future__ import annotations

from hpo.plots import importance, importance_warning, sampling_note
from hpo.report.blocks import Block, Paragraph, Section, Table, figure_blocks
from hpo.results.formatting import TextTable, format_duration, format_outcomes, format_value
from hpo.results.study_results import StudyResults
from hpo.store.trial_state import wall_seconds

TOP_TRIALS = 10  # trials in the table


def search_section(record: StudyResults) -> Section:
    """Best-so-far over trials and device time, each trial's rungs, what pruning saved, and the best trials."""
    if not record.trials:
        return Section("search", "The search", [Paragraph("No trial has begun yet.")])
    blocks: list[Block] = [Paragraph(_how_it_went(record))]
    if len(record.directions) == 2:
        blocks += figure_blocks(record, "pareto", "The Pareto front of the two objectives")
    blocks += figure_blocks(record, "history", "Trials, and the best so far", "No trial has a value to draw.")
    blocks += figure_blocks(record, "history_by_time", "The best so far over device time")
    blocks += figure_blocks(record, "curves", "Each trial's scores at its rungs")
    if note := sampling_note(record):
        blocks.append(Paragraph(note))
    if record.complete:
        blocks.append(_best_trials(record))
    return Section("search", "The search", blocks)


def hyperparameters_section(record: StudyResults) -> Section:
    """Which hyperparameters mattered, and where good values lie."""
    blocks: list[Block] = []
    if warning := importance_warning(record):
        blocks.append(Paragraph(warning, caution=True))
    if shares := importance(record):
        rows = [[name, f"{share:.3f}"] for name, share in shares.items()]
        caption = "Importance by PED-ANOVA, as shares; pruned trials count too, unlike in optuna-dashboard"
        blocks.append(Table(caption, TextTable(["", "importance"], rows)))
    blocks += figure_blocks(record, "importances", "Importance of each hyperparameter")
    blocks += figure_blocks(record, "slices", "Value over each hyperparameter")
    blocks += figure_blocks(record, "parallel", "Trials as lines through their values")
    blocks += figure_blocks(record, "contour", "Two hyperparameters together")
    return Section("hyperparameters", "Which hyperparameters mattered", blocks or [Paragraph("Too few trials to say.")])


def timeline_section(record: StudyResults) -> Section:
    """Which worker ran which trial, and when."""
    return Section(
        "timeline", "Timeline", figure_blocks(record, "timeline", "Trials over time by worker", "No trial has run yet.")
    )


def _how_it_went(record: StudyResults) -> str:
    status = record.status
    endings = format_outcomes(status["endings"])
    wanted = f" of {status['wanted']}" if status["wanted"] else ""
    time, device = format_duration(status["seconds"]), format_duration(sum(map(wall_seconds, record.trials)))
    text = f"{status['finished']}{wanted} trials finished ({endings}) in {time}, {device} of device time"
    if status["saved_by_pruning"] >= 0.005:
        text += f"; pruning saved {status['saved_by_pruning']:.0%} of what all of them would have taken to their ends"
    return f"{text}. State: {status['state']}."


def _best_trials(record: StudyResults) -> Table:
    """The best complete trials with their values; with several objectives, those of the Pareto front."""
    if record.best is None:
        chosen, caption = record.search.best_trials[:TOP_TRIALS], "Trials of the Pareto front"
    else:
        chosen, caption = record.ranked[:TOP_TRIALS], "The best complete trials, on validation"
    names = list(dict.fromkeys(name for trial in chosen for name in trial.params))
    rows = [
        [
            f"#{trial.number}",
            *(f"{value:.4f}" for value in trial.values or []),
            format_duration(wall_seconds(trial)),
            *(format_value(trial.params.get(name, "")) for name in names),
        ]
        for trial in chosen
    ]
    if len(record.complete) > len(chosen):
        caption += f" ({len(chosen)} of {len(record.complete)})"
    return Table(caption, TextTable(["trial", *record.objectives, "time", *names], rows))
