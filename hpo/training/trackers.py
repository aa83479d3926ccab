"""TRACKERS that [training] report_to names: one run in each per trial and per final run, closed however that ends."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from hpo.errors import unknown_name
from hpo.store.trial_state import INTERRUPTED, OUT_OF_TIME, PRUNED
from hpo.study.spec import StudySpec

Notice = Callable[[str], None]
COMPLETE = "complete"


@dataclass(frozen=True)
class TrackedRun:
    """The trial or final run that is followed, by its name among those of its study, and its sampled values."""

    spec: StudySpec
    name: str  # trial-3, final-recipe-seed0
    values: Mapping[str, Any]

    @property
    def objective(self) -> str:
        """The study's objective as Trainer's integrations log it."""
        return f"eval/{self.spec.objective}"

    @property
    def sampled(self) -> dict[str, Any]:
        """The sampled values under names of their own: Trainer's integrations log TrainingArguments under theirs."""
        return {f"sampled/{name}": value for name, value in self.values.items()}


class Tracker(Protocol):
    """One run of a tracker, open from its making to `end`."""

    callback: Any  # Trainer's own integration, which writes into this run

    def end(self, ending: str) -> None:
        """Close the run; `ending` is `complete`, or the reason why it is not."""


class TensorBoard:
    """A folder of event files: studies/<study>/runs/<run>, or below TENSORBOARD_LOGGING_DIR."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
        from transformers.integrations import TensorBoardCallback

        chosen = os.environ.get("TENSORBOARD_LOGGING_DIR")
        folder = Path(chosen).expanduser() / run.spec.name if chosen else run.spec.folder / "runs"
        shutil.rmtree(folder / run.name, ignore_errors=True)  # of an attempt without enough memory
        self.writer = cast(Any, SummaryWriter(str(folder / run.name)))
        self.callback = TensorBoardCallback(self.writer)
        *begun, self.ended = hparams(dict(run.values), {run.objective: 0.0})  # type: ignore[no-untyped-call]
        for summary in begun:
            self.writer.file_writer.add_summary(summary)

    def end(self, ending: str) -> None:
        """Write why it ended, and whether that is a failure."""
        from tensorboard.plugins.hparams.api_pb2 import Status  # type: ignore[import-untyped]
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

        about = self.ended.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(about.content)
        content.session_end_info.status = Status.STATUS_FAILURE if is_failure(ending) else Status.STATUS_SUCCESS
        about.content = content.SerializeToString()
        self.writer.add_text("ending", ending)
        self.writer.file_writer.add_summary(self.ended)
        self.writer.close()


class WeightsAndBiases:
    """A run in the project of the study's name, or of WANDB_PROJECT; its files lie in the study's folder."""

    def __init__(self, run: TrackedRun) -> None:
        from transformers.integrations import WandbCallback

        wandb = import_module("wandb")
        run.spec.folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.spec.name),
            group=run.spec.name,
            name=run.name,
            dir=os.environ.get("WANDB_DIR", str(run.spec.folder)),
            config=run.sampled,
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.callback = WandbCallback()

    def end(self, ending: str) -> None:
        """Finish the run, as failed where it did."""
        self.run.summary["ending"] = ending
        self.run.finish(exit_code=int(is_failure(ending)))


class MLflow:
    """A run in the experiment of the study's name, or of MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, run: TrackedRun) -> None:
        from transformers.integrations import MLflowCallback

        self.mlflow = mlflow = import_module("mlflow")
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.spec.name))
        mlflow.start_run(run_name=run.name, nested=True, tags={"study": run.spec.name})
        mlflow.log_params(run.sampled)
        self.callback = MLflowCallback()

    def end(self, ending: str) -> None:
        """End the run: as killed where it was pruned or interrupted, as failed where it failed."""
        self.mlflow.set_tag("ending", ending)
        status = "FINISHED" if ending == COMPLETE else "FAILED" if is_failure(ending) else "KILLED"
        self.mlflow.end_run(status)


class Trackio:
    """A run in the project of the study's name; a run that starts again goes on in the same one."""

    def __init__(self, run: TrackedRun) -> None:
        from transformers.integrations import TrackioCallback

        self.trackio = import_module("trackio")
        self.callback = TrackioCallback()

    def end(self, ending: str) -> None:
        """Finish the run, if its first step was reached."""
        if self.callback._initialized:
            self.trackio.log({"ending": ending})
            self.trackio.finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "mlflow": MLflow,
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
}


def tracker_names(spec: StudySpec) -> list[str]:
    """The trackers that a study asks for."""
    asked = spec.training.get("report_to") or []
    return [name for name in ([asked] if isinstance(asked, str) else asked) if name != "none"]


def check_trackers(spec: StudySpec) -> None:
    """Raise SpecError for a tracker that is unknown, not installed, or knows no user, before the first trial."""
    for name in tracker_names(spec):
        if name == "all":
            raise spec.error("training.report_to", f"is 'all'; name the trackers: {', '.join(sorted(TRACKERS))}")
        if name not in TRACKERS:
            raise spec.error("training.report_to", f"has {name!r}; it {unknown_name(str(name), TRACKERS)}")
        if (found := find_spec(name)) is None or found.origin is None:  # a folder of that name is no package
            raise spec.error("training.report_to", f"has {name!r}, which is not installed: pip install {name}")
    if "wandb" in tracker_names(spec) and (reason := _login()):
        raise spec.error("training.report_to", f"has 'wandb': {reason} (or set WANDB_MODE=offline)")


@cache
def _login() -> str:
    """Why Weights & Biases lets nobody in, with the key that it finds or asks for; empty where it does."""
    try:
        import_module("wandb").login()
    except Exception as error:
        return _first_line(error)
    return ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def is_failure(ending: str) -> bool:
    """Whether a run that ended so has failed: it is neither complete, nor pruned, nor broken off to run again."""
    return not ending.startswith((COMPLETE, PRUNED, INTERRUPTED, OUT_OF_TIME))


@contextmanager
def tracked(run: TrackedRun, notice: Notice, tell: Callable[[BaseException], str]) -> Iterator[list[Any]]:
    """Callbacks for a Trainer that send what it logs to the study's trackers; at the block's end their runs are closed.

    `tell` says in words what an exception that leaves the block means. A tracker that fails costs no trial: `notice`
    hears of it once, and nothing more is sent to it.
    """
    open_runs = _OpenRuns(run, notice)
    ending = COMPLETE
    try:
        open_runs.begin()
        yield [_callback(open_runs)] if open_runs.trackers else []
    except BaseException as error:
        ending = tell(error)
        raise
    finally:
        open_runs.end(ending)


class _OpenRuns:
    """The runs of all trackers that follow one trial."""

    def __init__(self, run: TrackedRun, notice: Notice) -> None:
        self.run, self.notice = run, notice
        self.trackers: dict[str, Tracker] = {}
        self.failed: set[str] = set()

    def begin(self) -> None:
        """Open a run of each tracker that the study asks for."""
        for name in tracker_names(self.run.spec):
            with self._spared(name):
                self.trackers[name] = TRACKERS[name](self.run)

    def hand_on(self, event: str, *words: Any, **more: Any) -> None:
        """Let every tracker have an event of Trainer's."""
        for name, tracker in self.trackers.items():
            if name not in self.failed:
                with self._spared(name):
                    getattr(tracker.callback, event)(*words, **more)

    def end(self, ending: str) -> None:
        """Close all runs; those of trackers that failed on the way too."""
        for name, tracker in self.trackers.items():
            with self._spared(name):
                tracker.end(ending)

    @contextmanager
    def _spared(self, name: str) -> Iterator[None]:
        """Whatever a tracker raises or prints, the trial goes on undisturbed."""
        try:
            with redirect_stdout(io.StringIO()):
                yield
        except Exception as error:
            if name not in self.failed:
                self.failed.add(name)
                self.notice(f"{name} does not follow {self.run.name} to its end: {_first_line(error)}")


def _callback(open_runs: _OpenRuns) -> Any:
    from transformers import TrainerCallback

    class Logs(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        """What Trainer logs; its word that training is over is left out, for a pruned run never comes to it."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            args.run_name = open_runs.run.name  # Trackio's integration opens its run itself, by these two
            args.project = open_runs.run.spec.training.get("project", open_runs.run.spec.name)
            open_runs.hand_on("on_train_begin", args, state, control, **more)

        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            open_runs.hand_on("on_log", args, state, control, **more)

    return Logs()
