"""The model card: README.md of the model folder, with metadata that the hub understands."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from optuna.trial import FrozenTrial

from hpo.data.files import READERS
from hpo.errors import ModelError, StudyError
from hpo.final.retrain import to_deploy
from hpo.output import best, told
from hpo.output.best import Best
from hpo.output.record import Record
from hpo.output.report.blocks import Block, Code, Items, Section, Table, Text
from hpo.output.report.judged import MOST_CLASSES
from hpo.study.provenance import shown_commit
from hpo.study.spec import Named, StudySpec
from hpo.study.trials import reasons, wall
from hpo.training import deployed

# Scores that the hub has a name for, and that name.
ON_THE_HUB = {
    "accuracy": "accuracy", "f1": "f1", "f1_macro": "f1", "f1_weighted": "f1", "precision": "precision",
    "precision_macro": "precision", "precision_weighted": "precision", "recall": "recall", "recall_macro": "recall",
    "recall_weighted": "recall", "roc_auc": "roc_auc", "mcc": "matthews_correlation",
}  # fmt: skip


def card(record: Record) -> str:
    """Markdown with YAML metadata on top, about the model in the study's model folder.

    Nothing in it names a folder of this machine or the store. Raises StudyError where there is no model, or another
    study's.
    """
    found = best.find(record)
    run = _deployed(found)
    data = _metadata(found, run)
    parts = [_about(found, run), _use(record.spec), _results(record), _training(found, run), _search(record),
             _origin(record, run), _limits(found)]  # fmt: skip
    body = "\n\n".join([f"# {record.spec.name}", *(part.markdown() for part in parts)])
    return f"---\n{data.to_yaml()}\n---\n\n{without_folders(body)}\n"


def _deployed(found: Best) -> FrozenTrial:
    """The run whose model lies in the model folder."""
    spec = found.record.spec
    made = spec.command("retrain")
    try:
        recipe = deployed.read_recipe(spec.model_folder)
    except ModelError as error:
        raise StudyError(f"there is no model to take away: {error}") from None
    run = found.deployed_run
    if run is None or recipe.made.get("run") != run.user_attrs["run"]:
        raise StudyError(
            f"{spec.model_folder}: is not the winner's model as the store knows it; `{made}` makes it anew"
        )
    return run


def _metadata(found: Best, run: FrozenTrial) -> ModelCardData:
    """What the hub reads: task, base, data and this very model's scores on the test split."""
    spec = found.record.spec
    base, data = hub_id(spec, spec.model.checkpoint), hub_id(spec, spec.data.source)
    scores = (run.user_attrs.get("test") or {}).get("metrics", {})
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=data or "custom",
            dataset_name=shown_source(spec),
            dataset_config=spec.data.config if data else None,
            dataset_revision=spec.data.revision if data else None,
            dataset_split="test",
            metric_type=ON_THE_HUB[name],
            metric_name=name,
            metric_value=round(value, 6),
        )
        for name, value in scores.items()
        if name in ON_THE_HUB
    ]
    return ModelCardData(
        base_model=base,
        datasets=[data] if data else None,
        eval_results=results or None,
        library_name="transformers",
        metrics=list(dict.fromkeys(ON_THE_HUB[name] for name in scores if name in ON_THE_HUB)) or None,
        model_name=spec.name,
        pipeline_tag="text-classification",
        tags=["hyperparameter-search", "optuna"],
    )


def _about(found: Best, run: FrozenTrial) -> Section:
    record, spec = found.record, found.record.spec
    labels = ", ".join(record.search.user_attrs["data"]["labels"])
    start = f"{shown_checkpoint(spec)} fine-tuned on {shown_source(spec)}"
    lines = [f"A text classifier: {start}. It tells apart: {labels}."]
    how = _chosen(found, run)
    this = _score(run, "test", spec.objective) or _score(run, "validation", spec.objective)
    lines.append(
        f"Its hyperparameters are those of trial #{found.trial.number}, the winner of a search; it is the run of seed "
        f"{run.user_attrs['seed']}, {how}: {this}."
    )
    if record.found:
        held = record.found["optimism"]["test"]
        mean = f"{spec.objective} {told.with_spread(held)} on {record.found['rows']['test']:,} test rows"
        lines.append(f"Over {len(held['values'])} seeds: {mean}. Against its baselines: {record.found['verdict']}.")
    else:
        lines.append(f"It was compared with nothing: {record.missing}.")
    return Section("about", "What it is", [Text(line) for line in lines])


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
        Text(f'Where "{spec.name}" stands, put this folder\'s path, or, for transformers, its name on the hub.')
    ]
    if spec.data.clean:
        steps = ", ".join(map(str, spec.data.clean))
        blocks.append(Text(f"Texts were cleaned in training ({steps}). hpo does it by itself, transformers does not."))
    return Section("use", "How to use it", [*blocks, Code("With transformers", plain, "python"),
                                            Code("With hpo", ours, "python")])  # fmt: skip


def _results(record: Record) -> Section:
    """The comparison, in the very figures of `hpo compare`."""
    found = record.found
    if found is None:
        return Section("results", "Results", [Text(f"None on a test split: {record.missing}.")])
    shared = {**found, "make": "hpo baseline STUDY"}  # without the path of the study file
    blocks: list[Block] = [
        Table(f"{found['objective']} on {found['rows']['test']:,} test rows", told.gains(found)),
        Text(told.reading(found["objective"])),
        Items([row["verdict"] for row in found["differences"]]),
        Table("Metrics on the test split, means over seeds", told.scores(found)),
    ]
    if len(found["labels"]) <= MOST_CLASSES:
        ours = {**found, "systems": found["systems"][:1]}
        blocks.append(Table("Classes of the winner, means over seeds; rows are true labels", told.classes(ours)))
    return Section("results", "Results", [*blocks, Items([*told.optimism(found), *told.remarks(shared)])])


def _training(found: Best, run: FrozenTrial) -> Section:
    """Sampled values, and what the live run had."""
    effective = run.user_attrs["effective"]
    fixed = found.record.fixed
    names = list(dict.fromkeys([*found.values, *fixed, *effective]))
    rows = [[name, str(found.values.get(name, fixed.get(name, ""))), str(effective.get(name, ""))] for name in names]
    table = told.Rows(["", "searched or fixed", "in the live run"], rows, words=3)
    return Section("training", "Training", [Table("Values", table)])


def _search(record: Record) -> Section:
    """Space, trials, budget, sampler, pruner, rungs and seeds."""
    spec, search = record.spec, record.spec.search
    endings = told.endings(reasons(record.trials))
    timeout = "" if search.timeout is None else f", {told.shown_time(search.timeout)}"
    facts = [
        ["objective", f"{spec.objective} on validation, {record.directions[0]}d"],
        ["trials", endings],
        ["budget", f"{search.trials} trials{timeout}"],
        ["device time", told.shown_time(sum(map(wall, record.trials)))],
        ["sampler, pruner", f"{_shown_component(search.sampler)}, {_shown_component(search.pruner)}"],
        ["rungs", str(search.rungs)],
        ["a trial's value", f"its {search.value} rung"],
        ["seed of the search", str(search.seed)],
        ["seeds of the fresh runs", ", ".join(map(str, spec.final.seed_list))],
    ]
    axes = [[name, axis.shown] for name, axis in spec.space.parameters.items()]
    return Section(
        "search",
        "The search",
        [
            Table("How it was searched", told.Rows(["", ""], facts, words=2)),
            Table("The search space", told.Rows(["parameter", "range"], axes, words=2)),
        ],
    )


def _origin(record: Record, run: FrozenTrial) -> Section:
    """Data, versions, device and code."""
    known, made = record.search.user_attrs["data"], run.user_attrs["provenance"]
    facts = [
        ["data", shown_source(record.spec)],
        ["rows", ", ".join(f"{count:,} {split}" for split, count in known["rows"].items())],
        ["trained on", record.spec.final.train_on],
        ["fingerprint of the data", known["fingerprint"]],
        ["hash of the study", made["spec_hash"]],
        ["git", shown_commit(made["git"])],
        ["device", made["device"]],
        ["versions", told.shown_values(made["versions"])],
    ]
    return Section("origin", "Where it comes from", [Table("Provenance", told.Rows(["", ""], facts, words=2))])


def _limits(found: Best) -> Section:
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
    return Section("limits", "Limits", [Items(lines)])


def hub_id(spec: StudySpec, name: str | None) -> str | None:
    """A checkpoint or data source that is on the hub by its id; None for built-in ones, files and folders."""
    if name is None or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) or Path(name).suffix in READERS:
        return None
    return None if (spec.file.parent / name).exists() else name


def shown_checkpoint(spec: StudySpec) -> str:
    """The checkpoint; of a folder its own name alone."""
    return _last(spec, spec.model.checkpoint) + (f" ({spec.model.revision})" if spec.model.revision else "")


def shown_source(spec: StudySpec) -> str:
    """The data's source; of files and folders their own names alone."""
    if spec.data.source is not None:
        return _last(spec, spec.data.source) + (f" ({spec.data.config})" if spec.data.config else "")
    train = [spec.data.train] if isinstance(spec.data.train, str) else spec.data.train or []
    return ", ".join(_last(spec, file) for file in train)


def _last(spec: StudySpec, name: str) -> str:
    return name if name.startswith("builtin:") or hub_id(spec, name) else Path(name).name


def _chosen(found: Best, run: FrozenTrial) -> str:
    """How this very run came to be the one."""
    spec, count = found.record.spec, len(found.runs)
    if count == 1:
        return "the only one"
    if to_deploy(spec, found.runs, found.record.directions[0], None) is not run:
        return f"one of {count}, chosen by its seed"
    return f"the best of {count} on validation" if spec.final.train_on == "train" else f"the first of {count}"


def _score(run: FrozenTrial, split: str, objective: str) -> str:
    value = (run.user_attrs.get(split) or {}).get("metrics", {}).get(objective)
    return "" if value is None else f"{objective} {value:.4f} on {split}"


def without_folders(text: str) -> str:
    """A text in which absolute paths are cut down to their last name: errors and commands that it quotes hold some."""
    return re.sub(r"(?<![\w.:/])~?/(?:[^\s/'\"`|]+/)+", "", text)


def _shown_component(component: Named) -> str:
    options = told.shown_values(component.options)
    return f"{component} ({options})" if options else str(component)
