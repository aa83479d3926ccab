"""When and where the state of a run is saved, and what happens if it cannot be saved or does not fit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.atomic import sweep_leftovers
from hpo.errors import first_line
from hpo.ownership import remove_owned_folder
from hpo.study.spec_tables import SearchSpec

if TYPE_CHECKING:
    from hpo.training.saved_state import SavedState

SAVED = "saved"  # in the study's folder: a folder per run that has not ended


class UnfitStateError(Exception):
    """A saved state is damaged, or belongs to something else; the text says which."""


@dataclass(frozen=True)
class RunIdentity:
    """What a saved state belongs to: it fits no other run."""

    run: str  # unique within its study
    seed: int
    values: Mapping[str, Any]
    spec_hash: str
    data: str  # fingerprint
    versions: Mapping[str, str]
    device: str = "cpu"  # its type

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """Return the names of the fields in which a stored identity differs."""
        own = json.loads(json.dumps(asdict(self)))
        return [name for name, value in own.items() if stored.get(name) != value]


class StateSaver:
    """Saves and loads the state of one run.

    `label` names the run in notices. `stopped_after` are the seconds after which an earlier worker stopped or died, if
    there was one. `check_owner` is called before writing, and may raise if the run belongs to another worker now. If
    `keeps_end`, the state is also saved after the last step, for runs that still have long work to do then.
    """

    def __init__(
        self,
        study_folder: Path,
        identity: RunIdentity,
        search: SearchSpec,
        notice: Callable[[str], None],
        label: str,
        stopped_after: float | None = None,
        check_owner: Callable[[], None] = lambda: None,
        keeps_end: bool = False,
    ) -> None:
        self.root = study_folder / SAVED
        self.folder = self.root / identity.run
        self.identity = identity
        self.search = search
        self.notice = notice
        self.label = label
        self.stopped_after = stopped_after
        self.check_owner = check_owner
        self.keeps_end = keeps_end
        self._last_step = 0
        self._last_time = time.monotonic()
        self._has_failed = False

    def load(self, read_state: Callable[[Path, RunIdentity], SavedState]) -> SavedState | None:
        """Return the saved state of the run, or None; a notice says where the run continues, and why it does not.

        `read_state` is `saved_state.read_state`, which imports torch; text baselines do without.
        """
        sweep_leftovers(self.root)
        try:
            state: SavedState | None = read_state(self.folder, self.identity)
        except FileNotFoundError:
            state = None
        except UnfitStateError as error:
            state = None
            self.notice(f"{self.label}: its saved state is not used: {error}")
            self.remove()
        if state is not None:
            self._last_step = state.clock.step
            lost = self._describe_lost(state.clock.attempt + state.measurements.lost)
            self.notice(f"{self.label} continues at step {state.clock.step} of {state.clock.steps}{lost}")
        elif self.stopped_after:
            self.notice(f"{self.label} starts again{self._describe_lost(0.0)}")
        return state

    def is_due(self, step: int, is_rung: bool, is_last: bool) -> bool:
        """Whether the state should be saved after this step."""
        if step == self._last_step or (is_last and not self.keeps_end):
            return False
        every = self.search.save_every
        if isinstance(every, int):
            return is_rung or step % every == 0
        return is_rung or (every is not None and time.monotonic() - self._last_time >= every)

    def save(self, state: SavedState, write_trainer_state: Callable[[str], None]) -> None:
        """Save the state in place of the last one. If that fails, a notice says so once, and the run goes on."""
        self.check_owner()
        self._last_step, self._last_time = state.clock.step, time.monotonic()
        problem = self._describe_excess(state)
        if problem is None:
            try:
                state.write(self.folder, self.identity, write_trainer_state)
                return
            except Exception as error:  # each library reports a full disk in its own way
                problem = first_line(error)
        if not self._has_failed:
            self._has_failed = True
            self.notice(
                f"{self.label}: its state cannot be saved ({problem}); it goes on, and starts again if it is killed"
            )

    def remove(self) -> None:
        """Remove the saved state."""
        remove_saved_state(self.folder)
        self._last_step = 0

    def _describe_lost(self, saved: float) -> str:
        lost = (self.stopped_after or 0.0) - saved
        return f"; {lost:.0f} s were lost" if lost >= 0.5 else ""

    def _describe_excess(self, state: SavedState) -> str | None:
        """Say why the state would exceed search.saved_trials_disk, or return None."""
        limit = self.search.saved_trials_disk
        if limit is None:
            return None
        others = sum(
            file.stat().st_size
            for folder in (self.root.iterdir() if self.root.is_dir() else ())
            if folder != self.folder
            for file in folder.rglob("*")
            if file.is_file()
        )
        needed = others + state.size()
        return f"search.saved_trials_disk is {limit:,} bytes, {needed:,} would be needed" if needed > limit else None


def remove_saved_state(folder: Path) -> None:
    """Remove a saved state, and the folder that held it if it was the last one."""
    remove_owned_folder(folder)
    sweep_leftovers(folder.parent)
    with suppress(OSError):
        folder.parent.rmdir()
