"""The model card of an exported baseline: short, because no search was made for it."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.export.model_card import (
    card_metadata,
    checkpoint_name,
    choose_score,
    comparison_blocks,
    limitations_section,
    provenance_section,
    render_card,
    source_name,
    usage_section,
)
from hpo.report.blocks import Paragraph, Section
from hpo.results.best_config import stored_data
from hpo.results.formatting import format_mean_sd, join_labels
from hpo.results.study_results import StudyResults
from hpo.store.run_record import RunRecord
from hpo.training.model_folder import TRANSFORMER, WORD_COUNTS, ModelInfo


def baseline_card(results: StudyResults, info: ModelInfo, run: RunRecord, runs: int, notices: Sequence[str]) -> str:
    """Return the card of a baseline's model: YAML metadata, then Markdown.

    It names no folder of this machine and not the store. It shows the comparison, which the ledger of the test split
    records.

    Args:
        results: The study.
        info: The info of the model folder.
        run: The run whose model it is.
        runs: How many complete runs the baseline has.
        notices: What is to be said about its data.
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
        limitations_section(results, notices, info.max_length),
    ]
    return render_card(title, metadata, sections)


def _description(results: StudyResults, info: ModelInfo, run: RunRecord, runs: int) -> Section:
    spec, name = results.spec, str(info.baseline)
    labels = join_labels(stored_data(results).labels)
    choice = "the only one" if runs == 1 else f"the best of {runs} on validation"
    if runs > 1 and spec.final.train_on != "train":
        choice = f"the first of {runs}"
    lines = [
        f"A text classifier for {source_name(spec)}. Labels: {labels}.",
        f"It is the baseline {name} of the study {spec.name}; no search was made for it. "
        f"It is the run with seed {run.seed}, {choice}: {choose_score(run, spec.objective)}.",
    ]
    if run.description:
        lines.append(f"What it is: {run.description}.")
    if info.kind != WORD_COUNTS:
        lines.append(f"The checkpoint: {checkpoint_name(spec)}.")
    comparison = results.comparison
    if comparison is None:
        lines.append(f"It was not compared with the winner of the search: {results.missing_reason}.")
    else:
        rows = f"{comparison.rows['test']:,} test rows"
        means = [system.test[spec.objective] for system in comparison.systems if system.system == name]
        lines += [
            f"Over {len(mean.values)} seeds: {spec.objective} {format_mean_sd(mean)} on {rows}."
            for mean in means
            if len(mean.values) > 1
        ]
        verdicts = [difference.verdict for difference in comparison.differences if difference.against == name]
        lines += [f"The winner of the search, compared with it: {verdict}." for verdict in verdicts]
    return Section("description", "Model description", [Paragraph(line) for line in lines])


def _evaluation(results: StudyResults) -> Section:
    """Show the comparison of the winner with this and other baselines, with the figures of `hpo compare`."""
    anchor, title = "evaluation", "Evaluation"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [Paragraph(f"There is no evaluation on a test split: {results.missing_reason}.")])
    return Section(anchor, title, comparison_blocks(comparison))
