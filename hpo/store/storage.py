"""Open the store at a storage URL, and create or find the studies in it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpo.errors import StoreError, StudyError
from hpo.store.creation_lock import creation_lock
from hpo.store.database import database_has_table, open_database, open_for_reading
from hpo.store.optuna_internals import database_url
from hpo.store.sqlite_access import check_writable, has_table, is_writable
from hpo.store.sqlite_reader import StudySummary
from hpo.store.study_record import StudyRecord
from hpo.study.identity import find_changes
from hpo.study.spec import StudySpec
from hpo.study.storage_url import StorageUrl

if TYPE_CHECKING:
    from optuna import Study
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import BaseStorage

MAX_CHANGES = 5  # changed keys that an error lists
_STUDIES_TABLE = "studies"
_logger = logging.getLogger(__name__)


def default_storage_url(folder: Path) -> str:
    """Return the URL of `store.db` in a folder."""
    return StorageUrl.of_file((folder / "store.db").resolve()).connection


def storage_url(spec: StudySpec, storage: str | None = None) -> str:
    """Return the storage URL of a study: the given one, else that of the study file, else `store.db` in its folder.

    A relative SQLite path in the study file starts at the file's folder; a given one at the current folder. The URL may
    hold a password: `StorageUrl.parse(url).text` is for people.
    """
    if storage is not None:
        return StorageUrl.parse(storage).connection
    folder = spec.file.parent
    return StorageUrl.parse(spec.storage, folder).connection if spec.storage else default_storage_url(folder)


def open_artifact_store(url: str, spec: StudySpec) -> FileSystemArtifactStore:
    """Open the artifacts (files) of a store's trials. Whoever writes one creates their folder first."""
    from optuna.artifacts import FileSystemArtifactStore

    return FileSystemArtifactStore(artifact_folder(url, spec.file.parent))


def artifact_folder(url: str, study_folder: Path) -> Path:
    """Return the folder of a store's artifacts: next to an SQLite file; for a database server, next to the studies."""
    return (sqlite_file(url) or study_folder / "store.db").with_suffix(".artifacts")


def store_exists(url: str) -> bool:
    """Whether the store exists; a database server is assumed to."""
    file = sqlite_file(url)
    return file is None or file.exists()


def check_storage_url(url: str) -> None:
    """Raise StoreError if no store can be at this URL. Opens nothing."""
    location = StorageUrl.parse(url)
    if location.file is not None and not location.file.parent.is_dir():
        raise StoreError(f"storage {location}: no folder {location.file.parent}; create it first")


def check_store_writable(url: str) -> None:
    """Raise StoreError if the store is a file that cannot be written, or created. Opens nothing."""
    check_storage_url(url)
    if file := sqlite_file(url):
        check_writable(file)


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, or None for a database server. Raises StoreError if the text is not a URL."""
    return StorageUrl.parse(url).file


def open_storage(url: str, create: bool = True, outage_limit: float | None = None) -> BaseStorage:
    """Open the Optuna storage at a URL such that many processes can use it at once.

    If `create` is false, a missing SQLite file is an error, and one that cannot be written is opened for reading.
    `outage_limit` is how many seconds an operation waits for a store that is away. Raises StoreError.
    """
    location = StorageUrl.parse(url)
    if location.file and not create:
        if not has_table(location.file, _STUDIES_TABLE):
            raise missing_store_error(location.file)
        if not is_writable(location.file):
            return open_for_reading(location.file)
    check_store_writable(url)
    _logger.info("opening storage %s", location)
    return open_database(location, outage_limit)


def missing_store_error(place: object) -> StoreError:
    """Return the error for a store that does not exist."""
    return StoreError(f"no store at {place}; `hpo search STUDY` creates it")


def find_stored_study(spec: StudySpec, url: str) -> Study | None:
    """Return the study, or None if there is no such store or study. Creates nothing. Raises StoreError."""
    check_storage_url(url)
    location = StorageUrl.parse(url)
    is_store = database_has_table(location, _STUDIES_TABLE)
    return find_study(open_storage(url, create=False), spec.name) if is_store else None


def find_study(storage: BaseStorage, name: str) -> Study | None:
    """Return the stored study of that name, or None."""
    import optuna

    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None


def no_search_error(spec: StudySpec) -> StudyError:
    """Return the error for a study whose search has not begun."""
    return StudyError(f"no study {spec.name!r} in the store; `{spec.command('search')}` starts it")


def load_stored_study(spec: StudySpec, url: str) -> Study:
    """Return the stored study. Raises StoreError if there is no store, and StudyError if it has no such study."""
    study = find_study(open_storage(url, create=False), spec.name)
    if study is None:
        raise no_search_error(spec)
    return study


def open_study(
    storage: BaseStorage,
    spec: StudySpec,
    direction: Literal["maximize", "minimize"],
    provenance: dict[str, Any],
    name: str | None = None,
) -> Study:
    """Return the stored study, or create it with its provenance; `name` if it is not the spec's own.

    Raises StudyError, which names what changed, if the stored study was created from another file or other data.
    """
    name = name or spec.name
    study = find_study(storage, name)
    if study is None or not StudyRecord.from_attributes(study.user_attrs).is_ours:
        url = database_url(storage)
        with creation_lock(StorageUrl.parse(url)) if url else contextlib.nullcontext():
            study = find_study(storage, name)  # again: another process may have created it since
            if study is None or not StudyRecord.from_attributes(study.user_attrs).is_ours:
                return _create_study(storage, name, spec, direction, provenance)
    check_same_spec(study, spec)
    check_same_data(study, spec, provenance["data"])
    _logger.info("continuing study %r", name)
    if StudyRecord.from_attributes(study.user_attrs).spec != spec.resolved():
        study.set_user_attr("spec", spec.resolved())  # everything but the budget was just found equal
    return study


def _create_study(
    storage: BaseStorage,
    name: str,
    spec: StudySpec,
    direction: Literal["maximize", "minimize"],
    provenance: dict[str, Any],
) -> Study:
    """Create a study with its provenance, or complete one whose creation was interrupted."""
    import optuna

    _logger.info("creating study %r", name)
    study = optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)
    check_same_spec(study, spec)
    check_same_data(study, spec, provenance["data"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.objective])
    # `spec` is written last: if the process is killed before, the next one finds no `spec` and writes all attributes.
    for key, value in {**provenance, "identity": spec.identity(), "spec": spec.resolved()}.items():
        study.set_user_attr(key, value)
    return study


def check_same_spec(study: Study, spec: StudySpec) -> None:
    """Raise StudyError, which names what changed, if the stored study was created from another study file."""
    stored = StudyRecord.from_attributes(study.user_attrs).identity
    if stored is None:
        if study.get_trials(deepcopy=False):
            raise StudyError(
                f"study {spec.name!r} in the store was not created by hpo; start another one with --force-new NAME"
            )
        return
    current = spec.identity()
    changed = find_changes(stored, current)
    if changed:
        changes = [f"{key}: {stored.get(key)!r} -> {current.get(key)!r}" for key in changed[:MAX_CHANGES]]
        if len(changed) > MAX_CHANGES:
            changes.append(f"and {len(changed) - MAX_CHANGES} more")
        raise StudyError(
            f"{spec.file}: changed since study {spec.name!r} was started: {'; '.join(changes)}; "
            "change it back, or start another study with --force-new NAME"
        )


def check_same_data(study: Study, spec: StudySpec, data: dict[str, Any]) -> None:
    """Raise StudyError if the rows of the stored study were others."""
    stored = StudyRecord.from_attributes(study.user_attrs).data
    if stored is not None and stored.fingerprint != data["fingerprint"]:
        older = ""
        if spec.data.keeps_equal_texts:
            older = "set data.split_equal_texts = true if version 0.1.0 started it and the files are the same, "
        raise StudyError(
            f"{spec.file}: the data changed since study {spec.name!r} was started "
            f"(rows {dict(stored.rows)} -> {data['rows']}, fingerprint {stored.fingerprint} -> {data['fingerprint']}); "
            f"restore them, {older}or start another study with --force-new NAME"
        )


def list_studies(storage: BaseStorage) -> list[StudySummary]:
    """Return a summary of every study in the store, by name."""
    import optuna

    return [
        StudySummary(
            summary.study_name,
            summary.user_attrs,
            len(summary.directions),
            summary.n_trials,
            summary.best_trial.value if summary.best_trial else None,
            summary.datetime_start,
        )
        for summary in sorted(optuna.get_all_study_summaries(storage), key=lambda summary: summary.study_name)
    ]
