"""Report sections on the winner's test predictions: generalization gap, error analysis, misclassified examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas

from hpo.data.splits import Split, TextData
from hpo.escaping import escape_controls
from hpo.evaluation.comparison import Comparison
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.report.blocks import Block, BulletList, Excerpt, Paragraph, Section, Table, figure_blocks
from hpo.results.formatting import TextTable, classes_table, generalization_sentences
from hpo.results.study_results import StudyResults
from hpo.store.trial_order import sign
from hpo.study.spec_tables import RERUN

MAX_EXCERPTS = 6  # of the winner's errors; of each kind of disagreement half as many
MAX_CLASSES = 12  # in the table of scores per class


def generalization_section(results: StudyResults) -> Section:
    """Compare the search's best validation score with the scores of retraining, seed by seed."""
    anchor, title = "generalization", "Generalization gap"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [_not_compared()])
    sentences = [Paragraph(line[0].upper() + line[1:] + ".") for line in generalization_sentences(comparison)]
    summaries = {"validation": comparison.generalization.validation, "test": comparison.generalization.test}
    columns = {split: summary.values for split, summary in summaries.items() if summary}
    rows = [
        [str(seed), *(f"{values[index]:.4f}" for values in columns.values())]
        for index, seed in enumerate(comparison.winner_system.seeds)
    ]
    table = Table(f"The winner's {comparison.objective} by seed", TextTable(["seed", *columns], rows))
    figure = figure_blocks(results, "generalization", "Best score of the search, and scores of retraining")
    return Section(anchor, title, [*sentences, *figure, table])


def errors_section(results: StudyResults) -> Section:
    """Show the winner's confusion matrix, scores per class, ROC curve and calibration on the test split."""
    anchor, title = "errors", "Error analysis"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [_not_compared()])
    blocks = figure_blocks(results, "confusion", "Confusion matrix of the winner, mean over seeds")
    count = len(comparison.labels)
    if count <= MAX_CLASSES:
        caption = "Scores of the winner per class; rows are true labels"
        blocks.append(Table(caption, classes_table(select_winner(comparison))))
    else:
        blocks.append(Paragraph(f"`hpo compare --json` prints the scores of each of the {count} classes."))
    blocks += figure_blocks(results, "roc", "ROC curve" + ("s, one class against the rest" if count > 2 else ""))
    blocks += figure_blocks(results, "calibration", "Calibration: accuracy by confidence")
    return Section(anchor, title, blocks)


def misclassified_section(results: StudyResults) -> Section:
    """Show the errors of which the winner is most confident, and texts on which it and the best baseline disagree."""
    anchor, title = "misclassified", "Misclassified examples"
    runs, comparison = results.comparison_runs, results.comparison
    if runs is None or comparison is None:
        return Section(anchor, title, [_not_compared()])
    if results.data is None or results.data.test is None:
        return Section(anchor, title, [Paragraph(f"The texts cannot be shown: {results.data_missing_reason}.")])
    split, quotes_texts = results.data.test, results.spec.report.texts
    predictions = runs.deployed(runs.systems[0])
    blocks = _confident_errors(results.data, split, predictions, quotes_texts)
    if baseline := _best_baseline(runs, comparison):
        name, theirs = baseline
        for right, wrong, heading in (
            (predictions, theirs, f"The winner is right, {name} is wrong"),
            (theirs, predictions, f"{name} is right, the winner is wrong"),
        ):
            blocks += _disagreements(results.data, split, right, wrong, heading, quotes_texts)
    return Section(anchor, title, blocks)


def select_winner(comparison: ComparisonResult) -> ComparisonResult:
    """Return the comparison with the winner as its only system, for tables of the winner alone."""
    return comparison.model_copy(update={"systems": [comparison.winner_system]})


def _best_baseline(runs: Comparison, comparison: ComparisonResult) -> tuple[str, pandas.DataFrame] | None:
    """Return name and predictions of the baseline with the best mean on test.

    A rerun of the winner's own values does not count, nor a baseline that has the winner's own runs.
    """
    winner = runs.systems[0]
    baselines = {
        system.name: system for system in runs.systems[1:] if system.name != RERUN and system.runs != winner.runs
    }

    def score(name: str) -> float:
        return sign(comparison.direction) * comparison.system(name).test[comparison.objective].mean

    name = max(baselines, key=score, default=None)
    return None if name is None else (name, runs.deployed(baselines[name]))


def _confident_errors(data: TextData, split: Split, predictions: pandas.DataFrame, quotes_texts: bool) -> list[Block]:
    """Count the deployed model's errors and show the most confident ones."""
    wrong = _sort_by_confidence(predictions[predictions["label"] != predictions["predicted"]])
    sentence = f"The deployed model misclassifies {len(wrong):,} of {len(predictions):,} test texts."
    blocks: list[Block] = [Paragraph(f"{sentence} The most confident errors:" if len(wrong) else sentence)]
    examples = []
    for index, row in _iterate_rows(wrong.head(MAX_EXCERPTS)):
        predicted, label = (escape_controls(data.label_names[int(row[name])]) for name in ("predicted", "label"))
        examples.append((f"predicted {predicted} with confidence {row['confidence']:.3f}; labelled {label}", index))
    return blocks + _show_examples(examples, split, quotes_texts)


def _disagreements(
    data: TextData, split: Split, right: pandas.DataFrame, wrong: pandas.DataFrame, heading: str, quotes_texts: bool
) -> list[Block]:
    """Count the texts that only one of two systems classifies correctly, and show its most confident ones."""
    differs = (right["predicted"] == right["label"]) & (wrong["predicted"] != wrong["label"])
    rows = _sort_by_confidence(right[differs.to_numpy()])
    blocks: list[Block] = [Paragraph(f"{heading}: {len(rows):,} texts" + (", for example:" if len(rows) else "."))]
    examples = []
    for index, row in _iterate_rows(rows.head(MAX_EXCERPTS // 2)):
        label = escape_controls(data.label_names[int(row["label"])])
        confidence = row["confidence"]  # NaN for a system of which only labels are known
        examples.append((f"labelled {label}" + (f", confidence {confidence:.3f}" if confidence >= 0 else ""), index))
    return blocks + _show_examples(examples, split, quotes_texts)


def _show_examples(examples: Sequence[tuple[str, int]], split: Split, quotes_texts: bool) -> list[Block]:
    """Show texts, given by heading and position in the test split; or only where they are, if none may be quoted."""
    if quotes_texts:
        return [Excerpt(heading, split.texts[index]) for heading, index in examples]
    return [BulletList([f"row {split.ids[index] + 1}: {heading}" for heading, index in examples])] if examples else []


def _sort_by_confidence(predictions: pandas.DataFrame) -> pandas.DataFrame:
    """Add the probability of the predicted class as a column, and sort by it."""
    confidence = predictions.filter(like="probability_").max(axis=1)
    return predictions.assign(confidence=confidence).sort_values("confidence", ascending=False)


def _iterate_rows(predictions: pandas.DataFrame) -> list[tuple[int, Mapping[str, Any]]]:
    """Return each row with its index in the split."""
    return [(int(index), row) for index, row in predictions.to_dict("index").items()]


def _not_compared() -> Paragraph:
    return Paragraph("Nothing was evaluated on the test split yet; see the verdict.")
