"""Check the form of stored attributes where they are read, so that a damaged store is one line and not a traceback.

Only the form is checked: of what type an attribute is, and which parts it cannot do without. A missing attribute is no
damage, because trials that ended early and those of earlier versions have fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(part) for part in value.values() if part is not None)


def _is_curve(value: Any) -> bool:
    return isinstance(value, dict) and all(rung.isdecimal() and _are_numbers(value[rung]) for rung in value)


def _has(**parts: Check) -> Check:
    """Return a check for a mapping that has these parts in these forms."""
    return lambda value: (
        isinstance(value, dict) and all(name in value and check(value[name]) for name, check in parts.items())
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) and all(map(_is_number, row)) for row in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_IS_SCORES = _has(metrics=_are_numbers, per_class=_is_mapping, confusion=_is_table)
# Attribute of a trial or final run -> its form; see TrialRecord and RunRecord.
TRIAL_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("place", "seed", "known_good", "retry_of", "kills", "best_rung", "batch_split"), _is_integer),
    **dict.fromkeys(("steps", "examples", "tokens", "peak_memory"), _is_integer),
    **dict.fromkeys(("last", "best", "predicted_per_second", "examples_per_second", "steps_per_second"), _is_number),
    **dict.fromkeys(("source", "drawn", "reason", "traceback", "system", "trained_on"), _is_text),
    "predictions_sha256": _is_text,
    "effective": _is_mapping,
    "metrics": _is_curve,
    "seconds": _are_numbers,
    "worker": _has(host=_is_text, pid=_is_integer, started=_is_number),
    "provenance": _is_mapping,
    "run": _has(kind=_is_text, seed=_is_integer, train_on=_is_text, values=_is_mapping),
    "validation": _IS_SCORES,
    "test": _IS_SCORES,
}
# Attribute of a study -> its form; see StudyRecord. Of names such as `ledger:2026-11-28`, the part before the colon.
STUDY_CHECKS: dict[str, Check] = {
    "spec": _has(name=_is_text, objective=_is_text),
    "identity": _is_mapping,
    "data": _has(fingerprint=_is_text, rows=_are_numbers),
    "speed": _is_mapping,
    **dict.fromkeys(("device", "spec_hash"), _is_text),
    "overrides": _is_list,
    "git": _is_mapping,
    "versions": _is_mapping,
    "seed": _is_integer,
    "stopped": _is_mapping,
    "verdict": _has(sentence=_is_text, when=_is_text),
    "ledger": _has(when=_is_text, command=_is_text, spec_hash=_is_text, test=_is_text),
    "test_rows": _is_text,
}
TRIAL_MARK, STUDY_MARK = "provenance", "spec"  # what only hpo writes; other programs may use names for other things


def find_malformed(attributes: Mapping[str, Any], checks: Mapping[str, Check], mark: str | None) -> str | None:
    """Return the first attribute of another form than hpo writes it, or None. An attribute may be null.

    Without the attribute `mark`, nothing is checked.
    """
    if mark is not None and mark not in attributes:
        return None
    for name, value in attributes.items():
        check = checks.get(name.partition(":")[0])
        if check is not None and value is not None and not check(value):
            return name
    return None
