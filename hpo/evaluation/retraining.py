"""Retraining: train the winner of a search with fresh seeds, and save its model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from hpo.atomic import sweep_leftovers
from hpo.data.splits import Split
from hpo.errors import ModelError, StudyError, TrainingError
from hpo.evaluation.final_runs import FinalRuns, RunKey, RunOutcome, predict_splits
from hpo.evaluation.refitted_model import RefittedModel
from hpo.evaluation.saved_runs import build_run_saver, remove_saved_run
from hpo.evaluation.winner import (
    Candidate,
    choose_candidate,
    choose_deployed_run,
    retraining_runs,
    select_candidates,
    selection_runs,
    unreliable_error,
)
from hpo.ownership import check_folder, owned_folder, remove_owned_folder
from hpo.paths import copy_files
from hpo.store.attributes import RunProvenance, read_part
from hpo.store.run_record import RunRecord, run_attributes
from hpo.study.spec import StudySpec
from hpo.training.checkpoint import save_model
from hpo.training.measurements import RunMeasurements, TrialEnded
from hpo.training.model_folder import TRANSFORMER, ModelInfo, check_files, read_model_info, write_model_folder


def check_model_folders(spec: StudySpec) -> None:
    """Raise StudyError if retraining would replace something that hpo has not written: before hours of training."""
    for folder in (spec.model_folder, *_weights_root(spec).glob("trial-*")):
        check_folder(folder)


def retrain(final: FinalRuns, seed: int | None = None) -> tuple[Candidate, FrozenTrial]:
    """Retrain the best trial and save its model; return the winner and the run whose model was saved.

    With `final.top_k` above 1, runs with other seeds choose the winner first. Runs that are in the store already are
    not repeated. The saved model is that of `seed`, or else of the run with the best validation score; if the runs were
    trained on validation, that of the first seed.

    Raises:
        StudyError: No trial is complete, `seed` is none of the study's final seeds, or a folder of models holds
            something that hpo has not written.
        TrainingError: A run failed for a reason that its values do not explain.
    """
    seeds = final.spec.final.seed_list
    if seed is not None and seed not in seeds:
        raise StudyError(f"seed {seed} is none of the final seeds of this study: {', '.join(map(str, seeds))}")
    for candidate in select_candidates(final.search, final.spec.final.top_k):
        for run in selection_runs(final.spec, candidate.values):
            final.make(run, candidate.system, partial(train_and_predict, final, run, candidate.system, with_test=False))
    winner = choose_candidate(final.spec, final.search, final.study)
    trials: dict[int, FrozenTrial] = {}
    complete: list[RunRecord] = []
    for run in retraining_runs(final.spec, winner.values):
        is_new = final.find(run) is None
        trial = final.make(run, winner.system, partial(train_and_predict, final, run, winner.system))
        trials[trial.number] = trial
        record = RunRecord.from_trial(trial)
        if record.is_complete:
            complete.append(record)
        # The model of the best run so far is saved at once: training it again later would cost a whole run.
        if is_new and complete and choose_deployed_run(final.spec, complete, final.direction, seed) is record:
            _save_weights(final, winner, record)
    if not complete:
        raise unreliable_error([winner])
    deployed = choose_deployed_run(final.spec, complete, final.direction, seed)
    if deployed is None:
        raise TrainingError(f"the run of seed {seed} failed; choose another --seed")
    _deploy_model(final, winner, deployed)
    return winner, trials[deployed.number]


def train_run(final: FinalRuns, run: RunKey, system: str = "") -> RunMeasurements:
    """Train once with the run's values and seed; the model stays in `final.trainer`.

    A run that was killed or interrupted continues from its saved state. Experiment trackers log the run if it belongs
    to a system, such as `recipe` or `trial #3`.
    """

    def on_step(step: int, steps: int, loss: float | None) -> None:
        final.stop.check()
        if loss is not None:
            final.listener.step(step / steps, f"step {step}/{steps}  loss {loss:.3f}")

    final.trainer.on_progress, final.trainer.notice = on_step, final.listener.notice
    name = f"final-{system.replace(' #', '-')}-seed{run.seed}" if system else ""
    saver = build_run_saver(final, run, f"{system or run.kind}, seed {run.seed}")
    return final.trainer.run(run.values, run.seed, name, saver)


def train_and_predict(final: FinalRuns, run: RunKey, system: str, with_test: bool = True) -> RunOutcome:
    """Train once and predict validation and test; a run that chooses between candidates does without the test split."""
    measured = train_run(final, run, system)
    model = final.trainer.final_model()
    validation, test, seconds = predict_splits(final, lambda split: predict_split(final, model, split), with_test)
    attributes = measured.to_attributes() | run_attributes(
        examples_per_second=measured.examples / measured.seconds["train"],
        steps_per_second=measured.steps / measured.seconds["train"],
    )
    times = {**measured.seconds, "fit": measured.seconds["wall"], "predict": seconds}
    return RunOutcome(validation, test, times, attributes)


def predict_split(final: FinalRuns, model: Any, split: Split) -> NDArray[Any]:
    """Return the model's class probabilities (n, k) for a split."""
    from hpo.training.inference import predict_probabilities

    return predict_probabilities(
        model, final.checkpoint.tokenizer, final.tokens(split), final.report_texts("predicting")
    )


def refit_fine_tuned(final: FinalRuns, run: RunKey, name: str) -> RefittedModel:
    """Train a run of a baseline once more; experiment trackers do not log it again."""
    _train_once_more(final, run, name)
    model, tokenizer = final.trainer.final_model(), final.checkpoint.tokenizer
    validation = predict_split(final, model, final.data.validation)
    write = partial(save_model, model, tokenizer)
    return RefittedModel(TRANSFORMER, validation, write, final.spec.model.max_length)


def describe_model(
    final: FinalRuns, run: RunRecord, max_length: int | None, kind: str = TRANSFORMER, baseline: str | None = None
) -> ModelInfo:
    """Return the info of a model folder with the model of a run."""
    data = final.spec.data
    assert run.validation is not None
    return ModelInfo(
        study=final.spec.name,
        baseline=baseline,
        kind=kind,
        text=data.text,
        separator=data.separator,
        quoting=data.quoting,
        encoding=data.encoding,
        header=data.header,
        clean=data.clean,
        max_length=max_length,
        labels=list(final.data.label_names),
        made={
            "run": run.key,
            "objective": final.spec.objective,
            "validation": run.validation.metrics,
            "provenance": asdict(run.provenance),
        },
    )


def _save_weights(final: FinalRuns, candidate: Candidate, run: RunRecord) -> None:
    """Save the model of the run that was just trained, in place of the candidate's best so far."""
    spec = final.spec
    info = describe_model(final, run, spec.model.max_length)
    info = info.model_copy(update={"made": {**info.made, "trial": candidate.trial}})
    with owned_folder(_weights_folder(spec, candidate)) as folder:
        write_model_folder(folder, final.trainer.final_model(), final.checkpoint.tokenizer, info)


def _deploy_model(final: FinalRuns, winner: Candidate, run: RunRecord) -> None:
    """Put the run's model into the study's model folder, and remove the weights saved during retraining."""
    spec = final.spec
    if not _holds_model_of(spec.model_folder, run):
        if not _holds_model_of(_weights_folder(spec, winner), run):
            _train_again(final, winner, run)
        with owned_folder(spec.model_folder) as folder:
            copy_files(_weights_folder(spec, winner), folder)
    _remove_weights(spec)


def _remove_weights(spec: StudySpec) -> None:
    """Remove the weights that were saved during retraining, also those of candidates of an earlier one."""
    root = _weights_root(spec)
    sweep_leftovers(root)
    for folder in root.glob("trial-*"):
        remove_owned_folder(folder)
    with suppress(OSError):  # there is none, or it holds something else
        root.rmdir()


def _train_again(final: FinalRuns, winner: Candidate, run: RunRecord) -> None:
    """Train a stored run once more because only its scores were kept, and save its weights."""
    final.listener.notice(f"{winner.system}, seed {run.seed}: its weights were not kept, so it is trained again")
    _train_once_more(final, RunKey(**run.key), winner.system, tracked_as=winner.system)
    _save_weights(final, winner, run)


def _train_once_more(final: FinalRuns, run: RunKey, system: str, tracked_as: str = "") -> None:
    """Train a run that is stored already; the model stays in `final.trainer`. Raises TrainingError if it fails."""
    try:
        train_run(final, run, tracked_as)
    except TrialEnded as error:
        raise TrainingError(f"{system}, seed {run.seed}, trained again: {error}") from None
    remove_saved_run(final, run)


def _weights_folder(spec: StudySpec, candidate: Candidate) -> Path:
    return _weights_root(spec) / f"trial-{candidate.trial}"


def _weights_root(spec: StudySpec) -> Path:
    return spec.folder / "retrained"


def _holds_model_of(folder: Path, run: RunRecord) -> bool:
    """Whether a model folder holds the model of this very run, undamaged."""
    try:
        info = read_model_info(folder)
        origin = info.made
        is_same = origin.get("run") == run.key
        if not is_same or read_part(RunProvenance, origin.get("provenance")) != run.provenance:
            return False
        check_files(folder, info)
    except ModelError:
        return False
    return True
