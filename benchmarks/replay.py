"""Run the same trial with one acceleration at a time: seconds, tokens per second, share of peak speed, and score.

    python -m benchmarks.replay [cpu|small|gpu] [--seeds 0 1 2 3 4] [--only stock auto] [--again auto]

Settings alternate within each seed, in one process; loading and tokenizing are not counted, evaluation is. "stock" is
the plain Trainer in fp32, with random batches, evaluating and saving after each epoch; the others are ours and evaluate
at the rungs. Nothing is pruned. Not counted either: each model is also scored on the test split, which has more rows.
Runs in benchmarks/runs/ are not repeated, except those of --again; the table shows all runs of the case.
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
from benchmarks.opponents import Case, ScoreLog, build_plain_trainer, format_study, rename_warmup
from benchmarks.results import load_or_run, markdown_table, read_runs
from benchmarks.vs_stock import SETTINGS, load_rows, parse_arguments, prepare_case, write_results

if TYPE_CHECKING:
    from hpo.data.splits import Split

TRIAL = {"learning_rate": 1e-4, "num_train_epochs": 2, "weight_decay": 0.01, "warmup_ratio": 0.1}
OURS: dict[str, Callable[[str], bool]] = {  # which of the device's accelerations each uses
    "exact": lambda field: False,
    "bf16": lambda field: field == "bf16",
    "like lengths": lambda field: field == "train_sampling_strategy",
    "no attention dropout": lambda field: field.startswith("model."),
    "levers alone": lambda field: True,
    "auto": lambda field: True,
}
NAMES = ("stock", *OURS)


class Replay:
    """One case, loaded once. `run` trains its trial with one setting and one seed."""

    def __init__(self, name: str, seed: int) -> None:
        self.setting = SETTINGS[name]
        self.folder = prepare_case(name, seed)
        self.case = Case.read(self.folder)

    @cached_property
    def context(self) -> Any:
        """What our runs share, with every acceleration of this device."""
        from hpo.search.search_listener import SearchListener
        from hpo.search.setup import prepare_context
        from hpo.study.spec import load_study

        (self.folder / "study.toml").write_text(format_study(self.case))
        return prepare_context(load_study(self.folder / "study.toml"), SearchListener())[0]

    @cached_property
    def test(self) -> Split:
        """The test split, which no search uses."""
        split = load_rows(self.setting, self.folder).test
        assert split is not None, "load_rows asks for a test split"
        return split

    @cached_property
    def _test_tokens(self) -> Any:
        from hpo.data.token_cache import tokenize_split

        return tokenize_split(self.test, self.context.checkpoint.tokenizer, self.case.max_length)

    def predict_classes(self, model: Any) -> NDArray[Any]:
        """Return a model's classes for the test rows, computed in bfloat16 if that is faster."""
        import torch

        from hpo.training.acceleration.cpu_kernels import CpuKernels
        from hpo.training.inference import predict_probabilities
        from hpo.training.library_internals import has_bf16_instructions

        with CpuKernels(), torch.autocast("cpu", torch.bfloat16, enabled=has_bf16_instructions()):
            probabilities = predict_probabilities(model, self.context.checkpoint.tokenizer, self._test_tokens)
        classes: NDArray[Any] = probabilities.argmax(1)
        return classes

    def _test_accuracy(self, model: Any) -> float:
        return float((self.predict_classes(model) == np.array(self.test.labels)).mean())

    def run(self, name: str, seed: int) -> dict[str, Any]:
        """Return seconds, tokens and the last score of one run, and the machine's peak speeds just before it."""
        import torch

        peaks = {"fp32": peak.measure_matmul(), "bf16": peak.measure_matmul(torch.bfloat16)}
        return {"peaks": peaks, **(self._stock(seed) if name == "stock" else self._ours(name, seed))}

    def supports(self, name: str) -> bool:
        """Return whether this device has the acceleration that a setting tests."""
        return name in ("stock", "exact") or any(map(OURS[name], self.context.accelerations))

    def _ours(self, name: str, seed: int) -> dict[str, Any]:
        from dataclasses import replace

        from hpo.training.trainer import RungTrainer

        chosen = {field: value for field, value in self.context.accelerations.items() if OURS[name](field)}
        spec = self.context.spec
        if name != "auto":  # the only one that also uses faster kernels and graphs
            spec = spec.model_copy(update={"training": {**spec.training, "speed": "exact"}})
        trainer = RungTrainer(replace(self.context, spec=spec, accelerations=chosen))
        measured = trainer.run(TRIAL, seed)
        return {
            "seconds": measured.seconds["wall"],
            "train": measured.seconds["train"],
            "tokens": measured.tokens,
            "score": measured.values_of("accuracy")[1000],
            "held": self._test_accuracy(trainer.final_model()),
            "levers": chosen,
        }

    def _stock(self, seed: int) -> dict[str, Any]:
        from hpo.training.library_internals import remove_accelerate_wrappers

        values = rename_warmup(TRIAL)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            log = ScoreLog(Path(scratch) / "log")
            trainer = build_plain_trainer(self.case, Path(scratch), log, tuned=False, **{**values, "seed": seed})
            started = time.monotonic()
            trainer.train()
            seconds = time.monotonic() - started
            scores = [line["eval_accuracy"] for line in trainer.state.log_history if "eval_accuracy" in line]
            evaluation = sum(line.get("eval_runtime", 0.0) for line in trainer.state.log_history)
        tokens = int(self.context.train.lengths.sum()) * TRIAL["num_train_epochs"]
        remove_accelerate_wrappers(trainer.model)
        return {
            "seconds": seconds,
            "train": seconds - evaluation,
            "tokens": tokens,
            "score": scores[-1],
            "held": self._test_accuracy(trainer.model),
            "levers": {},
        }


def flop_per_token(task: Any) -> float:
    """Return the FLOP to train on one token: six per weight that is multiplied, and attention at the mean length."""
    config, model = task.checkpoint.config, task.checkpoint.fresh()
    embeddings = model.base_model.embeddings
    weights = model.num_parameters() - sum(each.numel() for each in embeddings.parameters())
    return 6 * weights + 12 * config.num_hidden_layers * config.hidden_size * float(task.train.lengths.mean())


HEADS = (
    "setting",
    "seeds",
    "seconds per trial",
    "speed-up",
    "training tokens/s",
    "share of peak",
    "validation accuracy",
    "minus stock's (points)",
    "test accuracy",
    "minus stock's (points)",
)


def build_table(runs: list[dict[str, Any]], work: float) -> str:
    """Return a row per setting: means over its seeds, and differences from stock with 95 % intervals."""
    by = {name: {run["seed"]: run for run in runs if run["setting"] == name} for name in NAMES}
    peaks = {kind: mean(run["peaks"][kind] for run in runs) for kind in ("fp32", "bf16")}
    lines = [build_row(name, by_seed, by["stock"], work) for name, by_seed in by.items() if by_seed]
    peak_text = f"Mean peak (GFLOP/s): fp32 {peaks['fp32']:.0f}, bf16 {peaks['bf16']:.0f}."
    return f"{markdown_table(HEADS, lines)}\n\n{peak_text}"


def build_row(name: str, ours: Mapping[int, Any], stock: Mapping[int, Any], work: float) -> Sequence[object]:
    """Return the cells of a setting, from its runs and those of stock by seed."""
    both = sorted(ours.keys() & stock.keys())
    speed = mean(run["tokens"] / run["train"] for run in ours.values())
    shares = [
        run["tokens"] / run["train"] * work / run["peaks"]["bf16" if "bf16" in run["levers"] else "fp32"]
        for run in ours.values()
    ]
    share = mean(shares) / 1e9
    faster = mean(stock[seed]["seconds"] for seed in both) / mean(ours[seed]["seconds"] for seed in both)
    cells = [f"{mean(run['seconds'] for run in ours.values()):.1f}", f"{faster:.2f}", f"{speed:,.0f}", f"{share:.0%}"]
    for score in ("score", "held"):
        gains = [100 * (ours[seed][score] - stock[seed][score]) for seed in both]
        cells += [f"{mean(run[score] for run in ours.values()):.4f}", "" if name == "stock" else format_interval(gains)]
    return name, len(ours), *cells


def format_interval(differences: Sequence[float]) -> str:
    """Return the mean of paired differences with its 95 % interval (Student's t)."""
    from scipy import stats

    if len(differences) < 2:
        return f"{mean(differences):+.2f}"
    half = stats.t.isf(0.025, len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
    return f"{mean(differences):+.2f} [{mean(differences) - half:+.2f}, {mean(differences) + half:+.2f}]"


def main() -> None:
    options = parse_arguments(__doc__, seeds=5, names=NAMES, against="stock")
    replay = Replay(options.case, seed=0)
    for seed in options.seeds:
        for name in filter(replay.supports, options.only):
            key = {"seed": seed, "setting": name}
            load_or_run(options.file, key, partial(replay.run, name, seed), name in options.again)
    newest = {(run["setting"], run["seed"]): run for run in read_runs(options.file)}
    write_results(options, list(newest.values()), partial(build_table, work=flop_per_token(replay.context)))


if __name__ == "__main__":
    main()
