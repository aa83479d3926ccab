"""The password of a storage URL: in no output of any command, wherever in the URL and however the URL is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from hpo.api import Study
from hpo.cli import main
from hpo.errors import StoreError
from hpo.search.engines.base import build_request
from hpo.search.engines.worker_process import WorkerProcess
from hpo.store.provenance import collect_provenance
from hpo.store.study_record import StudyRecord
from hpo.study.overrides import Override
from hpo.study.spec import load_study
from hpo.study.storage_url import StorageUrl
from hpo.terminal.process import _continue_arguments
from tests.support.postgresql import postgresql  # noqa: F401

CANARY = "c4n4ry"
SERVER = (
    f"postgresql://me:{CANARY}@127.0.0.1:1/x?password={CANARY}&sslpassword={CANARY}&passfile=/{CANARY}&any={CANARY}"
)
# Runs commands one after the other in one process, with everything that they print.
RUN_COMMANDS = """
import json, sys
from hpo.cli import main
for arguments in json.load(sys.stdin):
    sys.argv = ["hpo", *arguments]
    try: main()
    except SystemExit as end: assert not end.code, arguments
"""


def test_no_command_shows_or_stores_the_password(postgresql: str, small: Path, tmp_path: Path) -> None:  # noqa: F811
    url = postgresql.replace("me@", f"me:{CANARY}@") + "".join(
        f"&{name}={CANARY}" for name in ("password", "sslpassword", "passfile")
    )
    by_option, by_key = ["--storage", url], ["--set", f' "storage" = {url!r} ']
    short = ["--trials", "1", "--set", "final.seeds=1", "--set", 'final.baselines=["majority"]']
    commands = [
        ["run", "small.toml", "-v", *short, *by_key],
        ["search", "small.toml", "--trials", "1", "--set", f"storage={url}"],
        *(["retrain", "small.toml", *short[2:], *storage] for storage in (by_option, by_key)),
        ["baseline", "small.toml", "majority", "-v", *by_option],
        ["compare", "small.toml", "--json", *short[2:], *by_key],
        *(
            ["show", *arguments]
            for arguments in (by_option, ["small.toml", *by_key], ["small.toml", "--json", *by_key])
        ),
        *(
            ["export", "small.toml", "--format", name, *short[2:], *by_key]
            for name in ("bundle", "model-card", "best-config", "best-config-python", "trials-csv")
        ),
    ]
    command = [sys.executable, "-W", "ignore", "-c", RUN_COMMANDS]
    process = subprocess.run(command, cwd=tmp_path, input=json.dumps(commands), capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "next: hpo baseline" in process.stdout and "opening storage postgresql://me:***@" in process.stderr
    assert CANARY not in process.stdout + process.stderr
    contents = {file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with zipfile.ZipFile(tmp_path / "small" / "export" / "small.bundle.zip") as bundle:
        contents |= {name: bundle.read(name) for name in bundle.namelist()}
    assert {"report.html", "report.md", "study.toml", "best_config.toml"} <= contents.keys()
    assert [name for name, content in contents.items() if CANARY.encode() in content] == []
    engine = sqlalchemy.create_engine(postgresql)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(engine).get_table_names()
        rows = [str(row) for table in tables for row in connection.execute(sqlalchemy.text(f"SELECT * FROM {table}"))]
    engine.dispose()
    assert len(rows) > 50 and not any(CANARY in row for row in rows)


@pytest.mark.parametrize(
    "override",
    [
        f"storage={SERVER}",
        f'storage = "{SERVER}"',
        f" storage ='{SERVER}' ",
        f"\"storage\"='{SERVER}'",
        f"'storage' = '{SERVER}'",
        f'"st\\u006frage"="{SERVER}"',
        f"storage = '{SERVER}' # {SERVER}",
        None,
        "in the study file",
    ],
)
def test_what_is_stored_and_shown_has_no_password(small: Path, override: str | None) -> None:
    if override == "in the study file":
        small.write_text(f'storage = "{SERVER}"\n' + small.read_text())
    overrides = [override] if override and "=" in override else []
    study = Study(small, f"search.seed=3 # {SERVER}", *overrides, storage=SERVER if override is None else None)
    assert CANARY in study.url, "Optuna needs the password"
    spec = study.spec
    shown: list[Any] = [study.command("show"), study.storage, spec, spec.public_overrides, spec.command("search")]
    shown += [spec.resolved(), collect_provenance(spec, {}), build_request(spec, study.url)]
    assert [text for text in map(repr, shown) if CANARY in text] == []
    assert [text for text in map(str, shown) if CANARY in text] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["show", "--storage", f"postgresql://me:{CANARY}@127.0.0.1:1/x"],
            "storage postgresql://me:***@127.0.0.1:1/x c",
        ),
        (["show", "--storage", SERVER], "storage postgresql://me:***@127.0.0.1:1/x?any=***&passfile=***&password=***"),
        (["show", "--storage", f"postgresql://me:pass@{CANARY}@127.0.0.1:1/x"], "write %40, %2F or %3F instead"),
        (["show", "--storage", f"postgresql://127.0.0.1:{CANARY}/x"], "'postgresql://***' is not a URL"),
        (["show", "--storage", f"postgresql:/me:{CANARY}@127.0.0.1/x"], "'postgresql***' is not a URL"),
        (["show", "--storage", f"host=127.0.0.1 password={CANARY}"], "'host***' is not a URL"),
        (["show", "--storage", f"unheard-of://me:{CANARY}@127.0.0.1/x"], "is not a URL"),
        (["show", "--storage", f"oracle+unheard://me:{CANARY}@127.0.0.1/x"], "Can't load plugin"),
        (["show", f"postgresql://me:{CANARY}@127.0.0.1/x"], "the URL of a store goes after --storage"),
        (["show", "small.toml", "--set", f"postgresql://me:{CANARY}@127.0.0.1/x"], "must look like key=value"),
        (["show", "small.toml", "--set", f"postgresql://me@127.0.0.1/x?password={CANARY}"], "is not a valid key"),
        (["show", "small.toml", "--set", f'storage=["postgresql://me:{CANARY}@127.0.0.1/x"]'], "must be text"),
        (["show", "small.toml", "--set", f'storage.url="postgresql://me:{CANARY}@127.0.0.1/x"'], "must be text"),
        (["show", "small.toml", "--set", f"search.seed=3\nstorage='{SERVER}'"], "give each key its own --set"),
        (["predict", ".", "a", "--set", f"storage=postgresql://me:{CANARY}@127.0.0.1/x"], "changes a study file"),
    ],
)
def test_an_error_is_one_line_without_the_password(
    arguments: list[str],
    message: str,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    output, errors = capsys.readouterr()
    assert end.value.code == 2 and not output
    assert message in errors and errors.count("\n") == 1 and CANARY not in errors


def test_the_command_that_continues_after_an_interrupt_has_no_password() -> None:
    arguments = ["search", "x.toml", "--storage", SERVER, f"--storage={SERVER}", "--set", f"'storage' = '{SERVER}'"]
    arguments += [f"--set=storage={SERVER}", "--set", f"storage=postgresql://{CANARY}:{CANARY}/", "--trials", "3"]
    continued = _continue_arguments(arguments)
    assert not any(CANARY in argument for argument in continued) and continued[-3:] == ["***", "--trials", "3"]
    assert continued[:4] == ["search", "x.toml", "--storage", StorageUrl.parse(SERVER).text]
    assert Override.parse(continued[7]).value == StorageUrl.parse(SERVER).text


def test_ps_shows_no_password_of_a_worker(small: Path) -> None:
    worker = WorkerProcess(build_request(load_study(small, (f"storage={SERVER}",)), SERVER), os.environ)
    process = Path(f"/proc/{worker._process.pid}")
    try:
        if not process.exists():  # macOS
            pytest.skip("needs /proc")
        while not (process / "cmdline").read_bytes():  # the program has not been started yet
            time.sleep(0.01)
        assert b"hpo.search.engines.worker_main" in (process / "cmdline").read_bytes()
        assert CANARY.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    finally:
        worker.kill()


def test_a_password_in_a_store_of_an_earlier_version_is_not_shown() -> None:
    stored = [f' storage = "postgresql://me:{CANARY}@h/x"', "search.trials=3", f"'storage'='postgresql://{CANARY}'"]
    assert StudyRecord.from_attributes({"overrides": stored}).overrides == ["search.trials=3"]


def test_parameters_of_an_sqlite_url_are_not_shown() -> None:
    with pytest.raises(StoreError) as caught:
        StorageUrl.parse("sqlite:///x.db?password=hunter2&token=hunter3")
    assert "storage sqlite:///x.db?***: what follows ?" in str(caught.value) and "hunter" not in str(caught.value)
