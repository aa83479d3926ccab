"""Full curves of many configurations, pruned by nobody, recorded once for `simulate` to replay in seconds.

    python -m benchmarks.curves 0/2 & python -m benchmarks.curves 1/2 & wait     each share in a process of one thread
    python -m benchmarks.curves gather                                           writes curves.parquet

A share that was stopped goes on where it stood.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.real import MODELS, data_file, need

if TYPE_CHECKING:
    from hpo.study.search_space import SearchSpace, StartingPoint
    from hpo.training.measurements import RunMeasurements

CURVES = Path(__file__).with_name("curves.parquet")
WORK = Path(tempfile.gettempdir()) / "hpo-curves"
STARTS = Path(__file__).with_name("starts.toml")
CONFIGURATIONS, SEEDS = 48, 3
# Short texts and few rows, so that a CPU gets through it; a checkpoint without a head, so that configurations differ.
STUDY = f"""\
name = "curves"
[data]
train = "{data_file("sst2", "train")}"
validation = "{data_file("sst2", "validation")}"
rows = {{ train = 480, validation = 500 }}
[model]
checkpoint = "{MODELS / "minilm-l6"}"
max_length = 64
[space]
file = "{Path(__file__).parents[1] / "search_spaces" / "finetune.toml"}"
[search]
rungs = [0.125, 0.25, 0.5, 0.75, 1.0]
[training]
per_device_train_batch_size = 16
bf16 = true
train_sampling_strategy = "group_by_length"
"""
# What every run has beside the values of its configuration: attention without dropout, which a CPU fuses.
FUSED = {"model.attention_probs_dropout_prob": 0.0}


def candidates() -> list[StartingPoint]:
    """The recipes among which known-good starts are chosen."""
    from hpo.study.search_space import StartingPoint
    from hpo.study.toml_reader import read_toml

    return [StartingPoint.model_validate(each) for each in read_toml(STARTS)["known_good"]]


def configurations(space: SearchSpace) -> list[dict[str, Any]]:
    """The candidates for known-good starts, and after them points of a scrambled Sobol sequence, 48 in all."""
    import optuna

    known = [start.values for start in candidates()]
    study = optuna.create_study(sampler=optuna.samplers.QMCSampler(scramble=True, seed=0))
    points = []
    for _ in range(CONFIGURATIONS - len(known)):
        trial = study.ask()
        points.append(space.suggest(trial))
        study.tell(trial, 0.0)
    return [*known, *points]


def rows(
    run: tuple[int, int], values: dict[str, Any], record: RunMeasurements, correct: dict[int, bytes]
) -> Iterator[Any]:
    """One row per rung of a run: its values, what it had cost by then, and which validation rows it got right."""
    for rung, scores in record.curve.items():
        kept = {name: scores[name] for name in ("accuracy", "loss")}
        yield {"configuration": run[0], "seed": run[1], "rung": rung, **values, **kept, "correct": correct[rung].hex()}


def record_share(share: int, shares: int) -> None:
    """Make every run of a share that is not there yet, a line of JSON per rung."""
    import numpy as np

    from hpo.search.search_listener import SearchListener
    from hpo.search.worker import prepare_context
    from hpo.study.spec import load_study
    from hpo.training.measurements import TrialEnded
    from hpo.training.trainer import RungTrainer

    WORK.mkdir(exist_ok=True)
    (WORK / "curves.toml").write_text(STUDY)
    spec = load_study(WORK / "curves.toml")
    task, _ = prepare_context(spec, SearchListener())

    class Recorder(RungTrainer):
        """Remembers which rows were right at each evaluation."""

        def _get_eval_sampler(self, eval_dataset: Any) -> Any:
            self.order = np.argsort(-self.task.validation.lengths, kind="stable")  # the same for every seed
            return self.order.tolist()

        def _scores(self, prediction: Any) -> dict[str, float]:
            right = np.empty(len(self.order), dtype=bool)
            right[self.order] = prediction.predictions.argmax(axis=1) == prediction.label_ids
            self.right = np.packbits(right).tobytes()
            return super()._scores(prediction)

    log = WORK / f"share-{share}-of-{shares}.jsonl"
    there = {(row["configuration"], row["seed"]) for row in _lines(log)}
    todo = [(place, seed) for seed in range(SEEDS) for place in range(CONFIGURATIONS)][share::shares]
    made = configurations(spec.space)
    trainer = Recorder(task)
    for run in todo:
        if run in there:
            continue
        correct: dict[int, bytes] = {}
        trainer.at_rung = lambda rung, scores, last, correct=correct: correct.update({rung: trainer.right})
        try:
            record = trainer.run({**made[run[0]], **FUSED}, seed=1000 + run[1])
        except TrialEnded as ended:
            print(run, ended, flush=True)
            record = trainer.record
        with log.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(run, made[run[0]], record, correct))
        print(run, {rung: round(each["accuracy"], 3) for rung, each in record.curve.items()}, flush=True)


def gather() -> None:
    """All shares in one parquet file."""
    import pandas

    table = pandas.DataFrame([row for log in sorted(WORK.glob("share-*.jsonl")) for row in _lines(log)])
    table = table.sort_values(["configuration", "seed", "rung"]).drop_duplicates(["configuration", "seed", "rung"])
    table.to_parquet(CURVES, index=False)
    print(f"{CURVES}: {table.groupby(['configuration', 'seed']).ngroups} runs, {CURVES.stat().st_size / 1e3:.0f} kB")


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def main() -> None:
    need()
    word = sys.argv[1] if len(sys.argv) > 1 else "0/1"
    if word == "gather":
        gather()
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        share, shares = map(int, word.split("/"))
        record_share(share, shares)


if __name__ == "__main__":
    main()
