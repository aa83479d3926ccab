"""Synthetic studies store the same attributes as real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.evaluation.baselines import run_baselines
from hpo.evaluation.comparison import compare_study
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.store.storage import check_same_spec, find_study, load_stored_study, open_storage, storage_url
from hpo.store.trial_state import is_finished, outcome
from hpo.study.spec import StudySpec, load_study
from tests.evaluation.conftest import _searched, searched  # noqa: F401  # fixtures
from tests.support import synthetic


def shape(value: Any) -> Any:
    """Return keys and types of a JSON value, without rungs and sampled values, which differ between studies."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if not key.isdecimal() and key != "values"}
    return type(value)


def load(spec: StudySpec, name: str, number: int) -> tuple[optuna.Study, dict[str, Any]]:
    """Return a stored study, and the attributes of one of its trials."""
    study = find_study(open_storage(storage_url(spec)), name)
    assert study
    return study, study.get_trials()[number].user_attrs


@pytest.mark.parametrize("number", [0, 2], ids=["first", "last"])  # a starting point and a drawn trial, or final runs
def test_attributes_are_those_of_a_real_study(searched: Path, tmp_path: Path, number: int) -> None:  # noqa: F811
    real = load_study(searched)
    with open_final_runs(real, storage_url(real), RunListener()) as final:
        retrain(final)
        run_baselines(final, ["majority"])
    simulated = synthetic.make(tmp_path / "simulated", 3, seeds=2)
    for suffix in ("", "/final"):
        (study, attributes), (wanted, expected) = (load(spec, spec.name + suffix, number) for spec in (simulated, real))
        assert {key for key in study.user_attrs if "ledger" not in key} == {
            key for key in wanted.user_attrs if "ledger" not in key
        }
        assert study.metric_names == wanted.metric_names
        assert shape(study.user_attrs["data"]) == shape(wanted.user_attrs["data"])
        assert attributes.keys() == expected.keys()
        for key in attributes.keys() - {"effective"}:
            assert shape(attributes[key]) == shape(expected[key]), key


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        ({}, {"complete", "pruned", "diverged", "error", "interrupted", "killed", "infeasible"}),
        ({"pruned": True}, {"pruned"}),
        ({"unfinished": True}, {"complete", "running", "waiting"}),
    ],
)
def test_outcomes_follow_the_options(tmp_path: Path, options: dict[str, Any], outcomes: set[str]) -> None:
    spec = synthetic.make(tmp_path, 45, final=False, **options)
    study = load_stored_study(spec, storage_url(spec))
    trials = study.get_trials()
    assert len(trials) == 45 and outcomes <= {outcome(trial) for trial in trials}
    check_same_spec(study, spec)
    missing = spec.search.trials - sum(map(is_finished, trials))
    assert missing == (10 if options.get("unfinished") else 0)


@pytest.mark.parametrize("options", [{"objective": "log_loss"}, {"classes": 3}, {"html": True, "parameters": 1}])
def test_comparisons_work(tmp_path: Path, options: dict[str, Any]) -> None:
    spec = synthetic.make(tmp_path, 12, seeds=2, **options)
    comparison = compare_study(spec, storage_url(spec))
    assert len(comparison.differences) == len(spec.final.baselines) and not comparison.missing
