"""SECTIONS, and the functions that write them as one HTML file and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from hpo import __version__
from hpo.atomic import sweep_leftovers
from hpo.errors import HpoError, StudyError
from hpo.ownership import check_files, check_outside, is_owned_file, owned_file
from hpo.report.blocks import Block, Section, escape_markdown, split_code_spans
from hpo.report.cost import cost_section
from hpo.report.error_analysis import errors_section, generalization_section, misclassified_section
from hpo.report.method import method_section
from hpo.report.origins import data_section, failures_section, provenance_section
from hpo.report.search_summary import hyperparameters_section, search_section, timeline_section
from hpo.report.summary import baselines_section, configuration_section, verdict_section
from hpo.results.best_config import best_config_toml
from hpo.results.study_results import StudyResults
from hpo.results.template_environment import template_environment
from hpo.study.spec import StudySpec

# Anchor -> the function that builds the section, in the order of the page.
SECTIONS: dict[str, Callable[[StudyResults], Section]] = {
    "verdict": verdict_section,
    "configuration": configuration_section,
    "baselines": baselines_section,
    "search": search_section,
    "hyperparameters": hyperparameters_section,
    "timeline": timeline_section,
    "cost": cost_section,
    "generalization": generalization_section,
    "errors": errors_section,
    "misclassified": misclassified_section,
    "method": method_section,
    "data": data_section,
    "failures": failures_section,
    "provenance": provenance_section,
}
CONFIG_FILE = "best_config.toml"
REPORT_FILES = ("report.html", "report.md", CONFIG_FILE)


def write_report(results: StudyResults, folder: Path, overwrite: bool = False) -> Path:
    """Write report.html, report.md and, if a trial is complete, best_config.toml into a folder; return the first.

    The report shows the comparison, which the ledger of the test split records. Each file is written completely before
    it replaces an older one. Raises StudyError if the folder cannot be written, or, unless `overwrite` is set, if a
    file of that name was not written by hpo or has been changed since.
    """
    study_folder = results.spec.folder
    check_outside(folder, results.needed_paths)
    check_report_files(results.spec, folder, overwrite)  # before the test split is used
    contents = build_report(results)
    try:
        for name, content in contents.items():
            with owned_file(folder / name, study_folder, overwrite) as temporary:
                temporary.write_text(content, encoding="utf8")
        left_over = folder / CONFIG_FILE  # by an earlier study of this name
        if CONFIG_FILE not in contents and is_owned_file(left_over, study_folder):
            left_over.unlink()
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror or error}; choose another --output") from None
    sweep_leftovers(study_folder)
    return folder / "report.html"


def check_report_files(spec: StudySpec, folder: Path, overwrite: bool = False) -> None:
    """Raise StudyError for a file that a report would replace and that hpo has not written as it is."""
    check_files((folder / name for name in REPORT_FILES), spec.folder, overwrite=overwrite)


def build_report(results: StudyResults) -> dict[str, str]:
    """Return the content of each file of a report; without a best trial there is no best configuration."""
    results.compare()
    sections = build_sections(results)
    contents = {"report.html": render_html(results, sections), "report.md": render_markdown(results, sections)}
    with suppress(HpoError):  # the report says why
        contents[CONFIG_FILE] = best_config_toml(results)
    return contents


def build_sections(results: StudyResults) -> list[Section]:
    """Build every section, in the order of the page."""
    return [build(results) for build in SECTIONS.values()]


def render_html(results: StudyResults, sections: Sequence[Section]) -> str:
    """Return one HTML page that contains its style, its script and plotly, and loads nothing."""
    from plotly.offline import get_plotlyjs

    has_figure = any(block.kind == "figure" for section in sections for block in section.blocks)
    return (
        _page_environment()
        .get_template("page.html.j2")
        .render(
            title=results.spec.name,
            objective=", ".join(results.objectives),
            created=_created_line(),
            sections=sections,
            plotly=Markup(get_plotlyjs()) if has_figure else "",
            **_inlined_files(),
        )
    )


def render_markdown(results: StudyResults, sections: Sequence[Section]) -> str:
    """Return the same content as Markdown, with the alt text of each figure in its place."""
    title = f"# {escape_markdown(results.spec.name)}: {escape_markdown(', '.join(results.objectives))}"
    return "\n\n".join([title, _created_line(), *(section.markdown() for section in sections)]) + "\n"


def _created_line() -> str:
    return f"Created by hpo {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."


def _page_environment() -> Environment:
    environment = template_environment("hpo.report", autoescape=True)
    environment.filters["script_json"] = _escape_script_json
    environment.filters["code_spans"] = split_code_spans
    environment.filters["group_by_kind"] = _group_by_kind
    return environment


def _escape_script_json(json: str) -> Markup:
    """Escape JSON inside a script element: a text of the data may contain `</script>`. Only strings contain `<`."""
    return Markup(json.replace("<", r"\u003c"))


def _group_by_kind(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    return [(kind, list(group)) for kind, group in groupby(blocks, lambda block: block.kind)]


def _inlined_files() -> dict[str, Markup]:
    """Return style and script of the page; they are our own, so they are not escaped."""
    folder = files("hpo.report") / "templates"
    return {name: Markup((folder / f"page.{name}").read_text(encoding="utf8")) for name in ("css", "js")}
