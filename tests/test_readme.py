"""README and docs/ agree with the code: keys, commands, options, entries, links. `make readme` writes the key table."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from docs.study_file_reference import build_reference
from hpo.cli import app
from hpo.data.cleaning import CLEANERS
from hpo.evaluation.baselines import BASELINES
from hpo.export.formats import FORMATS
from hpo.search.engines import ENGINES
from hpo.search.pruners import PRUNERS
from hpo.search.samplers import SAMPLERS
from hpo.study.spec import load_study
from hpo.training.metrics import METRICS
from hpo.training.searchable import SEARCHABLE

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
STUDY_FILE_PAGE = ROOT / "docs" / "study-file.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
KEY_TABLE = re.compile(r"(<!-- reference: [^\n]*-->\n).*?(<!-- end of reference -->)", re.DOTALL)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a click.Group


def read_page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


def insert_key_table(page: str) -> str:
    """Replace the table of keys in a page by the one that the models have now."""
    return KEY_TABLE.sub(lambda match: f"{match[1]}{build_reference()}\n{match[2]}", page)


def names_in(page: str) -> set[str]:
    """Every word of a page that could be an entry's name."""
    return set(re.findall(r"[\w.-]*\w", page))


def sections_of(page: str) -> dict[str, str]:
    """The parts of a page by their second-level heading."""
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_key_table_is_current() -> None:
    page = STUDY_FILE_PAGE.read_text(encoding="utf8")
    assert "`search.trials` | `20`" in page
    assert insert_key_table(page) == page, "run: make readme"


@pytest.mark.parametrize("table", [SAMPLERS, PRUNERS, ENGINES, SEARCHABLE, METRICS, CLEANERS])
def test_study_file_page_names_every_entry(table: dict[str, object]) -> None:
    assert not set(table) - names_in(read_page("docs/study-file.md"))


def test_pages_name_every_baseline_and_export_format() -> None:
    assert not set(BASELINES) - names_in(read_page("README.md") + read_page("docs/commands.md"))
    assert not set(FORMATS) - names_in(sections_of(read_page("docs/commands.md"))["hpo export"])


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_documented_with_an_example_and_its_options(command: str) -> None:
    sections = sections_of(read_page("docs/commands.md"))
    section = sections[f"hpo {command}"]
    assert re.search(rf"^```\n(.*\n)*?.*hpo {command} ?.*\n(.*\n)*?```$", section, re.MULTILINE)
    documented = names_in(section + sections["Options of most commands"])
    options = [option for parameter in COMMANDS[command].params for option in parameter.opts if option.startswith("--")]
    assert not set(options) - documented


def test_commands_page_documents_no_other_command() -> None:
    headings = sections_of(read_page("docs/commands.md"))
    assert {heading for heading in headings if heading.startswith("hpo ")} == {f"hpo {name}" for name in COMMANDS}


def test_readme_is_short_and_its_pictures_are_small() -> None:
    page = README.read_text(encoding="utf8")
    assert len(page.splitlines()) <= 150
    pictures = set(re.findall(r"\(([^)\s]+\.png)\)", page))
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf8"))
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (page.parent / link).exists()]


def test_pitfalls_page_and_tests_name_the_same_pitfalls() -> None:
    page = read_page("docs/library-pitfalls.md")
    tests = set(re.findall(r"^def (test_\w+)", read_page("tests/test_library_pitfalls.py"), re.MULTILINE))
    tested = {int(match[1]) for name in tests if (match := re.match(r"test_\w+?_(\d\d)_", name))}
    assert tested == {int(number) for number in re.findall(r"^\| (\d\d?) \|", page, re.MULTILINE)}
    assert tested == {int(number) for number in re.findall(r"\| `_(\d\d)_` \|$", page, re.MULTILINE)}
    assert not set(re.findall(r"`(test_\w+)`", page)) - tests


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_study_is_valid(file: Path) -> None:
    assert load_study(file).name == file.stem


@pytest.mark.parametrize("file", sorted((ROOT / "search_spaces").glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_search_space_is_searchable_and_names_its_sources(file: Path) -> None:
    space = tomllib.loads(file.read_text(encoding="utf8"))
    assert all(name in SEARCHABLE or name.startswith("model.") for name in space["parameters"])
    assert all(start["source"] for start in space["known_good"])


if __name__ == "__main__":
    STUDY_FILE_PAGE.write_text(insert_key_table(STUDY_FILE_PAGE.read_text(encoding="utf8")), encoding="utf8")
