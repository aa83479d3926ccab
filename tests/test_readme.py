"""The README says what is so: its table of keys, its commands, its files. `make readme` writes the table anew."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from docs.study_file_reference import build_reference
from hpo.cli import app
from hpo.export.formats import FORMATS
from hpo.search.pruners import PRUNERS
from hpo.search.samplers import SAMPLERS
from hpo.study.spec import load_study
from hpo.training.arguments import SEARCHABLE
from hpo.training.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- reference: [^\n]*-->\n).*?(<!-- end of reference -->)", re.DOTALL)


def with_table(text: str) -> str:
    """The README with the table of keys as the models have it now."""
    return BLOCK.sub(lambda found: f"{found[1]}{build_reference()}\n{found[2]}", text)


def test_the_table_of_keys_is_current() -> None:
    text = README.read_text(encoding="utf8")
    assert "`search.trials` | `20`" in text
    assert with_table(text) == text, "run: make readme"


def test_every_entry_of_a_table_is_named() -> None:
    text = README.read_text(encoding="utf8")
    missing = [name for name in [*SAMPLERS, *PRUNERS, *SEARCHABLE] if name not in text]
    missing += [name for name in METRICS if name not in text and name.rpartition("_")[0] not in text]
    assert not missing


def test_every_command_has_an_example() -> None:
    text = README.read_text(encoding="utf8")
    for command in app.registered_commands:
        assert command.callback and f"| `hpo {command.callback.__name__} " in text
    for name in FORMATS:
        assert name in text or name.removeprefix("best-config") in text


def test_its_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", README.read_text(encoding="utf8"))
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda file: file.stem)
def test_every_study_that_is_shipped_reads(file: Path) -> None:
    assert load_study(file).name == file.stem


@pytest.mark.parametrize("file", sorted((ROOT / "search_spaces").glob("*.toml")), ids=lambda file: file.stem)
def test_every_space_that_is_shipped_has_only_what_can_be_searched(file: Path) -> None:
    space = tomllib.loads(file.read_text(encoding="utf8"))
    assert all(name in SEARCHABLE or name.startswith("model.") for name in space["parameters"])
    assert all(start["source"] for start in space["known_good"])


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf8")), encoding="utf8")
