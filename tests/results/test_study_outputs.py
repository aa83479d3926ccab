"""`hpo show` names the last verdict, the model and the report, and says if a trial has completed since."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest

from hpo.evaluation.comparison import compare_study
from hpo.results.study_status import read_status, snapshot
from hpo.store.storage import load_stored_study, storage_url
from hpo.store.study_record import companion_name
from hpo.study.spec import load_study
from tests.support.command_line import Ended


def test_show_names_verdict_model_and_report(study_file: Path, run_hpo: Callable[..., Ended]) -> None:
    spec = load_study(study_file)
    assert [output.name for output in read_status(spec, storage_url(spec)).outputs] == ["model"]
    assert run_hpo("report", study_file).code == 0
    outputs = json.loads(run_hpo("show", study_file, "--json").output)["outputs"]
    verdict = compare_study(spec, storage_url(spec)).verdict
    assert [(each["name"], each["content"]) for each in outputs] == [
        ("verdict", verdict),
        ("model", str(spec.model_folder)),
        ("report", str(spec.folder / "report.html")),
    ]
    assert not any(each["is_outdated"] for each in outputs)
    printed = " ".join(run_hpo("show", study_file).output.split())
    assert f": {verdict}" in printed and f"UTC): {spec.model_folder}" in printed


def test_outputs_older_than_the_last_complete_trial_are_marked(study_file: Path, run_hpo: Callable[..., Ended]) -> None:
    spec = load_study(study_file)
    compare_study(spec, storage_url(spec))
    old = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    os.utime(spec.model_folder / "recipe.json", (old, old))
    outputs = {each.name: each.is_outdated for each in read_status(spec, storage_url(spec)).outputs}
    assert outputs == {"verdict": False, "model": True}
    assert "UTC, before the last complete trial): " in " ".join(run_hpo("show", study_file).output.split())
    load_stored_study(spec, storage_url(spec)).add_trial(optuna.trial.create_trial(value=0.1))
    assert all(each.is_outdated for each in read_status(spec, storage_url(spec)).outputs)


def test_optuna_and_the_sqlite_reader_agree(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_study(study_file)
    compare_study(spec, storage_url(spec))
    status = read_status(spec, storage_url(spec))
    study = load_stored_study(spec, storage_url(spec))
    by_optuna = snapshot(study)
    assert by_optuna.last_complete and "verdict" in by_optuna.companion
    monkeypatch.setattr("hpo.results.study_status.read_study", lambda *arguments: None)
    assert read_status(spec, storage_url(spec)).outputs == status.outputs
    optuna.delete_study(study_name=companion_name(spec.name), storage=storage_url(spec))
    assert [each.name for each in read_status(spec, storage_url(spec)).outputs] == ["model"]
