"""Report section on cost: the device time of the search, of retraining and of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hpo.report.blocks import Block, Paragraph, Section, Table
from hpo.results.formatting import TextTable, format_cost
from hpo.results.study_results import StudyResults
from hpo.store.run_record import RunRecord
from hpo.store.trial_record import TrialRecord

# Heading of a row -> the trials or final runs that it adds up. Every trial and every run is in exactly one row.
TRIAL_ROWS: Mapping[str, Callable[[TrialRecord], bool]] = {
    "complete trials": lambda trial: trial.outcome == "complete",
    "pruned trials": lambda trial: trial.outcome == "pruned",
    "other trials": lambda trial: trial.outcome not in {"complete", "pruned"},
}
RUN_ROWS: Mapping[str, Callable[[RunRecord], bool]] = {
    "retraining": lambda run: run.is_retraining,
    "baselines": lambda run: not run.is_retraining,
}


def cost_section(results: StudyResults) -> Section:
    """Show the device time of each part of the study, and its share of the total."""
    groups = {name: [t.seconds.wall for t in results.trials if belongs(t)] for name, belongs in TRIAL_ROWS.items()}
    groups |= {name: [run.seconds.wall for run in results.runs if belongs(run)] for name, belongs in RUN_ROWS.items()}
    total = sum(map(sum, groups.values()))
    if not total:
        return Section("cost", "Cost", [Paragraph("Nothing has run yet.")])
    rows = [
        [name, str(len(seconds)), format_cost(sum(seconds)), f"{sum(seconds) / total:.0%}"]
        for name, seconds in groups.items()
        if seconds
    ]
    rows.append(["total", str(sum(map(len, groups.values()))), format_cost(total), "100%"])
    blocks: list[Block] = [
        Table("Device time by part of the study", TextTable(["", "runs", "device time", "share"], rows)),
        Paragraph(
            "Device time is the time that a trial or run kept a processor or an accelerator, added up over workers."
        ),
    ]
    return Section("cost", "Cost", blocks)
