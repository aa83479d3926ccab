"""Open the store at a storage URL, and create or find the studies in it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpo.errors import StoreError, StudyError, mask_passwords
from hpo.store.sqlite_reader import StudySummary
from hpo.store.study_record import StudyRecord
from hpo.study.identity import find_changes
from hpo.study.overrides import resolve_sqlite_url
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import BaseStorage

HEARTBEAT_INTERVAL = 10  # seconds
GRACE_PERIOD = 60  # seconds without a heartbeat after which a trial is stale
LOCK_TIMEOUT = 60  # seconds to wait for SQLite's lock
MAX_CHANGES = 5  # changed keys that an error lists
_logger = logging.getLogger(__name__)


def default_storage_url(folder: Path) -> str:
    """Return the URL of `store.db` in a folder."""
    return f"sqlite:///{(folder / 'store.db').resolve()}"


def storage_url(spec: StudySpec, storage: str | None = None) -> str:
    """Return the storage URL of a study: the given one, else that of the study file, else `store.db` in its folder.

    A relative SQLite path in the study file starts at the file's folder; a given one at the current folder.
    """
    if storage is not None:
        return storage
    return resolve_sqlite_url(spec.storage, spec.file.parent) if spec.storage else default_storage_url(spec.file.parent)


def open_artifact_store(url: str, spec: StudySpec) -> FileSystemArtifactStore:
    """Open the artifacts (files) of a store's trials, and create their folder if it does not exist."""
    from optuna.artifacts import FileSystemArtifactStore

    folder = artifact_folder(url, spec.file.parent)
    folder.mkdir(exist_ok=True)
    return FileSystemArtifactStore(folder)


def artifact_folder(url: str, study_folder: Path) -> Path:
    """Return the folder of a store's artifacts: next to an SQLite file; for a database server, next to the studies."""
    return (sqlite_file(url) or study_folder / "store.db").with_suffix(".artifacts")


def store_exists(url: str) -> bool:
    """Whether the store exists; a database server is assumed to."""
    file = sqlite_file(url)
    return file is None or file.exists()


def check_storage_url(url: str) -> None:
    """Raise StoreError if no store can be at this URL. Opens nothing."""
    file = sqlite_file(url)
    if file is not None and not file.parent.is_dir():
        raise StoreError(f"storage {url}: no folder {file.parent}; create it first")


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, or None for a database server.

    Raises StoreError if the text is not a URL, or if the database would be in memory only.
    """
    import sqlalchemy.exc
    from sqlalchemy.engine import make_url

    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError:
        example = "for example sqlite:///studies/store.db"
        raise StoreError(f"storage {mask_passwords(url)!r} is not a URL; {example}") from None
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise StoreError(
            f"storage {url}: a store in memory is lost at the end; use a file, for example sqlite:///studies/store.db"
        )
    return Path(str(parsed.database))


def open_storage(url: str, create: bool = True) -> BaseStorage:
    """Open the Optuna storage at a URL such that many processes can use it at once.

    SQLite gets a write-ahead log and a long busy timeout, and every database gets heartbeats, by which the trials of
    dead workers are recognized. If `create` is false, a missing SQLite file is an error. Raises StoreError.
    """
    file = sqlite_file(url)
    if file and not create and not _has_studies_table(file):
        raise missing_store_error(file)
    check_storage_url(url)
    with _translated_errors(url):
        _logger.info("opening storage %s", mask_passwords(url))
        return _open_database(url)


def missing_store_error(place: object) -> StoreError:
    """Return the error for a store that does not exist."""
    return StoreError(f"no store at {place}; `hpo search STUDY` creates it")


def find_stored_study(spec: StudySpec, url: str) -> Study | None:
    """Return the study, or None if there is no such store or study. Creates nothing. Raises StoreError."""
    check_storage_url(url)
    file = sqlite_file(url)
    is_store = _has_studies_table(file) if file else _server_has_studies_table(url)
    return find_study(open_storage(url), spec.name) if is_store else None


@contextlib.contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    """Raise errors of drivers and databases as StoreError, without the password."""
    import sqlalchemy.exc
    from optuna.exceptions import OptunaError
    from sqlalchemy.engine import make_url

    masked = make_url(url).render_as_string(hide_password=True)
    try:
        yield
    except ImportError as error:
        raise StoreError(f"storage {masked}: {error}; for PostgreSQL: pip install 'hpo[postgresql]'") from None
    except (sqlalchemy.exc.SQLAlchemyError, OptunaError, RuntimeError, ValueError) as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise StoreError(f"storage {masked} cannot be opened: {lines[0] if lines else type(error).__name__}") from None


def _server_has_studies_table(url: str) -> bool:
    """Whether a database has Optuna's tables. Opening it as a storage would create them."""
    import sqlalchemy

    with _translated_errors(url):
        engine = sqlalchemy.create_engine(url)
        try:
            return sqlalchemy.inspect(engine).has_table("studies")
        finally:
            engine.dispose()


def _has_studies_table(file: Path) -> bool:
    """Whether an SQLite file is an Optuna store. Opened read-only; opening it as a storage would create the tables."""
    if not file.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
            return bool(reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone())
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}") from None


def _open_database(url: str) -> BaseStorage:
    import optuna
    import sqlalchemy.event
    import sqlalchemy.exc

    from hpo.store.bulk_storage import BulkStorage

    class Storage(BulkStorage):
        """BulkStorage whose heartbeats survive a database that is busy for a while."""

        def record_heartbeat(self, trial_id: int) -> None:
            # An exception would end Optuna's heartbeat thread, and the trial would be failed as stale while it runs.
            # A single missed heartbeat does no harm.
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError):
                super().record_heartbeat(trial_id)

    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"connect_args": {"timeout": LOCK_TIMEOUT}} if is_sqlite else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = Storage(url, engine_kwargs=options, heartbeat_interval=HEARTBEAT_INTERVAL, grace_period=GRACE_PERIOD)
    if is_sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _use_wal)
        storage.engine.dispose()  # connections that created the tables were opened before the listener was added
    return storage


def _use_wal(connection: Any, _record: Any) -> None:
    """Let readers and one writer work at once, and wait for a lock instead of failing."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def find_study(storage: BaseStorage, name: str) -> Study | None:
    """Return the stored study of that name, or None."""
    import optuna

    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None


def companion_name(name: str) -> str:
    """Return the name of the companion study that holds a study's final runs; no study file can have such a name."""
    return f"{name}/final"


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
    import optuna

    name = name or spec.name
    study = find_study(storage, name)
    if study is not None:
        check_same_spec(study, spec)
        check_same_data(study, spec, provenance["data"])
        stored = StudyRecord.from_attributes(study.user_attrs).spec
        if stored is not None:
            _logger.info("continuing study %r", name)
            if stored != spec.resolved():
                study.set_user_attr("spec", spec.resolved())  # everything but the budget was just found equal
            return study
    _logger.info("creating study %r", name)
    study = study or optuna.create_study(study_name=name, storage=storage, direction=direction)
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
        raise StudyError(
            f"{spec.file}: the data changed since study {spec.name!r} was started "
            f"(rows {dict(stored.rows)} -> {data['rows']}, fingerprint {stored.fingerprint} -> {data['fingerprint']}); "
            "restore them, or start another study with --force-new NAME"
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
