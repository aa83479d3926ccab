"""The rows that two systems are compared on: a file, or the test split of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.data.class_names import name_labels
from hpo.data.cleaning import build_cleaner
from hpo.data.columns import Columns, ReadOptions, columns_of
from hpo.data.readers import read_files
from hpo.data.splits import Split
from hpo.data.text_validation import check_text_column
from hpo.errors import DataError, StudyError
from hpo.evaluation.existing_baselines import load_raw_texts
from hpo.evaluation.existing_models import match_model_labels, read_model_labels
from hpo.pairwise.operands import Operand
from hpo.search.preflight import load_study_data
from hpo.study.spec import StudySpec


@dataclass(frozen=True)
class LabelledRows:
    """Test rows and their classes.

    Attributes:
        where: What the rows are, for people.
        names: The classes.
        texts: Texts as they are in the data, which models get.
        clean: How the texts of a file of predictions are cleaned before they are matched with `split.texts`.
    """

    where: str
    names: tuple[str, ...]
    split: Split
    texts: list[str]
    text_column: str
    clean: Callable[[str], str]

    @property
    def labels(self) -> NDArray[Any]:
        """The true labels (n,), as positions in `names`."""
        return np.asarray(self.split.labels)


def read_test_file(
    file: Path, operands: Sequence[Operand], text: str | None = None, label: str | None = None
) -> LabelledRows:
    """Read labelled test rows from a file; columns and format are those of the first study, if one is compared.

    Raises:
        DataError: The file cannot be read, or its classes are none of a model's.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file (--file)")
    study = next((operand.study for operand in operands if operand.study), None)
    base = columns_of(study.data) if study else Columns("text", "label", options=ReadOptions(are_arguments=True))
    columns = Columns(text or base.text, label or base.label, text_option="--text", options=base.options)
    (table,) = read_files([file], columns)
    texts = check_text_column(table.texts, table.where)
    column = name_labels(table)
    occurring = sorted(set(column.names), key=int) if column.is_unnamed else sorted(set(column.names))
    names = _choose_names(column.order or occurring, operands)
    positions = {name: position for position, name in enumerate(names)}
    labels = [positions[name] for name in column.names]
    return LabelledRows(str(file), names, Split(texts, labels, list(range(len(texts)))), texts, columns.text, str)


def read_test_split(spec: StudySpec) -> LabelledRows:
    """Load the test split of a study.

    Raises:
        StudyError: It has none.
    """
    data = load_study_data(spec)
    if data.test is None:
        raise StudyError(f"{spec.file}: the study has no test split; name test rows with --file")
    texts = load_raw_texts(spec, {"test": data.test})["test"]
    clean = build_cleaner(spec.data.clean)
    where = f"the test split of study {spec.name}"
    return LabelledRows(where, data.label_names, data.test, texts, spec.data.text, clean)


def _choose_names(of_file: Sequence[str], operands: Sequence[Operand]) -> tuple[str, ...]:
    """Return the classes: those of the first model, if its names are those of the file, else those of the file."""
    for operand in operands:
        if operand.kind == "predictions":
            continue
        labels = read_model_labels(operand.model)
        if set(of_file) <= set(labels):
            return tuple(labels)
        match_model_labels(operand.model, labels, of_file)  # other words for the same classes are matched in pairs
    return tuple(of_file)
