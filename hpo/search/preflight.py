"""Checks before a search, a dry run or final runs: everything that can be wrong is found before anything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpo.data.near_duplicates import describe_near_duplicates
from hpo.data.notices import describe_rare_class
from hpo.data.sources import is_path
from hpo.data.splits import TextData, load_splits
from hpo.errors import StudyError, unknown_value
from hpo.ownership import check_folder
from hpo.search.batch_check import check_batches
from hpo.store.storage import check_same_data, check_same_spec, find_stored_study, no_search_error
from hpo.study.spec import StudySpec
from hpo.training.argument_checks import check_arguments
from hpo.training.checkpoint_folder import find_checkpoint_folder
from hpo.training.metrics import METRICS, unsuitable_reason

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class CheckedStudy:
    """A study file that can be run, with its rows, and the search of that name if the store has one."""

    spec: StudySpec
    data: TextData
    study: Study | None


def preflight(
    spec: StudySpec,
    url: str,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
    needs_search: bool = False,
) -> CheckedStudy:
    """Check the study file, compare it with the stored study, load the data and compare them too.

    Cheap checks come first, and nothing is written. Raises SpecError, StoreError, StudyError, ModelError and DataError;
    with `needs_search`, StudyError if the search has not begun.
    """
    check_components(spec, sampler, pruner)
    find_checkpoint_folder(spec)
    study = find_stored_study(spec, url)
    if needs_search and study is None:
        raise no_search_error(spec)
    if study:
        check_same_spec(study, spec)  # before the data are loaded, which may take minutes
    # Importing torch takes longer than reading files, but a download may take minutes.
    data = None if _is_on_hub(spec) else load_study_data(spec)
    check_arguments(spec)
    data = data or load_study_data(spec)
    if study:
        check_same_data(study, spec, data.about())
    check_batches(spec, len(data.train))
    return CheckedStudy(spec, data, study)


def check_spec(spec: StudySpec, sampler: BaseSampler | None = None, pruner: BasePruner | None = None) -> None:
    """Raise SpecError for a sampler, pruner, field or value that cannot be used, without touching data or store.

    Raise StudyError if the folder of the best weights holds something that hpo has not written.
    """
    check_components(spec, sampler, pruner)
    check_arguments(spec)


def check_components(spec: StudySpec, sampler: BaseSampler | None = None, pruner: BasePruner | None = None) -> None:
    """Raise SpecError for a sampler, pruner, objective or name that cannot be used. Does not import torch."""
    import optuna

    from hpo.search.pruners import build_pruner
    from hpo.search.samplers import build_sampler, option_error

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Under DDP only the first process learns that a trial is pruned; the others would wait forever (pitfall 21).
        raise StudyError("hpo was started by torchrun, but a trial runs on one device: run `hpo search --workers N`")
    build_pruner(spec, pruner)
    try:
        # Optuna checks some options only when it draws.
        if sampler is None:
            spec.space.suggest(optuna.create_study(sampler=build_sampler(spec)).ask())
    except (TypeError, ValueError) as error:
        raise option_error(spec, "search.sampler", error) from None
    if spec.objective not in METRICS:
        raise spec.error("objective", unknown_value(spec.objective, METRICS, limit=len(METRICS)))
    if spec.folder.exists() and not spec.folder.is_dir():
        raise spec.error("name", f"is {spec.name!r}, but {spec.folder} is a file; choose another name")
    check_folder(spec.best_folder)


def _is_on_hub(spec: StudySpec) -> bool:
    """Whether the data are to be loaded from the hub: the source is no built-in corpus, file or folder."""
    source = spec.data.source
    if source is None or source.startswith("builtin:") or is_path(source):
        return False
    return not (spec.file.parent / source).exists()


def load_study_data(spec: StudySpec) -> TextData:
    """Load the rows of a study. Raises DataError, and SpecError if the objective does not fit the number of classes."""
    data = load_splits(spec.data, spec.file.parent)
    if reason := unsuitable_reason(spec.objective, len(data.label_names)):
        raise spec.error("objective", reason)
    if spec.objective == "accuracy":
        rare = describe_rare_class(data.train.labels, data.label_names)
        data = replace(data, notices=(*data.notices, *rare))
    if (spec.data.source or "").startswith("builtin:"):
        return data  # generated from templates, so many of its reviews are similar
    return replace(data, notices=(*data.notices, *describe_near_duplicates(data)))
