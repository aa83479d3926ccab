"""Record full curves of many configurations, without pruning, for `simulate` to replay.

    python -m benchmarks.curves 0/2 & python -m benchmarks.curves 1/2 & wait     one process per share, one thread each
    python -m benchmarks.curves gather                                           writes curves.parquet

A share that was interrupted continues where it stopped.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.real import MODELS, data_file, require_shared_data

if TYPE_CHECKING:
    from hpo.study.search_space import SearchSpace, StartingPoint
    from hpo.training.measurements import RunMeasurements

CURVES = Path(__file__).with_name("curves.parquet")
WORK = Path(tempfile.gettempdir()) / "hpo-curves"
STARTS = Path(__file__).with_name("starts.toml")
CONFIGURATIONS, SEEDS = 48, 3
# Short texts and few rows, to be fast on a CPU; a checkpoint without a head, so that configurations differ.
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
# Added to the values of every configuration: attention is fused on a CPU only without dropout.
FUSED = {"model.attention_probs_dropout_prob": 0.0}


def load_candidates() -> list[StartingPoint]:
    """Load the published configurations among which starting points are chosen."""
    from hpo.study.search_space import StartingPoint
    from hpo.study.toml_reader import read_toml

    return [StartingPoint.model_validate(each) for each in read_toml(STARTS)["known_good"]]


def configurations(space: SearchSpace) -> list[dict[str, Any]]:
    """Return the candidates for starting points, then points of a scrambled Sobol sequence: 48 in all."""
    import optuna

    published = [start.values for start in load_candidates()]
    study = optuna.create_study(sampler=optuna.samplers.QMCSampler(scramble=True, seed=0))
    points = []
    for _ in range(CONFIGURATIONS - len(published)):
        trial = study.ask()
        points.append(space.suggest(trial))
        study.tell(trial, 0.0)
    return [*published, *points]


def rung_rows(
    run: tuple[int, int], values: dict[str, Any], measured: RunMeasurements, correct: dict[int, bytes]
) -> Iterator[Any]:
    """Yield a row per rung of a run: its values and scores, and which validation rows it classified correctly."""
    for rung, scores in measured.curve.items():
        kept = {name: scores[name] for name in ("accuracy", "loss")}
        yield {"configuration": run[0], "seed": run[1], "rung": rung, **values, **kept, "correct": correct[rung].hex()}


def record_share(share: int, shares: int) -> None:
    """Run every missing run of a share and write a line of JSON per rung."""
    import numpy as np

    from hpo.search.search_listener import SearchListener
    from hpo.search.setup import prepare_context
    from hpo.study.spec import load_study
    from hpo.training.measurements import TrialEnded
    from hpo.training.trainer import RungTrainer

    WORK.mkdir(exist_ok=True)
    (WORK / "curves.toml").write_text(STUDY)
    spec = load_study(WORK / "curves.toml")
    task, _ = prepare_context(spec, SearchListener())

    class Recorder(RungTrainer):
        """Keeps which rows were classified correctly at each evaluation."""

        def _get_eval_sampler(self, eval_dataset: Any) -> Any:
            self.order = np.argsort(-self.context.validation.lengths, kind="stable")  # the same for every seed
            return self.order.tolist()

        def _scores(self, prediction: Any) -> dict[str, float]:
            right = np.empty(len(self.order), dtype=bool)
            right[self.order] = prediction.predictions.argmax(axis=1) == prediction.label_ids
            self.right = np.packbits(right).tobytes()
            return super()._scores(prediction)

    log = WORK / f"share-{share}-of-{shares}.jsonl"
    recorded = {(row["configuration"], row["seed"]) for row in _lines(log)}
    runs = [(index, seed) for seed in range(SEEDS) for index in range(CONFIGURATIONS)][share::shares]
    values = configurations(spec.space)
    trainer = Recorder(task)
    for run in runs:
        if run in recorded:
            continue
        correct: dict[int, bytes] = {}

        def keep_rows(rung: int, scores: Any, is_last: bool, correct: dict[int, bytes] = correct) -> None:
            correct[rung] = trainer.right

        trainer.on_rung = keep_rows
        try:
            measured = trainer.run({**values[run[0]], **FUSED}, seed=1000 + run[1])
        except TrialEnded as ended:
            print(run, ended, flush=True)
            measured = trainer.measurements
        with log.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rung_rows(run, values[run[0]], measured, correct))
        print(run, {rung: round(each["accuracy"], 3) for rung, each in measured.curve.items()}, flush=True)


def gather() -> None:
    """Write all shares into one parquet file."""
    import pandas

    table = pandas.DataFrame([row for log in sorted(WORK.glob("share-*.jsonl")) for row in _lines(log)])
    table = table.sort_values(["configuration", "seed", "rung"]).drop_duplicates(["configuration", "seed", "rung"])
    table.to_parquet(CURVES, index=False)
    print(f"{CURVES}: {table.groupby(['configuration', 'seed']).ngroups} runs, {CURVES.stat().st_size / 1e3:.0f} kB")


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def main() -> None:
    require_shared_data()
    argument = sys.argv[1] if len(sys.argv) > 1 else "0/1"
    if argument == "gather":
        gather()
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        share, shares = map(int, argument.split("/"))
        record_share(share, shares)


if __name__ == "__main__":
    main()
