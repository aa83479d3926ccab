"""The search itself: how it went, which hyperparameters mattered, and when what ran."""

from __future__ import annotations

from hpo.output import told
from hpo.output.plots import importance, importance_warning, shown_trials
from hpo.output.record import Record
from hpo.output.report.blocks import Block, Section, Table, Text, drawn
from hpo.study.trials import wall

TOP = 10  # trials in the table


def search(record: Record) -> Section:
    """Best-so-far over trials and device time, each trial's rungs, what pruning saved, and the best trials."""
    if not record.trials:
        return Section("search", "The search", [Text("No trial has begun yet.")])
    blocks: list[Block] = [Text(_how_it_went(record))]
    if len(record.directions) == 2:
        blocks += drawn(record, "pareto", "The Pareto front of the two objectives")
    blocks += drawn(record, "history", "Trials, and the best so far", "No trial has a value to draw.")
    blocks += drawn(record, "history_by_time", "The best so far over device time")
    blocks += drawn(record, "curves", "Each trial's scores at its rungs")
    if note := shown_trials(record):
        blocks.append(Text(note))
    if record.complete:
        blocks.append(_best_trials(record))
    return Section("search", "The search", blocks)


def hyperparameters(record: Record) -> Section:
    """Which hyperparameters mattered, and where good values lie."""
    blocks: list[Block] = []
    if warning := importance_warning(record):
        blocks.append(Text(warning, caution=True))
    if shares := importance(record):
        rows = [[name, f"{share:.3f}"] for name, share in shares.items()]
        caption = "Importance by PED-ANOVA, as shares; pruned trials count too, unlike in optuna-dashboard"
        blocks.append(Table(caption, told.Rows(["", "importance"], rows)))
    blocks += drawn(record, "importances", "Importance of each hyperparameter")
    blocks += drawn(record, "slices", "Value over each hyperparameter")
    blocks += drawn(record, "parallel", "Trials as lines through their values")
    blocks += drawn(record, "contour", "Two hyperparameters together")
    return Section("hyperparameters", "Which hyperparameters mattered", blocks or [Text("Too few trials to say.")])


def timeline(record: Record) -> Section:
    """Which worker ran which trial, and when."""
    return Section(
        "timeline", "Timeline", drawn(record, "timeline", "Trials over time by worker", "No trial has run yet.")
    )


def _how_it_went(record: Record) -> str:
    status = record.status
    endings = told.endings(status["endings"])
    wanted = f" of {status['wanted']}" if status["wanted"] else ""
    time, device = told.shown_time(status["seconds"]), told.shown_time(sum(map(wall, record.trials)))
    text = f"{status['finished']}{wanted} trials finished ({endings}) in {time}, {device} of device time"
    if status["saved_by_pruning"] >= 0.005:
        text += f"; pruning saved {status['saved_by_pruning']:.0%} of what all of them would have taken to their ends"
    return f"{text}. State: {status['state']}."


def _best_trials(record: Record) -> Table:
    """The best complete trials with their values; with several objectives, those of the Pareto front."""
    if record.best is None:
        chosen, caption = record.search.best_trials[:TOP], "Trials of the Pareto front"
    else:
        chosen, caption = record.ranked[:TOP], "The best complete trials, on validation"
    names = list(dict.fromkeys(name for trial in chosen for name in trial.params))
    rows = [
        [f"#{trial.number}", *(f"{value:.4f}" for value in trial.values or []), told.shown_time(wall(trial)),
         *(told.shown_value(trial.params.get(name, "")) for name in names)]
        for trial in chosen
    ]  # fmt: skip
    if len(record.complete) > len(chosen):
        caption += f" ({len(chosen)} of {len(record.complete)})"
    return Table(caption, told.Rows(["trial", *record.objectives, "time", *names], rows))
