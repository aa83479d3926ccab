"""The confusion matrix of one run as SVG, which the dashboard shows without any plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from hpo.escaping import escape_controls

MAX_CLASSES = 20  # more do not fit a readable picture
CELL, LEFT, TOP, MIN_WIDTH = 72, 130, 104, 380  # pixels; MIN_WIDTH is what the title needs


def draw_confusion_svg(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> str | None:
    """Return counts (classes, classes), rows are true labels, as an SVG document; None for too many classes.

    A cell is darker the larger its share of its row.
    """
    size = len(labels)
    if size > MAX_CLASSES:
        return None
    width, height = max(MIN_WIDTH, LEFT + size * CELL + 16), TOP + size * CELL + 16
    parts = [
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _draw_text(12, 26, title, "#111111", "start", 52),
        _draw_text(LEFT + size * CELL / 2, 62, "predicted", "#555555"),
        _draw_text(LEFT - 12, TOP - 14, "true label", "#555555", "end"),
    ]
    for row, label in enumerate(map(escape_controls, labels)):
        row_total, y = sum(counts[row]) or 1, TOP + row * CELL
        parts.append(_draw_text(LEFT - 12, y + CELL / 2 + 5, label, anchor="end"))
        parts.append(_draw_text(LEFT + (row + 0.5) * CELL, TOP - 14, label, max_length=9))
        for column, count in enumerate(counts[row]):
            parts += _draw_cell(LEFT + column * CELL, y, count, count / row_total)
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="13" role="img">'
    return f"{head}<title>{_escape_label(title)}</title>{''.join(parts)}</svg>"


def _draw_cell(x: int, y: int, count: int, share: float) -> list[str]:
    """Return a colored square with its count."""
    color = "#ffffff" if share > 0.5 else "#111111"
    return [
        f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{_cell_color(share)}"/>',
        _draw_text(x + CELL / 2 - 1, y + CELL / 2 + 5, f"{count:,}", color),
    ]


def _draw_text(
    x: float, y: float, text: str, color: str = "#111111", anchor: str = "middle", max_length: int = 15
) -> str:
    """Return one line of text, shortened to `max_length` characters."""
    short = text if len(text) <= max_length else text[: max_length - 1] + "…"
    return f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}">{_escape_label(short)}</text>'


def _escape_label(text: str) -> str:
    """Return a label, which may come from anybody's data, as XML text; XML has no form for control characters."""
    return escape("".join(letter for letter in text if letter.isprintable()))


def _cell_color(share: float) -> str:
    """Return a color from light grey, by which an empty cell is visible, to dark blue."""
    red, green, blue = (round(244 + share * (end - 244)) for end in (0, 90, 150))
    return f"#{red:02x}{green:02x}{blue:02x}"
