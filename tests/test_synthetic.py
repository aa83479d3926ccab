"""Made-up studies say what real ones say, under the same names."""

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


def kinds(value: Any) -> Any:
    """The shape of a JSON value: keys and types, but for rungs and sampled values, which are each study's own."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items() if not key.isdecimal() and key != "values"}
    return type(value)


def stored(spec: StudySpec, name: str, number: int) -> tuple[optuna.Study, dict[str, Any]]:
    """A study of a store, and the attributes of one of its trials."""
    study = find_study(open_storage(storage_url(spec)), name)
    assert study
    return study, study.get_trials()[number].user_attrs


@pytest.mark.parametrize("number", [0, 2], ids=["first", "last"])  # a known-good start and a drawn one, or final runs
def test_attributes_are_those_of_a_real_study(searched: Path, tmp_path: Path, number: int) -> None:  # noqa: F811
    real = load_study(searched)
    with open_final_runs(real, storage_url(real), RunListener()) as final:
        retrain(final)
        run_baselines(final, ["majority"])
    made = synthetic.make(tmp_path / "made", 3, seeds=2)
    for suffix in ("", "/final"):
        (study, attributes), (wanted, expected) = (stored(spec, spec.name + suffix, number) for spec in (made, real))
        assert {key for key in study.user_attrs if "ledger" not in key} == {
            key for key in wanted.user_attrs if "ledger" not in key
        }
        assert study.metric_names == wanted.metric_names
        assert kinds(study.user_attrs["data"]) == kinds(wanted.user_attrs["data"])
        assert attributes.keys() == expected.keys()
        for key in attributes.keys() - {"effective"}:
            assert kinds(attributes[key]) == kinds(expected[key]), key


@pytest.mark.parametrize(
    ("sort", "endings"),
    [
        ({}, {"complete", "pruned", "diverged", "error", "interrupted", "killed", "infeasible"}),
        ({"pruned": True}, {"pruned"}),
        ({"unfinished": True}, {"complete", "running", "waiting"}),
    ],
)
def test_endings_are_as_asked_for(tmp_path: Path, sort: dict[str, Any], endings: set[str]) -> None:
    spec = synthetic.make(tmp_path, 45, final=False, **sort)
    study = load_stored_study(spec, storage_url(spec))
    trials = study.get_trials()
    assert len(trials) == 45 and endings <= {outcome(trial) for trial in trials}
    check_same_spec(study, spec)
    missing = spec.search.trials - sum(map(is_finished, trials))
    assert missing == (10 if sort.get("unfinished") else 0)


@pytest.mark.parametrize("sort", [{"objective": "log_loss"}, {"classes": 3}, {"html": True, "parameters": 1}])
def test_comparisons_can_be_made(tmp_path: Path, sort: dict[str, Any]) -> None:
    spec = synthetic.make(tmp_path, 12, seeds=2, **sort)
    found = compare_study(spec, storage_url(spec))
    assert len(found["differences"]) == len(spec.final.baselines) and not found["missing"]
