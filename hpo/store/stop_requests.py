"""Requests of `hpo stop`, which the store passes on to the processes that run a search, on whatever machine."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from hpo.store.attributes import write_attributes
from hpo.store.study_record import StopRequest, StudyRecord, study_attributes

if TYPE_CHECKING:
    from optuna import Study


def read_stop_request(study: Study) -> StopRequest:
    """Return what the users of a study have asked for so far."""
    return StudyRecord.from_attributes(study.user_attrs).stop_request


def request_stop(study: Study, trial: int | None = None) -> None:
    """Ask all running processes of a search to end, or those that run or will run one trial to end that trial."""
    request = read_stop_request(study)
    if trial is None:
        request = replace(request, search=uuid.uuid4().hex)
    else:
        request = replace(request, trials=sorted({*request.trials, trial}))
    write_attributes(study, study_attributes(stop_request=request))
