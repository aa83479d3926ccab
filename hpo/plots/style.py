"""How every figure looks: colours and symbols that read on light and dark, room for a phone, and little JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpo.store.trial_state import (
    DIVERGED,
    ERROR,
    INFEASIBLE,
    INTERRUPTED,
    KILLED,
    OUT_OF_TIME,
    PRUNED,
    SURPLUS,
    UNVERIFIED,
)

Array = NDArray[Any]
# Of the palette of Okabe and Ito (2008), which people with any colour vision can tell apart, those with a contrast of
# 3 : 1 or more on both white and #14171a, and a grey that has it too.
BLUE, GREEN, RED, PURPLE, GREY = "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#808488"
GRID_COLOR = "rgba(128,128,128,0.25)"  # lines to read by, on any background
TRANSPARENT = "rgba(0,0,0,0)"
COLOR_SCALE = "Viridis"  # from dark to bright for people with any colour vision
MAX_HEIGHT = 440  # pixels: as high as a figure is, if it has no rows that need more
WIDTH, LINES = 18, 3  # characters in a line of a name beside an axis, and how many lines it may have


@dataclass(frozen=True)
class Mark:
    """What tells one kind of thing from another, never by colour alone."""

    color: str
    symbol: str
    pattern: str = ""  # of a bar
    dash: str = "solid"  # of a line


# One look per ending of a trial, in every figure and in this order; colours go by what an ending means.
OUTCOME_MARKS = {
    "complete": Mark(BLUE, "circle"),
    PRUNED: Mark(PURPLE, "triangle-down", "/"),
    "running": Mark(GREEN, "diamond", ".", "dash"),
    DIVERGED: Mark(RED, "x", "x", "dot"),
    INFEASIBLE: Mark(RED, "square", "+", "dot"),
    UNVERIFIED: Mark(RED, "cross", "|", "dot"),
    ERROR: Mark(RED, "triangle-up", "\\", "dot"),
    INTERRUPTED: Mark(GREY, "pentagon", "-", "dash"),
    KILLED: Mark(GREY, "star", "|", "dash"),
    OUT_OF_TIME: Mark(GREY, "hourglass", "+", "dash"),
    SURPLUS: Mark(GREY, "bowtie", ".", "dash"),
}
_OTHER = Mark(GREY, "hexagon", "x", "dash")


def outcome_mark(ending: str) -> Mark:
    """The look of an ending; those that hpo does not know share one."""
    return OUTCOME_MARKS.get(ending, _OTHER)


def apply_style(figure: go.Figure, height: int = 340, legend: bool = True) -> go.Figure:
    """The same figure in the house's look: clear background, grey grid, legend below, small margins, as wide as can be.

    Its text has no colour, so that the page gives it its own. Dragging does nothing: on a phone it has to scroll.
    """
    figure.update_layout(
        template="none",
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
        autosize=True,
        height=height,
        showlegend=legend,
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        font={"size": 12},
        dragmode=False,
        hovermode="closest",
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "bgcolor": TRANSPARENT},
    )
    lines = {"gridcolor": GRID_COLOR, "zerolinecolor": GRID_COLOR, "linecolor": GRID_COLOR, "automargin": True}
    figure.update_xaxes(**lines, title={"standoff": 8, "font_size": 12})
    figure.update_yaxes(**lines, title={"standoff": 8, "font_size": 12})
    return figure


def marker(look: Mark, size: int) -> dict[str, Any]:
    """The look of a point."""
    return {"color": look.color, "symbol": look.symbol, "size": size}


def floats(values: Iterable[Any]) -> Array:
    """Numbers in the form that takes the least room in a file, with 7 digits; None is a gap."""
    return np.asarray(list(values), dtype=np.float32)


def integers(values: Iterable[int]) -> Array:
    """The same for integers."""
    return np.asarray(list(values), dtype=np.int32)


def color_bar(title: str, **more: Any) -> dict[str, Any]:
    """A thin bar that tells what colours mean; an empty line keeps its title off the topmost number."""
    return {"title_text": f"{title}<br>\u00a0", "thickness": 12, "outlinewidth": 0, **more}


def flat_range(values: Iterable[float | None]) -> list[float] | None:
    """The range of an axis for values that are all the same, which plotly would show from 1 below to 1 above."""
    known = {value for value in values if value is not None}
    room = 0.1 * max((abs(value) for value in known), default=0.0) or 1.0
    return [min(known) - room, max(known) + room] if len(known) == 1 else None


def wrap_label(text: Any, width: int = WIDTH, lines: int = LINES) -> str:
    """A name, which may come from anyone's data, as plotly shows it: plain text, in short lines.

    Of a long one the middle is cut out: names of one family differ at their ends.
    """
    plain = " ".join(str(text).split())
    shown = _broken(plain, width)
    size = min(len(plain), width * lines)
    while len(shown) > lines:
        size -= 1
        shown = _broken(f"{plain[: size - size // 2]}…{plain[len(plain) - size // 2 :]}", width)
    return "<br>".join(escape(line, quote=False) for line in shown)


def _broken(text: str, width: int) -> list[str]:
    """Text in lines of no more than so many characters, broken where a name may be."""
    lines = [""]
    for piece in re.findall(r".+?(?:[ _/-]|[.](?=[A-Za-z])|$)", text):
        for part in (piece[start : start + width] for start in range(0, len(piece), width)):
            if lines[-1] and len(lines[-1] + part.rstrip()) > width:
                lines.append("")
            lines[-1] += part
    return [line.strip() for line in lines]
