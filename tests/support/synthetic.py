"""Synthetic studies: a study file, its data, and a store with simulated trials and final runs.

Everything but scores and times is written by the real code: the study by `open_study`, its final runs by
`FinalRuns.make`. Trials are inserted into the database in bulk. From the shell:
`python -m tests.support.synthetic FOLDER --trials 200`.
"""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import optuna
import pandas
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from scipy.stats import norm

from hpo.data.builtin_corpus import generate_reviews
from hpo.data.splits import TextData
from hpo.evaluation.baselines import BASELINES
from hpo.evaluation.final_runs import FINE_TUNE, RunKey, RunOutcome, open_final_runs
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.winner import retraining_runs, select_candidates
from hpo.search.preflight import load_study_data
from hpo.store.provenance import collect_provenance
from hpo.store.storage import default_storage_url, open_storage, open_study, storage_url
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import StudySpec, load_study
from hpo.training.metrics import METRICS
from tests.support.simulated import Simulation

PARAMETERS = {
    "learning_rate": "low = 1e-6\nhigh = 1e-3\nlog = true",
    "warmup_ratio": "low = 0.0\nhigh = 0.2",
    "num_train_epochs": "low = 1\nhigh = 5",
    "weight_decay": "low = 0.0\nhigh = 0.3",
    "per_device_train_batch_size": "choices = [16, 32, 64]",
    "lr_scheduler_type": 'choices = ["linear", "cosine", "constant_with_warmup"]',
    "label_smoothing_factor": "low = 0.0\nhigh = 0.2",
    "adam_beta2": "low = 0.95\nhigh = 0.9999",
}
ROWS = {"train": 600, "validation": 300, "test": 400}
BUILTIN = 'source = "builtin:reviews"\nrows = {{ train = {train}, validation = {validation}, test = {test} }}'
FILES = 'train = "train.csv"\ntest = "test.csv"'
STUDY = """\
name = "{name}"
objective = "{objective}"
[data]
{data}
validation = {validation}
[model]
checkpoint = "builtin:tiny"
max_length = 64
[search]
trials = {wanted}
workers = {workers}
seed = {seed}
[training]
{training}
[[space.known_good]]
source = "a recipe: published, with <b>signs & letters</b>"
{start}
[final]
seeds = {seeds}
baselines = {baselines}
"""
FIXED = {"per_device_train_batch_size": 16, "num_train_epochs": 3}  # unless they are searched
START = {"learning_rate": 2e-5, "num_train_epochs": 3}
# Accuracy of a system on test; other systems are fine-tuned, see GAPS.
SKILLS = {
    "majority": 0.5,
    "tfidf-logreg": 0.80,
    "tfidf-logreg-tuned": 0.84,
    "bow-forest": 0.77,
    "nb-svm": 0.85,
    "pretrained": 0.64,
}
GAPS = {"recipe": 0.035}  # how far a fine-tuned system is below the best trial's accuracy on validation
GENERALIZATION_GAP = 0.02  # of systems that GAPS does not name
HTML = '<script>alert("ran")</script> <b>bold</b> &amp; <img src=x onerror=alert(1)> '


@dataclass(frozen=True)
class Options:
    """Properties of a synthetic study, besides its number of trials."""

    name: str = "synthetic"
    objective: str = "accuracy"
    classes: int = 2  # the built-in corpus has two; texts of more classes are written to files
    parameters: int = 5  # the first of PARAMETERS
    workers: int = 3
    seed: int = 0
    seeds: int = 3  # retraining runs of the winner
    final: bool = True  # with the winner's runs and all baselines
    pruned: bool = False  # all trials are pruned
    unfinished: bool = False  # two trials are running, one is waiting, and the budget is not spent
    foreign: bool = False  # created by plain Optuna, with two objectives
    html: bool = False  # texts contain tags and scripts
    word: str = ""  # every text contains it
    baselines: str = ",".join(BASELINES)


def make(folder: Path, trials: int, **options: Any) -> StudySpec:
    """Write `<name>.toml` and its store to a folder; `options` are the fields of Options.

    A study with final runs takes seconds, so it is built once per process and copied.
    """
    chosen = Options(**options)
    shutil.copytree(_build_once(trials, chosen), folder, dirs_exist_ok=True)
    return load_study(folder / f"{chosen.name}.toml")


@cache
def _build_once(trials: int, chosen: Options) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _build(folder, trials, chosen)
    with (
        closing(sqlite3.connect(folder / "store.db")) as store,
        closing(sqlite3.connect(folder / "copy.db")) as copy,
    ):
        store.backup(copy)  # of a store that is still open elsewhere, a copied file may lack what its log holds
    for file in folder.glob("store.db*"):
        file.unlink()
    (folder / "copy.db").rename(folder / "store.db")
    return folder


def _build(folder: Path, trials: int, chosen: Options) -> None:
    file = folder / f"{chosen.name}.toml"
    _write_study(file, chosen, trials)
    spec = load_study(file)
    storage = open_storage(default_storage_url(folder))
    if chosen.foreign:
        _add_foreign(storage, spec, trials)
        return
    data = load_study_data(spec)
    provenance = collect_provenance(spec, {**data.about(), "notices": list(data.notices)})
    simulation = Simulation(spec, provenance, pruned=chosen.pruned, unfinished=chosen.unfinished)
    simulated = simulation.trials(trials)
    wanted = simulation.finished + 10 * chosen.unfinished
    spec = spec.model_copy(update={"search": spec.search.model_copy(update={"trials": wanted})})
    file.write_text(file.read_text().replace(f"trials = {trials}\n", f"trials = {wanted}\n"))
    accelerations = {"train_sampling_strategy": "group_by_length"}
    study = open_study(storage, spec, METRICS[spec.objective].direction, provenance | {"speed": accelerations})
    insert_trials(storage, study, simulated)
    if chosen.final and not chosen.pruned:
        _add_runs(spec, data, simulation)


def insert_trials(storage: Any, study: optuna.Study, trials: Iterable[FrozenTrial]) -> None:
    """Insert trials with one statement per table; study.add_trial takes 15 ms each."""
    assert isinstance(storage, RDBStorage)
    rows: dict[Any, list[dict[str, Any]]] = {}

    def add(model: Any, **values: Any) -> None:
        rows.setdefault(model, []).append(values)

    with storage.engine.begin() as connection:
        highest = connection.execute(sqlalchemy.select(sqlalchemy.func.max(models.TrialModel.trial_id))).scalar()
        for trial_id, trial in enumerate(trials, (highest or 0) + 1):
            add(
                models.TrialModel,
                trial_id=trial_id,
                number=trial.number,
                study_id=study._study_id,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for name, value in trial.params.items():
                distribution = trial.distributions[name]
                add(
                    models.TrialParamModel,
                    trial_id=trial_id,
                    param_name=name,
                    param_value=distribution.to_internal_repr(value),
                    distribution_json=distribution_to_json(distribution),
                )
            for objective, value in enumerate(trial.values or []):
                stored = {"value": value, "value_type": models.TrialValueModel.TrialValueType.FINITE}
                add(models.TrialValueModel, trial_id=trial_id, objective=objective, **stored)
            finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
            for step, value in trial.intermediate_values.items():
                stored = {"intermediate_value": value, "intermediate_value_type": finite}
                add(models.TrialIntermediateValueModel, trial_id=trial_id, step=step, **stored)
            for model, attributes in (
                (models.TrialUserAttributeModel, trial.user_attrs),
                (models.TrialSystemAttributeModel, trial.system_attrs),
            ):
                for key, value in attributes.items():
                    add(model, trial_id=trial_id, key=key, value_json=json.dumps(value))
        for model, values in rows.items():
            connection.execute(sqlalchemy.insert(model), values)


def _write_study(file: Path, options: Options, trials: int) -> None:
    is_built_in = options.classes == 2 and not options.html and not options.word
    if not is_built_in:
        _write_texts(file.parent, options)
    parameters = dict(list(PARAMETERS.items())[: options.parameters])
    text = STUDY.format(
        name=options.name,
        objective=options.objective,
        wanted=trials,
        workers=options.workers,
        seed=options.seed,
        data=BUILTIN.format(**ROWS) if is_built_in else FILES,
        validation=ROWS["validation"],
        seeds=options.seeds,
        training="\n".join(f"{name} = {value}" for name, value in FIXED.items() if name not in parameters),
        start="\n".join(f"{name} = {value}" for name, value in START.items() if name in parameters),
        baselines=json.dumps(options.baselines.split(",")),
    )
    file.write_text(text + "".join(f"[space.parameters.{name}]\n{axis}\n" for name, axis in parameters.items()))


def _write_texts(folder: Path, options: Options) -> None:
    """Write files of texts with the wanted number of classes; with `html`, with tags and scripts in each text."""
    names = ["negative", "positive", "undecided", *(f"topic number {number}" for number in range(3, options.classes))]
    for number, split in enumerate(("train", "test")):
        count = ROWS["train"] + ROWS["validation"] if split == "train" else ROWS["test"]
        texts, labels = generate_reviews(count, seed=number)
        labels = [index % options.classes for index in range(count)] if options.classes > 2 else labels
        prefix = (HTML if options.html else "") + (f"{options.word} " if options.word else "")
        pandas.DataFrame(
            {"text": [prefix + text for text in texts], "label": [names[label] for label in labels]}
        ).to_csv(folder / f"{split}.csv", index=False)


def _add_foreign(storage: Any, spec: StudySpec, trials: int) -> None:
    """Add a study with two objectives that hpo did not create."""
    from optuna.trial import create_trial

    generator = np.random.default_rng(spec.search.seed)
    study = optuna.create_study(study_name=spec.name, storage=storage, directions=["maximize", "minimize"])
    distributions = {name: parameter.distribution() for name, parameter in spec.space.parameters.items()}
    created = []
    for number in range(trials):
        trial = create_trial(
            params={name: Simulation.sample(axis, generator) for name, axis in distributions.items()},
            distributions=distributions,
            values=[generator.random(), generator.random()],
        )
        trial.number = number
        created.append(trial)
    insert_trials(storage, study, created)


def _add_runs(spec: StudySpec, data: TextData, simulation: Simulation) -> None:
    """Add the final runs with simulated probabilities, through the code that adds real ones."""
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        search = final.search
        best = select_candidates(search, 1)[0]
        accuracy = TrialRecord.from_trial(search.get_trials(deepcopy=False)[best.trial]).last_scores["accuracy"]
        ours = {best.system: retraining_runs(spec, best.values)}
        others = {name: BASELINES[name].plan_runs(name, spec, best.values) for name in spec.final.baseline_names}
        for index, (system, wanted) in enumerate({**ours, **others}.items(), 1):
            for run in wanted:
                skill = SKILLS.get(system, accuracy - GAPS.get(system, GENERALIZATION_GAP))
                generator = np.random.default_rng([spec.search.seed, run.seed, index])
                simulated = _simulate_run(data, run, skill + generator.normal(0, 0.006), generator)
                if run.kind == FINE_TUNE:
                    simulated = _add_training(simulated, simulation, run, skill)
                final.make(run, system, lambda simulated=simulated: simulated)  # type: ignore[misc]


def _simulate_run(data: TextData, run: RunKey, skill: float, generator: np.random.Generator) -> RunOutcome:
    """Simulate a run of a scikit-learn model."""
    assert data.test is not None
    splits = (data.validation, data.test)
    if run.kind == "majority":
        shares = np.bincount(data.train.labels) / len(data.train)
        validation, test = (np.tile(shares, (len(split), 1)) for split in splits)
    else:
        kind = crc32(run.kind.encode())  # a text that is difficult for one run of a kind is difficult for all of them
        classes = len(data.label_names)
        validation, test = (_simulate_probabilities(split.labels, classes, skill, kind, generator) for split in splits)
    fit = {"majority": 0.01, "tfidf-logreg": 0.1}.get(run.kind, 3.0) * generator.uniform(0.9, 1.1)
    effective = {"as": "a linear probe on its frozen, mean-pooled embeddings"} if run.kind == "pretrained" else {}
    seconds = {"fit": fit, "predict": 0.05, "wall": fit + 0.05}
    return RunOutcome(validation, test, seconds, {"effective": effective})


def _add_training(outcome: RunOutcome, simulation: Simulation, run: RunKey, skill: float) -> RunOutcome:
    """Add what a fine-tuning run stores besides its predictions."""
    measured = simulation.measure(simulation.spec, run.values, simulation.generator)
    seconds = measured.pop("seconds")
    throughput = {f"{name}_per_second": measured[name] / seconds["train"] for name in ("examples", "steps")}
    about = {**measured, **throughput, "metrics": simulation.curve(skill)}
    return RunOutcome(outcome.validation, outcome.test, {**seconds, "fit": seconds["wall"], "predict": 0.4}, about)


def _simulate_probabilities(
    labels: list[int], classes: int, skill: float, kind: int, generator: np.random.Generator
) -> Any:
    """Return probabilities (n, classes) with about this accuracy.

    Some texts are difficult for all systems, others for one kind of system.
    """
    count = len(labels)
    difficulty, of_kind = (np.random.default_rng([count, key]).normal(size=count) for key in (1, kind))
    difficulty -= difficulty.mean()  # otherwise one split would be more difficult than another
    logits = generator.normal(0, 0.05, (count, classes))
    logits[np.arange(count), labels] += (
        1.2 * norm.ppf(skill) + difficulty + 0.6 * of_kind + generator.normal(0, 0.3, count)
    )
    powers = np.exp(1.5 * logits)
    return powers / powers.sum(axis=1, keepdims=True)


def main() -> None:
    """Write a study, to inspect it by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    for field in fields(Options):
        name = f"--{field.name}"
        if isinstance(field.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(name, type=type(field.default), default=field.default)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = vars(parser.parse_args())
    spec = make(arguments.pop("folder"), arguments.pop("trials"), **arguments)
    print(f"hpo show {spec.file}")


if __name__ == "__main__":
    main()
