"""A small study with simulated trials and runs, each text of which holds a word that nothing else holds.

A baseline has failed with a message that quotes a text, and a notice quotes one too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from hpo.errors import TrainingError
from hpo.evaluation.baselines import BASELINES
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.winner import find_winner
from hpo.results.study_results import read_results
from hpo.store.storage import storage_url
from hpo.study.spec import StudySpec, load_study
from hpo.training.model_folder import INFO_FILE, ModelInfo
from tests.support import synthetic

CANARY = "zyxcanary"
FAILED = "rerun"  # the baseline that has failed


@pytest.fixture
def study_file(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """The study file, in a folder of its own with its store; made once per session."""
    folder = tmp_path_factory.getbasetemp() / "canary"
    if not folder.exists():
        spec = synthetic.make(folder, 6, seeds=1, word=CANARY, baselines="majority,recipe")
        spec.file.write_text(spec.file.read_text().replace('"recipe"]', f'"recipe", "{FAILED}"]'))
        _add_quotations(load_study(spec.file))
    shutil.copytree(folder, tmp_path / "project")
    return tmp_path / "project" / "synthetic.toml"


def _add_quotations(spec: StudySpec) -> None:
    """Add a notice and failed runs that quote texts, and a model folder without weights."""
    url = storage_url(spec)
    with open_final_runs(spec, url, RunListener()) as final:
        search = final.search
        winner, runs = find_winner(spec, search, final.study)
        text = final.data.train.texts[0]

        def fail() -> NoReturn:
            raise KeyError(text)

        for run in BASELINES[FAILED].plan_runs(FAILED, spec, winner.values):
            with pytest.raises(TrainingError, match=CANARY):
                final.make(run, FAILED, fail)
    data = dict(search.user_attrs["data"])
    search.set_user_attr("data", {**data, "notices": [f"train: row 3 is odd: {text!r:.60}"]})
    deployed = read_results(spec, url).runs[runs[0].number]
    spec.model_folder.mkdir(parents=True)
    made = {"run": deployed.key, "provenance": deployed.provenance.__dict__}
    info = ModelInfo(study=spec.name, text="text", clean=[], max_length=64, labels=["negative", "positive"], made=made)
    (spec.model_folder / INFO_FILE).write_text(info.model_dump_json())
