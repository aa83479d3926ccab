"""Several searches that start on a new store at the same moment: one creates the tables and the study, all use them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import optuna
import sqlalchemy

from hpo.store.storage import default_storage_url
from tests.support.postgresql import postgresql  # noqa: F401

PROCESSES, REPETITIONS = 3, 4
# Each process of a repetition waits for the same byte, so that all start within a millisecond.
START = """
import json, os, sys, traceback
from hpo.store.storage import find_stored_study, open_storage, open_study
from hpo.study.spec import load_study
import hpo.store.bulk_storage, sqlalchemy.dialects.sqlite, alembic.migration
import psycopg, sqlalchemy.dialects.postgresql.psycopg
file, urls, processes = json.loads(sys.argv[1])
data = {"fingerprint": "abc", "rows": {"train": 1}, "labels": ["no", "yes"]}
spec = load_study(file)
failed = 0
for url in urls:
    reader, writer = os.pipe()
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.read(reader, 1)
                find_stored_study(spec, url)
                study = open_study(open_storage(url), spec, "maximize", {"data": data, "seed": 0})
                open_study(study._storage, spec, "maximize", {"data": data, "seed": 0}, "small/final")
                code = 0 if study.user_attrs["spec"] == spec.resolved() else 1
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        children.append(child)
    os.write(writer, b"x" * processes)
    failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
print(failed)
"""


def start_at_once(file: Path, urls: list[str]) -> None:
    """Create a study at each URL from several processes at once, one URL after the other."""
    command = [sys.executable, "-W", "ignore", "-c", START, json.dumps([str(file), urls, PROCESSES])]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.stdout == "0\n", process.stderr


def test_a_new_sqlite_store(small: Path, tmp_path: Path) -> None:
    folders = [tmp_path / f"new-{number}" for number in range(REPETITIONS)]
    for folder in folders:
        folder.mkdir()
    start_at_once(small, [default_storage_url(folder) for folder in folders])
    for folder in folders:
        assert optuna.get_all_study_names(default_storage_url(folder)) == ["small", "small/final"]
        assert {file.name for file in folder.iterdir()} <= {"store.db", "store.db-wal", "store.db-shm"}


def test_a_new_postgresql_database(postgresql: str, small: Path) -> None:  # noqa: F811
    names = [f"new_{number}" for number in range(REPETITIONS)]
    engine = sqlalchemy.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in names:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    urls = [postgresql.replace("/postgres?", f"/{name}?") for name in names]
    start_at_once(small, urls)
    for url in urls:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            studies = connection.execute(sqlalchemy.text("SELECT study_name FROM studies ORDER BY study_id")).fetchall()
        engine.dispose()
        assert [name for (name,) in studies] == ["small", "small/final"]
