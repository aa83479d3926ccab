"""The confusion matrix of one run as a picture: SVG, so that nothing need be installed to draw it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

MAX_CLASSES = 20  # classes that a picture can still be read with
CELL, LEFT, TOP, WIDTH = 72, 130, 104, 380  # pixels; the last is what a title needs


def draw_confusion_svg(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> str | None:
    """Counts (k, k), a row per true label, as an SVG document; None for more classes than can be read.

    A cell is the darker the larger its share of its row.
    """
    size = len(labels)
    if size > MAX_CLASSES:
        return None
    width, height = max(WIDTH, LEFT + size * CELL + 16), TOP + size * CELL + 16
    parts = [
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(12, 26, title, "#111111", "start", 52),
        _text(LEFT + size * CELL / 2, 62, "predicted", "#555555"),
        _text(LEFT - 12, TOP - 14, "true label", "#555555", "end"),
    ]
    for row, name in enumerate(labels):
        whole, y = sum(counts[row]) or 1, TOP + row * CELL
        parts.append(_text(LEFT - 12, y + CELL / 2 + 5, name, anchor="end"))
        parts.append(_text(LEFT + (row + 0.5) * CELL, TOP - 14, name, most=9))
        for column, count in enumerate(counts[row]):
            share, x = count / whole, LEFT + column * CELL
            parts.append(f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{_blue(share)}"/>')
            ink = "#ffffff" if share > 0.5 else "#111111"
            parts.append(_text(x + CELL / 2 - 1, y + CELL / 2 + 5, f"{count:,}", ink))
    size_of_it = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size_of_it} font-family="sans-serif" font-size="13" role="img">'
    return f"{head}<title>{_safe(title)}</title>{''.join(parts)}</svg>"


def _text(x: float, y: float, text: str, color: str = "#111111", anchor: str = "middle", most: int = 15) -> str:
    """One line of text, its end cut where it is longer than its place."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}">{_safe(short)}</text>'


def _safe(text: str) -> str:
    """A name, which may come from anyone's data, as XML can hold it."""
    return escape("".join(letter for letter in text if letter.isprintable()))


def _blue(share: float) -> str:
    """From a light grey, which shows an empty cell, to a dark blue."""
    red, green, blue = (round(244 + share * (end - 244)) for end in (0, 90, 150))
    return f"#{red:02x}{green:02x}{blue:02x}"
