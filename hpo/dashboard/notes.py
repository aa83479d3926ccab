"""The dashboard's notes about studies, trials and final runs as Markdown, without texts or labels of the data.

Data may be confidential, and the dashboard may be served to others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import optuna

from hpo.errors import HpoError
from hpo.report.blocks import Block, BulletList, Code, Paragraph, Section, Table
from hpo.report.summary import verdict_section
from hpo.results.best_config import best_config_toml
from hpo.results.formatting import (
    TABLE_METRICS,
    TextTable,
    comparison_remarks,
    explain_gains_table,
    format_cost,
    format_duration,
    format_outcomes,
    format_value,
    gains_table,
)
from hpo.results.study_results import StudyResults
from hpo.search.budget import count_finished, spent_seconds
from hpo.store.attributes import Seconds
from hpo.store.optuna_internals import study_id
from hpo.store.run_record import RunRecord, is_retrained_system
from hpo.store.study_record import StudyRecord
from hpo.store.text_redaction import redact_reason
from hpo.store.trial_order import best_first
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import INTERRUPTED, KILLED, OUT_OF_TIME, PRUNED, SURPLUS, count_outcomes
from hpo.study.search_space import Parameter
from hpo.training.arguments import ALIASES

CELL_GAP = "\u2003"  # an em space: browsers collapse all other spaces
MAX_REASON = 300  # characters
SECONDS_LABELS = {"wall": "total time", "train": "training", "evaluation": "evaluation", "predict": "prediction"}
# Outcomes that say nothing about a trial's hyperparameters.
UNFINISHED = {
    KILLED: "Its process was killed, or its machine failed; another trial repeats its hyperparameters.",
    INTERRUPTED: "It was interrupted; another trial repeats its hyperparameters.",
    OUT_OF_TIME: "The study reached its timeout before the trial ended.",
    SURPLUS: "It was not needed: another worker used up the budget, or ran the same hyperparameters, at the same time.",
}


def trial_note(trial: TrialRecord, study: StudyRecord) -> str:
    """Return the note of a search's finished trial: its outcome, scores, hyperparameters and cost."""
    paragraphs = [Paragraph(_describe_trial(trial, study))]
    if trial.source is not None:
        paragraphs.append(Paragraph(f"It is a known-good start: {trial.source}."))
    if trial.retry_of is not None:
        paragraphs.append(Paragraph(f"It repeats trial #{trial.retry_of}, which ended without a result."))
    rungs = dict.fromkeys(rung for rung in (trial.last_rung, trial.best_rung) if rung is not None)
    columns = {f"at rung {rung}": trial.curve[rung] for rung in rungs if rung in trial.curve}
    scores = _scores_table("Scores on validation", columns)
    return _join_markdown([*paragraphs, *scores, *_values_table(trial, trial.params), *_cost_table(trial)])


def run_note(run: RunRecord, study: StudyRecord) -> str:
    """Return the note of a final run: its system, scores on validation and test, hyperparameters and cost."""
    name = run.system or "an unknown system"
    system = f"{name}, retrained" if is_retrained_system(name) else f"the baseline {name}"
    head = f"A final run: {system}, seed {run.seed}"
    if run.is_complete:
        paragraphs = [Paragraph(f"{head}, trained on {run.trained_on}.")]
    else:
        paragraphs = [Paragraph(f"{head}. {_describe_unfinished(run.outcome, run.reason, study)}")]
    scores = {
        split: split_scores.metrics
        for split in ("validation", "test")
        if (split_scores := run.scores_on(split)) is not None
    }
    objective = str(study.objective)
    reached = [f"{table[objective]:.4f} on {split}" for split, table in scores.items() if objective in table]
    if reached:
        paragraphs.append(Paragraph(f"Its {objective}: {', '.join(reached)}."))
    values = _values_table(run, run.key.get("values") or {})
    return _join_markdown([*paragraphs, *_scores_table("Scores", scores), *values, *_cost_table(run)])


def study_note(study: optuna.Study) -> str:
    """Return the note of a search before it has a verdict: its aim, progress, best trial and search space."""
    record, trials = StudyRecord.from_attributes(study.user_attrs), study.get_trials(deepcopy=False)
    assert record.spec
    spec = record.spec
    lines = [
        f"It searches hyperparameters of {spec['model']['checkpoint']} for the best {record.objective} "
        f"on {spec['data']['source'] or 'files'}.",
        f"{count_finished(trials)} of {spec['search']['trials']} trials are finished "
        f"({format_outcomes(count_outcomes(trials))}), in {format_duration(spent_seconds(trials))}.",
    ]
    blocks: list[Block] = [BulletList(lines)]
    if complete := best_first(trials, study.direction.name):
        best = TrialRecord.from_trial(complete[0])
        blocks.append(
            Paragraph(f"Best so far: trial #{best.number}, {record.objective} {best.values[0]:.4f} on validation.")
        )
    axes = [[name, Parameter.model_validate(axis).description] for name, axis in spec["space"]["parameters"].items()]
    blocks += [
        Table("The search space", TextTable(["hyperparameter", "range"], axes, words=2)),
        Paragraph(
            "There is no verdict here yet. `hpo run STUDY` retrains the best trial and runs baselines; then "
            "`hpo dashboard STUDY` shows how the winner compares with them."
        ),
    ]
    return _join_markdown([Section("study", study.study_name, blocks)])


def companion_note(companion: optuna.Study, search: optuna.Study | None) -> str:
    """Return the note of a companion study: its runs, a row per system. Baselines may exist before the search does."""
    record = StudyRecord.from_attributes(companion.user_attrs)
    assert record.spec
    systems: dict[str, list[RunRecord]] = {}
    for run in map(RunRecord.from_trial, companion.get_trials(deepcopy=False)):
        systems.setdefault(run.system or "not started", []).append(run)
    rows = [[name, *_summarize_runs(runs)] for name, runs in systems.items()]
    heads = ["system", "trials here", "seeds", f"mean {record.objective} on validation"]
    blocks: list[Block] = [
        Paragraph(
            "Each trial here is one training run outside the search: the winner retrained, once per seed, or a "
            "baseline. Its value is on validation; its scores on test, its confusion matrix and its predictions "
            "are on its own page."
        ),
        Table("Runs by system", TextTable(heads, rows, words=3)),
    ]
    links = [f"[The search and its verdict]({_page_path(search)}/note)"] if search else []
    return _join_markdown([Section("runs", f"Final runs of {record.spec['name']}", blocks)], *links)


def results_note(results: StudyResults) -> str:
    """Return the note of a search with its verdict, comparison and best configuration, or with what is missing."""
    sections = [verdict_section(results)]
    if comparison := results.comparison:
        against: list[Block] = [
            Table(f"{comparison.objective} on {comparison.rows['test']:,} test rows", gains_table(comparison)),
            Paragraph(explain_gains_table(comparison.objective)),
            BulletList(comparison_remarks(comparison)),
        ]
        sections.append(Section("baselines", "Winner against baselines", against))
    try:
        code = Code("Tables for a study file", best_config_toml(results), "toml")
        sections.append(Section("configuration", "The best configuration", [code]))
    except HpoError:
        pass  # no trial is complete, which the verdict section says
    links = [f"[best trial]({_page_path(results.search)}/trials?numbers={results.best.number})"] if results.best else []
    if companion := results.companion:
        both = f"/dashboard/compare-studies?ids={study_id(results.search)},{study_id(companion)}"
        links += [f"[final runs]({_page_path(companion)}/trials)", f"[search and final runs side by side]({both})"]
    return _join_markdown(sections, *([" · ".join(links)] if links else []))


def _page_path(study: optuna.Study) -> str:
    return f"/dashboard/studies/{study_id(study)}"


def _join_markdown(blocks: Sequence[Block | Section], *lines: str) -> str:
    """Return blocks and lines of Markdown below each other.

    The dashboard sets the cells of tables without any space between them, so each gets a gap at its end.
    """
    text = "\n\n".join([*(block.markdown() for block in blocks), *lines])
    spaced = [line.replace(" | ", f"{CELL_GAP} | ") if line.startswith("| ") else line for line in text.splitlines()]
    return "\n".join(line.replace(CELL_GAP, "") if line.startswith("| ---") else line for line in spaced)


def _describe_trial(trial: TrialRecord, study: StudyRecord) -> str:
    """Return how a finished trial ended, in a sentence or two."""
    if trial.outcome == "complete":
        text = f"Complete: {study.objective} {trial.values[0]:.4f} on validation."
        if trial.best is not None and trial.best_rung not in (None, trial.last_rung):
            text += f" Its best was {trial.best:.4f}, at {_describe_rung(trial.best_rung, study)}."
        return text
    if trial.outcome == PRUNED and trial.last_rung is not None:
        value = trial.rungs[trial.last_rung]
        return f"Pruned at {_describe_rung(trial.last_rung, study)}: {study.objective} {value:.4f} on validation."
    return _describe_unfinished(trial.outcome, trial.reason, study)


def _describe_unfinished(outcome: str, reason: str | None, study: StudyRecord) -> str:
    text = reason or outcome
    return UNFINISHED.get(outcome) or f"Failed: {(text if study.quotes_texts else redact_reason(text))[:MAX_REASON]}"


def _describe_rung(rung: int | None, study: StudyRecord) -> str:
    """Return `rung 250 (25.0% of its schedule)`; shares are stored in thousandths of the trial's own schedule."""
    assert study.spec and rung is not None
    if isinstance(study.spec["search"]["rungs"], dict):  # { every_examples = 500 }
        return f"rung {rung} ({rung:,} examples seen)"
    return f"rung {rung} ({rung / 1000:.1%} of its schedule)"


def _scores_table(caption: str, columns: Mapping[str, Mapping[str, float]]) -> list[Block]:
    """Return a table of the common metrics, a column per rung or split."""
    names = [name for name in TABLE_METRICS if any(name in scores for scores in columns.values())]
    rows = [[name, *(f"{scores[name]:.4f}" if name in scores else "" for scores in columns.values())] for name in names]
    return [Table(caption, TextTable(["metric", *columns], rows))] if rows else []


def _values_table(record: TrialRecord | RunRecord, sampled: Mapping[str, Any]) -> list[Block]:
    """Return a table of the sampled hyperparameters and of the values read back from the live run."""
    effective = dict(record.effective)
    rows = []
    for name, value in sampled.items():
        field = ALIASES.get(name, name)  # warmup_ratio is read back as warmup_steps
        live = format_value(effective.pop(field)) if field in effective else ""
        rows.append([name, format_value(value), f"{field} {live}" if field != name and live else live])
    rows += [[name, "", format_value(value)] for name, value in effective.items()]
    heads = ["", "sampled", "effective in the run"]
    return [Table("Hyperparameters", TextTable(heads, rows, words=3))] if rows else []


def _cost_table(record: TrialRecord | RunRecord) -> list[Block]:
    """Return a table of times, steps, examples, memory and throughput, as far as they were measured."""
    seconds = {} if record.seconds == Seconds() else record.seconds.measured()
    planned = record.effective.get("max_steps")
    rows = [[label, format_cost(seconds[name])] for name, label in SECONDS_LABELS.items() if name in seconds]
    if record.steps is not None:
        rows.append(["optimizer steps", f"{record.steps:,}" + (f" of {planned:,}" if planned else "")])
    counts = {"examples": record.examples, "tokens": record.tokens}
    rows += [[name, f"{count:,}"] for name, count in counts.items() if count is not None]
    if record.peak_memory:
        rows.append(["peak memory", f"{record.peak_memory / 1e6:,.0f} MB"])
    if isinstance(record, RunRecord) and record.predicted_per_second is not None:
        rows.append(["texts predicted per second", f"{record.predicted_per_second:,.0f}"])
    settings = {"parts per batch": record.batch_split, "seed": record.seed}
    rows += [[name, str(value)] for name, value in settings.items() if value is not None]
    return [Table("Cost", TextTable(["", ""], rows))] if rows else []


def _summarize_runs(runs: Sequence[RunRecord]) -> list[str]:
    """Return trial numbers, seeds and the mean value of one system's runs, as table cells."""
    values = [run.value for run in runs if run.value is not None]
    numbers = ", ".join(str(run.number) for run in runs)
    seeds = ", ".join(str(run.seed) for run in runs if run.system)
    return [numbers, seeds, f"{mean(values):.4f}" if values else ""]
