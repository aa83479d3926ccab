"""Cases of `benchmarks.kills`: a command, the instants at which it is killed, and what must be there afterwards."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from hpo.store.attributes import WorkerIdentity
from hpo.store.worker_lock import FOLDER, read_progress
from tests.support.forked_commands import KILLED, POLL_SECONDS, TIMEOUT, ForkedCommand, NewFiles, Place, start_server
from tests.support.study_outcome import find_faults, read_outcome

STUDY = """\
name = "s"
objective = "log_loss"
[data]
source = "builtin:reviews"
rows = { train = 96, validation = 32, test = 64 }
validation = 32
[model]
checkpoint = "builtin:tiny"
max_length = 32
[space.parameters.learning_rate]
low = 1e-4
high = 1e-2
log = true
[space.parameters.weight_decay]
low = 0.0
high = 0.1
[[space.known_good]]
source = "a guess"
learning_rate = 2e-3
[search]
trials = 4
[training]
per_device_train_batch_size = 16
num_train_epochs = 3
[final]
seeds = 2
baselines = ["majority", "tfidf-logreg", "recipe"]
"""
# The order in which results of two workers arrive depends on timing. Random values depend on a trial's place only.
TWO_WORKERS = ("--workers", "2", "--set", 'search.sampler="random"', "--set", 'search.pruner="none"')
_CONTINUES = re.compile(r"#(\d+) (?:continues at step (\d+) of|starts again)")
_LEFT = 0.7  # of a command's life after each kill, about: what is done is not repeated
ORPHAN_SECONDS = 60.0  # within which workers whose parent was killed must end
CHECK_DIED = "the process that checks the study"


@dataclass(frozen=True)
class KilledCommand:
    """A command that is killed, and the one whose result it starts from."""

    name: str
    arguments: tuple[str, ...]
    after: str | None
    share: int  # of the cases, in hundredths
    most_kills: int = 5


COMMANDS = {
    command.name: command
    for command in (
        KilledCommand("search", ("search", "s.toml"), None, 38),
        KilledCommand("search --workers 2", ("search", "s.toml", *TWO_WORKERS), None, 8, most_kills=3),
        KilledCommand("retrain", ("retrain", "s.toml"), "search", 18),
        KilledCommand("baseline", ("baseline", "s.toml"), "retrain", 16),
        KilledCommand("compare", ("compare", "s.toml"), "baseline", 6),
        KilledCommand("report", ("report", "s.toml"), "compare", 7),
        KilledCommand("export", ("export", "s.toml", "--format", "model"), "compare", 7),
    )
}


@dataclass(frozen=True)
class Reference:
    """An undisturbed command: the place before it, its outcome, and how long and with how many writes it runs."""

    before: Path
    outcome: Mapping[str, Any]
    seconds: float
    writes: int


@dataclass
class CaseResult:
    """What has happened to a command that was killed."""

    kills: int = 0
    aimed: int = 0  # kills at a write
    lost_steps: list[int] = field(default_factory=list)  # per kill that hit a trial in training
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def draw_command(seed: int) -> KilledCommand:
    """Return the command of a case."""
    commands = list(COMMANDS.values())
    return random.Random(seed).choices(commands, [command.share for command in commands])[0]


def build_references(root: Path, names: Iterable[str], as_processes: bool) -> dict[str, Reference]:
    """Run commands, and those that they need, without kills.

    `as_processes` runs each as `python -m hpo` too, to check that forked commands have the same outcome.
    """
    needed: set[str] = set()
    for name in names:
        chain: str | None = name
        while chain is not None:
            needed.add(chain)
            chain = COMMANDS[chain].after
    start_server()
    references: dict[str, Reference] = {}
    for command in COMMANDS.values():
        if command.name in needed:
            references[command.name] = _build_reference(root / "references", command, as_processes)
    return references


def _build_reference(root: Path, command: KilledCommand, as_process: bool) -> Reference:
    folder = root / command.name.replace(" ", "_")
    before, place = folder / "before", Place(folder / "after")
    if command.after is None:
        Place(before).create()
        (before / "project" / "s.toml").write_text(STUDY)
    else:
        shutil.copytree(root / command.after.replace(" ", "_") / "after", before)
    shutil.copytree(before, place.root)
    files = NewFiles([place.root])
    running = ForkedCommand(command.arguments, place)
    while running.wait(POLL_SECONDS) is None:
        files.update()
    seconds = time.monotonic() - running.started
    assert running.wait() == 0, f"{command.name}: {running.read_output()}"
    outcome = read_outcome(place.project, "s")
    faults = find_faults(place.root, "s", outcome)
    if as_process:
        other = Place(folder / "as_process")
        shutil.copytree(before, other.root)
        arguments = [sys.executable, "-m", "hpo", *command.arguments]
        subprocess.run(
            arguments, cwd=other.project, env={**os.environ, **other.environment}, check=True, capture_output=True
        )
        faults += find_faults(other.root, "s", outcome)
    assert not faults, f"{command.name}, without kills: {faults}"
    return Reference(before, outcome, seconds, files.count)


def run_case(seed: int, references: Mapping[str, Reference], root: Path) -> dict[str, Any]:
    """Kill the command of a case as its seed says, run it to its end, check the outcome, and return a `CaseResult`."""
    command = draw_command(seed)
    case = _Case(command, references[command.name], Place(root / f"case-{seed}"), random.Random(seed))
    case.run()
    return vars(case.result)


class _Case:
    def __init__(self, command: KilledCommand, reference: Reference, place: Place, draws: random.Random) -> None:
        self.command, self.reference, self.place, self.draws = command, reference, place, draws
        self.result = CaseResult()
        self._steps: dict[int, int] = {}  # trial -> its step at the last kill
        self._orphans: list[psutil.Process] = []

    def run(self) -> None:
        started = time.monotonic()
        shutil.copytree(self.reference.before, self.place.root)
        kills = self.draws.randint(1, self.command.most_kills)
        whom = "all" if self.command.most_kills == 5 else self.draws.choice(["all", "command", "worker"])
        if whom == "worker":
            is_done = self._kill_workers(kills)
        else:
            is_done = any(self._kill_command(whom, index) for index in range(kills))
        if not is_done:
            running = ForkedCommand(self.command.arguments, self.place)
            self._check_end(running, running.wait())
        _, alive = psutil.wait_procs(self._orphans, ORPHAN_SECONDS)
        self.result.faults += [f"an orphan still runs: {process.pid}" for process in alive]
        if not self.result.faults:
            self.result.faults += find_faults(self.place.root, "s", dict(self.reference.outcome))
        if not self.result.faults:
            shutil.rmtree(self.place.root)
        self.result.seconds = time.monotonic() - started

    def _kill_command(self, whom: str, earlier: int) -> bool:
        """Start the command and kill it; return whether it had ended before."""
        running = ForkedCommand(self.command.arguments, self.place)
        is_aimed = self._wait_for_instant(running, _LEFT**earlier)
        if (code := running.wait(0)) is not None:
            self._check_end(running, code)
            return True
        if whom == "command":
            self._orphans += running.workers()
            running.send(signal.SIGKILL)
            is_hit = running.wait() == KILLED
        else:
            is_hit = running.kill_all()
        self._count_lost(running.read_output())
        self._steps = read_steps(self.place.project / "s")
        self.result.kills += is_hit
        self.result.aimed += is_hit and is_aimed
        if not is_hit:
            self._check_end(running, running.wait())
        return not is_hit

    def _kill_workers(self, kills: int) -> bool:
        """Kill single workers of one command, which must replace them; return whether it has ended well."""
        running = ForkedCommand(self.command.arguments, self.place)
        for _ in range(kills):
            is_aimed = self._wait_for_instant(running, 1 / kills)
            if workers := running.workers():
                self._steps = read_steps(self.place.project / "s")
                with suppress(psutil.NoSuchProcess):
                    self.draws.choice(workers).kill()
                    self.result.kills += 1
                    self.result.aimed += is_aimed
        code = running.wait()
        if code == 1 and CHECK_DIED in running.read_output():
            self._count_lost(running.read_output())
            return False
        self._check_end(running, code)
        return True

    def _wait_for_instant(self, running: ForkedCommand, part: float) -> bool:
        """Wait for a random instant in this part of the command's life; return whether it is one of its writes."""
        draws, reference = self.draws, self.reference
        is_aimed, share, delay = draws.random() < 0.5, draws.random() * part, draws.random() * 0.02
        if not is_aimed:
            running.wait(share * reference.seconds)
            return False
        files = NewFiles([self.place.root])
        while files.update() < share * reference.writes and running.wait(POLL_SECONDS) is None:
            pass
        running.wait(delay if draws.random() < 0.5 else 0.0)
        return True

    def _check_end(self, running: ForkedCommand, code: int | None) -> None:
        self._count_lost(running.read_output())
        if code is None:
            running.kill_all()
            self.result.faults.append(f"hangs: no end after {TIMEOUT:g} s")
        elif code != 0:
            self.result.faults.append(f"exit code {code}: {running.read_output()[-1500:]}")

    def _count_lost(self, output: str) -> None:
        """Count the steps that trials have lost by the last kill, as the notices of the command that continues say."""
        for number, step in _CONTINUES.findall(output):
            if (before := self._steps.pop(int(number), None)) is not None:
                self.result.lost_steps.append(max(0, before - int(step or 0)))


def read_steps(study_folder: Path) -> dict[int, int]:
    """Return trial -> step from the lock files of workers that were killed."""
    steps = {}
    for path in (study_folder / FOLDER).glob("*"):
        progress = read_progress(WorkerIdentity("", 0, 0.0, path.name), study_folder)
        if progress is not None and progress.trial is not None and progress.step:
            steps[progress.trial] = progress.step
    return steps
