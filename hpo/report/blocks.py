"""What a report is made of: each block shows as HTML by the page's template, and as Markdown by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from hpo.plots import FIGURES
from hpo.results.formatting import TextTable
from hpo.results.study_results import StudyResults

MAX_EXCERPT = 700  # characters of a text that are shown
# What means something to Markdown, and only where it does: `warmup_ratio` and `[1.2, 3.4]` are left to be read.
_MARKUP = {
    r"([\\`*|~])": r"\\\1",
    r"&(?=#?\w+;)": "&amp;",
    r"<(?=[A-Za-z/!?])": "&lt;",
    r"(?<!\w)_|_(?!\w)": r"\_",
    r"\](?=[(\[:])": r"\]",
    r"^([#+>-]|\d+[.)])(?=\s|>)": r"\\\1",
}


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; a caution is told apart."""

    text: str
    caution: bool = False
    kind: ClassVar[str] = "text"

    def markdown(self) -> str:
        """The paragraph, a caution in bold."""
        said = markdown_sentence(self.text)
        return f"**Note:** {said}" if self.caution else said


@dataclass(frozen=True)
class BulletList:
    """A list of sentences."""

    items: list[str]
    kind: ClassVar[str] = "items"

    def markdown(self) -> str:
        """One bullet per sentence."""
        return "\n".join(f"- {markdown_sentence(item)}" for item in self.items)


@dataclass(frozen=True)
class QuestionAnswer:
    """A question that the reader came with, answered in a few words, and what stands behind that."""

    question: str
    answer: str
    behind: list[str]
    kind: ClassVar[str] = "answer"

    def markdown(self) -> str:
        """The question in bold, then its answer."""
        return "\n".join(
            [
                f"**{markdown_sentence(self.question)}** {markdown_sentence(self.answer)}",
                *(f"- {markdown_sentence(each)}" for each in self.behind),
            ]
        )


@dataclass(frozen=True)
class Table:
    """Rows of text under heads, with a caption that says what they are."""

    caption: str
    shown: TextTable
    kind: ClassVar[str] = "table"

    def markdown(self) -> str:
        """A pipe table; numbers stand to the right."""
        rows = [self.shown.heads, ["---" if place < self.shown.words else "---:" for place in self._places]]
        lines = [
            "| " + " | ".join(row if line == 1 else [escape_markdown(cell) for cell in row]) + " |"
            for line, row in enumerate([*rows, *self.shown.rows])
        ]
        return "\n".join([f"{escape_markdown(self.caption)}:", "", *lines])

    @property
    def _places(self) -> range:
        return range(len(self.shown.heads))


@dataclass(frozen=True)
class Code:
    """Text to copy."""

    caption: str
    text: str
    language: str
    kind: ClassVar[str] = "code"

    def markdown(self) -> str:
        """A fenced block, its fence longer than any within."""
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", self.text)), default=0))
        return f"{escape_markdown(self.caption)}:\n\n{fence}{self.language}\n{self.text.rstrip()}\n{fence}"


@dataclass(frozen=True)
class Figure:
    """A plot by its name in FIGURES, what it shows in words, and plotly's JSON of it."""

    name: str
    caption: str
    alt: str
    json: str
    kind: ClassVar[str] = "figure"

    def markdown(self) -> str:
        """What the plot shows, in words."""
        return f"{escape_markdown(self.caption)}: {escape_markdown(self.alt)}"


@dataclass(frozen=True)
class Excerpt:
    """A text of the data with what was said of it."""

    said: str
    text: str
    kind: ClassVar[str] = "excerpt"

    @property
    def shown(self) -> str:
        """The text's beginning, on one line."""
        whole = " ".join(self.text.split())
        return whole if len(whole) <= MAX_EXCERPT else f"{whole[:MAX_EXCERPT]} … ({len(whole):,} characters)"

    def markdown(self) -> str:
        """A quotation in which nothing is markup."""
        return f"{escape_markdown(self.said)}\n\n> {escape_markdown(self.shown)}"


Block = Paragraph | BulletList | QuestionAnswer | Table | Code | Figure | Excerpt


@dataclass(frozen=True)
class Section:
    """A titled part of the report; its anchor is what links name."""

    anchor: str
    title: str
    blocks: list[Block]

    def markdown(self) -> str:
        """The section under its heading."""
        return "\n\n".join([f"## {escape_markdown(self.title)}", *(block.markdown() for block in self.blocks)])


def split_code_spans(text: str) -> list[tuple[bool, str]]:
    """A sentence of ours in parts: whether each is `something to type`, and the part itself."""
    parts = re.split("`([^`]+)`", text)
    return [(bool(place % 2), part) for place, part in enumerate(parts) if part]


def markdown_sentence(text: str) -> str:
    """A sentence of ours as Markdown, in which only what is to be typed is marked."""
    line = " ".join(text.split())  # a blank line would end what is to be typed, and what follows would be markup
    return "".join(f"`{part}`" if is_code else escape_markdown(part) for is_code, part in split_code_spans(line))


def escape_markdown(text: str) -> str:
    """Text on one line in which Markdown sees no markup, HTML included; what reads as plain text stays as it is."""
    line = re.sub(r"\s+", " ", text)
    for sign, meant in _MARKUP.items():
        line = re.sub(sign, meant, line)
    return line


def figure_blocks(record: StudyResults, name: str, caption: str, without: str = "") -> list[Block]:
    """The figure of that name, or the sentence that stands in its place where there is nothing to draw."""
    drawing = FIGURES[name](record)
    if drawing is None:
        return [Paragraph(without)] if without else []
    return [Figure(name, caption, drawing.alt, drawing.figure.to_json())]
