"""The rows of a study, where its objective can be computed on them."""

from __future__ import annotations

from hpo.data.load import TextData
from hpo.data.load import load as load_data
from hpo.study.spec import StudySpec
from hpo.training import metrics


def texts(spec: StudySpec) -> TextData:
    """The study's rows. Raises DataError, and SpecError where the objective does not fit the number of classes."""
    data = load_data(spec.data, spec.file.parent)
    if reason := metrics.reason_against(spec.objective, len(data.label_names)):
        raise spec.error("objective", reason)
    return data
