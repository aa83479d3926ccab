"""A comparison in rows of text: the shell, the report and the model card show these, so they agree to the digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.evaluation.verdict import difference_unit, format_amount, format_difference

METRIC_HEADINGS = {
    "accuracy": "acc",
    "precision_macro": "prec",
    "recall_macro": "recall",
    "f1_macro": "F1",
    "f1_weighted": "F1 w",
    "roc_auc": "AUC",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
}


@dataclass(frozen=True)
class TextTable:
    """A table of text: column heads, rows, and how many columns from the left are words, not numbers."""

    heads: list[str]
    rows: list[list[str]]
    words: int = 1


def gains_table(found: Mapping[str, Any]) -> TextTable:
    """Score, spread over seeds, the winner's gain with its interval and p, and cost, a row per system."""
    heads = ["", "score", "sd", "gain", "95 % interval", "p", "cost", "texts/s"]
    return TextTable(heads, [_gain(system, found) for system in found["systems"]])


def explain_gains_table(objective: str) -> str:
    """How the columns of `gains` are meant."""
    unit = difference_unit(objective)
    gain = "gain: the winner's" + (f", in{unit}" if unit else "")
    return (
        f"score and sd: over seeds; {gain}; p: Holm-corrected; "
        "cost: device time to come by it, for the winner with the search"
    )


def scores_table(found: Mapping[str, Any]) -> TextTable:
    """Every metric that people know, on the test split, a row per system."""
    rows = [
        [
            system["system"],
            *(f"{system['test'][name]['mean']:.3f}" if name in system["test"] else "" for name in METRIC_HEADINGS),
        ]
        for system in found["systems"]
    ]
    return TextTable(["", *METRIC_HEADINGS.values()], rows)


def classes_table(found: Mapping[str, Any]) -> TextTable:
    """Precision, recall, F1 and confusion of each class, a row per system and class."""
    labels, rows = found["labels"], []
    for system in found["systems"]:
        for place, (label, counts) in enumerate(zip(labels, system["confusion"], strict=True)):
            of_class = system["per_class"][label]
            measured = [f"{of_class[name]['mean']:.3f}" for name in ("precision", "recall", "f1")]
            rows.append([system["system"] if place == 0 else "", label, *measured, *(f"{n:,.0f}" for n in counts)])
    return TextTable(["", "class", "prec", "recall", "F1", *(f"as {label}" for label in labels)], rows, words=2)


def generalization_sentences(found: Mapping[str, Any]) -> list[str]:
    """What the search promised, and what fresh seeds keep of it, in sentences."""
    kept, objective = found["optimism"], found["objective"]
    parts = []
    for split in ("validation", "test"):
        if held := kept[split]:
            gap = format_amount(kept["optimism"][split], objective)
            parts.append(f"{format_mean_sd(held)} on {split} (optimism {gap})")
    count = len(found["systems"][0]["runs"])
    seeds = "1 fresh seed gives" if count == 1 else f"{count} fresh seeds give"
    told = [f"the search promised {kept['search']:.4f}; {seeds} {' and '.join(parts)}"]
    if kept["chosen_among"] > 1:
        among = kept["chosen_among"]
        told.append(f"validation also chose among the {among} best trials, so its mean is a little too high")
    if kept["validation"] is None:
        told.append("validation rows were trained on, so nothing is said of them")
    return told


def comparison_remarks(found: Mapping[str, Any]) -> list[str]:
    """What a reader should know before believing the table: what is unfinished, missing or failed, and test uses."""
    told = []
    if found["search"]["finished"] < found["search"]["wanted"]:
        told.append("the search is not finished: {finished} of {wanted} trials".format(**found["search"]))
    told += [f"not yet made: {name}; {found['make']} {name}" for name in found["missing"]]
    told += [f"{name}: all its runs failed: {reason}" for name, reason in found["failed"].items()]
    told += [f"{system['system']}: {system['as']}" for system in found["systems"] if system["as"]]
    uses = found["test_uses"]
    told.append(f"the test split was used {uses['count']} times since {uses['first'][:16].replace('T', ' ')} UTC")
    told += [f"the test split was used {count} times by study {study}" for study, count in uses["elsewhere"].items()]
    return told


def format_outcomes(counts: Mapping[str, int]) -> str:
    """`15 pruned, 10 complete`, or that there is none yet."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none yet"


def format_mean_sd(held: Mapping[str, Any]) -> str:
    """`0.9105 +/- 0.0250`, or the mean alone of one seed."""
    return f"{held['mean']:.4f}" + ("" if held["sd"] is None else f" +/- {held['sd']:.4f}")


def format_interval(row: Mapping[str, Any], objective: str) -> str:
    """`[14.4, 22.9]`."""
    low, high = (format_difference(row[end], objective) for end in ("low", "high"))
    return f"[{low}, {high}]"


def format_value(value: Any) -> str:
    """A value with as many digits as a person reads."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_values(values: Mapping[str, Any]) -> str:
    """`name=value`, one after the other."""
    return " ".join(f"{name}={format_value(value)}" for name, value in values.items())


def format_duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def format_cost(seconds: float) -> str:
    """Device time; of a fit that takes no time to speak of, the tenths too."""
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def format_throughput(texts: float) -> str:
    """Texts a second, up to what anybody could tell apart."""
    return f"{texts:,.0f}" if texts < 1_000_000 else ">999,999"


def _gain(system: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    score = system["test"][found["objective"]]
    row = next((each for each in found["differences"] if each["against"] == system["system"]), None)
    gain = ["", "", ""]
    if row:
        p = f"{row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "<.001"
        gain = [format_difference(row["difference"], found["objective"]), format_interval(row, found["objective"]), p]
    spread = "" if score["sd"] is None else f"{score['sd']:.4f}"
    costs = [format_cost(system["cost_seconds"]), format_throughput(system["texts_per_second"])]
    return [system["system"], f"{score['mean']:.4f}", spread, *gain, *costs]
