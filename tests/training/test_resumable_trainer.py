"""A run that is stopped after any step and continued by another trainer ends bit for bit like one that is not."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.measurements import TrialStopped
from hpo.training.saved_state import RunIdentity, SavedState
from hpo.training.state_saver import StateSaver
from hpo.training.trainer import RungTrainer

SEED = 3
VALUES = {"learning_rate": 2e-3, "num_train_epochs": 3}


class Machine:
    """A trainer and its savers, as a worker has them; a new one stands for a new process."""

    def __init__(self, small: Path, *overrides: str) -> None:
        self.spec = load_study(small, overrides)
        self.trainer = RungTrainer(prepare_context(self.spec, SearchListener())[0])
        self.notices: list[str] = []

    def saver(self, values: Mapping[str, Any] = VALUES, data: str = "fp", keeps_end: bool = False) -> StateSaver:
        identity = RunIdentity("trial-0", SEED, values, self.spec.hash(), data, {"torch": torch.__version__})
        return StateSaver(
            self.spec.folder, identity, self.spec.search, self.notices.append, "trial #0", 100.0, keeps_end=keeps_end
        )

    def run(
        self, values: Mapping[str, Any] = VALUES, stop_after: int | None = None, saver: StateSaver | None = None
    ) -> tuple[Any, ...]:
        """Train or continue; return everything that an interruption may not change."""

        def stop(step: int, steps: int, loss: float | None) -> None:
            if step == stop_after and loss is not None:
                raise TrialStopped("interrupted")

        self.trainer.on_progress = stop
        measured = self.trainer.run(values, SEED, "", saver)
        counts = (measured.steps, measured.examples, measured.tokens, measured.batch_split, measured.device_batch)
        weights = {name: tensor.clone() for name, tensor in self.trainer.final_model().state_dict().items()}
        return measured.curve, measured.effective, counts, weights

    def stop(self, stop_after: int, values: Mapping[str, Any] = VALUES) -> None:
        """Train until after this step."""
        with pytest.raises(TrialStopped):
            self.run(values, stop_after, self.saver(values))


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert one[:-1] == other[:-1]
    assert one[-1].keys() == other[-1].keys()
    assert all(torch.equal(tensor, other[-1][name]) for name, tensor in one[-1].items())


ACCUMULATED = {**VALUES, "gradient_accumulation_steps": 4, "per_device_train_batch_size": 4}  # the last step has fewer


@pytest.mark.parametrize(
    ("values", "overrides", "stops"),  # epochs end after steps 6, 12 and 18; rungs are 5, 9, 18
    [
        (VALUES, (), (1, 6, 7)),
        ({**VALUES, "bf16": True, "neftune_noise_alpha": 5.0}, (), (8,)),
        (VALUES, ('training.speed="exact"',), (17,)),
        (VALUES, ('search.value="best"', 'objective="log_loss"'), (12,)),
        (ACCUMULATED, ("data.rows={ train = 90, validation = 32, test = 32 }",), (7,)),
        ({"learning_rate": 2e-3, "max_steps": 14}, ("search.rungs={every_examples=40}",), (8,)),
    ],
    ids=["default", "bf16", "exact", "best", "accumulated", "examples"],
)
def test_continued_run_equals_whole_run(
    small: Path, values: Mapping[str, Any], overrides: tuple[str, ...], stops: tuple[int, ...]
) -> None:
    machine = Machine(small, *overrides)
    expected = machine.run(values)
    for step in stops:
        machine.stop(step, values)
    assert_same(machine.run(values, saver=machine.saver(values)), expected)
    continued = [notice.partition(";")[0] for notice in machine.notices if "continues" in notice]
    assert [notice.partition(" of ")[0] for notice in continued] == [
        f"trial #0 continues at step {step}" for step in stops
    ]


def test_stop_at_a_rung_repeats_the_steps_since_the_rung_before(small: Path) -> None:
    machine = Machine(small)
    expected = machine.run()
    machine.stop(9)
    assert_same(machine.run(saver=machine.saver()), expected)
    assert machine.notices[-1].startswith("trial #0 continues at step 5 of 18; ")
    assert machine.notices[-1].endswith(" s were lost")


def test_run_that_ran_out_of_memory_continues_with_its_smaller_batches(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = RungTrainer.training_step

    def small_memory(self: RungTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        if len(inputs["labels"]) > 8 and self.state.global_step > 5:
            raise torch.OutOfMemoryError("no room")
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(RungTrainer, "training_step", small_memory)
    machine = Machine(small)
    expected = machine.run()
    machine.stop(4)  # before the first attempt runs out of memory
    machine.stop(10)  # in the second one
    assert_same(machine.run(saver=machine.saver()), expected)
    assert machine.notices[-1].startswith("trial #0 continues at step 10 of 18")


def test_state_after_the_last_step_has_the_model_and_no_optimizer(small: Path) -> None:
    machine = Machine(small, 'search.value="best"')
    expected = machine.run(saver=machine.saver(keeps_end=True))
    assert_same(machine.run(saver=machine.saver(keeps_end=True)), expected)
    assert machine.notices[-1].startswith("trial #0 continues at step 18 of 18")
    content = torch.load(machine.saver().folder / "state.pt", weights_only=True)
    assert content["optimizer"] is None


@pytest.mark.parametrize("every", ["4", '"0.001s"'])
def test_state_is_saved_between_rungs(small: Path, every: str) -> None:
    machine, steps = Machine(small, f"search.save_every={every}"), []
    saver = machine.saver()
    save = saver.save
    saver.save = lambda state, write: (steps.append(state.clock.step), save(state, write))[1]  # type: ignore[method-assign]
    machine.run(saver=saver)
    assert steps == ([4, 5, 8, 9, 12, 16] if every == "4" else list(range(1, 18)))


def damage_weights(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-400:] = bytes(400)
    (folder / "model.safetensors").write_bytes(content)


def cut_header(folder: Path) -> None:
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text[: len(text) // 2])


def write_garbage(folder: Path) -> None:
    (folder / "state.pt").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    header = json.loads((folder / "state.json").read_text())
    header["checksums"]["state.pt"] = zlib.crc32((folder / "state.pt").read_bytes())
    (folder / "state.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("damage", "data", "reason"),
    [
        (damage_weights, "fp", "model.safetensors is damaged"),
        (cut_header, "fp", "it is damaged (JSONDecodeError)"),
        (write_garbage, "fp", "it is damaged (UnpicklingError)"),
        (lambda folder: (folder / "state.pt").unlink(), "fp", "it is damaged (FileNotFoundError)"),
        (lambda folder: None, "others", "it belongs to another run (data differ)"),
    ],
)
def test_state_that_does_not_fit_is_ignored_with_a_notice(
    small: Path, damage: Callable[[Path], None], data: str, reason: str
) -> None:
    machine = Machine(small)
    expected = machine.run()
    machine.stop(7)
    damage(machine.saver().folder)
    machine.notices.clear()
    assert_same(machine.run(saver=machine.saver(data=data)), expected)
    assert machine.notices == [
        f"trial #0: its saved state is not used: {reason}",
        "trial #0 starts again; 100 s were lost",
    ]
    assert not (small.parent / "pwned").exists()


def test_disk_without_room_is_one_notice_and_the_run_goes_on(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    machine = Machine(small)
    expected = machine.run()
    with monkeypatch.context() as patch:
        patch.setattr(SavedState, "write", write)
        assert_same(machine.run(saver=machine.saver()), expected)
    limited = Machine(small, 'search.saved_trials_disk="1kB"')
    assert_same(limited.run(saver=limited.saver()), expected)
    assert len(machine.notices) == len(limited.notices) == 2  # that it starts again, and that it cannot be saved
    assert "cannot be saved ([Errno 28] No space left on device)" in machine.notices[1]
    assert "search.saved_trials_disk is 1,000 bytes" in limited.notices[1]
    assert not limited.saver().root.exists()
