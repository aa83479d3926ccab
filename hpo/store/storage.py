"""Storage URL -> Optuna storage, artifacts; the only room that opens them."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpo.errors import StoreError, StudyError, mask_passwords
from hpo.store.sqlite_reader import StudySummary
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import BaseStorage

HEARTBEAT_INTERVAL, GRACE_PERIOD = (
    10,
    60,
)  # seconds between signs of life, and after how many without one a trial is stale
LOCK_TIMEOUT = 60  # seconds that a writer waits for SQLite's lock


def default_storage_url(folder: Path) -> str:
    """The URL of `store.db` in a folder."""
    return f"sqlite:///{(folder / 'store.db').resolve()}"


def storage_url(spec: StudySpec, storage: str | None = None) -> str:
    """The storage URL of a study: that of the shell, else that of the file, else `store.db` beside the file.

    A relative SQLite path in the file starts at the file's folder.
    """
    if storage is not None:
        return storage
    url = spec.storage
    if url is None:
        return default_storage_url(spec.file.parent)
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        return f"sqlite:///{(spec.file.parent / url.removeprefix('sqlite:///')).resolve()}"
    return url


def open_artifact_store(url: str, spec: StudySpec) -> FileSystemArtifactStore:
    """The files of a store's trials, in a folder that is made where it is new."""
    from optuna.artifacts import FileSystemArtifactStore

    folder = artifact_folder(url, spec.file.parent)
    folder.mkdir(exist_ok=True)
    return FileSystemArtifactStore(folder)


def artifact_folder(url: str, beside: Path) -> Path:
    """Where the files of a store's trials lie: beside an SQLite file, and for a server in the folder of its studies."""
    return (sqlite_file(url) or beside / "store.db").with_suffix(".artifacts")


def store_exists(url: str) -> bool:
    """Whether there is a store at a URL; a server's is taken to be there."""
    file = sqlite_file(url)
    return file is None or file.exists()


def check_storage_url(url: str) -> None:
    """Raise StoreError for a URL that no store can be at; nothing is opened."""
    file = sqlite_file(url)
    if file is not None and not file.parent.is_dir():
        raise StoreError(f"storage {url}: no folder {file.parent}")


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL, None for a server. Raises StoreError for what is no URL, or kept in memory only."""
    import sqlalchemy.exc
    from sqlalchemy.engine import make_url

    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise StoreError(f"storage {mask_passwords(url)!r} is no URL; for example sqlite:///studies/store.db") from None
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise StoreError(f"storage {url}: a store in memory is lost at the end; for example sqlite:///studies/store.db")
    return Path(str(parsed.database))


def open_storage(url: str, create: bool = True) -> BaseStorage:
    """The Optuna storage at a URL, ready for many processes.

    SQLite: write-ahead log and a long busy timeout. All databases: heartbeats, so that a dead worker's trial is seen.
    With create=False a missing SQLite file is an error, not a new store. Raises StoreError.
    """
    from optuna.storages import get_storage

    file = sqlite_file(url)
    if file and not create and not _holds_studies(file):
        raise StoreError(f"no store at {file}; `hpo search STUDY` makes it")
    check_storage_url(url)
    with _opening(url):
        return get_storage(url) if url.startswith("redis") else _relational(url)


def find_stored_study(spec: StudySpec, url: str) -> Study | None:
    """The study in its store, or None where either is not there yet; nothing is made. Raises StoreError."""
    check_storage_url(url)
    file = sqlite_file(url)
    there = _holds_studies(file) if file else url.startswith("redis") or _serves_studies(url)
    return find_study(open_storage(url), spec.name) if there else None


@contextlib.contextmanager
def _opening(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a store into a StoreError without its password."""
    import sqlalchemy.exc
    from optuna.exceptions import OptunaError
    from sqlalchemy.engine import make_url

    shown = make_url(url).render_as_string(hide_password=True)
    try:
        yield
    except ImportError as error:
        raise StoreError(f"storage {shown}: {error}; for PostgreSQL: pip install 'hpo[postgresql]'") from None
    except (sqlalchemy.exc.SQLAlchemyError, OptunaError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise StoreError(f"storage {shown} cannot be opened: {reason[0] if reason else type(error).__name__}") from None


def _serves_studies(url: str) -> bool:
    """Whether a server's database holds Optuna's tables, which opening it as a store would make."""
    import sqlalchemy

    with _opening(url):
        engine = sqlalchemy.create_engine(url)
        try:
            return sqlalchemy.inspect(engine).has_table("studies")
        finally:
            engine.dispose()


def _holds_studies(file: Path) -> bool:
    """Whether an SQLite file is an Optuna store; a look that writes nothing, as Optuna's own opening would."""
    if not file.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
            return bool(reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone())
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}") from None


def _relational(url: str) -> BaseStorage:
    import optuna
    import sqlalchemy.event
    import sqlalchemy.exc

    from hpo.store.bulk_storage import BulkStorage

    class Storage(BulkStorage):
        """Storage whose heartbeat thread survives a database that is busy for a while."""

        def record_heartbeat(self, trial_id: int) -> None:
            # One sign of life may be missed; the thread, which Optuna does not guard, lives to send the next.
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError):
                super().record_heartbeat(trial_id)

    sqlite = url.startswith("sqlite")
    engine: dict[str, Any] = {"connect_args": {"timeout": LOCK_TIMEOUT}} if sqlite else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = Storage(url, engine_kwargs=engine, heartbeat_interval=HEARTBEAT_INTERVAL, grace_period=GRACE_PERIOD)
    if sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _use_wal)
        storage.engine.dispose()  # connections opened while the tables were made know nothing of WAL
    return storage


def _use_wal(connection: Any, _record: Any) -> None:
    """Readers and one writer at once; a lock is waited for instead of failing."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def find_study(storage: BaseStorage, name: str) -> Study | None:
    """The stored study of that name, or None."""
    import optuna

    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None


def companion_name(name: str) -> str:
    """The companion study that holds the final runs of a study; no study file can have such a name."""
    return f"{name}/final"


def load_stored_study(spec: StudySpec, url: str) -> Study:
    """The study as it stands in its store. Raises StoreError and StudyError where either is not there yet."""
    found = find_study(open_storage(url, create=False), spec.name)
    if found is None:
        raise StudyError(f"no study {spec.name!r} in the store; `{spec.command('search')}` starts it")
    return found


def open_study(
    storage: BaseStorage,
    spec: StudySpec,
    direction: Literal["maximize", "minimize"],
    provenance: dict[str, Any],
    name: str | None = None,
) -> Study:
    """The stored study, made with its provenance where it is new; `name` where it is not the spec's own.

    Raises StudyError where the stored study was made from another file or other data: it names what changed.
    """
    import optuna

    name = name or spec.name
    found = find_study(storage, name)
    if found is not None:
        check_same_spec(found, spec)
        check_same_data(found, spec, provenance["data"])
        if "spec" in found.user_attrs:
            if found.user_attrs["spec"] != spec.resolved():
                found.set_user_attr("spec", spec.resolved())  # a larger budget; all else was found the same
            return found
    study = found or optuna.create_study(study_name=name, storage=storage, direction=direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.objective])
    # `spec` comes last: with it a study is whole, without it the next start writes the attributes again.
    for key, value in {**provenance, "identity": spec.identity(), "spec": spec.resolved()}.items():
        study.set_user_attr(key, value)
    return study


def check_same_spec(study: Study, spec: StudySpec) -> None:
    """Raise StudyError where the study in the store was made from another study file; it names what changed."""
    stored = study.user_attrs.get("identity")
    if stored is None:
        if study.get_trials(deepcopy=False):
            raise StudyError(f"study {spec.name!r} in the store was not made by hpo; --force-new NAME starts another")
        return
    now = spec.identity()
    changed = [key for key in sorted(stored.keys() | now.keys()) if stored.get(key) != now.get(key)]
    if changed:
        shown = "; ".join(f"{key}: {stored.get(key)!r} -> {now.get(key)!r}" for key in changed[:5])
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise StudyError(
            f"{spec.file}: changed since study {spec.name!r} was started: {shown}{more}; "
            "change it back, or start another study with --force-new NAME"
        )


def check_same_data(study: Study, spec: StudySpec, data: dict[str, Any]) -> None:
    """Raise StudyError where the study in the store was made from other data."""
    before = study.user_attrs.get("data", data)
    if before["fingerprint"] != data["fingerprint"]:
        raise StudyError(
            f"{spec.file}: the data changed since study {spec.name!r} was started "
            f"(rows {before['rows']} -> {data['rows']}, fingerprint {before['fingerprint']} -> {data['fingerprint']}); "
            "bring them back, or start another study with --force-new NAME"
        )


def list_studies(storage: BaseStorage) -> list[StudySummary]:
    """Every study in the store, by name."""
    import optuna

    return [
        StudySummary(
            each.study_name,
            each.user_attrs,
            len(each.directions),
            each.n_trials,
            each.best_trial.value if each.best_trial else None,
            each.datetime_start,
        )
        for each in sorted(optuna.get_all_study_summaries(storage), key=lambda summary: summary.study_name)
    ]
