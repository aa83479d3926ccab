"""The verdict as tables that fit 80 columns."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hpo.final import verdict
from hpo.terminal.words import out, shown_time


def print_comparison(found: dict[str, Any]) -> None:
    """The verdict as tables that fit 80 columns: gains and costs, scores, classes, and what the search promised."""
    rows = found["rows"]
    out.print(
        f"{escape(found['study'])}: {found['objective']} on {rows['test']:,} test rows; trained on "
        f"{found['trained_on']} ({rows['train']:,} train and {rows['validation']:,} validation rows)",
        soft_wrap=True,
    )
    heads = ["", "score", "sd", "gain", "95 % interval", "p", "cost", "texts/s"]
    _print_table(heads, [_against(system, found) for system in found["systems"]])
    unit = verdict.unit(found["objective"])
    out.print(f"score and sd: over seeds; gain: the winner's{unit and f', in{unit}'}; p: Holm-corrected;")
    out.print("cost: device time to come by it, for the winner with the search\n")
    _print_table(["", *SHOWN_METRICS.values()], [_scores(system) for system in found["systems"]])
    _print_classes(found)
    _print_optimism(found)
    if found["search"]["finished"] < found["search"]["wanted"]:
        out.print("the search is not finished: {finished} of {wanted} trials".format(**found["search"]))
    for name in found["missing"]:
        out.print(f"not yet made: {name}; {escape(found['make'])} {name}", soft_wrap=True)
    for name, reason in found["failed"].items():
        out.print(f"{name}: all its runs failed: {escape(reason)}", soft_wrap=True)
    for system in found["systems"]:
        if system["as"]:
            out.print(f"{system['system']}: {system['as']}")
    uses = found["test_uses"]
    out.print(f"the test split was used {uses['count']} times since {uses['first'][:16].replace('T', ' ')} UTC")
    for study, count in uses["elsewhere"].items():
        out.print(f"  and {count} times by study {escape(study)}", soft_wrap=True)
    for row in found["differences"]:
        out.print(f"- {escape(row['verdict'])}", soft_wrap=True)
    out.print(Text(f"verdict: {found['verdict']}", style="bold"), soft_wrap=True)


SHOWN_METRICS = {
    "accuracy": "acc", "precision_macro": "prec", "recall_macro": "recall", "f1_macro": "F1", "f1_weighted": "F1 w",
    "roc_auc": "AUC", "log_loss": "log loss", "brier": "Brier", "ece": "ECE",
}  # fmt: skip
MOST_CLASSES = 6  # with more, classes are for --json


def _against(system: dict[str, Any], found: dict[str, Any]) -> list[str]:
    score = system["test"][found["objective"]]
    row = next((each for each in found["differences"] if each["against"] == system["system"]), None)
    spread = "" if score["sd"] is None else f"{score['sd']:.4f}"
    gain, interval, p = "", "", ""
    if row:
        low, high = (verdict.shown(row[end], found["objective"]) for end in ("low", "high"))
        gain, interval = verdict.shown(row["difference"], found["objective"]), f"[{low}, {high}]"
        p = f"{row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "<.001"
    cost = system["cost_seconds"]
    speed = min(system["texts_per_second"], 999_999)
    costs = [f"{cost:.1f} s" if cost < 10 else shown_time(cost), f"{speed:,.0f}"]
    return [system["system"], f"{score['mean']:.4f}", spread, gain, interval, p, *costs]


def _scores(system: dict[str, Any]) -> list[str]:
    return [
        system["system"],
        *(f"{system['test'][name]['mean']:.3f}" if name in system["test"] else "" for name in SHOWN_METRICS),
    ]


def _print_classes(found: dict[str, Any]) -> None:
    labels = found["labels"]
    if len(labels) > MOST_CLASSES:
        out.print(f"{len(labels)} classes: scores of each and the confusion are in hpo compare --json\n")
        return
    rows = []
    for system in found["systems"]:
        for label, counts in zip(labels, system["confusion"], strict=True):
            of_class = system["per_class"][label]
            scores = [f"{of_class[name]['mean']:.3f}" for name in ("precision", "recall", "f1")]
            rows.append(
                [system["system"] if label == labels[0] else "", label, *scores, *(f"{n:,.0f}" for n in counts)]
            )
    _print_table(["", "class", "prec", "recall", "F1", *(f"as {label}" for label in labels)], rows)


def _print_optimism(found: dict[str, Any]) -> None:
    kept = found["optimism"]
    objective = found["objective"]
    parts = []
    for split in ("validation", "test"):
        if held := kept[split]:
            spread = "" if held["sd"] is None else f" +/- {held['sd']:.4f}"
            gap = verdict.amount(kept["optimism"][split], objective)
            parts.append(f"{held['mean']:.4f}{spread} on {split} (optimism {gap})")
    count = len(found["systems"][0]["runs"])
    said = " and ".join(parts)
    out.print(f"the search promised {kept['search']:.4f}; {count} fresh seeds give {said}", soft_wrap=True)
    if kept["chosen_among"] > 1:
        out.print(
            f"validation also chose among the {kept['chosen_among']} best trials, so its mean is a little too high"
        )
    if kept["validation"] is None:
        out.print("validation rows were trained on, so nothing is said of them")


def _print_table(heads: list[str], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place, head in enumerate(heads):
        table.add_column(escape(head), justify="left" if place == 0 or head == "class" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)
    out.print()
