"""Where the figures come from: the data, what failed, and how to make them again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from hpo.data.splits import Split, TextData
from hpo.report.blocks import Block, BulletList, Code, Paragraph, Section, Table
from hpo.results.formatting import TextTable, format_value, format_values
from hpo.results.study_results import StudyResults
from hpo.store.provenance import format_commit
from hpo.store.trial_state import outcome

MAX_FAILURES = 20  # failures one by one


def data_section(record: StudyResults) -> Section:
    """Rows, classes, lengths, duplicates, leaks and truncation of the splits."""
    stored = record.search.user_attrs.get("data")
    if stored is None:
        return Section("data", "The data", [Paragraph(f"Nothing is known of them: {record.data_missing}.")])
    spec = record.spec
    source = spec.data.source or ", ".join(
        [spec.data.train] if isinstance(spec.data.train, str) else spec.data.train or []
    )
    blocks: list[Block] = [
        Paragraph(f"{source}; fingerprint {stored['fingerprint']}; labels {', '.join(stored['labels'])}.")
    ]
    if record.data is None:
        rows = [[split, f"{count:,}"] for split, count in stored["rows"].items()]
        blocks += [Table("Rows", TextTable(["split", "rows"], rows))]
        blocks += [Paragraph(f"More is not known, as the texts are not at hand: {record.data_missing}.")]
    else:
        blocks += [_splits(record.data), _classes(record.data)]
    notices = list(stored.get("notices") or [])
    if not any("are cut" in each for each in notices):
        notices.append(f"no text of train is longer than {spec.model.max_length} tokens, so none is cut")
    return Section("data", "The data", [*blocks, BulletList(notices)])


def failures_section(record: StudyResults) -> Section:
    """Trials and runs that came to no result, and why."""
    good = {"complete", "pruned", "running", "waiting"}
    failed = [("trial", trial) for trial in record.trials if outcome(trial) not in good]
    failed += [("final run", run) for run in record.runs if outcome(run) not in good]
    if not failed:
        return Section("failures", "What failed", [Paragraph("Nothing: every trial ended by itself or was pruned.")])
    counts = Counter((kind, outcome(trial)) for kind, trial in failed)
    rows = [[kind, why, str(count)] for (kind, why), count in counts.most_common()]
    listed = [f"{kind} #{trial.number}: {_reason(trial)}" for kind, trial in failed[:MAX_FAILURES]]
    blocks: list[Block] = [
        Table("Endings without a result", TextTable(["", "ending", "count"], rows, words=2)),
        BulletList(listed),
    ]
    if len(failed) > MAX_FAILURES:
        blocks.append(Paragraph(f"{len(failed) - MAX_FAILURES} more are in hpo export --format trials-csv."))
    return Section("failures", "What failed, and why", blocks)


def provenance_section(record: StudyResults) -> Section:
    """Versions, device, code, seeds and space, and the commands that make all of it again."""
    spec, known = record.spec, record.search.user_attrs
    facts = [["study", spec.name], ["objective", ", ".join(record.objectives)]]
    if record.is_ours:
        facts += [
            ["checkpoint", spec.model.checkpoint],
            ["tokens per text", str(spec.model.max_length)],
            ["sampler, pruner", f"{spec.search.sampler}, {spec.search.pruner}"],
            ["rungs", str(spec.search.rungs)],
            ["search seed", str(spec.search.seed)],
            ["final seeds", ", ".join(map(str, spec.final.seed_list))],
            ["fixed training fields", format_values(spec.fixed) or "none"],
            ["speed", f"{spec.speed}: {format_values(record.levers) or 'nothing taken'}"],
            ["overrides", ", ".join(known.get("overrides") or []) or "none"],
            ["hash of the study", str(known.get("spec_hash"))],
            ["git", format_commit(known.get("git"))],
            ["device", str(known.get("device"))],
            ["versions", format_values(known.get("versions") or {})],
        ]
    blocks: list[Block] = [Table("What it was made with", TextTable(["", ""], facts, words=2))]
    if record.is_ours:
        blocks += [_space(record), Code("To make it again", _commands(record), "sh")]
    return Section("provenance", "Where it comes from, and how to reproduce it", blocks)


def _splits(known: TextData) -> Table:
    """Rows, lengths in words, repeats within a split, and texts that stand in train too."""
    train = set(known.train.texts)
    rows = []
    for name, split in known.splits().items():
        words = np.asarray([len(text.split()) for text in split.texts])
        repeats = len(split) - len(set(split.texts))
        leaked = "" if name == "train" else f"{sum(text in train for text in split.texts):,}"
        lengths = [f"{np.percentile(words, share):,.0f}" for share in (5, 50, 95, 100)]
        rows.append([name, f"{len(split):,}", *lengths, f"{repeats:,}", leaked])
    heads = ["split", "rows", "words 5 %", "median", "95 %", "longest", "repeats", "in train"]
    return Table("Rows, words per text, and repeated texts", TextTable(heads, rows))


def _classes(known: TextData) -> Table:
    given = known.splits()
    counts = {name: Counter(split.labels) for name, split in given.items()}
    rows = [
        [label, *(_share(counts[name][place], given[name]) for name in given)]
        for place, label in enumerate(known.label_names)
    ]
    return Table("Rows of each class", TextTable(["class", *given], rows))


def _share(count: int, split: Split) -> str:
    return f"{count:,} ({count / len(split):.1%})"


def _space(record: StudyResults) -> Table:
    """The search space, an axis a row."""
    rows = []
    for name, axis in record.spec.space.parameters.items():
        starts = [format_value(start.values[name]) for start in record.spec.space.known_good if name in start.values]
        rows.append([name, axis.description, ", ".join(starts)])
    return Table("The search space", TextTable(["parameter", "range", "known-good starts"], rows, words=3))


def _commands(record: StudyResults) -> str:
    spec, file = record.spec, f"{record.spec.name}.bundle.zip"
    bundle = spec.command("export", "--format", "bundle", "--output", file)
    return f"{spec.command('run')}\n\n# elsewhere, with the same data at hand\n{bundle}\nhpo reproduce {file}\n"


def _reason(trial: Any) -> str:
    return str(trial.user_attrs.get("reason", outcome(trial)))
