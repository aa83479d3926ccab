"""A study as hpo would have left it, made up: its file, its data, and a store with so many trials and final runs.

Everything but the scores and the times is what the real code writes: the study by `open_study`, its final runs by
`Final.make`; trials are put into the store in bulk. By hand: `python -m tests.support.synthetic FOLDER --trials 200`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
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
from hpo.evaluation.retraining import retraining_runs, select_candidates
from hpo.evaluation.run_listener import RunListener
from hpo.search.preflight import load_study_data
from hpo.store.provenance import collect_provenance
from hpo.store.storage import default_storage_url, open_storage, open_study, storage_url
from hpo.study.spec import StudySpec, load_study
from hpo.training.metrics import METRICS
from tests.support.simulated import Simulation

AXES = {
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
source = "a recipe: of others, with <b>signs & letters</b>"
{start}
[final]
seeds = {seeds}
baselines = {baselines}
"""
FIXED = {"per_device_train_batch_size": 16, "num_train_epochs": 3}  # where they are not searched
START = {"learning_rate": 2e-5, "num_train_epochs": 3}
# How often a system is right on test; what is not named here are runs of the search's own space.
SKILL = {
    "majority": 0.5,
    "tfidf-logreg": 0.80,
    "tfidf-logreg-tuned": 0.84,
    "bow-forest": 0.77,
    "nb-svm": 0.85,
    "pretrained": 0.64,
}
LOST = {"recipe": 0.035}  # and how much less than the best trial's accuracy on validation, if not OPTIMISM
OPTIMISM = 0.02
HTML = '<script>alert("ran")</script> <b>bold</b> &amp; <img src=x onerror=alert(1)> '


@dataclass(frozen=True)
class Sort:
    """What sort of study is wanted beside its number of trials."""

    name: str = "synthetic"
    objective: str = "accuracy"
    classes: int = 2  # more are in files beside the study file, as the built-in corpus has two
    parameters: int = 5  # of AXES
    workers: int = 3
    seed: int = 0
    seeds: int = 5  # fresh runs of the winner
    final: bool = True  # the winner's runs, and all baselines
    pruned: bool = False  # all trials are
    unfinished: bool = False  # two trials run, one waits, and the budget is larger
    foreign: bool = False  # made by plain Optuna, with two objectives, under the name of the study file
    html: bool = False  # the texts hold tags and scripts


def make(folder: Path, trials: int, **sort: Any) -> StudySpec:
    """The study in a new folder: `<name>.toml` with its store beside it; `sort` are the fields of Sort."""
    chosen = Sort(**sort)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{chosen.name}.toml"
    _write_study(file, chosen, trials)
    spec = load_study(file)
    storage = open_storage(default_storage_url(folder))
    if chosen.foreign:
        _add_foreign(storage, spec, trials)
        return spec
    data = load_study_data(spec)
    made = collect_provenance(spec, {**data.about(), "notices": list(data.notices)})
    simulation = Simulation(spec, made, pruned=chosen.pruned, unfinished=chosen.unfinished)
    found = simulation.trials(trials)
    wanted = simulation.finished + 10 * chosen.unfinished
    spec = spec.model_copy(update={"search": spec.search.model_copy(update={"trials": wanted})})
    file.write_text(file.read_text().replace(f"trials = {trials}\n", f"trials = {wanted}\n"))
    levers = {"train_sampling_strategy": "group_by_length"}
    study = open_study(storage, spec, METRICS[spec.objective].direction, made | {"speed": levers})
    insert(storage, study, found)
    if chosen.final and not chosen.pruned:
        _add_runs(spec, data, simulation)
    return load_study(file)


def insert(storage: Any, study: optuna.Study, trials: Iterable[FrozenTrial]) -> None:
    """Put trials into a database at once; study.add_trials takes some 15 ms each."""
    assert isinstance(storage, RDBStorage)
    rows: dict[Any, list[dict[str, Any]]] = {}

    def add(model: Any, **values: Any) -> None:
        rows.setdefault(model, []).append(values)

    with storage.engine.begin() as connection:
        highest = connection.execute(sqlalchemy.select(sqlalchemy.func.max(models.TrialModel.trial_id))).scalar()
        for place, trial in enumerate(trials, (highest or 0) + 1):
            add(
                models.TrialModel,
                trial_id=place,
                number=trial.number,
                study_id=study._study_id,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for name, value in trial.params.items():
                axis = trial.distributions[name]
                kept = {"param_value": axis.to_internal_repr(value), "distribution_json": distribution_to_json(axis)}
                add(models.TrialParamModel, trial_id=place, param_name=name, **kept)
            for objective, value in enumerate(trial.values or []):
                kept = {"value": value, "value_type": models.TrialValueModel.TrialValueType.FINITE}
                add(models.TrialValueModel, trial_id=place, objective=objective, **kept)
            finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
            for step, value in trial.intermediate_values.items():
                kept = {"intermediate_value": value, "intermediate_value_type": finite}
                add(models.TrialIntermediateValueModel, trial_id=place, step=step, **kept)
            for model, attributes in (
                (models.TrialUserAttributeModel, trial.user_attrs),
                (models.TrialSystemAttributeModel, trial.system_attrs),
            ):
                for key, value in attributes.items():
                    add(model, trial_id=place, key=key, value_json=json.dumps(value))
        for model, found in rows.items():
            connection.execute(sqlalchemy.insert(model), found)


def _write_study(file: Path, sort: Sort, trials: int) -> None:
    is_built_in = sort.classes == 2 and not sort.html
    if not is_built_in:
        _write_texts(file.parent, sort)
    axes = dict(list(AXES.items())[: sort.parameters])
    text = STUDY.format(
        name=sort.name,
        objective=sort.objective,
        wanted=trials,
        workers=sort.workers,
        seed=sort.seed,
        data=BUILTIN.format(**ROWS) if is_built_in else FILES,
        validation=ROWS["validation"],
        seeds=sort.seeds,
        training="\n".join(f"{name} = {value}" for name, value in FIXED.items() if name not in axes),
        start="\n".join(f"{name} = {value}" for name, value in START.items() if name in axes),
        baselines=json.dumps(list(BASELINES)),
    )
    file.write_text(text + "".join(f"[space.parameters.{name}]\n{axis}\n" for name, axis in axes.items()))


def _write_texts(folder: Path, sort: Sort) -> None:
    """Files of texts with so many labels; with `html`, the built-in reviews inside tags and scripts."""
    names = ["negative", "positive", "undecided", *(f"topic number {place}" for place in range(3, sort.classes))]
    for number, split in enumerate(("train", "test")):
        count = ROWS["train"] + ROWS["validation"] if split == "train" else ROWS["test"]
        texts, labels = generate_reviews(count, seed=number)
        labels = [place % sort.classes for place in range(count)] if sort.classes > 2 else labels
        shown = [(HTML if sort.html else "") + text for text in texts]
        pandas.DataFrame({"text": shown, "label": [names[label] for label in labels]}).to_csv(
            folder / f"{split}.csv", index=False
        )


def _add_foreign(storage: Any, spec: StudySpec, trials: int) -> None:
    """A study of two objectives that hpo did not make."""
    from optuna.trial import create_trial

    draw = np.random.default_rng(spec.search.seed)
    study = optuna.create_study(study_name=spec.name, storage=storage, directions=["maximize", "minimize"])
    axes = {name: axis.distribution() for name, axis in spec.space.parameters.items()}
    found = []
    for number in range(trials):
        trial = create_trial(
            params={name: Simulation.drawn(axis, draw) for name, axis in axes.items()},
            distributions=axes,
            values=[draw.random(), draw.random()],
        )
        trial.number = number
        found.append(trial)
    insert(storage, study, found)


def _add_runs(spec: StudySpec, data: TextData, simulation: Simulation) -> None:
    """The final runs, with made-up probabilities, by what makes the real ones."""
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        search = final.search
        best = select_candidates(search, 1)[0]
        accuracy = search.get_trials(deepcopy=False)[best.trial].user_attrs["metrics"]["1000"]["accuracy"]
        ours = {best.system: retraining_runs(spec, best.values)}
        others = {name: BASELINES[name].plan_runs(name, spec, best.values) for name in spec.final.baselines}
        for place, (system, wanted) in enumerate({**ours, **others}.items(), 1):
            for run in wanted:
                skill = SKILL.get(system, accuracy - LOST.get(system, OPTIMISM))
                draw = np.random.default_rng([spec.search.seed, run.seed, place])
                outcome = _outcome(data, run, skill + draw.normal(0, 0.006), draw)
                if run.kind == FINE_TUNE:
                    outcome = _trained(outcome, simulation, run, skill)
                final.make(run, system, lambda outcome=outcome: outcome)  # type: ignore[misc]


def _outcome(data: TextData, run: RunKey, skill: float, draw: np.random.Generator) -> RunOutcome:
    """What one of scikit-learn's might have given."""
    assert data.test is not None
    splits = (data.validation, data.test)
    if run.kind == "majority":
        shares = np.bincount(data.train.labels) / len(data.train)
        answers = [np.tile(shares, (len(split), 1)) for split in splits]
    else:
        kind = crc32(run.kind.encode())  # a hard text is hard for all runs of a kind
        answers = [_answers(split.labels, len(data.label_names), skill, kind, draw) for split in splits]
    fit = {"majority": 0.01, "tfidf-logreg": 0.1}.get(run.kind, 3.0) * draw.uniform(0.9, 1.1)
    effective = {"as": "a linear probe on its frozen, mean-pooled embeddings"} if run.kind == "pretrained" else {}
    return RunOutcome(*answers, {"fit": fit, "predict": 0.05, "wall": fit + 0.05}, {"effective": effective})


def _trained(outcome: RunOutcome, simulation: Simulation, run: RunKey, skill: float) -> RunOutcome:
    """The same with what a fine-tuning run says beside."""
    known = simulation.course(simulation.spec, run.values, simulation.draw)
    seconds = known.pop("seconds")
    pace = {f"{name}_per_second": known[name] / seconds["train"] for name in ("examples", "steps")}
    about = {**known, **pace, "metrics": simulation.curve(skill)}
    return RunOutcome(outcome.validation, outcome.test, {**seconds, "fit": seconds["wall"], "predict": 0.4}, about)


def _answers(labels: list[int], classes: int, skill: float, kind: int, draw: np.random.Generator) -> Any:
    """Probabilities (n, classes) of which so many are right: some texts are hard for all, others for one kind."""
    count = len(labels)
    hard, own = (np.random.default_rng([count, key]).normal(size=count) for key in (1, kind))
    hard -= hard.mean()  # else one split would be harder than another
    logits = draw.normal(0, 0.05, (count, classes))
    logits[np.arange(count), labels] += 1.2 * norm.ppf(skill) + hard + 0.6 * own + draw.normal(0, 0.3, count)
    powers = np.exp(1.5 * logits)
    return powers / powers.sum(axis=1, keepdims=True)


def main() -> None:
    """Make a study from the shell, for looking at by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    for field in fields(Sort):
        name = f"--{field.name}"
        if isinstance(field.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(name, type=type(field.default), default=field.default)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = vars(parser.parse_args())
    spec = make(given.pop("folder"), given.pop("trials"), **given)
    print(f"hpo show {spec.file}")


if __name__ == "__main__":
    main()
