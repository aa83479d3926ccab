"""The report: the same figures everywhere, whatever the study is, and a page that one can read anywhere."""

from __future__ import annotations

import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError

import hpo
from hpo.errors import StoreError, StudyError
from hpo.plots import FIGURES
from hpo.report import SECTIONS, build_sections, render_markdown, summary
from hpo.report.blocks import escape_markdown, markdown_sentence
from tests.support import synthetic


class Page(HTMLParser):
    """What a browser would make of a page: its tags, tables, and what a person reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in {"td", "th"}:
            self.tables[-1][-1][-1] += data
        if self.inside not in {"script", "style"}:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder: Path, trials: int = 20, **sort: Any) -> tuple[Path, str, str]:
    """A made-up study's report: its folder, the page, and the Markdown."""
    spec = synthetic.make(folder, trials, **sort)
    page = hpo.Study(spec.file).report()
    assert page == spec.folder / "report.html"
    return spec.folder, page.read_text(encoding="utf8"), (spec.folder / "report.md").read_text(encoding="utf8")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The report of a study with everything that there can be; its texts hold markup."""
    return written(tmp_path_factory.mktemp("finished"), 40, html=True)


def test_page_markdown_and_json_agree_to_the_digit(finished: tuple[Path, str, str]) -> None:
    folder, page, markdown = finished
    found = hpo.Study(folder.parent / "synthetic.toml").compare()
    shown = next(table for table in Page(page).tables if "95 % interval" in table[0])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    for system in found["systems"]:
        name, score = system["system"], system["test"]["accuracy"]
        row = next(row for row in shown if row[0] == name)
        assert row[1] == f"{score['mean']:.4f}"
        difference = next((each for each in found["differences"] if each["against"] == name), None)
        if difference:
            low, high = (f"{100 * difference[end]:.1f}".replace("-0.0", "0.0") for end in ("low", "high"))
            assert row[3] == f"{100 * difference['difference']:.1f}".replace("-0.0", "0.0")
            assert row[4] == f"[{low}, {high}]"
            assert difference["verdict"] in page.replace("&#39;", "'") and difference["verdict"] in markdown
        assert row in lines  # the very same cells
    assert found["verdict"][1:] in Page(page).words and found["verdict"][1:] in markdown


def test_best_config_is_the_winner(finished: tuple[Path, str, str]) -> None:
    folder, page, markdown = finished
    text = (folder / "best_config.toml").read_text(encoding="utf8")
    values = hpo.Study(folder.parent / "synthetic.toml").compare()["winner"]["values"]
    training = tomllib.loads(text)["training"]
    assert {name: training[name] for name in values} == values
    assert text.strip() in markdown and text.splitlines()[-1] in Page(page).words


def test_texts_of_the_data_never_become_markup(finished: tuple[Path, str, str]) -> None:
    folder, page, markdown = finished
    parsed = Page(page)
    texts = hpo.Study(folder.parent / "synthetic.toml").record().data
    assert texts and texts.test and any("<script" in text for text in texts.test.texts)
    assert "<script" in parsed.words  # shown as text ...
    assert len(parsed.all("script")) == 2 + len(parsed.all("div")) - len(
        [each for each in parsed.all("div") if "drawing" not in (each.get("class") or "")]
    )  # ... beside our own two and a plot's data each
    assert not re.search(r"<\s*(script|img|iframe|a)\b", markdown)
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)


def test_the_page_stands_alone_and_is_small(finished: tuple[Path, str, str]) -> None:
    folder, page, _ = finished
    parsed = Page(page)
    assert not any(each.get("src") or each.get("href", "#")[:1] != "#" for _, each in parsed.tags)
    assert not parsed.all("link") and "@import" not in page.split("</style>")[0]
    assert page.count("plotly.js v") == 1 and (folder / "report.html").stat().st_size < 6_000_000


def test_the_page_is_readable_without_eyes_or_script(finished: tuple[Path, str, str]) -> None:
    parsed = Page(finished[1])
    assert parsed.all("html")[0]["lang"] == "en" and len(parsed.all("h1")) == 1
    levels = [int(name[1]) for name, _ in parsed.tags if re.fullmatch("h[1-6]", name)]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    drawings = [each for each in parsed.all("div") if each.get("class") == "drawing"]
    assert len(drawings) >= 12
    for each in drawings:
        assert each["role"] == "img" and len(each["aria-label"] or "") > 20
        assert each["aria-label"] in parsed.words  # also below the plot, where no script runs
    assert len(parsed.all("caption")) == len(parsed.tables)
    anchors = {each.get("id") for each in parsed.all("section")}
    assert {(each["href"] or "")[1:] for each in parsed.all("a")} <= anchors == set(SECTIONS)


def test_every_figure_is_on_the_page(finished: tuple[Path, str, str]) -> None:
    shown = {(each.get("id") or "").removeprefix("plot-") for each in Page(finished[1]).all("div")}
    assert set(FIGURES) - shown == {"pareto"}  # of studies with two objectives


@pytest.mark.parametrize(
    ("sort", "says", "lacks"),
    [
        ({"trials": 6, "final": False, "unfinished": True}, ["no verdict yet", "hpo retrain", "waiting"], ["plot-roc"]),
        ({"trials": 6, "final": False}, ["chosen because it is high", "hpo retrain"], ["plot-intervals"]),
        ({"trials": 1, "final": False}, ["1 of 1 trials finished", "hpo retrain"], ["plot-parallel"]),
        ({"trials": 8, "pruned": True, "final": False}, ["No trial is complete", "8 pruned"], ["plot-confusion"]),
        ({"trials": 12, "foreign": True}, ["2 objectives", "Pareto front", "not made by hpo"], ["plot-roc"]),
        ({"trials": 12, "objective": "log_loss"}, ["log_loss", "gain: the winner's; p"], [" points ["]),
        ({"trials": 12, "classes": 3, "seeds": 1}, ["too few seeds", "against the rest"], ["no verdict yet"]),
    ],
    ids=["unfinished", "not-retrained", "one-trial", "all-pruned", "two-objectives", "a-loss", "three-classes"],
)
def test_a_study_of_any_sort_gives_a_report_that_says_what_is_missing(
    tmp_path: Path, sort: dict[str, Any], says: list[str], lacks: list[str]
) -> None:
    folder, page, markdown = written(tmp_path, **sort)
    words = Page(page).words
    for each in says:
        assert each in words and each in markdown.replace("\\", ""), each
    for each in lacks:
        assert each not in page, each
    assert (folder / "best_config.toml").exists() == bool(sort.get("final", True) and "foreign" not in sort) or (
        not sort.get("pruned")
    )
    assert all(f'<section id="{name}"' in page for name in SECTIONS)


def test_the_same_record_gives_the_same_report_but_for_the_time(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 10)
    record = hpo.Study(spec.file).record()
    first, second = (render_markdown(record, build_sections(record)) for _ in range(2))
    assert first.splitlines()[3:] == second.splitlines()[3:]


def test_data_that_are_gone_are_told_and_the_rest_stays(tmp_path: Path) -> None:
    folder, *_ = written(tmp_path, 10, classes=3)
    (tmp_path / "test.csv").unlink()
    page = hpo.Study(tmp_path / "synthetic.toml").report()
    words = Page(page.read_text(encoding="utf8")).words
    assert "The texts cannot be shown" in words and "test.csv" in words and "not at hand" in words
    assert "plot-confusion" in page.read_text(encoding="utf8")


def test_a_report_looks_at_the_test_split_so_the_ledger_knows(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 10)
    study = hpo.Study(spec.file)
    before = study.compare()["test_uses"]["count"]
    study.report()
    after = study.compare()["test_uses"]
    assert after["count"] == before + 2 and "report" in json.dumps(after["entries"][-2])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("warmup_ratio in [0.25, 1.0] is < 0.5 & good", "warmup_ratio in [0.25, 1.0] is < 0.5 & good"),
        ("<b>bold</b> *x* _y_ `z`", r"&lt;b>bold&lt;/b> \*x\* \_y\_ \`z\`"),
        ("[a](http://b) &lt; | ~~c~~", r"[a\](http://b) &amp;lt; \| \~\~c\~\~"),
        ("# head\n- item", r"\# head - item"),
        ("1. one", r"\1. one"),
    ],
)
def test_markdown_shows_any_text_as_it_is(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def against(name: str, outcome: str, difference: float, same: bool = False) -> dict[str, Any]:
    """One row of a comparison."""
    said = f"{outcome} {name}"
    return {"against": name, "outcome": outcome, "difference": difference, "same_runs": same, "verdict": said}


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ([], "Not known"),
        (
            [against("recipe", "better", 0.03), against("nb-svm", "better", 0.02)],
            "Yes: better than recipe by 3.0 points, ",
        ),
        (
            [against("recipe", "better", 0.03), against("bow-forest", "none", 0.025)],
            "no significant gain over bow-forest",
        ),
        ([against("recipe", "none", -0.03), against("nb-svm", "worse", -0.02)], "No: nb-svm is better."),
        ([against("recipe", "none", 0.0, True), against("nb-svm", "better", 0.02)], "It found the recipe itself"),
        ([against("recipe", "better", 0.01), against("rerun", "none", 0.0)], "Yes: better than recipe by 1.0 points."),
    ],
)
def test_whether_the_search_paid_is_decided_by_what_the_winner_does_not_beat(
    rows: list[dict[str, Any]], answer: str
) -> None:
    assert answer in summary._paid({"differences": rows, "objective": "accuracy"})


def test_what_is_quoted_in_a_sentence_stays_on_its_line() -> None:
    assert markdown_sentence("a `\n\n<img src=x>\n\n` b") == "a ` <img src=x> ` b"
    assert markdown_sentence("`hpo run x` <b>") == "`hpo run x` &lt;b>"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 5, final=False)
    (tmp_path / "taken").write_text("")
    with pytest.raises(StudyError, match="taken: cannot be written: .*; choose another --output"):
        hpo.Study(spec.file).report(tmp_path / "taken")


def test_a_store_that_cannot_be_written_still_gives_a_report_without_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = synthetic.make(tmp_path, 10)

    def refused(*_: Any) -> None:  # as by a file system that is mounted to be read only
        raise StorageInternalError("attempt to write a readonly database")

    monkeypatch.setattr("hpo.evaluation.sealed_split.record_use", refused)
    page = hpo.Study(spec.file).report()
    assert "the store cannot be written" in Page(page.read_text(encoding="utf8")).words
    with pytest.raises(StoreError, match="each look at the test split is entered there"):
        hpo.Study(spec.file).compare()
