"""Figures of the final runs: the winner beside its baselines, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.stats import binomtest
from sklearn import metrics as sk

from hpo.evaluation.scores import CALIBRATION_BINS, normalize_rows
from hpo.evaluation.verdict import difference_unit, format_difference
from hpo.plots.style import (
    BLUE,
    GREEN,
    GREY,
    MAX_HEIGHT,
    PURPLE,
    RED,
    Array,
    Mark,
    apply_style,
    color_bar,
    floats,
    integers,
    marker,
    wrap_label,
)
from hpo.results.study_results import StudyResults
from hpo.study.spec import RERUN

OUTCOMES = {
    "better": ("the winner is better", Mark(GREEN, "circle")),
    "none": ("no significant difference", Mark(GREY, "diamond")),
    "worse": ("the winner is worse", Mark(RED, "x")),
    "same": ("the same runs", Mark(GREY, "circle-open")),
}
MOST_NUMBERS, MOST_NAMES = 12, 36  # classes up to which the confusion matrix has counts in it, and names beside it
MOST_CURVES, MOST_POINTS = 6, 200  # of ROC


def intervals(record: StudyResults) -> go.Figure | None:
    """The winner's gain over each baseline with its 95 % interval, the hardest opponent on top; None without any."""
    rows = hardest_first(record)
    if not rows:
        return None
    objective = record.spec.objective
    scale = 100 if difference_unit(objective) else 1
    figure = go.Figure()
    for outcome, (name, look) in OUTCOMES.items():
        own = [(place, row) for place, row in enumerate(rows) if _outcome(row) == outcome]
        if not own:
            continue
        gain, low, high = (np.array([scale * row[end] for _, row in own]) for end in ("difference", "low", "high"))
        figure.add_scatter(
            x=floats(gain),
            y=integers(place for place, _ in own),
            mode="markers",
            name=name,
            marker=marker(look, 11),
            error_x={"array": floats(high - gain), "arrayminus": floats(gain - low), "color": look.color},
            text=[format_gain(row, objective) for _, row in own],
            hovertemplate="%{text}<extra></extra>",
        )
    unit = difference_unit(objective).strip()
    figure.add_vline(0, line={"color": GREY, "width": 1.5})
    title = f"Gain in {objective}" + (f" ({unit})" if unit else "")
    figure.update_xaxes(title_text=f"{title}, 95 % interval", zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[wrap_label(row["against"]) for row in rows],
        showgrid=False,
        range=[len(rows) - 0.5, -0.5],
        zeroline=False,
    )
    return apply_style(figure, min(MAX_HEIGHT, 150 + 34 * len(rows)))


def hardest_first(record: StudyResults) -> list[dict[str, Any]]:
    """The differences to the baselines, the smallest gain first, the winner's own values last; none without any."""
    rows = record.found["differences"] if record.found else []
    return sorted(rows, key=lambda row: (row["against"] == RERUN, float(row["difference"])))


def rivals(record: StudyResults) -> list[dict[str, Any]]:
    """The same without those whose values the search has found itself."""
    return [row for row in hardest_first(record) if row["against"] != RERUN and not row["same_runs"]]


def _outcome(row: dict[str, Any]) -> str:
    return "same" if row["same_runs"] else str(row["outcome"])


def format_gain(row: dict[str, Any], objective: str) -> str:
    """A gain over a baseline with its interval, as the verdict writes them."""
    gain, low, high = (format_difference(row[end], objective) for end in ("difference", "low", "high"))
    return f"over {wrap_label(row['against'], 60)}: {gain}{difference_unit(objective)} [{low}, {high}]"


def generalization(record: StudyResults) -> go.Figure | None:
    """What the search promised, and what each fresh run has on validation and on test; None without fresh runs."""
    if record.found is None:
        return None
    kept, seeds = record.found["optimism"], record.found["systems"][0]["seeds"]
    rows = [("promised by the search", Mark(BLUE, "diamond"), [kept["search"]])]
    rows += [
        (f"fresh seeds, {split}", look, kept[split]["values"])
        for split, look in (("validation", Mark(BLUE, "circle")), ("test", Mark(GREEN, "square")))
        if kept[split]
    ]
    figure = go.Figure()
    for place, (name, look, values) in enumerate(rows):
        figure.add_scatter(
            x=floats(values),
            y=integers([place] * len(values)),
            mode="markers",
            marker=marker(look, 11),
            name=name,
            text=[f"seed {seed}" for seed in seeds] if place else ["best trial"],
            hovertemplate="%{text}: %{x:.4f}<extra></extra>",
        )
        if len(values) > 1:
            figure.add_scatter(
                x=floats([np.mean(values)]),
                y=[place],
                mode="markers",
                hovertemplate="mean: %{x:.4f}<extra></extra>",
                marker={"symbol": "line-ns-open", "size": 26, "line_width": 3, "color": look.color},
            )
    figure.update_xaxes(title_text=record.spec.objective, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[wrap_label(name, 14) for name, *_ in rows],
        range=[len(rows) - 0.5, -0.5],
        zeroline=False,
        showgrid=False,
    )
    return apply_style(figure, 80 + 60 * len(rows), legend=False)


def confusion(record: StudyResults) -> go.Figure | None:
    """The winner's test texts by true and predicted label, on average over its seeds; None without fresh runs.

    Colour is the share of a row; counts are written into the cells where there are no more than twelve classes.
    """
    if record.found is None:
        return None
    counts, labels = confusion_counts(record)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    places, is_told = np.arange(len(labels), dtype=np.int16), len(labels) <= MOST_NUMBERS
    figure = go.Figure(
        go.Heatmap(
            z=shares.astype(np.float32),
            x=places,
            y=places,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            showscale=not is_told,
            colorscale=[[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.65)"]],
            colorbar=color_bar("share<br>of row", tickformat=".0%"),
            customdata=counts.astype(np.float32),
            hovertemplate="true label %{y}, predicted %{x}<br>%{customdata:,.1f} texts, %{z:.1%}<extra></extra>",
        )
    )
    if is_told:
        y, x = np.divmod(np.arange(counts.size), len(labels))
        figure.add_scatter(
            x=x.astype(np.int16),
            y=y.astype(np.int16),
            mode="text",
            hoverinfo="skip",
            text=[f"{count:,.0f}" for count in counts.flat],
            textfont_size=12 if len(labels) <= 5 else 9,
        )
    names = [wrap_label(label, 14) if len(labels) <= 5 else wrap_label(label, 16, 1) for label in labels]
    ticks: dict[str, Any] = {"tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False}
    if len(labels) > MOST_NAMES:
        ticks |= {"ticktext": [], "tickvals": []}
    figure.update_xaxes(title_text="Predicted (colour: share of a row)" if is_told else "Predicted", **ticks)
    figure.update_yaxes(title_text="True label", **ticks, autorange="reversed")
    return apply_style(figure, 320 if len(labels) <= 5 else MAX_HEIGHT, legend=False)


def confusion_counts(record: StudyResults) -> tuple[Array, list[str]]:
    """The winner's counts (k, k), rows are true labels, and the labels' names."""
    assert record.found
    return np.array(record.found["systems"][0]["confusion"], dtype=float), list(map(str, record.found["labels"]))


@dataclass(frozen=True)
class RocCurve:
    """An ROC curve, and the area under it."""

    name: str
    area: float
    false: Array
    true: Array


def roc(record: StudyResults) -> go.Figure | None:
    """ROC curves of the deployed run: with two classes beside the best baseline's, with more of each class.

    Of more than six classes the six with the smallest areas are there. None where no class is told from another.
    """
    found = roc_curves(record)
    if not found:
        return None
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dot", "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    for place, curve in enumerate(found):
        color, dash = (BLUE, RED, GREEN, PURPLE)[place % 4], ("solid", "dash", "dot")[place // 4]
        kept = np.unique(np.linspace(0, len(curve.false) - 1, MOST_POINTS).round().astype(int))
        figure.add_scatter(
            x=floats(curve.false[kept]),
            y=floats(curve.true[kept]),
            mode="lines",
            line={"color": color, "dash": dash, "width": 2},
            name=f"{wrap_label(curve.name, 24)} (AUC {curve.area:.3f})",
            hovertemplate=f"{wrap_label(curve.name, 24)}<br>%{{y:.1%}} found at %{{x:.1%}} false alarms<extra></extra>",
        )
    figure.update_xaxes(title_text="False positive rate", range=[-0.01, 1.01], zeroline=False)
    figure.update_yaxes(title_text="True positive rate", range=[-0.01, 1.01], zeroline=False)
    return apply_style(figure, MAX_HEIGHT)


def roc_curves(record: StudyResults) -> list[RocCurve]:
    """The curves that `roc` draws; none where there are no runs, or all rows have one label."""
    if record.comparison is None or record.found is None:
        return []
    winner, labels = record.comparison.systems[0], record.found["labels"]
    ours = record.comparison.deployed(winner)
    if len(labels) > 2:
        each = [_roc(ours, place, label) for place, label in enumerate(labels)]
        return sorted((curve for curve in each if curve), key=lambda curve: curve.area)[:MOST_CURVES]
    hardest = [row["against"] for row in rivals(record)[:1]]
    others = {each.name: each.tables[0] for each in record.comparison.systems if each.name in hardest}
    seed = next(run.user_attrs["seed"] for run, table in zip(winner.runs, winner.tables, strict=True) if table is ours)
    tables = {f"winner, seed {seed}": ours} | others
    return [curve for name, table in tables.items() if (curve := _roc(table, 1, name))]


def _roc(table: pandas.DataFrame, label: int, name: str) -> RocCurve | None:
    is_it = table["label"].to_numpy() == label
    if is_it.all() or not is_it.any():
        return None
    false, true, _ = sk.roc_curve(is_it, table[f"probability_{label}"].to_numpy())
    return RocCurve(name, float(sk.auc(false, true)), false, true)


def calibration(record: StudyResults) -> go.Figure | None:
    """Accuracy over confidence of the deployed run, in 15 bins as wide as each other, and how many texts are in each.

    The bars are 95 % intervals of the accuracy (Wilson 1927). None without fresh runs.
    """
    if record.comparison is None:
        return None
    references, shares = deployed_predictions(record)
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == references
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(int)
    places = np.unique(bins)
    groups = [bins == place for place in places]
    counts = np.array([group.sum() for group in groups])
    accuracy = np.array([right[group].mean() for group in groups])
    ends = [binomtest(int(right[g].sum()), int(g.sum())).proportion_ci(method="wilson") for g in groups]
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.05)
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dot", "width": 1},
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=floats(confidence[group].mean() for group in groups),
        y=floats(accuracy),
        mode="lines+markers",
        marker=marker(Mark(BLUE, "circle"), 8),
        line={"color": BLUE, "width": 1},
        row=1,
        col=1,
        customdata=integers(counts),
        error_y={
            "array": floats(end.high - here for end, here in zip(ends, accuracy, strict=True)),
            "arrayminus": floats(here - end.low for end, here in zip(ends, accuracy, strict=True)),
            "color": BLUE,
        },
        hovertemplate="said %{x:.1%}, right %{y:.1%}<br>%{customdata:,} texts<extra></extra>",
    )
    figure.add_bar(
        x=floats((places - 0.5) / CALIBRATION_BINS),
        y=integers(counts),
        width=0.9 / CALIBRATION_BINS,
        marker_color=BLUE,
        row=2,
        col=1,
        hovertemplate="%{y:,} texts<extra></extra>",
    )
    least = max(0.0, (places.min() - 1) / CALIBRATION_BINS)
    figure.update_xaxes(range=[least, 1.01], tickformat=".0%", zeroline=False)
    figure.update_xaxes(title_text="Confidence in the predicted label", row=2, col=1)
    figure.update_yaxes(title_text="Accuracy", range=[0, 1.02], tickformat=".0%", zeroline=False, row=1, col=1)
    figure.update_yaxes(title_text="Texts", nticks=3, row=2, col=1)
    return apply_style(figure, 420, legend=False)


def deployed_predictions(record: StudyResults) -> tuple[Array, Array]:
    """The true labels (n,) of the test texts, and what the deployed run's probabilities (n, k) say of them."""
    assert record.comparison
    table = record.comparison.deployed(record.comparison.systems[0])
    return table["label"].to_numpy(), normalize_rows(table.filter(like="probability_").to_numpy())
