"""Opening a search: load what all its trials share, then open the study in the store, or create it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from hpo.data.splits import TextData
from hpo.data.token_cache import tokenize_split, truncation_notice
from hpo.errors import quote_value
from hpo.search.batch_check import batch_notice
from hpo.search.budget import stop_message
from hpo.search.preflight import CheckedStudy, load_study_data, preflight
from hpo.search.samplers import count_left
from hpo.search.search_listener import SearchListener
from hpo.store.optuna_internals import storage_of
from hpo.store.provenance import collect_provenance
from hpo.store.storage import check_store_writable, open_storage, open_study
from hpo.store.study_record import StudyRecord, study_attributes
from hpo.study.spec import StudySpec
from hpo.training.acceleration import announce_accelerations, choose_accelerations
from hpo.training.checkpoint import load_checkpoint
from hpo.training.context import RunContext
from hpo.training.metrics import METRICS, suitable_metrics


def open_search(
    spec: StudySpec,
    url: str,
    listener: SearchListener,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
    is_worker: bool = False,
) -> tuple[RunContext, BaseStorage, optuna.Study]:
    """Check and load everything, then open the study in the store, or create it.

    Nothing is written before every input has been checked. For `is_worker` another process has created the study and
    made the smoke test: a worker that does not find the study is looking at another store.
    """
    check_store_writable(url)
    checked = preflight(spec, url, sampler, pruner, needs_search=is_worker)
    context, notices = load_context(spec, checked.data, listener.notice)
    if not is_worker and _has_trials_left(checked):
        for text in check_training(context, checked):
            listener.notice(text)
            notices.append(text)
    storage = storage_of(checked.study) if checked.study else open_storage(url)
    about_data = {**checked.data.about(), "notices": notices}
    provenance = collect_provenance(spec, about_data) | study_attributes(accelerations=dict(context.accelerations))
    study = open_study(storage, spec, context.direction, provenance)
    # Accelerations are part of a study: its trials stay comparable wherever it is continued.
    context = replace(context, accelerations=StudyRecord.from_attributes(study.user_attrs).accelerations or {})
    announce_accelerations(spec, context.accelerations, study, listener.notice)
    return context, storage_of(study), study


def check_training(context: RunContext, checked: CheckedStudy) -> list[str]:
    """Make the smoke test with the accelerations of the stored study, if there is one; return notices."""
    from hpo.search.smoke_test import run_smoke_test  # which imports torch

    if checked.study:
        stored = StudyRecord.from_attributes(checked.study.user_attrs).accelerations
        context = replace(context, accelerations=stored or {})
    return run_smoke_test(context, checked.data)


def _has_trials_left(checked: CheckedStudy) -> bool:
    if checked.study is None:
        return True
    trials = checked.study.get_trials(deepcopy=False)
    return stop_message(checked.study.user_attrs) is None and count_left(checked.spec, trials) > 0


def prepare_context(spec: StudySpec, listener: SearchListener) -> tuple[RunContext, dict[str, Any]]:
    """Load the data of a study and what all its trials share; return it with a description of the data."""
    data = load_study_data(spec)
    context, notices = load_context(spec, data, listener.notice)
    return context, {**data.about(), "notices": notices}


def load_context(spec: StudySpec, data: TextData, notice: Callable[[str], None]) -> tuple[RunContext, list[str]]:
    """Load the checkpoint and the tokens that all trials share; return them with the notices about them.

    Raises DataError, ModelError and SpecError.
    """
    checkpoint = load_checkpoint(spec, data)
    length = spec.model.max_length
    train, validation = (tokenize_split(split, checkpoint.tokenizer, length) for split in (data.train, data.validation))
    notices = [*data.notices, *checkpoint.notices]
    if data.test is None:
        notices.append("no test split, so `hpo compare` cannot run; set data.test to files, a fraction or a row count")
    if "multiclass" not in METRICS[spec.objective].tasks:
        notices.append(f"{spec.objective} treats {quote_value(data.label_names[1])} as the positive class")
    notices += [text for text in (truncation_notice(train, length), batch_notice(spec, len(train))) if text]
    for text in notices:
        notice(text)
    accelerations = choose_accelerations(spec, checkpoint)
    modules = suitable_metrics(len(data.label_names))
    return RunContext(spec, checkpoint, train, validation, modules, accelerations), notices
