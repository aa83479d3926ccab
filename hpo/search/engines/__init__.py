"""ENGINES: where the workers of a search run. `run_search` opens a study and runs it with one of them."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from hpo.atomic import sweep_leftovers
from hpo.errors import unknown_value
from hpo.plugins import load_entry_points
from hpo.search.budget import count_finished, stop_message
from hpo.search.engines.base import Engine, SearchRun
from hpo.search.engines.inline import run_inline
from hpo.search.engines.processes import run_processes
from hpo.search.engines.ray_cluster import run_ray
from hpo.search.search_listener import SearchListener
from hpo.search.setup import open_search
from hpo.store.outages import announced_outages
from hpo.study.spec import StudySpec

ENGINES: dict[str, Engine] = {"inline": run_inline, "processes": run_processes, "ray": run_ray}
ENTRY_POINTS = "hpo.engines"  # group in which other packages register engines


def run_search(
    spec: StudySpec,
    url: str,
    listener: SearchListener,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
) -> optuna.Study:
    """Run a search until its budget is spent, and return its study. A study in the store is continued.

    `sampler` and `pruner` are Optuna objects that replace those of the study file; they need engine `inline`. Raises
    HpoError for wrong input, before the store is written, and KeyboardInterrupt, with every trial closed, if asked to
    stop.
    """
    engine = choose_engine(spec)
    check_objects(spec, engine, sampler, pruner)
    context, storage, study = open_search(spec, url, listener, sampler, pruner)
    sweep_leftovers(spec.folder)
    listener.opens(study)
    if done := count_finished(study.get_trials(deepcopy=False)):
        listener.notice(f"continuing: {done} of {spec.search.trials} trials finished")
    for key, instance in (("sampler", sampler), ("pruner", pruner)):
        if instance is not None:
            listener.notice(f"{key}: {type(instance).__name__}, passed from Python; search.{key} is not used")
    with announced_outages(storage, listener.notice):
        engine(SearchRun(context, storage, study, url, listener, sampler, pruner))
    if message := stop_message(study.user_attrs):
        listener.notice(message)
    return study


def choose_engine(spec: StudySpec) -> Engine:
    """Return the engine of a study: the one it names, or else `inline` for one worker and `processes` for more.

    Raises SpecError for an unknown name and for several inline workers, and HpoError for an engine of a package that
    cannot be imported.
    """
    name = spec.search.engine or ("inline" if spec.search.workers == 1 else "processes")
    if name == "inline" and spec.search.workers > 1:
        raise spec.error(
            "search.workers", f"is {spec.search.workers}, but engine inline runs one worker, processes runs many"
        )
    if name in ENGINES:
        return ENGINES[name]
    plugins = load_entry_points(ENTRY_POINTS)
    if name not in plugins:
        raise spec.error("search.engine", unknown_value(name, [*ENGINES, *plugins]))
    engine: Engine = plugins[name].load()
    return engine


def check_objects(spec: StudySpec, engine: Engine, sampler: BaseSampler | None, pruner: BasePruner | None) -> None:
    """Raise SpecError for a sampler or pruner object that would have to travel to another process."""
    for key, instance in (("sampler", sampler), ("pruner", pruner)):
        if instance is not None and engine is not run_inline:
            raise spec.error(
                f"search.{key}",
                f"was passed as a {type(instance).__name__} object, which only engine inline can use; "
                f"set search.workers to 1 and search.engine to inline, or name the {key} in the study file",
            )
