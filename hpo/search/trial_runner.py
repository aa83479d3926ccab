"""Running one trial of a search, or one final run, so that the store always has who ran it and why it ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from hpo.errors import StoreError
from hpo.store.attributes import RunProvenance, WorkerIdentity, write_attributes
from hpo.store.claiming_storage import TrialLost
from hpo.store.provenance import collect_provenance
from hpo.store.text_redaction import redact_reason
from hpo.store.trial_record import trial_attributes
from hpo.study.spec import StudySpec
from hpo.training.measurements import TrialEnded, TrialStopped
from hpo.training.state_saver import RunIdentity

TRACEBACK_CHARACTERS = 4000  # of the end of a traceback, which says where


def run_trial(
    trial: optuna.Trial,
    body: Callable[[], float],
    describe: Callable[[BaseException], str],
    as_failure: Callable[[str], Exception],
    worker: WorkerIdentity,
    quotes_texts: bool = True,
) -> float:
    """Return the value of `body`, after storing with the trial who runs it.

    If `body` raises, `describe` gives the reason that is stored: the outcome, and what led to it. A trial that was
    pruned, ended early (TrialEnded) or interrupted raises its exception again. Any other exception is stored with its
    traceback and replaced by `as_failure(reason)`. The keys are the same for trials and final runs. Without
    `quotes_texts`, no message of an exception is stored, because it may quote a text of the data. A trial that was
    stopped or lost, or whose store is away, has not ended, so nothing is stored.
    """
    write_attributes(trial, trial_attributes(worker=worker))
    try:
        return body()
    except (TrialStopped, TrialLost, StoreError):
        raise
    except BaseException as error:
        reason = describe(error)
        stored_reason = reason if quotes_texts else redact_reason(reason)
        write_attributes(trial, trial_attributes(reason=stored_reason))
        if isinstance(error, optuna.TrialPruned | TrialEnded | KeyboardInterrupt):
            raise
        where = traceback.format_exc() if quotes_texts else "".join(traceback.format_tb(error.__traceback__))
        write_attributes(trial, trial_attributes(traceback=where[-TRACEBACK_CHARACTERS:]))
        raise as_failure(reason) from error


def run_provenance(spec: StudySpec, fingerprint: str) -> RunProvenance:
    """Return which code, versions, device and data the trials of this process are run with."""
    stored = collect_provenance(spec, {})
    return RunProvenance(stored["spec_hash"], fingerprint, stored["device"], stored["git"], stored["versions"])


def identify_run(name: str, seed: int, values: Mapping[str, Any], provenance: RunProvenance) -> RunIdentity:
    """Return what a saved state of this run belongs to."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RunIdentity(name, seed, dict(values), provenance.spec_hash, provenance.data, provenance.versions, device)
