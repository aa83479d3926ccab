"""The state of a run in training, saved so that another process continues it bit for bit on the same processor.

A saved state is a folder of ours: the weights, what the optimizer, its scheduler and the random generators hold, the
position in the data, and all measurements. It is written beside its place, flushed to the disk, and renamed, so it is
there completely or not at all. Nothing in it is a pickle that could run code.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from hpo.ownership import owned_folder
from hpo.training.measurements import RunMeasurements
from hpo.training.state_saver import RunIdentity, UnfitStateError

FORMAT = 1
_HEADER, _STATE = "state.json", "state.pt"
_WEIGHTS, _BEST_WEIGHTS = "model.safetensors", "best.safetensors"
TRAINER_STATE = "trainer_state.json"  # the name that Trainer reads
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class RandomState:
    """The states of all global random generators."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor]

    @classmethod
    def capture(cls) -> RandomState:
        """Return the present states."""
        name, keys, *rest = np.random.get_state(legacy=True)
        numpy = (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest)
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(random.getstate(), numpy, torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Put the generators into these states."""
        name, keys, *rest = self.numpy
        random.setstate(self.python)
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(self.cpu)
        if torch.cuda.is_available() and self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


@dataclass(frozen=True)
class RunClock:
    """How far a run is, and what its seconds were spent on."""

    step: int
    steps: int  # of its schedule
    attempt: float  # seconds since the run, or its last start with smaller batches, began
    evaluation: float
    saving: float

    @property
    def is_last_step(self) -> bool:
        """Whether training is over."""
        return self.step == self.steps


@dataclass(frozen=True)
class SavedState:
    """All that a run needs to continue. After the last step there is nothing to train, hence no `optimizer`."""

    clock: RunClock
    measurements: RunMeasurements
    weights: Tensors
    best_weights: Tensors | None
    batches_per_step: int
    counters: Mapping[str, Any]
    optimizer: Mapping[str, Any] | None
    scheduler: Mapping[str, Any] | None
    scaler: Mapping[str, Any] | None
    random: RandomState
    epoch_random: RandomState  # when the epoch began: samplers that are not seeded draw its order from it
    folder: Path = Path()

    def write(self, folder: Path, identity: RunIdentity, write_trainer_state: Callable[[str], None]) -> None:
        """Write the state into a new folder that replaces the one at this path."""
        with owned_folder(folder) as new:
            save_file(_distinct(self.weights), new / _WEIGHTS)
            if self.best_weights is not None:
                save_file(_distinct(self.best_weights), new / _BEST_WEIGHTS)
            rest = {
                "counters": dict(self.counters),
                "optimizer": self.optimizer,
                "scheduler": self.scheduler,
                "scaler": self.scaler,
                "random": asdict(self.random),
                "epoch_random": asdict(self.epoch_random),
            }
            torch.save(rest, new / _STATE)
            write_trainer_state(str(new / TRAINER_STATE))
            header = {
                "format": FORMAT,
                "identity": asdict(identity),
                "clock": asdict(self.clock),
                "measurements": asdict(self.measurements),
                "batches_per_step": self.batches_per_step,
                "checksums": {file.name: _checksum(file) for file in sorted(new.iterdir())},
            }
            (new / _HEADER).write_text(json.dumps(header), encoding="utf8")
            for file in (*new.iterdir(), new):
                _flush(file)
        _flush(folder.parent)

    def size(self) -> int:
        """Return about how many bytes the state takes on the disk."""
        return sum(
            tensor.numel() * tensor.element_size()
            for part in (self.weights, self.best_weights, self.optimizer)
            for tensor in _tensors_in(part)
        )


def read_state(folder: Path, identity: RunIdentity) -> SavedState:
    """Read a saved state. Raises UnfitStateError, and FileNotFoundError if there is none."""
    text = (folder / _HEADER).read_bytes()
    try:
        header = json.loads(text)
        if header["format"] != FORMAT:
            raise UnfitStateError("another version of hpo wrote it")
        if differing := identity.differences(header["identity"]):
            raise UnfitStateError(f"it belongs to another run ({', '.join(differing)} differ)")
        for name, checksum in header["checksums"].items():
            if Path(name).name != name or _checksum(folder / name) != checksum:
                raise UnfitStateError(f"{name} is damaged")
        rest = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        curve = {int(rung): scores for rung, scores in header["measurements"]["curve"].items()}
        return SavedState(
            clock=RunClock(**header["clock"]),
            measurements=replace(RunMeasurements(**header["measurements"]), curve=curve),
            weights=load_file(folder / _WEIGHTS),
            best_weights=load_file(folder / _BEST_WEIGHTS) if _BEST_WEIGHTS in header["checksums"] else None,
            batches_per_step=header["batches_per_step"],
            counters=rest["counters"],
            optimizer=rest["optimizer"],
            scheduler=rest["scheduler"],
            scaler=rest["scaler"],
            random=RandomState(**rest["random"]),
            epoch_random=RandomState(**rest["epoch_random"]),
            folder=folder,
        )
    except UnfitStateError:
        raise
    except Exception as error:  # a damaged file raises whatever the library that reads it raises
        raise UnfitStateError(f"it is damaged ({type(error).__name__})") from None


def _distinct(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors without further names of the same memory, which safetensors refuses."""
    by_memory: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in tensors.items():
        by_memory.setdefault((tensor.data_ptr(), tensor.shape), name)
    return {name: tensors[name].detach().contiguous() for name in by_memory.values()}


def _tensors_in(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for part in value.values() for tensor in _tensors_in(part)]
    return [tensor for part in value for tensor in _tensors_in(part)] if isinstance(value, list | tuple) else []


def _checksum(file: Path) -> int:
    """Return the CRC-32 of a file: it is to find damage, and takes half the time of a cryptographic one."""
    checksum = 0
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, so that they survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
