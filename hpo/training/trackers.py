"""TRACKERS: the experiment trackers of [training] report_to; one run in each per trial and final run, always closed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from hpo.errors import suggest_name
from hpo.paths import expand_path
from hpo.store.text_redaction import redact_reason
from hpo.store.trial_state import INTERRUPTED, OUT_OF_TIME, PRUNED
from hpo.study.spec import StudySpec
from hpo.training.library_internals import has_started

Notice = Callable[[str], None]
COMPLETE = "complete"


@dataclass(frozen=True)
class TrackedRun:
    """A trial or final run to track: its name within its study, and its sampled values."""

    spec: StudySpec
    name: str  # trial-3, final-recipe-seed0
    values: Mapping[str, Any]

    @property
    def objective(self) -> str:
        """The study's objective, by the name under which Trainer's integrations log it."""
        return f"eval/{self.spec.objective}"

    @property
    def sampled(self) -> dict[str, Any]:
        """The sampled values under separate names: Trainer's integrations log TrainingArguments under theirs."""
        return {f"sampled/{name}": value for name, value in self.values.items()}


class Tracker(Protocol):
    """One run of a tracker, open from its creation until `end`."""

    callback: Any  # Trainer's own integration, which writes into this run

    def end(self, outcome: str) -> None:
        """Close the run. `outcome` is `complete`, or the reason why it is not."""


class TensorBoard:
    """A folder of event files: studies/<study>/runs/<run>, or below TENSORBOARD_LOGGING_DIR."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
        from transformers.integrations import TensorBoardCallback

        chosen = os.environ.get("TENSORBOARD_LOGGING_DIR")
        folder = expand_path(chosen) / run.spec.name if chosen else run.spec.folder / "runs"
        _remove_earlier_events(folder / run.name, run)
        self.writer = cast(Any, SummaryWriter(str(folder / run.name)))
        self.callback = TensorBoardCallback(self.writer)
        *opening, self._session_end = hparams(dict(run.values), {run.objective: 0.0})  # type: ignore[no-untyped-call]
        for summary in opening:
            self.writer.file_writer.add_summary(summary)

    def end(self, outcome: str) -> None:
        """Write why the run ended, and whether that is a failure."""
        from tensorboard.plugins.hparams.api_pb2 import Status  # type: ignore[import-untyped]
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

        plugin_data = self._session_end.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(plugin_data.content)
        content.session_end_info.status = Status.STATUS_FAILURE if is_failure(outcome) else Status.STATUS_SUCCESS
        plugin_data.content = content.SerializeToString()
        self.writer.add_text("outcome", outcome)
        self.writer.file_writer.add_summary(self._session_end)
        self.writer.close()


def _remove_earlier_events(folder: Path, run: TrackedRun) -> None:
    """Remove what an attempt of the same run has logged, such as one that ran out of memory.

    Other studies may log to a folder of the same name, so each folder says which study file it belongs to.
    """
    owner = folder / ".hpo-study"
    if owner.exists() and owner.read_text(encoding="utf8") == str(run.spec.file.resolve()):
        for events in folder.rglob("events.out.tfevents.*"):
            events.unlink()
    elif not folder.exists():
        folder.mkdir(parents=True)
        owner.write_text(str(run.spec.file.resolve()), encoding="utf8")


class WeightsAndBiases:
    """A run in the project of the study's name, or of WANDB_PROJECT; its files are in the study's folder."""

    def __init__(self, run: TrackedRun) -> None:
        from transformers.integrations import WandbCallback

        wandb = import_module("wandb")
        run.spec.folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.spec.name),
            group=run.spec.name,
            name=run.name,
            dir=str(expand_path(os.environ.get("WANDB_DIR", run.spec.folder))),
            config=run.sampled,
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.callback = WandbCallback()

    def end(self, outcome: str) -> None:
        """Finish the run, as failed if it failed."""
        self.run.summary["outcome"] = outcome
        self.run.finish(exit_code=int(is_failure(outcome)))


class MLflow:
    """A run in the experiment of the study's name, or of MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, run: TrackedRun) -> None:
        from transformers.integrations import MLflowCallback

        self.mlflow = mlflow = import_module("mlflow")
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.spec.name))
        mlflow.start_run(run_name=run.name, nested=True, tags={"study": run.spec.name})
        mlflow.log_params(run.sampled)
        self.callback = MLflowCallback()

    def end(self, outcome: str) -> None:
        """End the run: as killed if it was pruned or interrupted, as failed if it failed."""
        self.mlflow.set_tag("outcome", outcome)
        status = "FINISHED" if outcome == COMPLETE else "FAILED" if is_failure(outcome) else "KILLED"
        self.mlflow.end_run(status)


class Trackio:
    """A run in the project of the study's name; a trial that starts again continues the same run."""

    def __init__(self, run: TrackedRun) -> None:
        from transformers.integrations import TrackioCallback

        self.trackio = import_module("trackio")
        self.callback = TrackioCallback()

    def end(self, outcome: str) -> None:
        """Finish the run, if its first step was reached."""
        if has_started(self.callback):
            self.trackio.log({"outcome": outcome})
            self.trackio.finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "mlflow": MLflow,
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
}


def tracker_names(spec: StudySpec) -> list[str]:
    """Return the names of the trackers that a study reports to."""
    names = spec.training.get("report_to") or []
    return [name for name in ([names] if isinstance(names, str) else names) if name != "none"]


def check_trackers(spec: StudySpec) -> None:
    """Raise SpecError for a tracker that is unknown, not installed, or not logged in, before the first trial."""
    for name in tracker_names(spec):
        if name == "all":
            raise spec.error("training.report_to", f"is 'all'; name the trackers: {', '.join(sorted(TRACKERS))}")
        if name not in TRACKERS:
            raise spec.error("training.report_to", f'has "{name}"; {suggest_name(str(name), TRACKERS)}')
        # A folder of that name, which the tracker itself may have written, is found too, but has no origin.
        if (package := find_spec(name)) is None or package.origin is None:
            raise spec.error("training.report_to", f"has {name!r}, which is not installed: pip install {name}")
    if "wandb" in tracker_names(spec) and (problem := _login_problem()):
        raise spec.error("training.report_to", f"has 'wandb': {problem} (or set WANDB_MODE=offline)")


@cache
def _login_problem() -> str:
    """Log in to Weights & Biases, which may ask for a key, and return why that failed; empty if it did not."""
    try:
        import_module("wandb").login()
    except Exception as error:
        return _describe(error)
    return ""


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def is_failure(outcome: str) -> bool:
    """Return whether a run failed: it is not complete, was not pruned, and will not run again."""
    return not outcome.startswith((COMPLETE, PRUNED, INTERRUPTED, OUT_OF_TIME))


@contextmanager
def track_run(run: TrackedRun, notice: Notice, describe: Callable[[BaseException], str]) -> Iterator[list[Any]]:
    """Yield callbacks for a Trainer that send what it logs to the study's trackers, and close their runs at the end.

    `describe` turns an exception that leaves the block into the reason that trackers show. A tracker that fails does
    not end the trial: `notice` is called once, and nothing more is sent to it.
    """
    open_runs = _OpenRuns(run, notice)
    outcome = COMPLETE
    try:
        open_runs.begin()
        yield [_build_callback(open_runs)] if open_runs.trackers else []
    except BaseException as error:
        outcome = describe(error) if run.spec.report.texts else redact_reason(describe(error))
        raise
    finally:
        open_runs.end(outcome)


class _OpenRuns:
    """The runs of all trackers that track one trial."""

    def __init__(self, run: TrackedRun, notice: Notice) -> None:
        self.run, self.notice = run, notice
        self.trackers: dict[str, Tracker] = {}
        self.failed: set[str] = set()

    def begin(self) -> None:
        """Open a run of each tracker of the study."""
        for name in tracker_names(self.run.spec):
            with self._isolate(name):
                self.trackers[name] = TRACKERS[name](self.run)

    def send(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Pass an event of Trainer to every tracker that has not failed."""
        for name, tracker in self.trackers.items():
            if name not in self.failed:
                with self._isolate(name):
                    getattr(tracker.callback, event)(*args, **kwargs)

    def end(self, outcome: str) -> None:
        """Close all runs, also those of trackers that have failed."""
        for name, tracker in self.trackers.items():
            with self._isolate(name):
                tracker.end(outcome)

    @contextmanager
    def _isolate(self, name: str) -> Iterator[None]:
        """Keep what a tracker raises or prints away from the trial."""
        try:
            with redirect_stdout(io.StringIO()):
                yield
        except Exception as error:
            if name not in self.failed:
                self.failed.add(name)
                self.notice(f"{name} stopped tracking {self.run.name}: {_describe(error)}")


def _build_callback(open_runs: _OpenRuns) -> Any:
    from transformers import TrainerCallback

    class SendLogs(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        """Sends what Trainer logs. Its event at the end of training is left out: a pruned run never reaches it."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **live: Any) -> None:
            args.run_name = open_runs.run.name  # Trackio's integration opens its run itself, by these two
            args.project = open_runs.run.spec.training.get("project", open_runs.run.spec.name)
            open_runs.send("on_train_begin", args, state, control, **live)

        def on_log(self, args: Any, state: Any, control: Any, **live: Any) -> None:
            open_runs.send("on_log", args, state, control, **live)

    return SendLogs()
