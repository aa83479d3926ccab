"""A full disk: one line, the score of a finished trial is kept, and the same command goes on once there is room."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from hpo.disk_errors import is_disk_full
from hpo.errors import StoreError, TrainingError
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store import outages
from hpo.store.storage import default_storage_url, open_storage
from hpo.study.spec import load_study
from tests.evaluation.conftest import FINAL
from tests.support.command_line import Ended, run_hpo

__all__ = ["run_hpo"]
FULL = OSError(errno.ENOSPC, "No space left on device", "model.safetensors")


def fill_disk(*_: Any, **__: Any) -> Any:
    raise FULL


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FULL, True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("28"), False),
    ],
)
def test_full_disks_are_recognized(error: Exception, expected: bool) -> None:
    assert is_disk_full(error) == expected
    try:
        raise RuntimeError("cannot write") from error
    except RuntimeError as outer:
        assert is_disk_full(outer) == expected


def test_score_is_kept_if_its_weights_do_not_fit(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[str] = []
    listener = SearchListener()
    monkeypatch.setattr(listener, "notice", notices.append)
    monkeypatch.setattr("hpo.training.trainer.save_model", fill_disk)
    study = run_search(load_study(small), default_storage_url(small.parent), listener)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE"] * 3
    assert any("no space is left for its weights; its score is kept" in text for text in notices)
    assert not (small.parent / "small" / "best").exists()


def test_final_runs_go_on_once_there_is_room(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.write_text(FINAL)
    spec, url = load_study(small, ("search.trials=1", "final.seeds=1")), default_storage_url(small.parent)
    run_search(spec, url, SearchListener())
    places = ("hpo.evaluation.predictions.write_csv", "hpo.training.model_folder.save_model")
    for place, expected in zip(places, ((TrainingError, "No space left"), (OSError, "No space left")), strict=True):
        with monkeypatch.context() as patch, pytest.raises(expected[0], match=expected[1]):
            patch.setattr(place, fill_disk)
            with open_final_runs(spec, url, RunListener(), searched=True) as final:
                retrain(final)
    with open_final_runs(spec, url, RunListener(), searched=True) as final:
        retrain(final)
    assert (spec.model_folder / "model.safetensors").exists()


def test_any_other_write_is_one_line(
    small: Path,
    run_hpo: Callable[..., Ended],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpo.data.token_cache.np.save", fill_disk)
    monkeypatch.setattr("hpo.search.engines.sweep_leftovers", fill_disk)
    ended = run_hpo("search", small)
    assert ended.code == 2
    assert ended.errors.splitlines()[-1].startswith("hpo: model.safetensors: no space is left on the disk; free some")


@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_a_store_without_room_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    monkeypatch.setattr(outages, "OUTAGE_LIMIT", 0.3)
    storage: Any = open_storage(default_storage_url(tmp_path))
    study = optuna.create_study(study_name="s", storage=storage)
    trial = study.ask()

    def limit_pages(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # raised to the present number of pages

    sqlalchemy.event.listen(storage.engine, "connect", limit_pages)
    storage.engine.dispose()
    with pytest.raises(StoreError, match="no space is left on its disk; run the same command again"):
        trial.set_user_attr("text", "x" * 100_000)
    sqlalchemy.event.remove(storage.engine, "connect", limit_pages)
    storage.engine.dispose()
    trial.set_user_attr("text", "x" * 100_000)
    study.tell(trial, 0.5)
    assert optuna.load_study(study_name="s", storage=storage).best_value == 0.5
