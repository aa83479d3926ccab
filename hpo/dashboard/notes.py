"""What the dashboard says of a study, a trial and a final run, as Markdown; never a text or a label of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hpo.errors import HpoError
from hpo.report.blocks import Block, BulletList, Code, Paragraph, Section, Table
from hpo.report.summary import verdict_section
from hpo.results.best_config import best_config_toml
from hpo.results.formatting import (
    METRIC_HEADINGS,
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
from hpo.results.study_status import study_status
from hpo.store.trial_state import INTERRUPTED, KILLED, OUT_OF_TIME, PRUNED, SURPLUS, outcome
from hpo.study.search_space import Parameter
from hpo.training.arguments import ALIASES

GAP = "\u2003"  # the one space that a browser does not take away
LONGEST = 300  # characters of a reason
SECONDS = {"wall": "time in all", "train": "training", "evaluation": "evaluation", "predict": "predicting"}
# Why a trial has no result though its values did nothing wrong.
UNFINISHED = {
    KILLED: "Its process was killed, or lost its machine; another trial runs its values again.",
    INTERRUPTED: "It was interrupted; another trial runs its values again.",
    OUT_OF_TIME: "The study's time was up before its end.",
    SURPLUS: "It was one too many: at the same moment another worker filled the budget, or ran the same values.",
}


def trial_note(trial: FrozenTrial, spec: Mapping[str, Any]) -> str:
    """How a finished trial of a search ended, what it really ran with, its scores and its cost.

    `spec` is the study as the store has it.
    """
    known = trial.user_attrs
    told_of = [Paragraph(_ended(trial, spec))]
    if "source" in known:
        told_of.append(Paragraph(f"It is a known-good start: {known['source']}."))
    if "retry_of" in known:
        told_of.append(Paragraph(f"It runs the values of trial #{known['retry_of']} again, which had no result."))
    rungs = [max(trial.intermediate_values)] if trial.intermediate_values else []
    rungs += [known["best_rung"]] if known.get("best_rung") not in [None, *rungs] else []
    metrics = known.get("metrics") or {}
    columns = {f"at rung {rung}": metrics[str(rung)] for rung in rungs if str(rung) in metrics}
    return _joined([*told_of, *_scores(columns, "Scores on validation"), *_values(trial), *_cost(trial)])


def run_note(run: FrozenTrial, spec: Mapping[str, Any]) -> str:
    """What a final run is of, its scores on validation and test, what it ran with, and its cost."""
    known, objective = run.user_attrs, spec["objective"]
    name, seed = known.get("system", "not known"), known.get("seed")
    system = f"a fresh training of {name}" if name.startswith("trial #") else f"the baseline {name}"
    scores: dict[str, Any] = {split: known[split]["metrics"] for split in ("validation", "test") if split in known}
    head = f"A final run: {system}, seed {seed}, trained on {known.get('trained_on')}."
    if outcome(run) != "complete":
        head = f"A final run: {system}, seed {seed}. {_ended(run, spec)}"
    own = {split: table[objective] for split, table in scores.items() if objective in table}
    said = ", ".join(f"{objective} {value:.4f} on {split}" for split, value in own.items())
    told_of = [Paragraph(head), *([Paragraph(f"{said[0].upper()}{said[1:]}.")] if said else [])]
    return _joined([*told_of, *_scores(scores, "Scores"), *_values(run), *_cost(run)])


def study_note(study: optuna.Study) -> str:
    """What a search looks for and where it stands, from the store alone."""
    spec, found = study.user_attrs["spec"], study_status(study)
    source = spec["data"]["source"] or "files"
    endings = format_outcomes(found["endings"])
    lines = [
        f"It searches hyperparameters of {spec['model']['checkpoint']} for the best {spec['objective']} on {source}.",
        f"{found['finished']} of {found['wanted']} trials are finished ({endings}), "
        f"in {format_duration(found['seconds'])}.",
    ]
    blocks: list[Block] = [BulletList(lines)]
    if row := found["best"]:
        blocks.append(
            Paragraph(f"Best so far: trial #{row['trial']}, {spec['objective']} {row['value']:.4f} on validation.")
        )
    axes = [[name, Parameter.model_validate(axis).description] for name, axis in spec["space"]["parameters"].items()]
    blocks += [
        Table("The search space", TextTable(["hyperparameter", "range"], axes, words=2)),
        Paragraph(
            "Whether the winner truly won is not known here; hpo dashboard with the study's file tells, after hpo run."
        ),
    ]
    return _joined([Section("study", study.study_name, blocks)])


def companion_note(companion: optuna.Study, search: optuna.Study | None) -> str:
    """What the trials of a companion study are, a row per system; baselines may be there before there is a search."""
    systems: dict[str, list[FrozenTrial]] = {}
    for run in companion.get_trials(deepcopy=False):
        systems.setdefault(str(run.user_attrs.get("system", "being made")), []).append(run)
    rows = [[name, *_runs(runs)] for name, runs in systems.items()]
    spec = companion.user_attrs["spec"]
    heads = ["system", "trials here", "seeds", f"mean {spec['objective']} on validation"]
    blocks: list[Block] = [
        Paragraph(
            "Each trial here is one finished training outside of the search: the winner afresh, once per seed, or a "
            "baseline. Its value is on validation; its scores on test, its confusion matrix and its predictions "
            "are on its own page."
        ),
        Table("What was made", TextTable(heads, rows, words=3)),
    ]
    links = [f"[The search, with the verdict]({_page(search)}/note)"] if search else []
    return _joined([Section("runs", f"Final runs of {spec['name']}", blocks)], *links)


def results_note(record: StudyResults) -> str:
    """The verdict with what it rests on and the best configuration; or what is missing for one."""
    sections = [verdict_section(record)]
    if found := record.found:
        against: list[Block] = [
            Table(f"{found['objective']} on {found['rows']['test']:,} test rows", gains_table(found)),
            Paragraph(explain_gains_table(found["objective"])),
            BulletList(comparison_remarks(found)),
        ]
        sections.append(Section("baselines", "Winner against baselines", against))
    try:
        code = Code("Tables for a study file", best_config_toml(record), "toml")
        sections.append(Section("configuration", "The best configuration", [code]))
    except HpoError:
        pass  # no trial is complete, which the verdict says
    links = [f"[best trial]({_page(record.search)}/trials?numbers={record.best.number})"] if record.best else []
    if companion := record.companion:
        both = f"/dashboard/compare-studies?ids={record.search._study_id},{companion._study_id}"
        links += [f"[final runs]({_page(companion)}/trials)", f"[search and final runs side by side]({both})"]
    return _joined(sections, *([" · ".join(links)] if links else []))


def _page(study: optuna.Study) -> str:
    return f"/dashboard/studies/{study._study_id}"


def _joined(blocks: Sequence[Block | Section], *more: str) -> str:
    """Blocks and lines of Markdown below each other; cells of tables, which the dashboard sets close, held apart."""
    text = "\n\n".join([*(block.markdown() for block in blocks), *more])
    lines = [line.replace(" | ", f"{GAP} | ") if line.startswith("| ") else line for line in text.splitlines()]
    return "\n".join(line.replace(GAP, "") if line.startswith("| ---") else line for line in lines)


def _ended(trial: FrozenTrial, spec: Mapping[str, Any]) -> str:
    """In a sentence or two, how a trial ended."""
    objective, how, known = spec["objective"], outcome(trial), trial.user_attrs
    last = max(trial.intermediate_values, default=None)
    if how == "complete":
        better = known.get("best_rung") not in (None, last)
        more = f" Its best was {known['best']:.4f}, at {_rung(known['best_rung'], spec)}." if better else ""
        return f"Complete: {objective} {trial.value:.4f} on validation.{more}"
    if how == PRUNED and last is not None:
        value = f"{objective} {trial.intermediate_values[last]:.4f}"
        return f"Pruned at {_rung(last, spec)}: {value} on validation was too little to go on."
    return UNFINISHED.get(how) or f"Failed: {str(known.get('reason', how))[:LONGEST]}"


def _rung(rung: int, spec: Mapping[str, Any]) -> str:
    """A rung in words: shares are kept as thousandths of a trial's own schedule."""
    if isinstance(spec["search"]["rungs"], dict):
        return f"rung {rung} ({rung:,} examples seen)"
    return f"rung {rung} ({rung / 1000:.1%} of its schedule)"


def _scores(columns: Mapping[str, Mapping[str, float]], caption: str) -> list[Block]:
    names = [name for name in METRIC_HEADINGS if any(name in table for table in columns.values())]
    rows = [[name, *(f"{table[name]:.4f}" if name in table else "" for table in columns.values())] for name in names]
    return [Table(caption, TextTable(["metric", *columns], rows))] if rows else []


def _values(trial: FrozenTrial) -> list[Block]:
    """What was sampled, beside what was read back from the live run."""
    effective = dict(trial.user_attrs.get("effective") or {})
    rows = []
    for name, value in trial.params.items():
        there = ALIASES.get(name, name)
        used = format_value(effective.pop(there)) if there in effective else ""
        rows.append([name, format_value(value), f"{there} {used}" if there != name and used else used])
    rows += [[name, "", format_value(value)] for name, value in effective.items()]
    return [Table("Values", TextTable(["", "sampled", "in the live run"], rows, words=3))] if rows else []


def _cost(trial: FrozenTrial) -> list[Block]:
    known = trial.user_attrs
    seconds, planned = known.get("seconds") or {}, (known.get("effective") or {}).get("max_steps")
    rows = [[name, format_cost(seconds[key])] for key, name in SECONDS.items() if key in seconds]
    if "steps" in known:
        rows.append(["optimizer steps", f"{known['steps']:,}" + (f" of {planned:,}" if planned else "")])
    rows += [[name, f"{known[name]:,}"] for name in ("examples", "tokens") if name in known]
    if known.get("peak_memory"):
        rows.append(["peak memory", f"{known['peak_memory'] / 1e6:,.0f} MB"])
    if "predicted_per_second" in known:
        rows.append(["texts predicted per second", f"{known['predicted_per_second']:,.0f}"])
    rows += [[name, str(known[name])] for name in ("batch_split", "seed") if name in known]
    return [Table("Cost", TextTable(["", ""], rows))] if rows else []


def _runs(runs: Sequence[FrozenTrial]) -> list[str]:
    values = [run.value for run in runs if run.value is not None]
    numbers = ", ".join(str(run.number) for run in runs)
    seeds = ", ".join(str(run.user_attrs.get("seed", "")) for run in runs)
    return [numbers, seeds, f"{mean(values):.4f}" if values else ""]
