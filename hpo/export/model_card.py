"""The model card: README.md of the model folder, with metadata that the hub understands."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from optuna.trial import FrozenTrial

from hpo.data.readers import READERS
from hpo.errors import ModelError, StudyError
from hpo.evaluation.retraining import choose_deployed_run
from hpo.report.blocks import Block, BulletList, Code, Paragraph, Section, Table
from hpo.report.error_analysis import MAX_CLASSES
from hpo.results.best_config import BestConfig, find_best_config
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
    scores_table,
)
from hpo.results.study_results import StudyResults
from hpo.store.provenance import format_commit
from hpo.store.trial_state import count_outcomes, wall_seconds
from hpo.study.spec import NamedComponent, StudySpec
from hpo.training.model_folder import read_model_info

# Scores that the hub has a name for, and that name.
HUB_METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "f1_macro": "f1",
    "f1_weighted": "f1",
    "precision": "precision",
    "precision_macro": "precision",
    "precision_weighted": "precision",
    "recall": "recall",
    "recall_macro": "recall",
    "recall_weighted": "recall",
    "roc_auc": "roc_auc",
    "mcc": "matthews_correlation",
}


def model_card(record: StudyResults) -> str:
    """Markdown with YAML metadata on top, about the model in the study's model folder.

    Nothing in it names a folder of this machine or the store. Raises StudyError where there is no model, or another
    study's.
    """
    found = find_best_config(record)
    run = _deployed(found)
    data = _metadata(found, run)
    parts = [
        _about(found, run),
        _use(record.spec),
        _results(record),
        _training(found, run),
        _search(record),
        _origin(record, run),
        _limits(found),
    ]
    body = "\n\n".join([f"# {record.spec.name}", *(part.markdown() for part in parts)])
    return f"---\n{data.to_yaml()}\n---\n\n{strip_folders(body)}\n"


def _deployed(found: BestConfig) -> FrozenTrial:
    """The run whose model lies in the model folder."""
    spec = found.record.spec
    made = spec.command("retrain")
    try:
        recipe = read_model_info(spec.model_folder)
    except ModelError as error:
        raise StudyError(f"there is no model to take away: {error}") from None
    run = found.deployed_run
    if run is None or recipe.made.get("run") != run.user_attrs["run"]:
        raise StudyError(
            f"{spec.model_folder}: is not the winner's model as the store knows it; `{made}` makes it anew"
        )
    return run


def _metadata(found: BestConfig, run: FrozenTrial) -> ModelCardData:
    """What the hub reads: task, base, data and this very model's scores on the test split."""
    spec = found.record.spec
    base, data = hub_id(spec, spec.model.checkpoint), hub_id(spec, spec.data.source)
    scores = (run.user_attrs.get("test") or {}).get("metrics", {})
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=data or "custom",
            dataset_name=source_name(spec),
            dataset_config=spec.data.config if data else None,
            dataset_revision=spec.data.revision if data else None,
            dataset_split="test",
            metric_type=HUB_METRICS[name],
            metric_name=name,
            metric_value=round(value, 6),
        )
        for name, value in scores.items()
        if name in HUB_METRICS
    ]
    return ModelCardData(
        base_model=base,
        datasets=[data] if data else None,
        eval_results=results or None,
        library_name="transformers",
        metrics=list(dict.fromkeys(HUB_METRICS[name] for name in scores if name in HUB_METRICS)) or None,
        model_name=spec.name,
        pipeline_tag="text-classification",
        tags=["hyperparameter-search", "optuna"],
    )


def _about(found: BestConfig, run: FrozenTrial) -> Section:
    record, spec = found.record, found.record.spec
    labels = ", ".join(record.search.user_attrs["data"]["labels"])
    start = f"{checkpoint_name(spec)} fine-tuned on {source_name(spec)}"
    lines = [f"A text classifier: {start}. It tells apart: {labels}."]
    how = _chosen(found, run)
    this = _score(run, "test", spec.objective) or _score(run, "validation", spec.objective)
    lines.append(
        f"Its hyperparameters are those of trial #{found.trial.number}, the winner of a search; it is the run of seed "
        f"{run.user_attrs['seed']}, {how}: {this}."
    )
    if record.found:
        held = record.found["optimism"]["test"]
        mean = f"{spec.objective} {format_mean_sd(held)} on {record.found['rows']['test']:,} test rows"
        lines.append(f"Over {len(held['values'])} seeds: {mean}. Against its baselines: {record.found['verdict']}.")
    else:
        lines.append(f"It was compared with nothing: {record.missing}.")
    return Section("about", "What it is", [Paragraph(line) for line in lines])


def _use(spec: StudySpec) -> Section:
    """How to ask it, with transformers alone and with hpo, which prepares texts as in training."""
    plain = (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", model="{spec.name}", truncation=True, '
        f"max_length={spec.model.max_length})\n"
        'print(classify("a text"))'
    )
    ours = f'import hpo\n\nprint(hpo.load("{spec.name}").predict(["a text"])[0])'
    blocks: list[Block] = [
        Paragraph(f'Where "{spec.name}" stands, put this folder\'s path, or, for transformers, its name on the hub.')
    ]
    if spec.data.clean:
        steps = ", ".join(map(str, spec.data.clean))
        blocks.append(
            Paragraph(f"Texts were cleaned in training ({steps}). hpo does it by itself, transformers does not.")
        )
    return Section(
        "use", "How to use it", [*blocks, Code("With transformers", plain, "python"), Code("With hpo", ours, "python")]
    )


def _results(record: StudyResults) -> Section:
    """The comparison, in the very figures of `hpo compare`."""
    found = record.found
    if found is None:
        return Section("results", "Results", [Paragraph(f"None on a test split: {record.missing}.")])
    shared = {**found, "make": "hpo baseline STUDY"}  # without the path of the study file
    blocks: list[Block] = [
        Table(f"{found['objective']} on {found['rows']['test']:,} test rows", gains_table(found)),
        Paragraph(explain_gains_table(found["objective"])),
        BulletList([row["verdict"] for row in found["differences"]]),
        Table("Metrics on the test split, means over seeds", scores_table(found)),
    ]
    if len(found["labels"]) <= MAX_CLASSES:
        ours = {**found, "systems": found["systems"][:1]}
        blocks.append(Table("Classes of the winner, means over seeds; rows are true labels", classes_table(ours)))
    return Section(
        "results", "Results", [*blocks, BulletList([*generalization_sentences(found), *comparison_remarks(shared)])]
    )


def _training(found: BestConfig, run: FrozenTrial) -> Section:
    """Sampled values, and what the live run had."""
    effective = run.user_attrs["effective"]
    fixed = found.record.fixed
    names = list(dict.fromkeys([*found.values, *fixed, *effective]))
    rows = [[name, str(found.values.get(name, fixed.get(name, ""))), str(effective.get(name, ""))] for name in names]
    table = TextTable(["", "searched or fixed", "in the live run"], rows, words=3)
    return Section("training", "Training", [Table("Values", table)])


def _search(record: StudyResults) -> Section:
    """Space, trials, budget, sampler, pruner, rungs and seeds."""
    spec, search = record.spec, record.spec.search
    endings = format_outcomes(count_outcomes(record.trials))
    timeout = "" if search.timeout is None else f", {format_duration(search.timeout)}"
    facts = [
        ["objective", f"{spec.objective} on validation, {record.directions[0]}d"],
        ["trials", endings],
        ["budget", f"{search.trials} trials{timeout}"],
        ["device time", format_duration(sum(map(wall_seconds, record.trials)))],
        ["sampler, pruner", f"{_shown_component(search.sampler)}, {_shown_component(search.pruner)}"],
        ["rungs", str(search.rungs)],
        ["a trial's value", f"its {search.value} rung"],
        ["seed of the search", str(search.seed)],
        ["seeds of the fresh runs", ", ".join(map(str, spec.final.seed_list))],
    ]
    axes = [[name, axis.description] for name, axis in spec.space.parameters.items()]
    return Section(
        "search",
        "The search",
        [
            Table("How it was searched", TextTable(["", ""], facts, words=2)),
            Table("The search space", TextTable(["parameter", "range"], axes, words=2)),
        ],
    )


def _origin(record: StudyResults, run: FrozenTrial) -> Section:
    """Data, versions, device and code."""
    known, made = record.search.user_attrs["data"], run.user_attrs["provenance"]
    facts = [
        ["data", source_name(record.spec)],
        ["rows", ", ".join(f"{count:,} {split}" for split, count in known["rows"].items())],
        ["trained on", record.spec.final.train_on],
        ["fingerprint of the data", known["fingerprint"]],
        ["hash of the study", made["spec_hash"]],
        ["git", format_commit(made["git"])],
        ["device", made["device"]],
        ["versions", format_values(made["versions"])],
    ]
    return Section("origin", "Where it comes from", [Table("Provenance", TextTable(["", ""], facts, words=2))])


def _limits(found: BestConfig) -> Section:
    record, spec = found.record, found.record.spec
    lines = [
        f"Texts are cut off after {spec.model.max_length} tokens.",
        *(f"{notice[0].upper()}{notice[1:]}." for notice in record.search.user_attrs["data"].get("notices") or []),
    ]
    if record.found:
        uses = record.found["test_uses"]["count"]
        lines.append(f"The test split was used {uses} times; the more often, the less its scores mean.")
    if spec.model.trust_remote_code:
        lines.append("The checkpoint brings code of its own; loading it needs trust_remote_code=True.")
    lines.append("Nothing is known of texts that are unlike those it was trained and tested on.")
    return Section("limits", "Limits", [BulletList(lines)])


def hub_id(spec: StudySpec, name: str | None) -> str | None:
    """A checkpoint or data source that is on the hub by its id; None for built-in ones, files and folders."""
    if name is None or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) or Path(name).suffix in READERS:
        return None
    return None if (spec.file.parent / name).exists() else name


def checkpoint_name(spec: StudySpec) -> str:
    """The checkpoint; of a folder its own name alone."""
    return _last(spec, spec.model.checkpoint) + (f" ({spec.model.revision})" if spec.model.revision else "")


def source_name(spec: StudySpec) -> str:
    """The data's source; of files and folders their own names alone."""
    if spec.data.source is not None:
        return _last(spec, spec.data.source) + (f" ({spec.data.config})" if spec.data.config else "")
    train = [spec.data.train] if isinstance(spec.data.train, str) else spec.data.train or []
    return ", ".join(_last(spec, file) for file in train)


def _last(spec: StudySpec, name: str) -> str:
    return name if name.startswith("builtin:") or hub_id(spec, name) else Path(name).name


def _chosen(found: BestConfig, run: FrozenTrial) -> str:
    """How this very run came to be the one."""
    spec, count = found.record.spec, len(found.runs)
    if count == 1:
        return "the only one"
    if choose_deployed_run(spec, found.runs, found.record.directions[0], None) is not run:
        return f"one of {count}, chosen by its seed"
    return f"the best of {count} on validation" if spec.final.train_on == "train" else f"the first of {count}"


def _score(run: FrozenTrial, split: str, objective: str) -> str:
    value = (run.user_attrs.get(split) or {}).get("metrics", {}).get(objective)
    return "" if value is None else f"{objective} {value:.4f} on {split}"


def strip_folders(text: str) -> str:
    """A text in which absolute paths are cut down to their last name: errors and commands that it quotes hold some."""
    return re.sub(r"(?<![\w.:/])~?/(?:[^\s/'\"`|]+/)+", "", text)


def _shown_component(component: NamedComponent) -> str:
    options = format_values(component.options)
    return f"{component} ({options})" if options else str(component)
