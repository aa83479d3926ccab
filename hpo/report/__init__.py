"""SECTIONS -> one HTML file, the same as Markdown; made from the store alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hpo import __version__
from hpo.atomic import atomic_file
from hpo.errors import HpoError, StudyError
from hpo.report.blocks import Block, Section, escape_markdown, split_code_spans
from hpo.report.error_analysis import errors_section, generalization_section, misclassified_section
from hpo.report.origins import data_section, failures_section, provenance_section
from hpo.report.search_summary import hyperparameters_section, search_section, timeline_section
from hpo.report.summary import baselines_section, configuration_section, verdict_section
from hpo.results.best_config import best_config_toml
from hpo.results.study_results import StudyResults

SECTIONS: dict[str, Callable[[StudyResults], Section]] = {
    "verdict": verdict_section,
    "configuration": configuration_section,
    "baselines": baselines_section,
    "search": search_section,
    "hyperparameters": hyperparameters_section,
    "timeline": timeline_section,
    "optimism": generalization_section,
    "errors": errors_section,
    "texts": misclassified_section,
    "data": data_section,
    "failures": failures_section,
    "provenance": provenance_section,
}


def write_report(record: StudyResults, folder: Path) -> Path:
    """The report.html in a folder, beside report.md and, where a trial is complete, best_config.toml.

    Each file takes the place of an older one once it is whole. Raises StudyError where it cannot be written.
    """
    made = build_sections(record)
    pages = {"report.html": render_html(record, made), "report.md": render_markdown(record, made)}
    with suppress(HpoError):  # where there is none, as the report says
        pages["best_config.toml"] = best_config_toml(record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pages.items():
            with atomic_file(folder / name) as aside:
                aside.write_text(content, encoding="utf8")
        if "best_config.toml" not in pages:
            (folder / "best_config.toml").unlink(missing_ok=True)  # of an earlier study of this name
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror or error}; choose another --output") from None
    return folder / "report.html"


def build_sections(record: StudyResults) -> list[Section]:
    """Every section, in the order of reading."""
    return [section(record) for section in SECTIONS.values()]


def render_html(record: StudyResults, made: list[Section]) -> str:
    """One HTML page that needs nothing beside it: style, script and plotly stand inside."""
    from plotly.offline import get_plotlyjs

    drawn = any(block.kind == "figure" for section in made for block in section.blocks)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=record.spec.name,
            objective=", ".join(record.objectives),
            made=_made(),
            sections=made,
            plotly=Markup(get_plotlyjs()) if drawn else "",
            **_inlined(),
        )
    )


def render_markdown(record: StudyResults, made: list[Section]) -> str:
    """The same content as Markdown, where each plot is a sentence."""
    head = f"# {escape_markdown(record.spec.name)}: {escape_markdown(', '.join(record.objectives))}\n\n{_made()}"
    return "\n\n".join([head, *(section.markdown() for section in made)]) + "\n"


def _made() -> str:
    return f"Made by hpo {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("hpo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # JSON within a script: only strings hold this sign, and a text of the data may hold the script's end.
    made.filters["inert"] = lambda json: Markup(json.replace("<", r"\u003c"))
    made.filters["spans"] = split_code_spans
    made.filters["groupwise"] = lambda blocks: [(kind, list(group)) for kind, group in groupby(blocks, _kind)]
    return made


def _kind(block: Block) -> str:
    return block.kind


def _inlined() -> dict[str, Markup]:
    """Style and script of the page, which are ours and so not escaped."""
    folder = files("hpo.report") / "templates"
    return {name: Markup((folder / f"page.{name}").read_text(encoding="utf8")) for name in ("css", "js")}
