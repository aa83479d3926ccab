"""The program of a worker process: reads a `WorkerRequest` from standard input, and runs trials or opens the study."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import optuna
from transformers.utils import logging as transformers_logging

from hpo.errors import HpoError
from hpo.search.budget import Budget
from hpo.search.engines.base import WorkerRequest
from hpo.search.engines.messages import FAILED, OPENED, MessageChannel, describe_error, open_channel
from hpo.search.engines.worker_process import INTERRUPTED
from hpo.search.requested_stop import RequestedStop
from hpo.search.search_listener import SearchListener
from hpo.search.setup import open_search
from hpo.study.spec import restore_study
from hpo.training.acceleration import frozen_gc


def main(request: WorkerRequest, channel: MessageChannel) -> None:
    """Do what the request asks for. An HpoError is sent to the parent, and printed for people who have none."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # the last lines of a worker that dies should say why
    if request.logs:
        channel.send_logs()
    try:
        if request.opens:
            open_study(request, channel)
        else:
            run_worker(request, channel)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except HpoError as error:
        channel.send(FAILED, describe_error(error))
        sys.exit(str(error))


def open_study(request: WorkerRequest, channel: MessageChannel) -> None:
    """Make all checks that need data or weights, open the study or create it, and tell what workers can use here."""
    import torch

    spec = restore_study(request.study, Path(request.file), request.overrides)
    open_search(spec, request.storage, channel)
    channel.send(OPENED, {"devices": torch.cuda.device_count()})


def run_worker(request: WorkerRequest, channel: MessageChannel) -> None:
    """Run trials of the open study until its budget is spent."""
    # Imported before the study file is read: a signal during the import, which takes seconds, would leave a traceback.
    import hpo.training.trainer  # noqa: F401  # which the worker imports
    from hpo.search.worker import Worker

    spec = restore_study(request.study, Path(request.file), request.overrides)
    context, storage, study = open_search(spec, request.storage, SearchListener(), is_worker=True)
    stop = RequestedStop(parent=request.parent, study=study, known=request.known_stop)
    worker = Worker(context, storage, study, channel, Budget.of(spec.search, study), stop)
    with frozen_gc():
        worker.run()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that temporary files are removed
    main(WorkerRequest(**json.load(sys.stdin)), open_channel())
