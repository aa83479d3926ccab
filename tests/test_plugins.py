"""Entry points of other installed packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo.data.cleaning import build_cleaner
from hpo.errors import HpoError
from hpo.plugins import load_entry_points
from hpo.study.spec_tables import NamedComponent

MODULE = """
def shout(text, marks=1):
    return text.upper() + "!" * marks

def lowercase(text):
    return "not the built-in one"

def join(text, separator):
    return text

def nothing():
    return ""

sign = "!"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package with entry points of the group `hpo.cleaners` on a temporary import path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(package: str, **objects: str) -> None:
        folder = tmp_path / f"{package}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in objects.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[hpo.cleaners]", *lines]))
        (tmp_path / f"{package}.py").write_text(MODULE)
        load_entry_points.cache_clear()

    yield write
    load_entry_points.cache_clear()
    for module in ("loud", "other"):
        sys.modules.pop(module, None)


def clean(text: str, name: str, **options: object) -> str:
    return build_cleaner([NamedComponent.model_validate({"name": name, **options})])(text)


def test_entry_points_are_empty_without_plugins() -> None:
    assert load_entry_points("hpo.no_such_group") == {}


def test_entry_points_are_not_imported_until_loaded(install: Callable[..., None]) -> None:
    install("loud", shout="loud:shout")
    plugins = load_entry_points("hpo.cleaners")
    assert list(plugins) == ["shout"] and "loud" not in sys.modules
    assert plugins["shout"].load()("good") == "GOOD!" and load_entry_points("hpo.cleaners") is plugins


def test_cleaner_of_a_plugin_runs_with_its_options(install: Callable[..., None]) -> None:
    install("loud", shout="loud:shout")
    assert clean("good", "shout") == "GOOD!" and clean("good", "shout", marks=3) == "GOOD!!!"
    with pytest.raises(ValueError, match=r"shout\.mark is unknown; did you mean marks\?"):
        clean("good", "shout", mark=3)
    with pytest.raises(ValueError, match=r"shou is unknown; did you mean shout\?"):
        clean("good", "shou")


def test_builtin_cleaner_wins_over_a_plugin(install: Callable[..., None]) -> None:
    install("loud", lowercase="loud:lowercase")
    assert clean("GOOD", "lowercase") == "good"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:shout", r"^loud 1\.2: .*'shout' \(no_such_module:shout\) cannot be loaded: ModuleNotFound"),
        ("loud:whisper", r"^loud 1\.2: .*AttributeError.*; update or uninstall the package$"),
        ("loud:sign", r"^loud 1\.2: .*'shout' \(loud:sign\) is a str; expected a function"),
        ("loud:join", r"^loud 1\.2: .*'shout' \(loud:join\) takes \(text, separator\); expected a text, and options"),
        ("loud:nothing", r"^loud 1\.2: .*'shout' \(loud:nothing\) takes \(\); expected a text, and options"),
    ],
)
def test_broken_plugin_is_an_error_that_names_its_package(
    install: Callable[..., None], value: str, message: str
) -> None:
    install("loud", shout=value)
    with pytest.raises(HpoError, match=message):
        clean("good", "shout")


def test_same_name_in_two_packages_is_an_error(install: Callable[..., None]) -> None:
    install("loud", shout="loud:shout")
    install("other", shout="other:shout")
    with pytest.raises(HpoError, match=r"^loud 1\.2 and other 1\.2: both provide hpo\.cleaners entry point 'shout'"):
        load_entry_points("hpo.cleaners")
