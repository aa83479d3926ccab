"""BASELINES: what the winner is tried against, each on the same rows, its runs stored like the winner's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from hpo.data.splits import Split
from hpo.errors import StudyError, TrainingError, unknown_name
from hpo.evaluation.final_runs import FINE_TUNE, FinalRuns, RunKey, RunOutcome, predict_splits
from hpo.evaluation.retraining import find_winner, predict_split, retraining_runs, select_candidates, train_and_predict
from hpo.evaluation.text_baselines import TEXT_BASELINES
from hpo.study.spec import RERUN, StudySpec

RERUN_SEED_OFFSET = 1_000_003  # added to the final seeds where runs must share none of them


def _once(name: str, spec: StudySpec, best: Mapping[str, Any] | None) -> list[RunKey]:
    """One run with the first seed: scikit-learn's own noise is small beside a fine-tuned transformer's."""
    return [RunKey(name, spec.final.seed_list[0], spec.final.train_on)]


def _recipe(name: str, spec: StudySpec, best: Mapping[str, Any] | None) -> list[RunKey]:
    """The first known-good start, as published: what it leaves out stays at [training] or the library's default."""
    if not spec.space.known_good:
        raise spec.error("final.baselines", "has recipe, but the search space names no known_good start")
    return retraining_runs(spec, spec.space.known_good[0].values)


def _rerun(name: str, spec: StudySpec, best: Mapping[str, Any] | None) -> list[RunKey]:
    """The winner's own values under other seeds: whoever finds a gain over it finds noise (an A/A test)."""
    if best is None:
        raise StudyError(f"baseline rerun needs the search's best trial; `{spec.command('search')}` comes first")
    return [
        RunKey(FINE_TUNE, (seed + RERUN_SEED_OFFSET) % 2**32, spec.final.train_on, best)
        for seed in spec.final.seed_list
    ]


# name -> its runs, from its name, the study, and the values of the search's best trial where there is one
BASELINES: dict[str, Callable[[str, StudySpec, Mapping[str, Any] | None], list[RunKey]]] = {
    **dict.fromkeys(TEXT_BASELINES, _once),
    "pretrained": _once,
    "recipe": _recipe,
    RERUN: _rerun,
}


def baseline_names(spec: StudySpec) -> list[str]:
    """The study's baselines; a recipe that nobody asked for by name is left out where the space names none.

    Raises SpecError for a name that is unknown.
    """
    for name in spec.final.baselines:
        if name not in BASELINES:
            raise spec.error("final.baselines", f"has {name!r}; it {unknown_name(name, BASELINES)}")
    is_default = "baselines" not in spec.final.model_fields_set
    return [
        name for name in spec.final.baselines if not (is_default and name == "recipe" and not spec.space.known_good)
    ]


def check_baselines(spec: StudySpec, names: Sequence[str]) -> None:
    """Raise HpoError for a baseline that is unknown or cannot be made, before anything is."""
    for name in names:
        if name not in BASELINES:
            raise StudyError(f"baseline {name!r} {unknown_name(name, BASELINES)}")
        BASELINES[name](name, spec, {})


def run_baselines(final: FinalRuns, names: Sequence[str]) -> dict[str, list[FrozenTrial]]:
    """Baseline -> its runs, in the order of its seeds: all made where they are not there yet.

    Where one fails the others are made none the less; then TrainingError says which.
    """
    made: dict[str, list[FrozenTrial]] = {}
    failed: list[str] = []
    for name in names:
        try:
            runs = BASELINES[name](name, final.spec, _best(final, name))
            made[name] = [final.make(run, name, partial(_outcome, final, run, name)) for run in runs]
        except TrainingError as error:
            failed.append(str(error))
    if failed:
        raise TrainingError("; ".join(failed))
    return made


def _best(final: FinalRuns, name: str) -> Mapping[str, Any] | None:
    if name != RERUN:
        return None
    if final.spec.final.top_k > 1:
        return find_winner(final.spec, final.search, final.study)[0].values
    return select_candidates(final.search, 1)[0].values


def _outcome(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    if run.kind == FINE_TUNE:
        return train_and_predict(final, run, name)
    return _pretrained(final, run) if run.kind == "pretrained" else _classical(final, run)


def _classical(final: FinalRuns, run: RunKey) -> RunOutcome:
    """Fit one of scikit-learn's and let it predict."""
    model = TEXT_BASELINES[run.kind](run.seed)

    def tell(share: float, what: str) -> None:
        final.stop.check()
        final.listener.step(share, what)

    started = time.monotonic()
    found = model.fit(final.train.texts, final.train.labels, tell)
    fitted = time.monotonic() - started
    validation, test, seconds = predict_splits(final, lambda split: model.predict(split.texts))
    return RunOutcome(
        validation, test, {"fit": fitted, "predict": seconds, "wall": fitted + seconds}, {"effective": found}
    )


def _pretrained(final: FinalRuns, run: RunKey) -> RunOutcome:
    """The checkpoint as it is where its head has the study's labels, else a linear probe on its frozen embeddings."""
    from transformers import set_seed

    from hpo.training.inference import to_accelerator

    set_seed(run.seed)  # of weights that a checkpoint lacks: all of them for builtin:tiny
    model = to_accelerator(final.checkpoint.fresh())
    if final.checkpoint.has_head:
        validation, test, seconds = predict_splits(final, lambda split: predict_split(final, model, split))
        about = {"effective": {"as": "the checkpoint as it is, with its own head"}}
        return RunOutcome(validation, test, {"fit": 0.0, "predict": seconds, "wall": seconds}, about)

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from hpo.training.inference import mean_embeddings

    def embed(split: Split) -> NDArray[Any]:
        def pulse(done: int, count: int) -> None:
            final.stop.check()
            final.listener.step(done / count, f"embedding {done:,} of {count:,}")

        return mean_embeddings(model, final.checkpoint.tokenizer, final.tokens(split), pulse)

    started = time.monotonic()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    probe.fit(embed(final.train), np.asarray(final.train.labels))
    fitted = time.monotonic() - started
    validation, test, seconds = predict_splits(final, lambda split: probe.predict_proba(embed(split)))
    about = {"effective": {"as": "a linear probe on its frozen, mean-pooled embeddings"}}
    return RunOutcome(validation, test, {"fit": fitted, "predict": seconds, "wall": fitted + seconds}, about)
