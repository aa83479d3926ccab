"""Private names of Optuna exist in the installed version and behave as this package expects."""

from __future__ import annotations

import ast
import importlib
import operator
import threading
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from hpo.store.optuna_internals import (
    PRIVATE_NAMES,
    fixed_values,
    read_all_trials,
    release_trial,
    set_trial_attribute,
    storage_of,
    study_id,
    trial_id,
    unit_cube,
)
from hpo.store.storage import open_storage

VERSION = f"optuna {optuna.__version__} breaks hpo/store/optuna_internals.py"


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PRIVATE_NAMES.items() for name in names]
)
def test_private_names_exist(module: str, name: str) -> None:
    try:
        operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{VERSION}: {module}.{name}: {error}")


def test_private_attributes_of_studies_and_trials() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.25})
    trial = study.ask({"x": FloatDistribution(0, 1)})
    (stored,) = read_all_trials(study)
    assert fixed_values(stored) == {"x": 0.25}, VERSION
    assert trial_id(stored) == trial_id(trial) and storage_of(study).get_trial(trial_id(stored)).number == 0, VERSION
    assert storage_of(study).get_study_name_from_id(study_id(study)) == study.study_name, VERSION
    set_trial_attribute(study, stored, "reason", "killed")
    assert release_trial(study, stored, TrialState.FAIL, {}), VERSION
    (ended,) = study.get_trials()
    assert ended.state == TrialState.FAIL and ended.user_attrs == {"reason": "killed"}, VERSION
    scale = unit_cube({"x": FloatDistribution(2.0, 4.0)})
    assert scale.transform({"x": 3.0}).tolist() == [0.5] and scale.untransform(scale.transform({"x": 3.0})) == {
        "x": 3.0
    }


def test_the_search_uses_private_names_through_that_module_only() -> None:
    for file in (Path(__file__).resolve().parents[2] / "hpo" / "search").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"_storage", "_study_id", "_trial_id"}, file
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
                assert "._" not in str(node.module), file


def test_heartbeats_do_not_keep_a_process_alive(tmp_path: Path) -> None:
    daemons: list[bool] = []

    def read_threads(_: optuna.Trial) -> float:
        daemons.extend(thread.daemon for thread in threading.enumerate() if "_record_heartbeat" in thread.name)
        return 0.0

    optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/store.db")).optimize(read_threads, n_trials=1)
    assert daemons == [True], VERSION
