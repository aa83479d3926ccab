"""The report shows the same figures everywhere, exists for any study, and is a self-contained, accessible page."""

from __future__ import annotations

import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError

import hpo
from hpo.errors import StoreError, StudyError
from hpo.evaluation.sealed_split import list_uses
from hpo.plots import FIGURES
from hpo.report.blocks import Paragraph, Section, Table, escape_markdown, markdown_sentence
from hpo.report.cost import cost_section
from hpo.report.render import SECTIONS, build_sections, render_html, render_markdown
from hpo.results.formatting import format_cost
from hpo.results.study_results import StudyResults
from tests.support import synthetic
from tests.support.evaluated_study import open_results


class Page(HTMLParser):
    """The tags of a page, its tables, and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.current_tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.current_tag = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.current_tag = ""

    def handle_data(self, data: str) -> None:
        if self.current_tag in {"td", "th"}:
            self.tables[-1][-1][-1] += data
        if self.current_tag not in {"script", "style"}:
            self.text += data

    def find_all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write_synthetic_report(folder: Path, trials: int = 20, **options: Any) -> tuple[Path, str, str]:
    """Write the report of a synthetic study; return its folder, the page and the Markdown."""
    spec = synthetic.make(folder, trials, **options)
    page = hpo.Study(spec.file).report()
    assert page == spec.folder / "report.html"
    return spec.folder, page.read_text(encoding="utf8"), (spec.folder / "report.md").read_text(encoding="utf8")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The report of a study with every kind of result; its texts contain markup."""
    return write_synthetic_report(tmp_path_factory.mktemp("finished"), 40, html=True)


def test_page_markdown_and_json_agree_to_the_digit(finished: tuple[Path, str, str]) -> None:
    folder, page, markdown = finished
    comparison = hpo.Study(folder.parent / "synthetic.toml").compare()
    table = next(table for table in Page(page).tables if "95 % interval" in table[0])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    for system in comparison.systems:
        row = next(row for row in table if row[0] == system.system)
        assert row[1] == f"{system.test['accuracy'].mean:.4f}"
        if difference := comparison.difference_to(system.system):
            low, high = (f"{100 * end:.1f}".replace("-0.0", "0.0") for end in (difference.low, difference.high))
            assert row[3] == f"{100 * difference.difference:.1f}".replace("-0.0", "0.0")
            assert row[4] == f"[{low}, {high}]"
            assert difference.verdict in page.replace("&#39;", "'") and difference.verdict in markdown
        assert row in lines  # the same cells
    assert comparison.verdict[1:] in Page(page).text and comparison.verdict[1:] in markdown


def test_best_config_is_the_winner(finished: tuple[Path, str, str]) -> None:
    folder, page, markdown = finished
    text = (folder / "best_config.toml").read_text(encoding="utf8")
    values = hpo.Study(folder.parent / "synthetic.toml").compare().winner.values
    training = tomllib.loads(text)["training"]
    assert {name: training[name] for name in values} == values
    assert text.strip() in markdown and text.splitlines()[-1] in Page(page).text


def test_texts_of_the_data_are_never_markup(finished: tuple[Path, str, str]) -> None:
    folder, page, markdown = finished
    parsed = Page(page)
    texts = open_results(folder.parent / "synthetic.toml").data
    assert texts and texts.test and any("<script" in text for text in texts.test.texts)
    assert "<script" in parsed.text  # visible as text ...
    assert len(parsed.find_all("script")) == 2 + len(parsed.find_all("div")) - len(
        [div for div in parsed.find_all("div") if "drawing" not in (div.get("class") or "")]
    )  # ... while the scripts are our two, and the data of each plot
    assert not re.search(r"<\s*(script|img|iframe|a)\b", markdown)
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)


def test_page_loads_nothing_and_is_small(finished: tuple[Path, str, str]) -> None:
    folder, page, _ = finished
    parsed = Page(page)
    assert not any(attrs.get("src") or (attrs.get("href") or "#")[:1] != "#" for _, attrs in parsed.tags)
    assert not parsed.find_all("link") and "@import" not in page.split("</style>")[0]
    assert page.count("plotly.js v") == 1 and (folder / "report.html").stat().st_size < 6_000_000


def test_page_is_accessible_without_images_or_scripts(finished: tuple[Path, str, str]) -> None:
    parsed = Page(finished[1])
    assert parsed.find_all("html")[0]["lang"] == "en" and len(parsed.find_all("h1")) == 1
    levels = [int(name[1]) for name, _ in parsed.tags if re.fullmatch("h[1-6]", name)]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    drawings = [div for div in parsed.find_all("div") if div.get("class") == "drawing"]
    assert len(drawings) >= 12
    for drawing in drawings:
        label = drawing["aria-label"] or ""
        assert drawing["role"] == "img" and len(label) > 20
        assert label in parsed.text  # visible below the plot too
    assert len(parsed.find_all("caption")) == len(parsed.tables)
    anchors = {section.get("id") for section in parsed.find_all("section")}
    assert {(link["href"] or "")[1:] for link in parsed.find_all("a")} <= anchors == set(SECTIONS)


def test_every_figure_is_on_the_page(finished: tuple[Path, str, str]) -> None:
    drawn = {(div.get("id") or "").removeprefix("plot-") for div in Page(finished[1]).find_all("div")}
    assert set(FIGURES) - drawn == {"pareto"}  # which needs two objectives


@pytest.mark.parametrize(
    ("options", "phrases", "absent"),
    [
        ({"trials": 6, "final": False, "unfinished": True}, ["no verdict yet", "hpo retrain", "waiting"], ["plot-roc"]),
        ({"trials": 6, "final": False}, ["selected for this score", "hpo retrain"], ["plot-intervals"]),
        ({"trials": 1, "final": False}, ["1 of 1 trials finished", "hpo retrain"], ["plot-parallel"]),
        ({"trials": 8, "pruned": True, "final": False}, ["No trial is complete", "8 pruned"], ["plot-confusion"]),
        ({"trials": 12, "foreign": True}, ["2 objectives", "Pareto front", "not created by hpo"], ["plot-roc"]),
        (
            {"trials": 12, "objective": "log_loss"},
            ["log_loss", "gain: of the winner over this system; interval and p"],
            [" points ["],
        ),
        ({"trials": 12, "classes": 3, "seeds": 1}, ["too few seeds", "against the rest"], ["no verdict yet"]),
    ],
    ids=["unfinished", "not-retrained", "one-trial", "all-pruned", "two-objectives", "a-loss", "three-classes"],
)
def test_any_study_has_a_report_that_names_what_is_missing(
    tmp_path: Path, options: dict[str, Any], phrases: list[str], absent: list[str]
) -> None:
    folder, page, markdown = write_synthetic_report(tmp_path, **options)
    text = Page(page).text
    for phrase in phrases:
        assert phrase in text and phrase in markdown.replace("\\", ""), phrase
    for phrase in absent:
        assert phrase not in page, phrase
    assert (folder / "best_config.toml").exists() == bool(options.get("final", True) and "foreign" not in options) or (
        not options.get("pruned")
    )
    assert all(f'<section id="{name}"' in page for name in SECTIONS)


def test_equal_results_give_equal_reports_apart_from_the_time(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 10)
    results = open_results(spec.file)
    results.compare()
    first, second = (render_markdown(results, build_sections(results)) for _ in range(2))
    assert first.splitlines()[3:] == second.splitlines()[3:]


def test_missing_data_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder, *_ = write_synthetic_report(tmp_path, 10, classes=3)
    (tmp_path / "test.csv").unlink()
    page = hpo.Study(tmp_path / "synthetic.toml").report()
    text = Page(page.read_text(encoding="utf8")).text
    assert "The texts cannot be shown" in text and "test.csv" in text and "texts are not available" in text
    assert "plot-confusion" in page.read_text(encoding="utf8")


def test_report_is_recorded_in_the_ledger_of_the_test_split(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 10)
    study = hpo.Study(spec.file)
    before = study.compare().test_uses.count
    study.report()
    after = study.compare().test_uses
    assert after.count == before + 2 and after.entries[-2].command.startswith("report")


def test_properties_do_not_use_the_test_split(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 10)
    results = open_results(spec.file)
    assert results.companion
    before = len(list_uses(results.companion))
    assert results.comparison is None and results.comparison_runs is None
    assert results.missing_reason == "the comparison was not loaded"
    assert results.best and results.status and len(results.trials_table) == 10
    assert len(list_uses(_reopen(results))) == before
    comparison = results.compare()
    assert comparison and results.compare() is results.comparison is comparison and not results.missing_reason
    assert len(list_uses(_reopen(results))) == before + 1, "a second call must not be recorded"


def _reopen(results: StudyResults) -> optuna.Study:
    assert results.companion
    return optuna.load_study(study_name=results.companion.study_name, storage=results.storage)


def test_cost_section_adds_up_all_trials_and_runs(tmp_path: Path) -> None:
    results = open_results(synthetic.make(tmp_path, 30).file)
    *rows, total = [block for block in cost_section(results).blocks if isinstance(block, Table)][0].content.rows
    counts = {name: int(count) for name, count, *_ in rows}
    assert counts["retraining"] == 3 and counts["baselines"] == len(results.runs) - 3
    assert counts["complete trials"] == len(results.complete)
    assert sum(counts.values()) == len(results.trials) + len(results.runs) == int(total[1])
    seconds = sum(trial.seconds.wall for trial in results.trials) + sum(run.seconds.wall for run in results.runs)
    assert total[2:] == [format_cost(seconds), "100%"]
    assert 98 <= sum(int(share.rstrip("%")) for *_, share in rows) <= 102


def test_section_is_one_function_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps_section(results: StudyResults) -> Section:
        return Section("steps", "Optimizer steps", [Paragraph(f"{sum(t.steps or 0 for t in results.trials)} steps.")])

    monkeypatch.setitem(SECTIONS, "steps", steps_section)
    results = open_results(synthetic.make(tmp_path, 5, final=False).file)
    sections = build_sections(results)
    assert '<a href="#steps">Optimizer steps</a>' in render_html(results, sections)
    assert "## Optimizer steps" in render_markdown(results, sections)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("warmup_ratio in [0.25, 1.0] is < 0.5 & good", "warmup_ratio in [0.25, 1.0] is < 0.5 & good"),
        ("<b>bold</b> *x* _y_ `z`", r"&lt;b>bold&lt;/b> \*x\* \_y\_ \`z\`"),
        ("[a](http://b) &lt; | ~~c~~", r"[a\](http://b) &amp;lt; \| \~\~c\~\~"),
        ("# head\n- item", r"\# head - item"),
        ("1. one", r"\1. one"),
    ],
)
def test_markdown_displays_any_text_literally(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_sentence_with_line_breaks_stays_on_one_line() -> None:
    assert markdown_sentence("a `\n\n<img src=x>\n\n` b") == "a ` <img src=x> ` b"
    assert markdown_sentence("`hpo run x` <b>") == "`hpo run x` &lt;b>"


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 5, final=False)
    (tmp_path / "taken").write_text("")
    with pytest.raises(StudyError, match="taken: cannot be written: .*; choose another --output"):
        hpo.Study(spec.file).report(tmp_path / "taken")


def test_store_that_is_locked_gives_a_report_without_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = synthetic.make(tmp_path, 10)

    def fail(*_: Any) -> None:  # for a store that cannot be written at all, see tests/inputs/test_read_only_store.py
        raise StorageInternalError("database is locked")

    monkeypatch.setattr("hpo.evaluation.comparison.record_use", fail)
    page = hpo.Study(spec.file).report()
    assert "cannot be recorded in the store: database is locked" in Page(page.read_text(encoding="utf8")).text
    with pytest.raises(StoreError, match="this use of the test split cannot be recorded"):
        hpo.Study(spec.file).compare()
