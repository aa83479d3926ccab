"""Open a study in a process of its own, so that a parent of workers loads neither the data nor the model."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from hpo.errors import TrainingError
from hpo.search.engines.base import SearchRun, build_request
from hpo.search.engines.messages import OPENED, forward_message, restore_error
from hpo.search.engines.worker_process import WorkerProcess, WorkerReport
from hpo.search.search_listener import SearchListener
from hpo.store.storage import load_stored_study
from hpo.study.spec import StudySpec

_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0  # for the removal of temporary files after Ctrl-C


def open_in_child(spec: StudySpec, url: str, listener: SearchListener) -> SearchRun:
    """Check everything and open the study in a child process. Raises the errors that `open_search` raises there."""
    child = WorkerProcess(replace(build_request(spec, url), opens=True), os.environ)
    opened: dict[str, Any] = {}
    try:
        while True:
            report = child.poll()
            for message in report.messages:
                if message.kind == OPENED:
                    opened = message.content
                forward_message(message, listener)
            if report.end is not None:
                break
            time.sleep(_POLL_SECONDS)
    except BaseException:
        child.stop()
        child.kill(_STOP_SECONDS)
        raise
    _check_end(report)
    return SearchRun(spec, load_stored_study(spec, url), url, listener, devices=opened["devices"])


def _check_end(report: WorkerReport) -> None:
    assert report.end
    if report.end.error:
        raise restore_error(report.end.error)
    if report.end.reason:
        lines = "".join(f" | {line}" for line in report.end.last_lines)
        raise TrainingError(f"the process that checks the study {report.end.reason}{lines}")
