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
from hpo.search.engines.opening import open_in_child
from hpo.search.engines.processes import run_processes
from hpo.search.engines.ray_cluster import connect_cluster, run_ray
from hpo.search.search_listener import SearchListener
from hpo.store.optuna_internals import storage_of
from hpo.store.outages import announced_outages
from hpo.store.stop_requests import read_stop_request
from hpo.store.storage import find_stored_study
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
    known_stop = read_known_stop(spec, url)  # first: `hpo stop` may come while the data are loaded
    if engine is run_inline:
        from hpo.search.setup import open_search  # imports torch and scikit-learn, which no other parent needs

        context, _, study = open_search(spec, url, listener, sampler, pruner)
        search = SearchRun(spec, study, url, listener, sampler=sampler, pruner=pruner)
        search.context = context
    else:
        if engine is run_ray:
            connect_cluster(spec, url)  # before anything is written
        search = open_in_child(spec, url, listener)
    search.known_stop, study = known_stop, search.study
    sweep_leftovers(spec.folder)
    listener.opens(study)
    if done := count_finished(study.get_trials(deepcopy=False)):
        listener.notice(f"continuing: {done} of {spec.search.trials} trials finished")
    for key, instance in (("sampler", sampler), ("pruner", pruner)):
        if instance is not None:
            listener.notice(f"{key}: {type(instance).__name__}, passed from Python; search.{key} is not used")
    try:
        with announced_outages(storage_of(study), listener.notice):
            engine(search)
    except KeyboardInterrupt:
        if read_stop_request(study).search != known_stop:
            listener.notice("`hpo stop` has asked this search to end")
        raise
    if message := stop_message(study.user_attrs):
        listener.notice(message)
    return study


def read_known_stop(spec: StudySpec, url: str) -> str:
    """Return the last request of `hpo stop` to end this search, which an earlier session has obeyed."""
    study = find_stored_study(spec, url)
    return read_stop_request(study).search if study else ""


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
