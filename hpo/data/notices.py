"""What users should know about their data before they trust a score: repeats, contradictions, odd classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.data.class_names import format_classes
from hpo.data.overlaps import describe_repeats
from hpo.errors import quote_value

if TYPE_CHECKING:
    from hpo.data.splits import LoadedSplit

IMBALANCE_RATIO = 3  # a notice is given if the largest class has more than this many times the rows of the smallest
RARE_SHARE = 0.1  # a class with a smaller share of the rows, and half of an even share, is rare
SPELLINGS = 12  # that a notice lists
LISTED_CLASSES = 12


def describe_loaded_rows(splits: Mapping[str, LoadedSplit], names: Sequence[str]) -> list[str]:
    """Return a sentence each on contradictory labels and similar classes, of rows as their source has them.

    The labels of test are not looked at: they stay sealed until a system is scored.
    """
    notices = [
        notice
        for name in ("train", "validation")
        if name in splits
        for notice in _find_contradictions(name, splits[name])
    ]
    return [*notices, *_find_spellings(splits["train"], names)]


def describe_splits(splits: Mapping[str, LoadedSplit], names: Sequence[str]) -> list[str]:
    """Return a sentence each on repeated texts, missing classes and imbalance of the splits in use."""
    train = splits["train"]
    notices = describe_repeats(train)
    for name, split in splits.items():
        if missing := sorted(set(train.labels) - set(split.labels)):
            classes = "class" if len(missing) == 1 else "classes"
            notices.append(
                f"{name}: no row of {classes} {format_classes([names[label] for label in missing])}, so its scores do "
                f"not cover {'it' if len(missing) == 1 else 'them'}; it has {_count_classes(split, names)}"
            )
    counts = Counter(train.labels).most_common()
    (largest, many), (smallest, few) = counts[0], counts[-1]
    if many > IMBALANCE_RATIO * few:
        notices.append(
            f"train: classes are imbalanced: {many:,} rows of {quote_value(names[largest])}, {few:,} of "
            f"{quote_value(names[smallest])}, {many / few:.1f} times as many"
        )
    return notices


def describe_rare_class(labels: Sequence[int], names: Sequence[str]) -> list[str]:
    """Return a sentence, in a list, if accuracy hides a class: it is rare, and ignoring it costs hardly anything."""
    counts = Counter(labels).most_common()
    (largest, many), (rarest, few) = counts[0], counts[-1]
    share = few / len(labels)
    if share >= min(RARE_SHARE, 0.5 / len(names)):
        return []
    return [
        f"accuracy hides class {quote_value(names[rarest])} ({few:,} of {len(labels):,} train rows, {share:.1%}): "
        f"always answering {quote_value(names[largest])} scores {many / len(labels):.3f}; consider the objective "
        "balanced_accuracy or f1_macro"
    ]


def _count_classes(split: LoadedSplit, names: Sequence[str]) -> str:
    """Return `12 rows of 'bad', 3 of 'good'`, the largest class first."""
    counts = [f"{rows:,} of {quote_value(names[label])}" for label, rows in Counter(split.labels).most_common()]
    listed = ", ".join(counts[:LISTED_CLASSES]) + (", ..." if len(counts) > LISTED_CLASSES else "")
    return listed.replace(" of ", " rows of ", 1)


def _find_contradictions(split_name: str, split: LoadedSplit) -> list[str]:
    labels_by_text: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(split.texts, split.labels, strict=True):
        labels_by_text[text].add(label)
    texts = {text for text, labels in labels_by_text.items() if len(labels) > 1}
    if not texts:
        return []
    rows = sum(text in texts for text in split.texts)
    subject = f"{len(texts):,} texts have" if len(texts) > 1 else "1 text has"
    return [f"{split_name}: {subject} more than one label ({rows:,} rows); no model can predict all of them"]


def _find_spellings(train: LoadedSplit, names: Sequence[str]) -> Iterable[str]:
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[name.casefold()].append(name)
    counts = Counter(names[label] for label in train.labels)
    similar = [name for group in spellings.values() if len(group) > 1 for name in group]
    if similar:
        listed = ", ".join(f"{quote_value(name)} ({counts[name]:,} rows)" for name in similar[:SPELLINGS])
        more = ", ..." if len(similar) > SPELLINGS else ""
        yield f"train: classes differ only by case: {listed}{more}; spell them alike if they are one class"
