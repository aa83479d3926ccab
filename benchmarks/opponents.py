"""The searches that are compared, each in its own process: stock, tuned, recipe, ours.

    python -m benchmarks.opponents NAME FOLDER

FOLDER/case.json describes the problem. When a trial completes, a line with its score on the validation split and the
seconds since the process started is written to FOLDER/NAME.jsonl; the last line is the result.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SPACE = Path(__file__).parents[1] / "search_spaces"


@dataclass(frozen=True)
class Case:
    """One problem, the same for every opponent."""

    checkpoint: str
    max_length: int
    space: str  # a file in search_spaces/
    trials: int
    seed: int
    threads: int
    train: str = "train.parquet"  # in the same folder, columns text and label
    validation: str = "validation.parquet"
    batch: int = 16

    def write(self, folder: Path) -> None:
        """Write the case into a folder, for the opponents to read."""
        (folder / "case.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read the case from a folder."""
        return cls(**json.loads((folder / "case.json").read_text()))


class ScoreLog:
    """Scores with the seconds since the process started, without those for which it was paused."""

    def __init__(self, file: Path) -> None:
        import psutil

        self.file = file
        self.began = psutil.Process().create_time()
        self.paused = 0.0

    def write(self, **entry: Any) -> None:
        with self.file.open("a") as lines:
            lines.write(json.dumps({"at": round(time.time() - self.began - self.paused, 2), **entry}) + "\n")

    def pause(self, *_: Any) -> None:
        """Stop until SIGCONT, as on Ctrl-Z, and do not count the time."""
        stopped = time.time()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.paused += time.time() - stopped


Best = tuple[float, dict[str, Any]]  # a search's best score on validation, and its values


def stock(case: Case, folder: Path, log: ScoreLog, tuned: bool = False) -> Best:
    """Trainer.hyperparameter_search as its documentation shows it; `tuned`: as an expert would set it up."""
    import optuna

    def space(trial: Any) -> dict[str, Any]:
        """Sample the axes of the file; an expert knows that the documented name of warmup has no effect."""
        values = load_space(case).suggest(trial)
        return rename_warmup(values) if tuned else values

    trainer = build_plain_trainer(case, folder / "runs", log, tuned)
    best = trainer.hyperparameter_search(
        hp_space=space,
        compute_objective=lambda scores: scores["eval_accuracy"],
        n_trials=case.trials,
        direction="maximize",
        backend="optuna",
        sampler=optuna.samplers.TPESampler(seed=case.seed),
        **({"pruner": optuna.pruners.MedianPruner()} if tuned else {}),
    )
    return float(best.objective), best.hyperparameters if not tuned else rename_warmup(best.hyperparameters)


def rename_warmup(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with warmup under the name that takes effect."""
    return {"warmup_steps" if name == "warmup_ratio" else name: value for name, value in values.items()}


def recipe(case: Case, folder: Path, log: ScoreLog) -> Best:
    """Train the first published configuration once, as an expert would set it up."""
    values = rename_warmup(load_space(case).known_good[0].values)
    trainer = build_plain_trainer(case, folder / "runs", log, tuned=True, **values)
    trainer.train()
    scores = [line["eval_accuracy"] for line in trainer.state.log_history if "eval_accuracy" in line]
    return float(scores[-1]), values


def ours(case: Case, folder: Path, log: ScoreLog) -> Best:
    """Run `hpo search` on a study file with the same information that the others get."""
    from hpo.search.engines import run_search
    from hpo.search.search_listener import SearchListener
    from hpo.study.spec import load_study

    class Writer(SearchListener):
        """Logs the value of each complete trial; a score at a rung is not a result of the search yet."""

        def ends(self, trial: Any, study: Any) -> None:
            if trial.state.name == "COMPLETE":
                log.write(value=trial.value)

    (folder / "study.toml").write_text(format_study(case))
    study = run_search(load_study(folder / "study.toml"), f"sqlite:///{folder}/store.db", Writer())
    return float(study.best_value), study.best_params


STUDY = """\
name = "ours"
[data]
train = "{train}"
validation = "{validation}"
[model]
checkpoint = "{checkpoint}"
max_length = {max_length}
[space]
file = "{space}"
[search]
trials = {trials}
seed = {seed}
[training]
per_device_train_batch_size = {batch}
"""
OPPONENTS: dict[str, Callable[[Case, Path, ScoreLog], Best]] = {
    "stock": stock,
    "tuned": lambda case, folder, log: stock(case, folder, log, tuned=True),
    "recipe": recipe,
    "ours": ours,
}


def format_study(case: Case) -> str:
    """Return the study file of a case."""
    return STUDY.format(**{**asdict(case), "space": SPACE / case.space})


def load_space(case: Case) -> Any:
    from hpo.study.search_space import SearchSpace
    from hpo.study.toml_reader import read_toml

    return SearchSpace.model_validate(read_toml(SPACE / case.space))


def build_plain_trainer(case: Case, output: Path, log: ScoreLog, tuned: bool, **values: Any) -> Any:
    """Return a plain Trainer for the case."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from hpo.training.arguments import eval_batch_size

    tokenizer = AutoTokenizer.from_pretrained(case.checkpoint)

    def rows(file: str) -> Any:
        table = Dataset.from_parquet(str(output.parent / file), cache_dir=str(output.parent / "cache"))
        encode = {"truncation": True, "max_length": case.max_length}
        encoded = table.map(lambda part: tokenizer(part["text"], **encode), batched=True, remove_columns=["text"])
        return encoded.rename_column("label", "labels")

    class ScoreCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        """Logs the score at the end of each training."""

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
            if state.global_step >= state.max_steps:
                log.write(value=metrics["eval_accuracy"])

    # What an expert would turn on: bfloat16 if it helps, batches of similar length, no saving, and larger batches in
    # evaluation, of the same size as ours.
    fast: dict[str, Any] = {"train_sampling_strategy": "group_by_length", "warmup_steps": 0.0, "save_strategy": "no"}
    fast |= {"per_device_eval_batch_size": eval_batch_size(case.max_length)}
    fast |= {"bf16": True} if _has_bfloat16(case) else {}
    each_epoch = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    arguments = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=case.batch,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.accelerator.is_available(),
        **{"seed": case.seed, **each_epoch, **(fast if tuned else {}), **values},
    )
    return Trainer(
        model_init=lambda: AutoModelForSequenceClassification.from_pretrained(
            case.checkpoint, num_labels=2, dtype=torch.float32
        ),
        args=arguments,
        train_dataset=rows(case.train),
        eval_dataset=rows(case.validation),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda out: {"accuracy": float(np.mean(out.predictions.argmax(-1) == out.label_ids))},
        callbacks=[ScoreCallback()],
    )


def _has_bfloat16(case: Case) -> bool:
    """Return whether bfloat16 helps: the device multiplies in it, and the model is wide enough."""
    import torch
    from transformers import AutoConfig

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    from hpo.training.acceleration.presets import MIN_BF16_WIDTH
    from hpo.training.library_internals import has_bf16_instructions

    return has_bf16_instructions() and int(AutoConfig.from_pretrained(case.checkpoint).hidden_size) >= MIN_BF16_WIDTH


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    log = ScoreLog(folder / f"{name}.jsonl")
    signal.signal(signal.SIGTSTP, log.pause)
    case = Case.read(folder)
    import torch

    torch.set_num_threads(case.threads)
    best, values = OPPONENTS[name](case, folder, log)
    used = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    marks = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = int(marks["VmHWM"].split()[0]) * 1024
    log.write(best=best, values=values, memory=memory, device_memory=used, paused=round(log.paused, 2))


if __name__ == "__main__":
    main()
