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
from hpo.errors import HpoError, StudyError
from hpo.output import best
from hpo.output.record import Record
from hpo.output.report import answer, judged, origin, searched
from hpo.output.report.blocks import Block, Section, escaped, spans
from hpo.study.aside import file_aside

SECTIONS: dict[str, Callable[[Record], Section]] = {
    "verdict": answer.verdict,
    "configuration": answer.configuration,
    "baselines": answer.baselines,
    "search": searched.search,
    "hyperparameters": searched.hyperparameters,
    "timeline": searched.timeline,
    "optimism": judged.optimism,
    "errors": judged.errors,
    "texts": judged.texts,
    "data": origin.data,
    "failures": origin.failures,
    "provenance": origin.provenance,
}


def write(record: Record, folder: Path) -> Path:
    """The report.html in a folder, beside report.md and, where a trial is complete, best_config.toml.

    Each file takes the place of an older one once it is whole. Raises StudyError where it cannot be written.
    """
    made = sections(record)
    pages = {"report.html": page(record, made), "report.md": markdown(record, made)}
    with suppress(HpoError):  # where there is none, as the report says
        pages["best_config.toml"] = best.as_toml(record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pages.items():
            with file_aside(folder / name) as aside:
                aside.write_text(content, encoding="utf8")
        if "best_config.toml" not in pages:
            (folder / "best_config.toml").unlink(missing_ok=True)  # of an earlier study of this name
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror or error}; choose another --output") from None
    return folder / "report.html"


def sections(record: Record) -> list[Section]:
    """Every section, in the order of reading."""
    return [section(record) for section in SECTIONS.values()]


def page(record: Record, made: list[Section]) -> str:
    """One HTML page that needs nothing beside it: style, script and plotly stand inside."""
    from plotly.offline import get_plotlyjs

    drawn = any(block.kind == "figure" for section in made for block in section.blocks)
    return _environment().get_template("page.html.j2").render(
        title=record.spec.name, objective=", ".join(record.objectives), made=_made(), sections=made,
        plotly=Markup(get_plotlyjs()) if drawn else "", **_inlined(),
    )  # fmt: skip


def markdown(record: Record, made: list[Section]) -> str:
    """The same content as Markdown, where each plot is a sentence."""
    head = f"# {escaped(record.spec.name)}: {escaped(', '.join(record.objectives))}\n\n{_made()}"
    return "\n\n".join([head, *(section.markdown() for section in made)]) + "\n"


def _made() -> str:
    return f"Made by hpo {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("hpo.output.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    # JSON within a script: only strings hold this sign, and a text of the data may hold the script's end.
    made.filters["inert"] = lambda json: Markup(json.replace("<", r"\u003c"))
    made.filters["spans"] = spans
    made.filters["groupwise"] = lambda blocks: [(kind, list(group)) for kind, group in groupby(blocks, _kind)]
    return made


def _kind(block: Block) -> str:
    return block.kind


def _inlined() -> dict[str, Markup]:
    """Style and script of the page, which are ours and so not escaped."""
    folder = files("hpo.output.report") / "templates"
    return {name: Markup((folder / f"page.{name}").read_text(encoding="utf8")) for name in ("css", "js")}
