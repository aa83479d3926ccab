"""Best trial -> fresh runs, one per seed -> model folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from hpo.atomic import atomic_folder
from hpo.data.splits import Split
from hpo.errors import ModelError, StudyError, TrainingError
from hpo.evaluation.final_runs import FINE_TUNE, FinalRuns, RunKey, RunOutcome, find_run, predict_splits
from hpo.study.spec import StudySpec
from hpo.training.measurements import RunMeasurements, TrialEnded
from hpo.training.model_folder import ModelInfo, read_model_info, write_model_folder


@dataclass(frozen=True)
class Candidate:
    """One of the search's best trials."""

    trial: int
    values: Mapping[str, Any]
    value: float  # that won it its place in the search

    @property
    def system(self) -> str:
        """What its runs are called."""
        return f"trial #{self.trial}"


def select_candidates(search: optuna.Study, count: int) -> list[Candidate]:
    """The best complete trials of a search, of different values, the best first.

    Raises StudyError where no trial is complete.
    """
    complete = search.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise StudyError(
            f"no trial of study {search.study_name!r} is complete, so none is the best; hpo search goes on"
        )
    sign = -1 if search.direction.name == "MAXIMIZE" else 1
    found: list[Candidate] = []
    for trial in sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number)):
        if len(found) == count:
            break
        if all(trial.params != other.values for other in found):
            found.append(Candidate(trial.number, trial.params, float(trial.value or 0.0)))
    return found


def retraining_runs(spec: StudySpec, values: Mapping[str, Any]) -> list[RunKey]:
    """The runs of these values, one per seed of the study."""
    return [RunKey(FINE_TUNE, seed, spec.final.train_on, values) for seed in spec.final.seed_list]


def choose_by_validation(validated: Mapping[int, Sequence[float]], direction: str) -> int:
    """The key whose validation scores are the best on average; the first of equals.

    This is all that ever chooses between systems, and it is given nothing but scores on validation.
    """
    better = max if direction == "maximize" else min
    return better(validated, key=lambda key: mean(validated[key]))


def find_winner(spec: StudySpec, search: optuna.Study, companion: optuna.Study) -> tuple[Candidate, list[FrozenTrial]]:
    """The winning candidate with its complete runs.

    Raises StudyError where a candidate lacks runs, and TrainingError where none of them came to an end.
    """
    runs: dict[int, list[FrozenTrial]] = {}
    found = select_candidates(search, spec.final.top_k)
    for candidate in found:
        wanted = retraining_runs(spec, candidate.values)
        made = [trial for trial in (find_run(companion, run) for run in wanted) if trial is not None]
        if len(made) < len(wanted):
            raise StudyError(
                f"{len(made)} of {len(wanted)} fresh runs of {candidate.system}, the best, are there; "
                f"`{spec.command('retrain')}` makes the others"
            )
        runs[candidate.trial] = [trial for trial in made if trial.state == TrialState.COMPLETE]
    # Who lost seeds on the way is not compared by those that survived.
    most = max(map(len, runs.values()))
    validated = {trial: _values(made) for trial, made in runs.items() if len(made) == most > 0}
    if not validated:
        raise TrainingError(f"no fresh run of {_listed(found)} came to its end; its values are not stable")
    chosen = choose_by_validation(validated, companion.direction.name.lower())
    return next(each for each in found if each.trial == chosen), runs[chosen]


def retrain(final: FinalRuns, seed: int | None = None) -> tuple[Candidate, FrozenTrial]:
    """The winner, and the run whose model lies in the model folder: all made where they are not there yet.

    Deployed is the run of the named seed, else the best on validation; where validation was trained on, the first.
    Raises StudyError (no complete trial, a seed that is none of the study's) and TrainingError.
    """
    seeds = final.spec.final.seed_list
    if seed is not None and seed not in seeds:
        raise StudyError(f"seed {seed} is none of the final seeds of this study: {', '.join(map(str, seeds))}")
    for candidate in select_candidates(final.search, final.spec.final.top_k):
        made: list[FrozenTrial] = []
        for run in retraining_runs(final.spec, candidate.values):
            is_new = final.find(run) is None
            trial = final.make(run, candidate.system, partial(train_and_predict, final, run, candidate.system))
            made += [trial] if trial.state == TrialState.COMPLETE else []
            if is_new and made and choose_deployed_run(final.spec, made, final.direction, seed) is trial:
                _keep(final, candidate, trial)
    best, runs = find_winner(final.spec, final.search, final.study)
    deployed_run = choose_deployed_run(final.spec, runs, final.direction, seed)
    if deployed_run is None:
        raise TrainingError(f"the run of seed {seed} did not come to its end; choose another --seed")
    _deploy(final, best, deployed_run)
    return best, deployed_run


def choose_deployed_run(
    spec: StudySpec, runs: list[FrozenTrial], direction: str, seed: int | None
) -> FrozenTrial | None:
    """Which of a candidate's complete runs gives the model; None where the run of the named seed is not among them."""
    if seed is not None:
        return next((run for run in runs if run.user_attrs["seed"] == seed), None)
    if spec.final.train_on != "train":
        return runs[0]
    chosen = choose_by_validation({run.number: [run.value] for run in runs if run.value is not None}, direction)
    return next(run for run in runs if run.number == chosen)


def train_run(final: FinalRuns, run: RunKey, system: str = "") -> RunMeasurements:
    """Train once with the run's values and seed; the model stays in `final.trainer`.

    Trackers follow it where it is a run of some system, such as `recipe` or `trial #3`.
    """

    def pulse(step: int, steps: int, loss: float | None) -> None:
        final.stop.check()
        if loss is not None:
            final.listener.step(step / steps, f"step {step}/{steps}  loss {loss:.3f}")

    final.trainer.pulse, final.trainer.notice = pulse, final.listener.notice
    name = f"final-{system.replace(' #', '-')}-seed{run.seed}" if system else ""
    return final.trainer.run(run.values, run.seed, name)


def train_and_predict(final: FinalRuns, run: RunKey, system: str) -> RunOutcome:
    """Train once, then predict."""
    record = train_run(final, run, system)
    model = final.trainer.settled()
    validation, test, seconds = predict_splits(final, lambda split: predict_split(final, model, split))
    about = {
        "effective": record.effective,
        "metrics": record.curve,
        "steps": record.steps,
        "examples": record.examples,
        "tokens": record.tokens,
        "peak_memory": record.peak_memory,
        "examples_per_second": record.examples / record.seconds["train"],
        "steps_per_second": record.steps / record.seconds["train"],
    }
    if record.split > 1:
        about["batch_split"] = record.split
    return RunOutcome(validation, test, {**record.seconds, "fit": record.seconds["wall"], "predict": seconds}, about)


def predict_split(final: FinalRuns, model: Any, split: Split) -> NDArray[Any]:
    """The model's class probabilities for a split."""
    from hpo.training.inference import predict_probabilities

    def pulse(done: int, count: int) -> None:
        final.stop.check()
        final.listener.step(done / count, f"predicting {done:,} of {count:,}")

    return predict_probabilities(model, final.checkpoint.tokenizer, final.tokens(split), pulse)


def _keep(final: FinalRuns, candidate: Candidate, trial: FrozenTrial) -> None:
    """Put the weights of the run that was just made aside, in the place of the candidate's best so far."""
    spec = final.spec
    made = {
        "run": trial.user_attrs["run"],
        "trial": candidate.trial,
        "objective": spec.objective,
        "validation": trial.user_attrs["validation"]["metrics"],
        "provenance": trial.user_attrs["provenance"],
    }
    recipe = ModelInfo(
        study=spec.name,
        text=spec.data.text,
        clean=spec.data.clean,
        max_length=spec.model.max_length,
        labels=list(final.data.label_names),
        made=made,
    )
    with atomic_folder(_kept(spec, candidate)) as folder:
        write_model_folder(folder, final.trainer.settled(), final.checkpoint.tokenizer, recipe)


def _deploy(final: FinalRuns, candidate: Candidate, trial: FrozenTrial) -> None:
    """Put the run's model into the study's model folder, and remove the weights that were kept aside for it."""
    spec = final.spec
    if not _holds(spec.model_folder, trial):
        if not _holds(_kept(spec, candidate), trial):
            seed = trial.user_attrs["seed"]
            final.listener.notice(
                f"the weights of {candidate.system}, seed {seed} were not kept: training it once more"
            )
            try:
                train_run(final, RunKey(**trial.user_attrs["run"]), candidate.system)
            except TrialEnded as error:
                raise TrainingError(f"{candidate.system}, seed {seed}, trained once more: {error}") from None
            _keep(final, candidate, trial)
        with atomic_folder(spec.model_folder) as folder:
            shutil.copytree(_kept(spec, candidate), folder, dirs_exist_ok=True)
    shutil.rmtree(_kept(spec, candidate).parent, ignore_errors=True)


def _kept(spec: StudySpec, candidate: Candidate) -> Path:
    return spec.folder / "retrained" / f"trial-{candidate.trial}"


def _holds(folder: Path, trial: FrozenTrial) -> bool:
    """Whether a model folder holds this very run's model."""
    try:
        made = read_model_info(folder).made
    except ModelError:
        return False
    return all(made.get(name) == trial.user_attrs[name] for name in ("run", "provenance"))


def _values(runs: list[FrozenTrial]) -> list[float]:
    return [run.value for run in runs if run.value is not None]


def _listed(found: list[Candidate]) -> str:
    return ", ".join(candidate.system for candidate in found)
