"""The look of every figure: colors and symbols for light and dark pages, room on a phone, and compact JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpo.escaping import escape_controls
from hpo.store.trial_state import (
    DIVERGED,
    ERROR,
    INFEASIBLE,
    INTERRUPTED,
    KILLED,
    OUT_OF_TIME,
    PAUSED,
    PRUNED,
    SURPLUS,
    UNVERIFIED,
)

Array = NDArray[Any]
# From the color-blind safe palette of Okabe and Ito (2008): the colors with a contrast of at least 3:1 on both white
# and #14171a (the report's dark background), and a grey that has it too.
BLUE, GREEN, RED, PURPLE, GREY = "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#808488"
GRID_COLOR = "rgba(128,128,128,0.25)"  # visible on any background
TRANSPARENT = "rgba(0,0,0,0)"
COLOR_SCALE = "Viridis"  # monotonic in brightness, so it is readable without color vision
MAX_HEIGHT = 440  # pixels, unless a figure has rows that need more
LABEL_WIDTH, LABEL_LINES = 18, 3  # characters per line and lines of a label beside an axis


@dataclass(frozen=True)
class Mark:
    """How one category is drawn. Color is never the only difference between two categories."""

    color: str
    symbol: str
    pattern: str = ""  # of a bar
    dash: str = "solid"  # of a line


# Outcome of a trial -> its mark in every figure. The order is that of legends; the color stands for what it means.
OUTCOME_MARKS = {
    "complete": Mark(BLUE, "circle"),
    PRUNED: Mark(PURPLE, "triangle-down", "/"),
    "running": Mark(GREEN, "diamond", ".", "dash"),
    PAUSED: Mark(GREEN, "diamond-open", "-", "dash"),
    DIVERGED: Mark(RED, "x", "x", "dot"),
    INFEASIBLE: Mark(RED, "square", "+", "dot"),
    UNVERIFIED: Mark(RED, "cross", "|", "dot"),
    ERROR: Mark(RED, "triangle-up", "\\", "dot"),
    INTERRUPTED: Mark(GREY, "pentagon", "-", "dash"),
    KILLED: Mark(GREY, "star", "|", "dash"),
    OUT_OF_TIME: Mark(GREY, "hourglass", "+", "dash"),
    SURPLUS: Mark(GREY, "bowtie", ".", "dash"),
}
_OTHER_OUTCOME = Mark(GREY, "hexagon", "x", "dash")


def outcome_mark(outcome: str) -> Mark:
    """Return the mark of an outcome; outcomes that hpo does not define share one."""
    return OUTCOME_MARKS.get(outcome, _OTHER_OUTCOME)


def apply_style(figure: go.Figure, height: int = 340, legend: bool = True) -> go.Figure:
    """Apply the common style in place: transparent background, grey grid, legend below, small margins, full width.

    Text has no color, so it inherits the page's. Dragging is off, because on a phone a drag has to scroll the page.
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


def marker_style(mark: Mark, size: int) -> dict[str, Any]:
    """Return plotly's `marker` of a point."""
    return {"color": mark.color, "symbol": mark.symbol, "size": size}


def diagonal_line() -> dict[str, Any]:
    """Return plotly's arguments for a dotted line from (0, 0) to (1, 1)."""
    line = {"color": GREY, "dash": "dot", "width": 1}
    return {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}


def to_float32(values: Iterable[Any]) -> Array:
    """Return numbers as float32, which plotly stores as base64: the smallest JSON, with 7 digits. None is a gap."""
    return np.asarray(list(values), dtype=np.float32)


def to_int32(values: Iterable[int]) -> Array:
    """Return integers as int32, stored like `to_float32`."""
    return np.asarray(list(values), dtype=np.int32)


def color_bar(title: str, **options: Any) -> dict[str, Any]:
    """Return plotly's `colorbar`: a thin one. The empty line keeps its title off the topmost number."""
    return {"title_text": f"{title}<br>\u00a0", "thickness": 12, "outlinewidth": 0, **options}


def constant_axis_range(values: Iterable[float | None]) -> list[float] | None:
    """Return the axis range for values that are all the same, which plotly would show from -1 to +1 around them."""
    distinct = {value for value in values if value is not None}
    margin = 0.1 * max((abs(value) for value in distinct), default=0.0) or 1.0
    return [min(distinct) - margin, max(distinct) + margin] if len(distinct) == 1 else None


def wrap_label(text: Any, width: int = LABEL_WIDTH, lines: int = LABEL_LINES) -> str:
    """Return a name as a plotly label: HTML-escaped, in short lines.

    Names may come from anybody's data, and plotly renders HTML. A long name loses its middle, because names of one
    family differ at their ends.
    """
    plain = " ".join(escape_controls(str(text).strip()).split())
    label = _break_lines(plain, width)
    size = min(len(plain), width * lines)
    while len(label) > lines:
        size -= 1
        label = _break_lines(f"{plain[: size - size // 2]}…{plain[len(plain) - size // 2 :]}", width)
    return "<br>".join(escape(line, quote=False) for line in label)


def _break_lines(text: str, width: int) -> list[str]:
    """Break text into lines of at most `width` characters, at separators of names if possible."""
    lines = [""]
    for piece in re.findall(r".+?(?:[ _/-]|[.](?=[A-Za-z])|$)", text):
        for part in (piece[start : start + width] for start in range(0, len(piece), width)):
            if lines[-1] and len(lines[-1] + part.rstrip()) > width:
                lines.append("")
            lines[-1] += part
    return [line.strip() for line in lines]
