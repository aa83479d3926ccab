"""Report sections on the data, on failures, and on provenance and reproduction."""

from __future__ import annotations

from collections import Counter

import numpy as np

from hpo.data.splits import Split, TextData
from hpo.report.blocks import Block, BulletList, Code, Paragraph, Section, Table
from hpo.results.formatting import TextTable, format_value, format_values, join_labels
from hpo.results.study_results import StudyResults
from hpo.store.provenance import format_commit
from hpo.store.run_record import RunRecord
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import NOT_ENDED, PRUNED

MAX_FAILURES = 20  # that are listed one by one
_NO_FAILURE = {"complete", PRUNED} | NOT_ENDED
_WORD_PERCENTILES = (5, 50, 95, 100)


def data_section(results: StudyResults) -> Section:
    """Show rows, classes, text lengths, repeated texts, leaks into train, and truncation."""
    anchor, title = "data", "The data"
    stored = results.study.data
    if stored is None:
        return Section(anchor, title, [Paragraph(f"The data are unknown: {results.data_missing_reason}.")])
    spec = results.spec
    source = spec.data.source or ", ".join(spec.data.train_names)
    labels = join_labels(stored.labels)
    blocks: list[Block] = [Paragraph(f"{source}; fingerprint {stored.fingerprint}; labels {labels}.")]
    if results.data is None:
        rows = [[split, f"{count:,}"] for split, count in stored.rows.items()]
        blocks.append(Table("Rows", TextTable(["split", "rows"], rows)))
        blocks.append(Paragraph(f"The texts are not available: {results.data_missing_reason}."))
    else:
        blocks += [_split_table(results.data), _class_table(results.data)]
    notices = list(stored.notices)
    # The notice on truncation comes from the token cache, and older stores have it with the same words.
    if not any("are cut" in notice for notice in notices):
        notices.append(f"no text of train is longer than {spec.model.max_length} tokens, so none is cut")
    return Section(anchor, title, [*blocks, BulletList(notices)])


def failures_section(results: StudyResults) -> Section:
    """List trials and final runs that failed, with their reasons."""
    anchor, title = "failures", "Failures"
    candidates: list[tuple[str, TrialRecord | RunRecord]] = [("trial", trial) for trial in results.trials]
    candidates += [("final run", run) for run in results.runs]
    failed = [(kind, record) for kind, record in candidates if record.outcome not in _NO_FAILURE]
    if not failed:
        return Section(anchor, title, [Paragraph("No trial and no final run failed.")])
    counts = Counter((kind, record.outcome) for kind, record in failed)
    rows = [[kind, outcome, str(count)] for (kind, outcome), count in counts.most_common()]
    reasons = [f"{kind} #{record.number}: {record.reason or record.outcome}" for kind, record in failed[:MAX_FAILURES]]
    blocks: list[Block] = [
        Table("Outcomes without a result", TextTable(["", "outcome", "count"], rows, words=2)),
        BulletList(reasons),
    ]
    if len(failed) > MAX_FAILURES:
        blocks.append(
            Paragraph(f"`hpo export --format trials-csv` lists the {len(failed) - MAX_FAILURES} others as well.")
        )
    return Section(anchor, title, blocks)


def provenance_section(results: StudyResults) -> Section:
    """List versions, device, code, seeds and search space, and the commands that reproduce the results."""
    facts = [["study", results.spec.name], ["objective", ", ".join(results.objectives)]]
    blocks: list[Block] = []
    if results.is_ours:
        facts += _study_facts(results)
        blocks = [_space_table(results), Code("Commands", _reproduction_commands(results), "sh")]
    table = Table("Provenance", TextTable(["", ""], facts, words=2))
    return Section("provenance", "Provenance and reproduction", [table, *blocks])


def _study_facts(results: StudyResults) -> list[list[str]]:
    spec, study = results.spec, results.study
    return [
        ["checkpoint", spec.model.checkpoint],
        ["tokens per text", str(spec.model.max_length)],
        ["sampler, pruner", f"{spec.search.sampler}, {spec.search.pruner}"],
        ["rungs", str(spec.search.rungs)],
        ["search seed", str(spec.search.seed)],
        ["final seeds", ", ".join(map(str, spec.final.seed_list))],
        ["fixed training fields", format_values(spec.fixed) or "none"],
        ["speed", f"{spec.speed}: {format_values(results.accelerations) or 'no accelerations'}"],
        ["overrides", ", ".join(study.overrides) or "none"],
        ["hash of the study", str(study.spec_hash)],
        ["git", format_commit(study.git)],
        ["device", str(study.device)],
        ["versions", format_values(study.versions)],
    ]


def _split_table(data: TextData) -> Table:
    """Return rows and lengths in words per split, texts that it repeats, and texts that are in train too."""
    train = set(data.train.texts)
    rows = []
    for name, split in data.splits().items():
        words = np.asarray([len(text.split()) for text in split.texts])
        lengths = [f"{np.percentile(words, share):,.0f}" for share in _WORD_PERCENTILES]
        repeated = len(split) - len(set(split.texts))
        leaked = "" if name == "train" else f"{sum(text in train for text in split.texts):,}"
        rows.append([name, f"{len(split):,}", *lengths, f"{repeated:,}", leaked])
    heads = ["split", "rows", "words 5 %", "median", "95 %", "longest", "repeated", "in train"]
    return Table("Rows, words per text, and repeated texts", TextTable(heads, rows))


def _class_table(data: TextData) -> Table:
    splits = data.splits()
    counts = {name: Counter(split.labels) for name, split in splits.items()}
    rows = [
        [name, *(_count_and_share(counts[split_name][label], split) for split_name, split in splits.items())]
        for label, name in enumerate(data.label_names)
    ]
    return Table("Rows per class", TextTable(["class", *splits], rows))


def _count_and_share(count: int, split: Split) -> str:
    return f"{count:,} ({count / len(split):.1%})"


def _space_table(results: StudyResults) -> Table:
    rows = []
    for name, parameter in results.spec.space.parameters.items():
        starts = [start.values[name] for start in results.spec.space.known_good if name in start.values]
        rows.append([name, parameter.description, ", ".join(map(format_value, starts))])
    return Table("The search space", TextTable(["hyperparameter", "range", "starting points"], rows, words=3))


def _reproduction_commands(results: StudyResults) -> str:
    spec, file = results.spec, f"{results.spec.name}.bundle.zip"
    export = spec.command("export", "--format", "bundle", "--output", file)
    return (
        f"# this study again, or its continuation\n{spec.command('run')}\n\n"
        f"# the winner alone, on another machine that has the same data\n{export}\nhpo reproduce {file}\n"
    )
