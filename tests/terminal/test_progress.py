"""Progress lines in a pipe: what is running, how far it is, and how it ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpo.search.budget import Budget
from hpo.study.spec import load_study
from hpo.terminal import progress
from hpo.terminal.progress import SearchProgress, format_rung


def test_a_rung_is_a_share_of_the_schedule_or_a_number_of_examples(small: Path) -> None:
    spec = load_study(small)
    assert [format_rung(spec, rung) for rung in (250, 333, 1000)] == [
        "at 25 % of its schedule",
        "at 33.3 % of its schedule",
        "at 100 % of its schedule",
    ]
    by_examples = load_study(small, ("search.rungs={every_examples=2000}",))
    assert format_rung(by_examples, 4000) == "after 4,000 examples"


def test_a_running_trial_is_described_in_one_line(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", -1)
    display = SearchProgress(load_study(small))
    study: Any = SimpleNamespace(
        get_trials=lambda deepcopy: [], user_attrs={"data": {"fingerprint": "", "rows": {"train": 9, "test": 400}}}
    )
    display.opens(study)
    display.begins(0, {"learning_rate": 1e-3}, Budget(trials=3, timeout=None))
    display.rung(250, 0.3889)
    display.step(23, 51, 0.6931)
    notice, first, second = capsys.readouterr().err.splitlines()
    assert notice.startswith(
        "note: the final runs find gains from about 5.0 points with 5 seeds and 400 test rows (in "
    )
    assert first == "trial 1 of 3 (#0)  learning_rate=0.001"
    assert second.startswith("  step 23/51 · loss 0.693 · accuracy 0.3889 at 25 % of its schedule · about ")
