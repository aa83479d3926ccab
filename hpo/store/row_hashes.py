"""The hashes of a study's test rows, stored with its companion study: they recognize the rows in other studies."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study

_PREFIX = "test_rows:"  # of the study attributes that hold the hashes
_CHUNK = 4096  # hashes per attribute: 43,692 characters, because MySQL allows 64 KiB


def write_row_hashes(study: Study, hashes: Iterable[int]) -> None:
    """Store the 64-bit hashes of a study's test rows, each once; what is stored already is not written again."""
    ordered = sorted(set(hashes))
    stored = study.user_attrs
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        key = f"{_PREFIX}{start // _CHUNK:04}"
        value = base64.b64encode(struct.pack(f"<{len(chunk)}Q", *chunk)).decode()
        if stored.get(key) != value:
            study.set_user_attr(key, value)


def read_row_hashes(attributes: Mapping[str, Any]) -> frozenset[int]:
    """Return the hashes of a study's test rows; none for a study of a version that did not store them."""
    chunks = [base64.b64decode(value) for key, value in attributes.items() if key.startswith(_PREFIX)]
    return frozenset(value for chunk in chunks for (value,) in struct.iter_unpack("<Q", chunk))
