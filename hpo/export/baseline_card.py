"""The model card of an exported baseline: short, because no search was made for it."""

from __future__ import annotations

from hpo.export.model_card import (
    card_metadata,
    checkpoint_name,
    choose_score,
    limitations_section,
    provenance_section,
    render_card,
    source_name,
    usage_section,
)
from hpo.report.blocks import Block, BulletList, Paragraph, Section, Table
from hpo.results.best_config import stored_data
from hpo.results.formatting import explain_gains_table, format_mean_sd, gains_table, join_labels, scores_table
from hpo.results.study_results import StudyResults
from hpo.store.run_record import RunRecord
from hpo.training.model_folder import TRANSFORMER, WORD_COUNTS, ModelInfo


def baseline_card(results: StudyResults, info: ModelInfo, run: RunRecord, runs: int) -> str:
    """Return the card of a baseline's model: YAML metadata, then Markdown.

    It names no folder of this machine and not the store. It shows the comparison, which the ledger of the test split
    records.

    Args:
        results: The study.
        info: The info of the model folder.
        run: The run whose model it is.
        runs: How many complete runs the baseline has.
    """
    results.compare()
    spec, with_transformers = results.spec, info.kind == TRANSFORMER
    title = f"{spec.name}: {info.baseline}"
    metadata = card_metadata(
        spec,
        run,
        model_name=f"{spec.name}-{info.baseline}",
        library="transformers" if with_transformers else "hpo",
        has_base_model=info.kind != WORD_COUNTS,
    )
    sections = [
        _description(results, info, run, runs),
        usage_section(spec, with_transformers),
        _evaluation(results),
        provenance_section(results, run),
        limitations_section(results, info.max_length),
    ]
    return render_card(title, metadata, sections)


def _description(results: StudyResults, info: ModelInfo, run: RunRecord, runs: int) -> Section:
    spec, name = results.spec, str(info.baseline)
    labels = join_labels(stored_data(results).labels)
    what = f"{name} ({run.description})" if run.description else name
    checkpoint = "" if info.kind == WORD_COUNTS else f" with {checkpoint_name(spec)}"
    choice = "the only one" if runs == 1 else f"the best of {runs} on validation"
    if runs > 1 and spec.final.train_on != "train":
        choice = f"the first of {runs}"
    lines = [
        f"A text classifier: {what}{checkpoint} on {source_name(spec)}. Labels: {labels}.",
        f"It is a baseline of the study {spec.name}: no hyperparameters were searched for it. It is the run with seed "
        f"{run.seed}, {choice}: {choose_score(run, spec.objective)}.",
    ]
    comparison = results.comparison
    if comparison is None:
        lines.append(f"It was not compared with the winner of the search: {results.missing_reason}.")
    else:
        scores = comparison.system(name).test[spec.objective]
        lines.append(
            f"Over {len(scores.values)} seeds: {spec.objective} {format_mean_sd(scores)} on "
            f"{comparison.rows['test']:,} test rows."
        )
        lines += [
            f"Of the winner of the search: {each.verdict}." for each in comparison.differences if each.against == name
        ]
    return Section("description", "Model description", [Paragraph(line) for line in lines])


def _evaluation(results: StudyResults) -> Section:
    """Show the comparison of the winner with this and other baselines, with the figures of `hpo compare`."""
    anchor, title = "evaluation", "Evaluation"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [Paragraph(f"There is no evaluation on a test split: {results.missing_reason}.")])
    blocks: list[Block] = [
        Table(f"{comparison.objective} on {comparison.rows['test']:,} test rows", gains_table(comparison)),
        Paragraph(explain_gains_table(comparison.objective)),
        BulletList([difference.verdict for difference in comparison.differences]),
        Table("Metrics on the test split, means over seeds", scores_table(comparison)),
    ]
    return Section(anchor, title, blocks)
