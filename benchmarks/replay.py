"""The same trial with one lever at a time: seconds, tokens per second, share of the machine's peak, and its score.

    python -m benchmarks.replay [cpu|small|gpu] [--seeds 0 1 2 3 4] [--only stock auto] [--again auto]

Settings take turns within each seed, in one process; loading and tokenising are not counted, evaluation is. "stock" is
the plain Trainer in fp32, with random batches, evaluating and saving after each epoch; the others are ours and evaluate
at the rungs. Nothing is pruned. Beside the clock each model is tried on test rows too, which are more. A run that
benchmarks/runs/ holds already is not made again, but for those named; the table is of all that it holds of the case.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import peak
from benchmarks.opponents import Case, Diary, plain_trainer, study_of, with_warmup
from benchmarks.results import kept, markdown, runs_in
from benchmarks.vs_stock import SETTINGS, asked, prepared, rows, tell

if TYPE_CHECKING:
    from hpo.data.splits import TextData

TRIAL = {"learning_rate": 1e-4, "num_train_epochs": 2, "weight_decay": 0.01, "warmup_ratio": 0.1}
OURS: dict[str, Callable[[str], bool]] = {  # which of the device's levers each takes; see hpo/training/speed.py
    "exact": lambda lever: False,
    "bf16": lambda lever: lever == "bf16",
    "like lengths": lambda lever: lever == "train_sampling_strategy",
    "no attention dropout": lambda lever: lever.startswith("model."),
    "levers alone": lambda lever: True,
    "auto": lambda lever: True,
}
NAMES = ("stock", *OURS)


class Replay:
    """One case, loaded once; `run` trains its trial with one setting and one seed."""

    def __init__(self, name: str, seed: int) -> None:
        self.setting = SETTINGS[name]
        self.folder = prepared(name, seed)
        self.case = Case.read(self.folder)

    @cached_property
    def task(self) -> Any:
        """What our runs share, with every lever that this device has."""
        from hpo.search.search_listener import SearchListener
        from hpo.search.worker import prepare_context
        from hpo.study.spec import load_study

        (self.folder / "study.toml").write_text(study_of(self.case))
        return prepare_context(load_study(self.folder / "study.toml"), SearchListener())[0]

    @cached_property
    def test(self) -> TextData:
        """The test split, which no search sees."""
        return rows(self.setting, self.folder).test

    @cached_property
    def _test_tokens(self) -> Any:
        from hpo.data.token_cache import tokenize_split

        return tokenize_split(self.test, self.task.checkpoint.tokenizer, self.case.max_length)

    def answers(self, model: Any) -> NDArray[Any]:
        """The classes that a model gives to the test rows: whoever trained it, in bfloat16 where that is quicker."""
        import torch

        from hpo.training.acceleration.cpu_kernels import CpuKernels
        from hpo.training.acceleration.presets import has_bf16_instructions
        from hpo.training.inference import predict_probabilities

        with CpuKernels(), torch.autocast("cpu", torch.bfloat16, enabled=has_bf16_instructions()):
            shares = predict_probabilities(model, self.task.checkpoint.tokenizer, self._test_tokens)
        answers: NDArray[Any] = shares.argmax(1)
        return answers

    def _held(self, model: Any) -> float:
        return float((self.answers(model) == np.array(self.test.labels)).mean())

    def run(self, name: str, seed: int) -> dict[str, Any]:
        """Seconds, tokens and the last score of one run, and the machine's peaks as they were just before."""
        import torch

        peaks = {"fp32": peak.matmul(), "bf16": peak.matmul(torch.bfloat16)}
        return {"peaks": peaks, **(self._stock(seed) if name == "stock" else self._ours(name, seed))}

    def has(self, name: str) -> bool:
        """Whether this device has the lever that a setting is about."""
        return name in ("stock", "exact") or any(map(OURS[name], self.task.levers))

    def _ours(self, name: str, seed: int) -> dict[str, Any]:
        from dataclasses import replace

        from hpo.training.trainer import RungTrainer

        taken = {lever: value for lever, value in self.task.levers.items() if OURS[name](lever)}
        spec = self.task.spec
        if name != "auto":  # which alone also takes the short ways that are no levers
            spec = spec.model_copy(update={"training": {**spec.training, "speed": "exact"}})
        trainer = RungTrainer(replace(self.task, spec=spec, levers=taken))
        record = trainer.run(TRIAL, seed)
        return {
            "seconds": record.seconds["wall"],
            "train": record.seconds["train"],
            "tokens": record.tokens,
            "score": record.values_of("accuracy")[1000],
            "held": self._held(trainer.settled()),
            "levers": taken,
        }

    def _stock(self, seed: int) -> dict[str, Any]:
        from hpo.training.checkpoint import remove_accelerate_wrappers

        values = with_warmup(TRIAL)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            diary = Diary(Path(scratch) / "diary")
            trainer = plain_trainer(self.case, Path(scratch), diary, tuned=False, **{**values, "seed": seed})
            started = time.monotonic()
            trainer.train()
            seconds = time.monotonic() - started
            scores = [line["eval_accuracy"] for line in trainer.state.log_history if "eval_accuracy" in line]
            evaluation = sum(line.get("eval_runtime", 0.0) for line in trainer.state.log_history)
        tokens = int(self.task.train.lengths.sum()) * TRIAL["num_train_epochs"]
        remove_accelerate_wrappers(trainer.model)
        return {
            "seconds": seconds,
            "train": seconds - evaluation,
            "tokens": tokens,
            "score": scores[-1],
            "held": self._held(trainer.model),
            "levers": {},
        }


def work(task: Any) -> float:
    """FLOP to train on one token: six per weight that is multiplied, and attention over texts of mean length."""
    config, model = task.checkpoint.config, task.checkpoint.fresh()
    looked_up = model.base_model.embeddings
    weights = model.num_parameters() - sum(each.numel() for each in looked_up.parameters())
    return 6 * weights + 12 * config.num_hidden_layers * config.hidden_size * float(task.train.lengths.mean())


HEADS = (
    "setting",
    "seeds",
    "s a trial",
    "times stock's trials per hour",
    "tokens/s beside evaluation",
    "share of peak",
    "accuracy",
    "less stock's, points",
    "on test",
    "less stock's, points",
)


def table(runs: list[dict[str, Any]], work: float) -> str:
    """A row per setting: means over its seeds, and differences to stock with 95 % intervals."""
    by = {name: {run["seed"]: run for run in runs if run["setting"] == name} for name in NAMES}
    peaks = {kind: mean(run["peaks"][kind] for run in runs) for kind in ("fp32", "bf16")}
    lines = [row(name, own, by["stock"], work) for name, own in by.items() if own]
    return (
        f"{markdown(HEADS, lines)}\n\nPeak, GFLOP/s, in the mean: fp32 {peaks['fp32']:.0f}, bf16 {peaks['bf16']:.0f}."
    )


def row(name: str, own: Mapping[int, Any], stock: Mapping[int, Any], work: float) -> Sequence[object]:
    """A setting's cells, from its runs and stock's by seed."""
    both = sorted(own.keys() & stock.keys())
    speed = mean(run["tokens"] / run["train"] for run in own.values())
    shares = [
        run["tokens"] / run["train"] * work / run["peaks"]["bf16" if "bf16" in run["levers"] else "fp32"]
        for run in own.values()
    ]
    share = mean(shares) / 1e9
    faster = mean(stock[seed]["seconds"] for seed in both) / mean(own[seed]["seconds"] for seed in both)
    cells = [f"{mean(run['seconds'] for run in own.values()):.1f}", f"{faster:.2f}", f"{speed:,.0f}", f"{share:.0%}"]
    for score in ("score", "held"):
        gains = [100 * (own[seed][score] - stock[seed][score]) for seed in both]
        cells += [f"{mean(run[score] for run in own.values()):.4f}", "" if name == "stock" else interval(gains)]
    return name, len(own), *cells


def interval(differences: Sequence[float]) -> str:
    """The mean of paired differences, and Student's 95 % interval of it."""
    from scipy import stats

    if len(differences) < 2:
        return f"{mean(differences):+.2f}"
    half = stats.t.isf(0.025, len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
    return f"{mean(differences):+.2f} [{mean(differences) - half:+.2f}, {mean(differences) + half:+.2f}]"


def main() -> None:
    given = asked(__doc__, seeds=5, names=NAMES, against="stock")
    replay = Replay(given.case, seed=0)
    for seed in given.seeds:
        for name in filter(replay.has, given.only):
            which = {"seed": seed, "setting": name}
            kept(given.file, which, partial(replay.run, name, seed), name in given.again)
    newest = {(run["setting"], run["seed"]): run for run in runs_in(given.file)}
    tell(given, list(newest.values()), partial(table, work=work(replay.task)))


if __name__ == "__main__":
    main()
