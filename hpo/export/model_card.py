"""The model card: README.md of the exported model folder, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from hpo.data.readers import READERS
from hpo.errors import ModelError, StudyError
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.evaluation.winner import choose_deployed_run
from hpo.report.blocks import Block, BulletList, Code, Paragraph, Section, Table
from hpo.report.error_analysis import MAX_CLASSES, select_winner
from hpo.results.best_config import BestConfig, find_best_config, stored_data
from hpo.results.formatting import (
    TextTable,
    classes_table,
    comparison_remarks,
    explain_gains_table,
    format_duration,
    format_mean_sd,
    format_outcomes,
    format_values,
    gains_table,
    generalization_sentences,
    join_labels,
    scores_table,
)
from hpo.results.study_results import StudyResults
from hpo.store.provenance import format_commit
from hpo.store.run_record import RunRecord
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import NamedComponent
from hpo.training.metrics import METRICS
from hpo.training.model_folder import read_model_info


def model_card(results: StudyResults) -> str:
    """Return the card of the model in the study's model folder: YAML metadata, then Markdown.

    It names no folder of this machine and not the store. It shows the comparison, which the ledger of the test split
    records. Raises StudyError if there is no model, or if it is not the winner's.
    """
    best = find_best_config(results)
    run = _find_deployed_run(best)
    results.compare()
    sections = [
        _description(best, run),
        usage_section(results.spec),
        _evaluation(results),
        _training(best, run),
        _search(results),
        provenance_section(results, run),
        limitations_section(results, stored_data(results).notices, results.spec.model.max_length),
    ]
    return render_card(results.spec.name, card_metadata(results.spec, run, results.spec.name), sections)


def render_card(title: str, metadata: ModelCardData, sections: Sequence[Section]) -> str:
    """Return a card as text, without folders of this machine."""
    body = "\n\n".join([f"# {title}", *(section.markdown() for section in sections)])
    return f"---\n{metadata.to_yaml()}\n---\n\n{strip_folders(body)}\n"


def _find_deployed_run(best: BestConfig) -> RunRecord:
    """Return the run whose model is in the model folder."""
    spec = best.results.spec
    try:
        info = read_model_info(spec.model_folder)
    except ModelError as error:
        raise StudyError(f"there is no model to export: {error}") from None
    run = best.deployed_run
    if run is None or info.made.get("run") != run.key:
        raise StudyError(
            f"{spec.model_folder}: does not hold the winner's model of this store; "
            f"`{spec.command('retrain')}` writes it again"
        )
    return run


def card_metadata(
    spec: StudySpec, run: RunRecord, model_name: str, library: str = "transformers", has_base_model: bool = True
) -> ModelCardData:
    """Return task, base model, data and the test scores of this model."""
    dataset = hub_id(spec, spec.data.source)
    scores = run.test.metrics if run.test else {}
    hub_names = {name: hub_name for name in scores if name in METRICS and (hub_name := METRICS[name].hub_name)}
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=dataset or "custom",
            dataset_name=source_name(spec),
            dataset_config=spec.data.config if dataset else None,
            dataset_revision=spec.data.revision if dataset else None,
            dataset_split="test",
            metric_type=hub_name,
            metric_name=name,
            metric_value=round(scores[name], 6),
        )
        for name, hub_name in hub_names.items()
    ]
    return ModelCardData(
        base_model=hub_id(spec, spec.model.checkpoint) if has_base_model else None,
        datasets=[dataset] if dataset else None,
        eval_results=results or None,
        library_name=library,
        metrics=list(dict.fromkeys(hub_names.values())) or None,
        model_name=model_name,
        pipeline_tag="text-classification",
        tags=["hyperparameter-search", "optuna"],
    )


def _description(best: BestConfig, run: RunRecord) -> Section:
    results, spec = best.results, best.results.spec
    labels = join_labels(stored_data(results).labels)
    lines = [
        f"A text classifier: {checkpoint_name(spec)} fine-tuned on {source_name(spec)}. Labels: {labels}.",
        f"Its hyperparameters are those of trial #{best.trial.number}, the winner of a search. It is the run with seed "
        f"{run.seed}, {_explain_choice(best, run)}: {choose_score(run, spec.objective)}.",
    ]
    if comparison := results.comparison:
        test = comparison.generalization.test
        mean = f"{spec.objective} {format_mean_sd(test)} on {comparison.rows['test']:,} test rows"
        lines.append(f"Over {len(test.values)} seeds: {mean}. Compared with baselines: {comparison.verdict}.")
    else:
        lines.append(f"It was not compared with baselines: {results.missing_reason}.")
    return Section("description", "Model description", [Paragraph(line) for line in lines])


def usage_section(spec: StudySpec, with_transformers: bool = True) -> Section:
    """Show how to call the model with hpo, which prepares texts as in training, and with transformers if it can."""
    with_hpo = f'import hpo\n\nprint(hpo.load("{spec.name}").predict(["a text"])[0])'
    if not with_transformers:
        place = Paragraph(f'Replace "{spec.name}" by the path of this folder.')
        return Section("usage", "How to use it", [place, Code("With hpo", with_hpo, "python")])
    pipeline = (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", model="{spec.name}", truncation=True, '
        f"max_length={spec.model.max_length})\n"
        'print(classify("a text"))'
    )
    blocks: list[Block] = [
        Paragraph(f'Replace "{spec.name}" by the path of this folder or, for transformers, by its name on the hub.')
    ]
    if spec.data.clean:
        steps = ", ".join(map(str, spec.data.clean))
        blocks.append(
            Paragraph(f"Texts were cleaned for training ({steps}). hpo cleans them too, transformers does not.")
        )
    blocks += [Code("With transformers", pipeline, "python"), Code("With hpo", with_hpo, "python")]
    return Section("usage", "How to use it", blocks)


def _evaluation(results: StudyResults) -> Section:
    """Show the comparison, with the figures of `hpo compare`."""
    anchor, title = "evaluation", "Evaluation"
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [Paragraph(f"There is no evaluation on a test split: {results.missing_reason}.")])
    public = comparison.without_paths()
    blocks = comparison_blocks(comparison)
    if len(comparison.labels) <= MAX_CLASSES:
        caption = "Scores of the winner per class, means over seeds; rows are true labels"
        blocks.append(Table(caption, classes_table(select_winner(comparison))))
    blocks.append(BulletList([*generalization_sentences(comparison), *comparison_remarks(public)]))
    return Section(anchor, title, blocks)


def comparison_blocks(comparison: ComparisonResult) -> list[Block]:
    """Show the winner's gain over each baseline, and the scores of all."""
    return [
        Table(f"{comparison.objective} on {comparison.rows['test']:,} test rows", gains_table(comparison)),
        Paragraph(explain_gains_table(comparison.objective)),
        BulletList([difference.verdict for difference in comparison.differences]),
        Table("Metrics on the test split, means over seeds", scores_table(comparison)),
    ]


def _training(best: BestConfig, run: RunRecord) -> Section:
    """Compare sampled and fixed values with those read back from the live run."""
    fixed, sampled = best.results.fixed_fields, best.values
    names = list(dict.fromkeys([*sampled, *fixed, *run.effective]))
    rows = [[name, str(sampled.get(name, fixed.get(name, ""))), str(run.effective.get(name, ""))] for name in names]
    table = TextTable(["", "searched or fixed", "in the live run"], rows, words=3)
    return Section("training", "Training", [Table("Hyperparameters", table)])


def _search(results: StudyResults) -> Section:
    spec, search = results.spec, results.spec.search
    timeout = "" if search.timeout is None else f", {format_duration(search.timeout)}"
    device_seconds = sum(trial.seconds.wall for trial in results.trials)
    facts = [
        ["objective", f"{spec.objective} on validation, {results.directions[0]}d"],
        ["trials", format_outcomes(results.status.outcomes)],
        ["budget", f"{search.trials} trials{timeout}"],
        ["device time", format_duration(device_seconds)],
        ["sampler, pruner", f"{_describe_component(search.sampler)}, {_describe_component(search.pruner)}"],
        ["rungs", str(search.rungs)],
        ["value of a trial", f"at its {search.value} rung"],
        ["seed of the search", str(search.seed)],
        ["seeds of the retrained runs", ", ".join(map(str, spec.final.seed_list))],
    ]
    ranges = [[name, parameter.description] for name, parameter in spec.space.parameters.items()]
    return Section(
        "search",
        "Hyperparameter search",
        [
            Table("Settings of the search", TextTable(["", ""], facts, words=2)),
            Table("The search space", TextTable(["hyperparameter", "range"], ranges, words=2)),
        ],
    )


def provenance_section(results: StudyResults, run: RunRecord) -> Section:
    """Show which data, versions and device the model of a run is from."""
    data = stored_data(results)
    facts = [
        ["data", source_name(results.spec)],
        ["rows", ", ".join(f"{count:,} {split}" for split, count in data.rows.items())],
        ["trained on", results.spec.final.train_on],
        ["fingerprint of the data", data.fingerprint],
        ["hash of the study", run.provenance.spec_hash],
        ["git", format_commit(run.provenance.git)],
        ["device", run.provenance.device],
        ["versions", format_values(run.provenance.versions)],
    ]
    return Section("provenance", "Provenance", [Table("Provenance", TextTable(["", ""], facts, words=2))])


def limitations_section(results: StudyResults, notices: Sequence[str], max_length: int | None) -> Section:
    """List what the model does not do, and what is wrong with its data."""
    spec = results.spec
    lines = [
        *([f"Texts are truncated after {max_length} tokens."] if max_length is not None else []),
        *(f"{notice[0].upper()}{notice[1:]}." for notice in notices),
    ]
    if comparison := results.comparison:
        uses = comparison.test_uses.count
        lines.append(f"The test split was used {uses} times; the more often, the less its scores prove.")
    if spec.model.trust_remote_code and max_length is not None:
        lines.append("The checkpoint contains code of its own; loading it needs trust_remote_code=True.")
    lines.append("It was not evaluated on texts that are unlike its training and test data.")
    return Section("limitations", "Limitations", [BulletList(lines)])


def hub_id(spec: StudySpec, name: str | None) -> str | None:
    """Return the hub id of a checkpoint or data source; None for built-in ones, files and folders."""
    if name is None or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) or Path(name).suffix in READERS:
        return None
    return None if (spec.file.parent / name).exists() else name


def checkpoint_name(spec: StudySpec) -> str:
    """Return the name of the checkpoint, of a folder only its last part, with its revision."""
    return _public_name(spec, spec.model.checkpoint) + (f" ({spec.model.revision})" if spec.model.revision else "")


def source_name(spec: StudySpec) -> str:
    """Return the name of the data source, of files and folders only their last part."""
    if spec.data.source is not None:
        return _public_name(spec, spec.data.source) + (f" ({spec.data.config})" if spec.data.config else "")
    return ", ".join(_public_name(spec, file) for file in spec.data.train_names)


def _public_name(spec: StudySpec, name: str) -> str:
    return name if name.startswith("builtin:") or hub_id(spec, name) else Path(name).name


def _explain_choice(best: BestConfig, run: RunRecord) -> str:
    """Explain why this run was chosen among the retrained runs."""
    spec, count = best.results.spec, len(best.runs)
    if count == 1:
        return "the only one"
    default = choose_deployed_run(spec, best.runs, best.results.directions[0], None)
    if default is None or default.number != run.number:
        return f"one of {count}, chosen by its seed"
    return f"the best of {count} on validation" if spec.final.train_on == "train" else f"the first of {count}"


def choose_score(run: RunRecord, objective: str) -> str:
    """Return the score of a run on test; on validation if there is no test split."""
    split, scores = ("test", run.test) if run.test else ("validation", run.validation)
    return f"{objective} {scores.metrics[objective]:.4f} on {split}" if scores else "it has no scores"


def _describe_component(component: NamedComponent) -> str:
    options = format_values(component.options)
    return f"{component} ({options})" if options else str(component)


def strip_folders(text: str) -> str:
    """Shorten absolute paths to their last part: quoted errors and commands may contain some."""
    return re.sub(r"(?<![\w.:/])~?/(?:[^\s/'\"`|]+/)+", "", text)
