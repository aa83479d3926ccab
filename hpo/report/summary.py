"""The first screen: did the search pay, what to use, can it be trusted; then the configuration and the comparison."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from hpo.errors import HpoError
from hpo.evaluation.verdict import format_amount
from hpo.report.blocks import Block, BulletList, Code, Paragraph, QuestionAnswer, Section, Table, figure_blocks
from hpo.results.best_config import best_config_python, best_config_toml
from hpo.results.formatting import (
    comparison_remarks,
    explain_gains_table,
    format_cost,
    format_mean_sd,
    format_outcomes,
    gains_table,
    generalization_sentences,
    scores_table,
)
from hpo.results.study_results import StudyResults
from hpo.store.trial_state import count_outcomes
from hpo.study.spec import RERUN
from hpo.training.model_folder import INFO_FILE


def verdict_section(record: StudyResults) -> Section:
    """The verdict in a sentence, and the three questions that a reader comes with."""
    found = record.found
    if found is None:
        return Section("verdict", "The verdict", _without_verdict(record))
    paid = QuestionAnswer("Did the search pay?", _paid(found), [row["verdict"] for row in _deciding(found)])
    return Section(
        "verdict",
        "The verdict",
        [Paragraph(_in_one_sentence(found)), paid, _to_use(record, found), _trust(found)],
    )


def _in_one_sentence(found: Mapping[str, Any]) -> str:
    """The winner's score and cost, and how it stands to its baselines."""
    winner, objective = found["systems"][0], found["objective"]
    score, cost = format_mean_sd(winner["test"][objective]), format_cost(winner["cost_seconds"])
    rows = f"{found['rows']['test']:,} test rows"
    return f"The winner: {objective} {score} on {rows}, for {cost} of device time; {found['verdict']}."


def configuration_section(record: StudyResults) -> Section:
    """The winner's values, ready to be copied."""
    try:
        blocks: list[Block] = [
            Code("best_config.toml", best_config_toml(record), "toml"),
            Code("The same in Python, without hpo", best_config_python(record), "python"),
        ]
    except HpoError as error:
        blocks = [Paragraph(f"There is none: {error}.")]
    return Section("configuration", "The best configuration", blocks)


def baselines_section(record: StudyResults) -> Section:
    """The winner against each baseline: gains with intervals, costs, and every metric."""
    found = record.found
    if found is None:
        return Section("baselines", "Winner against baselines", [Paragraph("Not compared yet; see the verdict.")])
    rows = found["rows"]
    about = (
        f"{found['objective']} on {rows['test']:,} test rows; trained on {found['trained_on']} "
        f"({rows['train']:,} train and {rows['validation']:,} validation rows)"
    )
    return Section(
        "baselines",
        "Winner against baselines",
        [
            Table(about[0].upper() + about[1:], gains_table(found)),
            Paragraph(explain_gains_table(found["objective"])),
            *figure_blocks(record, "intervals", "The winner's gain over each baseline, with 95 % intervals"),
            BulletList([row["verdict"] for row in found["differences"]]),
            Table("Metrics on the test split, means over seeds", scores_table(found)),
            BulletList(comparison_remarks(found)),
        ],
    )


def _without_verdict(record: StudyResults) -> list[Block]:
    """What can be said before there is a comparison."""
    endings = format_outcomes(count_outcomes(record.trials))
    known: list[Block] = [Paragraph(f"There is no verdict yet: {record.missing}.", caution=True)]
    if record.best is not None:
        value = f"{record.objectives[0]} {record.best.value:.4f}"
        known.append(
            Paragraph(
                f"The best trial is #{record.best.number} with {value} on validation. It was chosen because "
                "it is high, so expect less of it on new texts; fresh seeds and baselines tell how much less."
            )
        )
    elif len(record.directions) > 1:
        known.append(Paragraph(f"The study has {len(record.directions)} objectives: no single trial is the best."))
    return [*known, Paragraph(f"Trials: {endings}.")]


def _rivals(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The winner against each baseline, the hardest first; a rerun of its own values is no rival."""
    rows = [row for row in found["differences"] if row["against"] != RERUN]
    return sorted(rows, key=lambda row: float(row["difference"]))


def _deciding(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that decide whether the search paid, the first one most: what is better than the winner, else what it
    does not beat, else what it beats by the least; before its like, the recipe: what one had without a search."""
    rows = sorted(_rivals(found), key=lambda row: row["against"] != "recipe")
    worse = [row for row in rows if row["outcome"] == "worse"]
    even = [row for row in rows if row["outcome"] == "none"]
    recipe = [row for row in rows if row["against"] == "recipe"]
    decides = (worse or even or recipe or rows)[:1]
    return decides + [row for row in recipe if row not in decides]


def _paid(found: Mapping[str, Any]) -> str:
    """Whether the search was worth its time: a gain over what one would have had without it."""
    rows = _deciding(found)
    if not rows:
        return "Not known: no baseline was run."
    name, outcome = rows[0]["against"], rows[0]["outcome"]
    if outcome == "worse":
        return f"No: {name} is better."
    if any(row["same_runs"] for row in rows):
        return "It found the recipe itself: the values were known before it."
    if outcome == "none":
        return f"Not that one could tell: no significant gain over {name}."
    gain, others = format_amount(rows[0]["difference"], found["objective"]), len(_rivals(found)) - 1
    return f"Yes: better than {name} by {gain}" + (f", and than {others} more." if others else ".")


def _to_use(record: StudyResults, found: Mapping[str, Any]) -> QuestionAnswer:
    """The winner, unless something is better, or as good and cheaper."""
    spec, systems = record.spec, {system["system"]: system for system in found["systems"]}
    rows = _rivals(found)
    worse = [row["against"] for row in rows if row["outcome"] == "worse"]
    even = [row["against"] for row in rows if row["outcome"] == "none" and not row["same_runs"]]
    even.sort(key=lambda name: float(systems[name]["cost_seconds"]))
    cost = format_cost(systems["winner"]["cost_seconds"])
    score = format_mean_sd(systems["winner"]["test"][found["objective"]])
    behind = [f"the winner: trial #{found['winner']['trial']}, {found['objective']} {score} on test, cost {cost}"]
    behind += [_other(systems[name], found["objective"]) for name in (worse[:1] or even[:1])]
    if (spec.model_folder / INFO_FILE).is_file():
        behind.append(f"the winner's model: try `hpo predict {shlex.quote(str(spec.model_folder))} 'a text'`")
    if worse:
        return QuestionAnswer("What do I use?", f"{worse[0]}, which is better.", behind)
    if even:
        return QuestionAnswer("What do I use?", f"The winner, or {even[0]}: no difference was found.", behind)
    return QuestionAnswer("What do I use?", "The winner.", behind)


def _other(system: Mapping[str, Any], objective: str) -> str:
    score, cost = format_mean_sd(system["test"][objective]), format_cost(system["cost_seconds"])
    return f"{system['system']}: {objective} {score} on test, cost {cost}"


def _trust(found: Mapping[str, Any]) -> QuestionAnswer:
    """What the figures rest on, and what stands against them."""
    seeds = len(found["systems"][0]["runs"])
    against = []
    if seeds < 3:
        against.append("too few seeds to know how much they scatter")
    if found["missing"] or found["failed"]:
        against.append("baselines are missing")
    if found["search"]["finished"] < found["search"]["wanted"]:
        against.append("the search is not finished")
    if any(system["failed"] for system in found["systems"]):
        against.append("some runs failed")
    if found["test_uses"]["elsewhere"]:
        against.append("other studies used the same test rows")
    answer = "With care: " + ", ".join(against) + "." if against else "Yes, as far as its intervals go."
    fresh = f"{seeds} fresh seeds" if seeds > 1 else "1 fresh seed"
    rows = f"{found['rows']['test']:,} test rows by which hpo chose nothing"
    rests = f"{fresh}, {rows}, {len(_rivals(found))} baselines on the same rows"
    return QuestionAnswer("Can I trust it?", answer, [rests, *generalization_sentences(found), _uses(found)])


def _uses(found: Mapping[str, Any]) -> str:
    uses = found["test_uses"]
    return f"the test split was used {uses['count']} times, looks at results included; the ledger has each"
