"""The rows of a study, where its objective can be computed on them."""

from __future__ import annotations

from hpo.data.splits import TextData, load_splits
from hpo.study.spec import StudySpec
from hpo.training.metrics import unsuitable_reason


def load_study_data(spec: StudySpec) -> TextData:
    """The study's rows. Raises DataError, and SpecError where the objective does not fit the number of classes."""
    data = load_splits(spec.data, spec.file.parent)
    if reason := unsuitable_reason(spec.objective, len(data.label_names)):
        raise spec.error("objective", reason)
    return data
