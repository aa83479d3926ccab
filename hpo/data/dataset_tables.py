"""Read splits of the `datasets` library: from the hub, or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.data.columns import Columns
from hpo.data.readers import RawTable, describe_reason
from hpo.errors import DataError


def is_saved_dataset(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote a folder."""
    return has_saved_splits(folder) or all((folder / name).is_file() for name in ("state.json", "dataset_info.json"))


def has_saved_splits(folder: Path) -> bool:
    """Whether `DatasetDict.save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file()


def load_saved_splits(folder: Path) -> Mapping[str, Any]:
    """Return the splits of a saved DatasetDict, or a saved Dataset as its train split."""
    from datasets import load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:  # the library passes on whatever its parsers raise
        raise DataError(f"{folder}: cannot be read: {describe_reason(error)}") from None
    return saved if has_saved_splits(folder) else {"train": saved}


def read_dataset(rows: Any, where: str, columns: Columns) -> RawTable:
    """Return the columns of a Dataset, with the names of its ClassLabel."""
    columns.check_present(rows.column_names, where)
    values = rows.with_format(None).select_columns(list(columns.names))[:]
    class_names = getattr(rows.features[columns.label], "names", None)
    return RawTable.from_columns(where, columns, values, tuple(map(str, class_names)) if class_names else None)
