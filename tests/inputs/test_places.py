"""Projects and files in folders with unusual names, `~` in every path, and times without a unit."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path

import optuna
import pandas
import pytest
import typer
from sqlalchemy.engine import make_url

from hpo.cli import app
from hpo.cli.options import budget_overrides, parse_path
from hpo.data.splits import load_splits
from hpo.errors import StoreError
from hpo.paths import expand_path
from hpo.store.sqlite_reader import read_summaries
from hpo.store.storage import find_stored_study, open_artifact_store, open_storage, storage_url
from hpo.study.spec import load_study
from hpo.study.storage_url import StorageUrl
from hpo.training.checkpoint import load_checkpoint

NAMES = ["run#1", "why?", "why?mode=memory", "100%25 off", "a b", "ä", 'it\'s "q"', "{x}", "[1]", "a*b", "~", "x&y=1;"]


@pytest.mark.parametrize("name", NAMES)
def test_the_store_is_in_the_project_whatever_its_folder_is_called(name: str, small: Path, tmp_path: Path) -> None:
    project = tmp_path / "projects" / name
    project.mkdir(parents=True)
    file = small.rename(project / "small.toml")
    spec = load_study(file)
    url = storage_url(spec)
    assert StorageUrl.parse(url).file == project / "store.db" == Path(str(make_url(url).database))
    optuna.create_study(study_name="small", storage=open_storage(url), direction="maximize")
    assert find_stored_study(spec, url) is not None
    summaries = read_summaries(url)
    assert summaries is not None and [summary.name for summary in summaries] == ["small"]
    assert optuna.get_all_study_names(url) == ["small"], "plain Optuna opens the same file"
    assert Path(open_artifact_store(url, spec)._base_path) == project / "store.artifacts"
    assert [path.name for path in (tmp_path / "projects").iterdir()] == [name]
    assert {path.name for path in project.iterdir()} <= {"small.toml", "store.db", "store.db-shm", "store.db-wal"}


@pytest.mark.parametrize("name", NAMES)
def test_a_storage_url_in_the_study_file_starts_at_its_folder(name: str, small: Path, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    file = small.rename(tmp_path / name / "small.toml")
    file.write_text('storage = "sqlite:///other.db"\n' + file.read_text())
    assert StorageUrl.parse(storage_url(load_study(file))).file == tmp_path / name / "other.db"


def test_a_question_mark_in_a_typed_url_is_an_error_that_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"write \? in a path as %3F"):
        StorageUrl.parse(f"sqlite:///{tmp_path}/why?/store.db")
    assert StorageUrl.parse(f"sqlite:///{tmp_path}/why%3F/store.db").file == tmp_path / "why?" / "store.db"
    assert StorageUrl.parse(f"sqlite:///{tmp_path}/run#1/store.db").file == tmp_path / "run#1" / "store.db"
    with_options = StorageUrl.parse(f"sqlite:///{tmp_path}/store.db?timeout=5")
    assert with_options.file == tmp_path / "store.db" and with_options.connection.endswith("store.db?timeout=5")
    with pytest.raises(StoreError, match="three slashes start a path: sqlite:///store.db"):
        StorageUrl.parse("sqlite://store.db")


@pytest.mark.parametrize("name", NAMES)
def test_data_files_and_globs_are_found_in_such_folders(
    name: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / name
    project.mkdir()
    rows = pandas.DataFrame({"text": [f"text {number}" for number in range(20)], "label": ["no", "yes"] * 10})
    rows.to_csv(project / "rows-1.csv", index=False)
    rows.replace("text", "line", regex=True).to_parquet(project / "held.parquet")
    file = small.rename(project / "small.toml")
    keys = ("data.rows={}", "data.validation=0.25", 'data.test="held.parquet"')
    monkeypatch.chdir(tmp_path)
    source = file.read_text().replace('source = "builtin:reviews"', 'train = "rows-*.csv"')
    file.write_text(source)
    from_file = load_splits(load_study(file, keys).data, project)
    monkeypatch.chdir(project)
    typed = load_splits(load_study(file, (*keys, "data.train=rows-*.csv")).data, project)
    assert from_file.rows() == typed.rows() == {"train": 15, "validation": 5, "test": 20}


def test_every_path_of_the_command_line_expands_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse_path("~/a") == Path("/home/someone/a") and parse_path("a/~") == Path("a/~")
    assert expand_path("~nobody-has-this-name/a") == Path("~nobody-has-this-name/a")
    paths = 0
    for command in app.registered_commands:
        assert command.callback
        annotations = typing.get_type_hints(command.callback, include_extras=True)
        for name in inspect.signature(command.callback).parameters:
            kind, *details = typing.get_args(annotations[name])
            if Path in (kind, *typing.get_args(kind)):
                (option,) = (detail for detail in details if isinstance(detail, typer.models.ParameterInfo))
                assert option.parser is parse_path, f"{command.callback.__name__} {name}"
                paths += 1
    assert paths >= 15


def test_every_path_of_the_study_file_expands_the_home_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "space.toml").write_text("[parameters.weight_decay]\nlow = 0.0\nhigh = 0.3\n")
    rows = [f"text {number},{number % 2}" for number in range(20)]
    (home / "rows.csv").write_text("\n".join(["text,label", *rows]))
    source = 'source = "builtin:reviews"\nrows = { train = 96, validation = 32, test = 32 }'
    text = small.read_text().replace(source, "")
    text = text.replace("validation = 32", 'train = "~/rows.csv"\nvalidation = 5\ntest = "~/rows.csv"')
    text = text.replace("builtin:tiny", "~/model").replace("[space.p", '[space]\nfile = "~/space.toml"\n[space.p')
    (tmp_path / "home.toml").write_text(f'storage = "sqlite:///~/mine.db"\n{text}')
    spec = load_study(tmp_path / "home.toml")
    assert set(spec.space.parameters) == {"weight_decay", "learning_rate"}
    assert StorageUrl.parse(storage_url(spec)).file == home / "mine.db"
    data = load_splits(spec.data, tmp_path)
    assert data.rows() == {"train": 15, "validation": 5, "test": 20}
    with pytest.raises(Exception, match=f"{home}/model"):
        load_checkpoint(spec, data)
    typed = load_study(small, ("storage=sqlite:///~/mine.db", "space.file=~/space.toml"))
    assert StorageUrl.parse(storage_url(typed)).file == home / "mine.db" and "weight_decay" in typed.space.parameters
    assert StorageUrl.parse(storage_url(spec, "sqlite:///~/typed.db")).file == home / "typed.db"
    (home / "small.toml").write_text(small.read_text())
    assert load_study("~/small.toml").file == home / "small.toml"


@pytest.mark.parametrize(
    ("typed", "seconds"), [("600", 600.0), ("600.5", 600.5), ("90s", 90.0), ("10m", 600.0), ("2h", 7200.0)]
)
def test_a_timeout_without_a_unit_is_in_seconds(typed: str, seconds: float, small: Path) -> None:
    assert load_study(small, tuple(budget_overrides(None, typed, None, None))).search.timeout == seconds
    assert load_study(small, (f"search.timeout={typed}",)).search.timeout == seconds
