"""Tests of trackers: one run per trial, closed however the trial ends, without influence on the trial."""

from __future__ import annotations

import sys
import threading
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from hpo.errors import SpecError
from hpo.evaluation.baselines import run_baselines
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.search.engines import run_search
from hpo.search.preflight import check_spec
from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.store.storage import storage_url
from hpo.store.trial_state import outcome
from hpo.study.spec import load_study
from hpo.training.arguments import build_arguments
from hpo.training.trackers import TRACKERS, TrackedRun
from hpo.training.trainer import RungTrainer

BOARD = "training.report_to='tensorboard'"
# One of these values is complete, one is pruned at its first rung, one diverges in its second step.
THREE = (
    "space.parameters.learning_rate={choices=[1e-4, 1e-2, 1e30]}",
    "search.sampler='grid'",
    "search.pruner={name='threshold', lower=0.5}",
    "training.max_grad_norm=0.0",
    "training.num_train_epochs=2",
)


def search(file: Path, name: str, *overrides: str) -> optuna.Study:
    spec = load_study(file, (f"name='{name}'", *overrides))
    return run_search(spec, storage_url(spec), SearchListener())


def read_board(folder: Path) -> tuple[EventAccumulator, str, dict[str, Any]]:
    """Return the events in a run's folder, its outcome, and the content of the hyperparameter page."""
    assert len([file for file in folder.iterdir() if not file.name.startswith(".")]) == 1
    events = EventAccumulator(str(folder))
    events.Reload()
    outcome_text = events.Tensors("outcome/text_summary")[0].tensor_proto.string_val[0].decode()
    sections = {
        tag.removeprefix("_hparams_/"): HParamsPluginData.FromString(content)
        for tag, content in events.PluginTagToContent("hparams").items()
    }
    values = sections["session_start_info"].session_start_info.hparams
    return (
        events,
        outcome_text,
        {
            "learning_rate": values["learning_rate"].number_value,
            "metric": sections["experiment"].experiment.metric_infos[0].name.tag,
            "failed": sections["session_end_info"].session_end_info.status == 2,
        },
    )


def open_writers() -> list[threading.Thread]:
    """Return the threads of event writers that were not closed."""
    return [thread for thread in threading.enumerate() if isinstance(thread, _AsyncWriterThread)]


def test_every_trial_is_one_closed_run_with_its_curve_values_and_outcome(small: Path) -> None:
    study = search(small, "three", *THREE, BOARD)
    trials = {f"trial-{trial.number}": trial for trial in study.get_trials()}
    assert sorted(outcome(trial) for trial in trials.values()) == ["complete", "diverged", "pruned"]
    folders = small.parent / "three" / "runs"
    assert {folder.name for folder in folders.iterdir()} == trials.keys()
    assert not open_writers()
    for name, trial in trials.items():
        events, outcome_text, page = read_board(folders / name)
        assert outcome_text == trial.user_attrs.get("reason", "complete")
        assert page == {
            "learning_rate": trial.params["learning_rate"],
            "metric": "eval/accuracy",
            "failed": outcome(trial) == "diverged",
        }
        assert {"train/loss", "train/learning_rate"} <= set(events.Tags()["scalars"])
        scored = events.Scalars("eval/accuracy") if trial.intermediate_values else []
        assert [event.value for event in scored] == pytest.approx(list(trial.intermediate_values.values()))


def test_trackers_change_no_score(small: Path) -> None:
    results = {}
    for name, trackers in (("with", (BOARD,)), ("without", ())):
        study = search(small, name, *THREE, *trackers)
        weights = (small.parent / name / "best" / "model.safetensors").read_bytes()
        attributes = [{**trial.user_attrs, "params": trial.params} for trial in study.get_trials()]
        kept = ("params", "metrics", "effective", "seed", "steps", "tokens", "reason")
        results[name] = ([{key: each.get(key) for key in kept} for each in attributes], weights)
    assert results["with"] == results["without"]
    assert not (small.parent / "without" / "runs").exists()


def test_run_that_restarts_keeps_only_its_last_attempt(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = RungTrainer.training_step

    def small_memory(self: RungTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        if len(inputs["labels"]) > 8 and self.state.global_step == 2:
            raise torch.OutOfMemoryError("no room")
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(RungTrainer, "training_step", small_memory)
    trainer = RungTrainer(prepare_context(load_study(small, (BOARD,)), SearchListener())[0])
    assert trainer.run({"learning_rate": 1e-3}, 1, "trial-0").batch_split == 2
    events, outcome_text, _ = read_board(small.parent / "small" / "runs" / "trial-0")
    assert outcome_text == "complete" and not open_writers()
    assert [event.step for event in events.Scalars("eval/accuracy")] == list(trainer.rungs)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the machine is on fire")])
def test_interrupted_or_failed_run_is_closed(small: Path, error: BaseException) -> None:
    def pulse(step: int, steps: int, loss: float | None) -> None:
        if step == 3:
            raise error

    trainer = RungTrainer(prepare_context(load_study(small, (BOARD,)), SearchListener())[0])
    trainer.on_progress = pulse
    with pytest.raises(type(error)):
        trainer.run({"learning_rate": 1e-3}, 1, "trial-0")
    _, outcome_text, page = read_board(small.parent / "small" / "runs" / "trial-0")
    is_error = isinstance(error, RuntimeError)
    assert outcome_text == ("error: RuntimeError: the machine is on fire" if is_error else "interrupted")
    assert page["failed"] is is_error and not open_writers()


def test_final_runs_have_their_own_names(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(small.parent / "boards"))
    spec = load_study(small, ("search.trials=1", "final.seeds=2", BOARD))
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        retrain(final)
        run_baselines(final, ["majority", "rerun"])
    assert {folder.name for folder in (small.parent / "boards" / "small").iterdir()} == {
        "trial-0",
        "final-trial-0-seed0",
        "final-trial-0-seed1",
        "final-rerun-seed1000003",
        "final-rerun-seed1000004",
    }


@pytest.mark.parametrize(
    ("trackers", "message"),
    [
        ("'all'", "is 'all'; name the trackers: mlflow, tensorboard, trackio, wandb"),
        ("'tensorbord'", 'has "tensorbord"; did you mean tensorboard?'),
        ("['tensorboard', 'comet_ml']", 'has "comet_ml"; known: mlflow, tensorboard, trackio, wandb'),
    ],
)
def test_unknown_tracker_is_refused_before_the_first_trial(small: Path, trackers: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_spec(load_study(small, (f"training.report_to={trackers}",)))
    assert str(caught.value) == f"{small}: training.report_to {message}"


def test_missing_tracker_package_is_an_error_that_says_how_to_install_it(small: Path) -> None:
    missing = next((name for name in TRACKERS if find_spec(name) is None), None)
    assert missing, "all are installed here, so nothing is tested"
    with pytest.raises(SpecError, match=f"has '{missing}', which is not installed: pip install {missing}$"):
        check_spec(load_study(small, (f"training.report_to='{missing}'",)))


def test_folder_that_a_tracker_wrote_is_not_its_package(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = next(name for name in TRACKERS if find_spec(name) is None)
    (small.parent / missing).mkdir()
    monkeypatch.syspath_prepend(str(small.parent))
    with pytest.raises(SpecError, match="which is not installed"):
        check_spec(load_study(small, (f"training.report_to='{missing}'",)))


def test_logging_is_on_only_with_a_tracker_and_can_be_set(small: Path) -> None:
    logged = [
        build_arguments(load_study(small, overrides), {})
        for overrides in ((), (BOARD,), (BOARD, "training.logging_steps=7"))
    ]
    assert [str(args.logging_strategy.value) for args in logged] == ["no", "steps", "steps"]
    assert (logged[1].logging_steps, logged[2].logging_steps) == (0.02, 7)
    assert all(args.report_to == [] for args in logged)  # Trainer itself opens no tracker


def test_run_name_cannot_be_fixed(small: Path) -> None:
    with pytest.raises(SpecError, match=r"training\.run_name is set by the search"):
        check_spec(load_study(small, ("training.run_name='mine'",)))


class Fragile:
    """A tracker that fails while the trial runs."""

    ends: list[str]

    def __init__(self, run: TrackedRun) -> None:
        self.callback = self

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        print("noise on standard output")

    def on_log(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("the server is gone\nand more")

    def end(self, outcome: str) -> None:
        Fragile.ends.append(outcome)


def test_failing_tracker_does_not_end_the_trial(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Fragile.ends = []
    monkeypatch.setitem(TRACKERS, "tensorboard", Fragile)
    trainer = RungTrainer(prepare_context(load_study(small, (BOARD,)), SearchListener())[0])
    notices: list[str] = []
    trainer.notice = notices.append
    assert max(trainer.run({"learning_rate": 1e-3}, 1, "trial-0").curve) == 1000
    assert notices == ["tensorboard stopped tracking trial-0: ConnectionError: the server is gone"]
    assert Fragile.ends == ["complete"] and "noise" not in capsys.readouterr().out


class StandIn(ModuleType):
    """A stand-in for a package that is not installed: it records calls and does nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in {"summary", "utils", "validation"}:
            return self

        def call(*args: Any, **kwargs: Any) -> StandIn:
            self.calls.append((name, {**kwargs, "": args} if args else kwargs))
            return self

        return call

    def __setitem__(self, name: str, value: Any) -> None:
        self.calls.append((name, value))


ENDS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "mlflow": [("end_run", {"": ("FINISHED",)}), ("end_run", {"": ("KILLED",)}), ("end_run", {"": ("FAILED",)})],
    "wandb": [("finish", {"exit_code": 0}), ("finish", {"exit_code": 0}), ("finish", {"exit_code": 1})],
    "trackio": [("finish", {})] * 3,
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize(("index", "outcome_text"), [(0, "complete"), (1, "pruned: at rung 125"), (2, "diverged: nan")])
def test_trackers_are_closed_with_the_outcome(
    small: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: int, outcome_text: str
) -> None:
    # These packages are not installed for tests, and their servers and files are not what is tested here.
    module = StandIn(name)
    monkeypatch.setitem(sys.modules, name, module)
    run = TrackedRun(load_study(small), "trial-3", {"learning_rate": 1e-3})
    tracker = TRACKERS[name](run)
    tracker.callback._initialized = True
    tracker.end(outcome_text)
    assert module.calls[-1] == ENDS[name][index]
    assert outcome_text in str(module.calls[-2])
    if name != "trackio":  # whose integration opens the run itself
        assert "trial-3" in str(module.calls[:-2]) and "sampled/learning_rate" in str(module.calls[:-2])
