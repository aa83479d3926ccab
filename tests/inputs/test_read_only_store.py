"""A finished study in a folder that cannot be written: everything that only reads works, the rest is refused."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy

from hpo.evaluation.comparison import build_comparison
from hpo.store.storage import default_storage_url, open_storage, storage_url
from hpo.study.spec import load_study
from tests.dashboard.test_dashboard import request, run_dashboard
from tests.support.evaluated_study import study_file  # noqa: F401
from tests.support.postgresql import postgresql  # noqa: F401
from tests.support.read_only import obey_permissions, run_commands, run_python, write_protected

NOT_RECORDED = "this use of the test split could not be recorded, because the store cannot be written"
READ_STORES = """
import json, sys
from pathlib import Path
from hpo.store.database import is_read_only_error
from hpo.store.sqlite_reader import read_summaries
from hpo.store.storage import default_storage_url, open_storage
import optuna
for folder in sorted(Path.cwd().iterdir()):
    url = default_storage_url(folder)
    names = [summary.name for summary in read_summaries(url) or []]
    storage = open_storage(url, create=False)
    study = optuna.load_study(study_name="last", storage=storage)
    try: study.set_user_attr("key", "value")
    except Exception as error: refused = is_read_only_error(error)
    else: refused = False
    print(json.dumps([folder.name, names, optuna.get_all_study_names(storage), refused]))
"""


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_reading_commands_work_and_writing_ones_are_refused(study_file: Path, tmp_path_factory: Any) -> None:  # noqa: F811
    folder, elsewhere = study_file.parent, tmp_path_factory.mktemp("elsewhere")
    before = list_files(folder)
    commands = [
        ["show", "small.toml"],
        ["compare", "small.toml"],
        ["compare", "small.toml", "--json"],
        ["report", "small.toml", "--output", f"{elsewhere}/report"],
        *(
            ["export", "small.toml", "--format", name, "--output", f"{elsewhere}/{name}"]
            for name in ("bundle", "best-config", "model")
        ),
    ]
    refused = [["search", "small.toml"], ["retrain", "small.toml"], ["dashboard", "small.toml"]]
    with write_protected(folder):
        process = run_commands([*commands, *refused], folder)
        with run_dashboard(folder, "small.toml", "--read-only", "--port", "0", preexec_fn=obey_permissions) as (url, _):
            assert request(url)[0] == 200
        assert list_files(folder) == before
    assert re.findall(r"exit code (\d)", process.stdout) == ["0"] * len(commands) + ["2"] * len(refused), process.stderr
    assert NOT_RECORDED in process.stdout
    compared = json.loads(process.stdout[process.stdout.index("\n{") : process.stdout.rindex("\n}") + 2])
    assert compared["test_uses"]["recorded"] is False
    assert "could not be recorded" in (elsewhere / "report" / "report.html").read_text()
    with zipfile.ZipFile(elsewhere / "bundle") as bundle:
        assert json.loads(bundle.read("comparison.json"))["verdict"] == compared["verdict"]
    errors = [line for line in process.stderr.splitlines() if line.startswith("hpo: ")]
    assert len(errors) == len(refused) and "--read-only serves a copy" in errors[-1]
    assert all("store.db: the store cannot be written; make the file and its folder" in error for error in errors)


def test_everything_that_was_written_is_read_however_the_last_writer_ended(tmp_path: Path) -> None:
    """A folder copied while a process has the store open is what a killed process leaves behind."""
    stores = tmp_path / "stores"
    (stores / "open").mkdir(parents=True)
    storage: Any = open_storage(default_storage_url(stores / "open"))
    optuna.create_study(study_name="first", storage=storage)
    with storage.engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM studies"))
        optuna.create_study(study_name="last", storage=storage)
        for name in ("killed", "killed, index removed", "closed", "rollback journal"):
            shutil.copytree(stores / "open", stores / name)
        (stores / "killed, index removed" / "store.db-shm").unlink()
        for name, mode in (("closed", "WAL"), ("rollback journal", "DELETE")):
            with closing(sqlite3.connect(stores / name / "store.db")) as closed:
                closed.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        shutil.copytree(stores / "closed", stores / "file only")
        files = set(list_files(stores))
        logs = {name.partition("/")[0] for name in files if name.endswith("-wal")}
        assert logs == {"killed", "killed, index removed", "open"}
        with write_protected(stores):
            (stores / "file only").chmod(0o755)
            process = run_python(READ_STORES, folder=stores)
            assert set(list_files(stores)) == files, "nothing is left behind"
    storage.engine.dispose()
    assert process.returncode == 0, process.stderr
    results = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(results) == 6 and all(result[1:] == [["first", "last"]] * 2 + [True] for result in results), results


def test_a_database_server_that_grants_reading_only(postgresql: str, study_file: Path) -> None:  # noqa: F811
    spec = load_study(study_file)
    server: Any = open_storage(postgresql)
    for name in ("small", "small/final"):
        optuna.copy_study(from_study_name=name, from_storage=storage_url(spec), to_storage=server)
    with server.engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE ROLE reader LOGIN"))
        connection.execute(sqlalchemy.text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    reader: Any = open_storage(postgresql.replace("me@", "reader@"), create=False)
    comparison = build_comparison(spec, postgresql, storage=reader).to_result()
    assert not comparison.test_uses.recorded and comparison.differences
    assert build_comparison(spec, postgresql, storage=server).to_result().test_uses.recorded
    for storage in (reader, server):
        storage.engine.dispose()
