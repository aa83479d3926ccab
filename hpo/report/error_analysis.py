"""The winner under the lamp: optimism and seeds, how it errs, and the texts on which it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas

from hpo.data.splits import Split
from hpo.report.blocks import Block, Excerpt, Paragraph, Section, Table, figure_blocks
from hpo.results.formatting import TextTable, classes_table, generalization_sentences
from hpo.results.study_results import StudyResults
from hpo.study.spec import RERUN

EXCERPTS_PER_KIND = 6  # texts of each kind
MAX_CLASSES = 12  # in the table of the confusion


def generalization_section(record: StudyResults) -> Section:
    """What the search promised, and what fresh seeds keep of it."""
    found = record.found
    if found is None:
        return Section("optimism", "Optimism and seed spread", [_not_yet()])
    said = [Paragraph(line[0].upper() + line[1:] + ".") for line in generalization_sentences(found)]
    kept, objective = found["optimism"], found["objective"]
    seeds = found["systems"][0]["seeds"]
    columns = [(split, kept[split]["values"]) for split in ("validation", "test") if kept[split]]
    rows = [[str(seed), *(f"{values[place]:.4f}" for _, values in columns)] for place, seed in enumerate(seeds)]
    table = Table(f"The winner's {objective} by seed", TextTable(["seed", *(split for split, _ in columns)], rows))
    return Section(
        "optimism",
        "Optimism and seed spread",
        [*said, *figure_blocks(record, "optimism", "What was promised, and kept"), table],
    )


def errors_section(record: StudyResults) -> Section:
    """Confusion matrix, classes, ROC and calibration of the winner on the test split."""
    found = record.found
    if found is None:
        return Section("errors", "How it errs", [_not_yet()])
    blocks: list[Block] = figure_blocks(record, "confusion", "Confusion of the winner, mean over seeds")
    ours = {**found, "systems": found["systems"][:1]}
    if len(found["labels"]) <= MAX_CLASSES:
        blocks.append(Table("Classes of the winner; rows are true labels", classes_table(ours)))
    else:
        blocks.append(Paragraph(f"{len(found['labels'])} classes: the scores of each are in hpo compare --json."))
    blocks += figure_blocks(
        record, "roc", "ROC curve" + ("s, one class against the rest" if len(found["labels"]) > 2 else "")
    )
    blocks += figure_blocks(record, "calibration", "Calibration: is it right as often as it is sure")
    return Section("errors", "How it errs", blocks)


def misclassified_section(record: StudyResults) -> Section:
    """The texts that the winner gets most confidently wrong, and where it and the best baseline disagree."""
    title = "Texts to read"
    comparison = record.comparison_runs
    if comparison is None or record.found is None:
        return Section("texts", title, [_not_yet()])
    if record.data is None or record.data.test is None:
        return Section("texts", title, [Paragraph(f"The texts cannot be shown: {record.data_missing}.")])
    split, labels = record.data.test, list(record.data.label_names)
    ours, *others = comparison.systems
    table = comparison.deployed(ours)
    wrong = table[table["label"] != table["predicted"]]
    sure = wrong.assign(sure=_confidence(wrong)).sort_values("sure", ascending=False)
    count = f"{len(wrong):,} of {len(table):,} test texts are labelled wrongly by the model that is deployed."
    blocks: list[Block] = [Paragraph(f"{count} Those of which it is surest:" if len(wrong) else count)]
    blocks += [
        Excerpt(
            f"{_said(labels, row, 'predicted')}, {row['sure']:.3f} sure; labelled {labels[int(row['label'])]}",
            _text(split, row),
        )
        for row in _rows(sure.head(EXCERPTS_PER_KIND))
    ]
    rivals = [each for each in others if each.name != RERUN and each.runs != ours.runs]
    if rivals:
        scores = {each["system"]: each["test"][record.spec.objective]["mean"] for each in record.found["systems"]}
        rival = max(rivals, key=lambda each: comparison.sign * scores[each.name])
        blocks += _disagreements(split, labels, table, (rival.name, comparison.deployed(rival)))
    return Section("texts", title, blocks)


def _disagreements(
    split: Split, labels: list[str], ours: pandas.DataFrame, rival: tuple[str, pandas.DataFrame]
) -> list[Block]:
    """Where the winner is right and the rival wrong, and the other way round; the surest of the right ones first."""
    name, theirs = rival
    blocks: list[Block] = []
    for right, wrong, said in (
        (ours, theirs, f"The winner is right, {name} wrong"),
        (theirs, ours, f"{name} is right, the winner wrong"),
    ):
        differ = (right["predicted"] == right["label"]) & (wrong["predicted"] != wrong["label"])
        chosen = right[differ.to_numpy()]
        chosen = chosen.assign(sure=_confidence(chosen)).sort_values("sure", ascending=False)
        blocks.append(Paragraph(f"{said}: {len(chosen):,} texts" + (", such as:" if len(chosen) else ".")))
        blocks += [
            Excerpt(f"labelled {labels[int(row['label'])]}, {row['sure']:.3f} sure", _text(split, row))
            for row in _rows(chosen.head(EXCERPTS_PER_KIND // 2))
        ]
    return blocks


def _confidence(table: pandas.DataFrame) -> Any:
    return table.filter(like="probability_").max(axis=1)


def _rows(table: pandas.DataFrame) -> list[Mapping[str, Any]]:
    """Each row with its place in the split, which is its index."""
    return [{**row, "place": place} for place, row in table.to_dict("index").items()]


def _said(labels: list[str], row: Mapping[str, Any], column: str) -> str:
    return f"predicted {labels[int(row[column])]}"


def _text(split: Split, row: Mapping[str, Any]) -> str:
    return split.texts[int(row["place"])]


def _not_yet() -> Paragraph:
    return Paragraph("Nothing is known of the test split yet; see the verdict.")
