"""The blocks that reports, notes and model cards consist of, and their Markdown; page.html.j2 renders them as HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from hpo.plots import FIGURES
from hpo.results.formatting import TextTable
from hpo.results.study_results import StudyResults

MAX_EXCERPT = 700  # characters of a text that are shown
# Escapes for characters that are markup in Markdown, and only at positions where they are: `warmup_ratio` and
# `[1.2, 3.4]` stay readable in a file that people open in an editor.
_ESCAPES = {
    r"([\\`*|~])": r"\\\1",
    r"&(?=#?\w+;)": "&amp;",
    r"<(?=[A-Za-z/!?])": "&lt;",
    r"(?<!\w)_|_(?!\w)": r"\_",
    r"\](?=[(\[:])": r"\]",
    r"^([#+>-]|\d+[.)])(?=\s|>)": r"\\\1",
}


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; a caution is highlighted."""

    text: str
    caution: bool = False
    kind: ClassVar[str] = "text"

    def markdown(self) -> str:
        """Return the paragraph; a caution starts with a bold word."""
        sentence = markdown_sentence(self.text)
        return f"**Note:** {sentence}" if self.caution else sentence


@dataclass(frozen=True)
class SectionLink:
    """A link to another section of the report."""

    title: str  # of the section
    anchor: str
    kind: ClassVar[str] = "link"

    def markdown(self) -> str:
        """Return a link to the heading, whose anchor Markdown derives from its text."""
        return f"[{self.title}](#{self.title.lower().replace(' ', '-')})"


@dataclass(frozen=True)
class BulletList:
    """A list of sentences."""

    items: list[str]
    kind: ClassVar[str] = "items"

    def markdown(self) -> str:
        """Return one bullet per sentence."""
        return "\n".join(f"- {markdown_sentence(item)}" for item in self.items)


@dataclass(frozen=True)
class QuestionAnswer:
    """A question of the reader, a short answer, and the facts that support it."""

    question: str
    answer: str
    facts: list[str]
    kind: ClassVar[str] = "answer"

    def markdown(self) -> str:
        """Return the question in bold, its answer, and a bullet per fact."""
        first = f"**{markdown_sentence(self.question)}** {markdown_sentence(self.answer)}"
        return "\n".join([first, *(f"- {markdown_sentence(fact)}" for fact in self.facts)])


@dataclass(frozen=True)
class Table:
    """A table of text with a caption."""

    caption: str
    content: TextTable
    kind: ClassVar[str] = "table"

    def markdown(self) -> str:
        """Return a pipe table; columns of numbers are aligned to the right."""
        heads = [escape_markdown(head) for head in self.content.heads]
        alignment = ["---" if index < self.content.words else "---:" for index in range(len(heads))]
        rows = [[escape_markdown(cell) for cell in row] for row in self.content.rows]
        lines = ["| " + " | ".join(row) + " |" for row in [heads, alignment, *rows]]
        return "\n".join([f"{escape_markdown(self.caption)}:", "", *lines])


@dataclass(frozen=True)
class Code:
    """Code or configuration to copy."""

    caption: str
    text: str
    language: str
    kind: ClassVar[str] = "code"

    def markdown(self) -> str:
        """Return a fenced block; its fence is longer than any run of backticks within."""
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", self.text)), default=0))
        return f"{escape_markdown(self.caption)}:\n\n{fence}{self.language}\n{self.text.rstrip()}\n{fence}"


@dataclass(frozen=True)
class Figure:
    """A figure of `hpo.plots.FIGURES` with its alt text and its plotly JSON."""

    name: str
    caption: str
    alt: str
    json: str
    kind: ClassVar[str] = "figure"

    def markdown(self) -> str:
        """Return the caption and the alt text."""
        return f"{escape_markdown(self.caption)}: {escape_markdown(self.alt)}"


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a text of the data, under a heading that says how it was classified."""

    heading: str
    text: str
    kind: ClassVar[str] = "excerpt"

    @property
    def beginning(self) -> str:
        """The first characters of the text, on one line."""
        line = " ".join(self.text.split())
        return line if len(line) <= MAX_EXCERPT else f"{line[:MAX_EXCERPT]} … ({len(line):,} characters)"

    def markdown(self) -> str:
        """Return a quotation whose markup is escaped."""
        return f"{escape_markdown(self.heading)}\n\n> {escape_markdown(self.beginning)}"


Block = Paragraph | SectionLink | BulletList | QuestionAnswer | Table | Code | Figure | Excerpt


@dataclass(frozen=True)
class Section:
    """A part of the report with a title; links within the page name its anchor."""

    anchor: str
    title: str
    blocks: list[Block]

    def markdown(self) -> str:
        """Return the blocks under a heading."""
        return "\n\n".join([f"## {escape_markdown(self.title)}", *(block.markdown() for block in self.blocks)])


def split_code_spans(text: str) -> list[tuple[bool, str]]:
    """Split a sentence at its code spans: whether each part is code, and the part."""
    parts = re.split("`([^`]+)`", text)
    return [(bool(index % 2), part) for index, part in enumerate(parts) if part]


def markdown_sentence(text: str) -> str:
    """Return one of our sentences as Markdown, in which code spans are the only markup."""
    line = " ".join(text.split())  # a blank line would end a code span, and what follows would be markup
    return "".join(f"`{part}`" if is_code else escape_markdown(part) for is_code, part in split_code_spans(line))


def escape_markdown(text: str) -> str:
    """Return any text on one line in which Markdown sees no markup and no HTML; plain text stays as it is."""
    line = re.sub(r"\s+", " ", text)
    for pattern, replacement in _ESCAPES.items():
        line = re.sub(pattern, replacement, line)
    return line


def figure_blocks(results: StudyResults, name: str, caption: str, placeholder: str = "") -> list[Block]:
    """Draw a figure of FIGURES; if there is nothing to draw, return the placeholder sentence, if there is one."""
    drawing = FIGURES[name](results)
    if drawing is None:
        return [Paragraph(placeholder)] if placeholder else []
    return [Figure(name, caption, drawing.alt, drawing.figure.to_json())]
