"""Engines: by name, from a separately installed package, and with objects from Python."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from hpo.errors import HpoError, SpecError
from hpo.plugins import load_entry_points
from hpo.search.budget import why_ended
from hpo.search.engines import choose_engine, run_search
from hpo.search.engines.inline import run_inline
from hpo.search.engines.processes import run_processes
from hpo.search.search_listener import SearchListener
from hpo.store.trial_state import is_finished
from hpo.study.spec import load_study, restore_study


class Notices(SearchListener):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


def url(file: Path) -> str:
    return f"sqlite:///{file.parent}/store.db"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with two engines, installed into a folder as pip does it; the second one cannot be imported."""
    target = tmp_path / "site"
    (target / "hpo_counting").mkdir(parents=True)
    (target / "hpo_counting" / "__init__.py").write_text(
        textwrap.dedent(
            """
            from hpo.search.engines.base import SearchRun
            from hpo.search.engines.inline import run_inline

            started = []

            def run_counting(search: SearchRun) -> None:
                started.append(search.worker_request())
                run_inline(search)
            """
        )
    )
    info = target / "hpo_counting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpo-counting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hpo.engines]\ncounting = hpo_counting:run_counting\nbroken = hpo_counting:run_nothing\n"
    )
    monkeypatch.syspath_prepend(target)
    load_entry_points.cache_clear()
    yield target
    load_entry_points.cache_clear()


def test_workers_choose_the_engine(small: Path) -> None:
    assert choose_engine(load_study(small)) is run_inline
    assert choose_engine(load_study(small, ("search.workers=2",))) is run_processes
    with pytest.raises(SpecError, match="search.workers is 2, but engine inline runs one worker"):
        choose_engine(load_study(small, ("search.engine='inline'", "search.workers=2")))


def test_an_engine_of_another_package_runs_by_name(small: Path, plugin: Path) -> None:
    spec = load_study(small, ("search.engine='counting'", "search.trials=1"))
    study = run_search(spec, url(small), SearchListener())
    assert sum(map(is_finished, study.get_trials())) == 1
    import hpo_counting  # type: ignore[import-not-found]

    (request,) = hpo_counting.started
    assert request.file == str(small) and request.storage == url(small)
    assert restore_study(request.study, small, request.overrides) == spec


def test_unknown_and_broken_engines_are_refused(small: Path, plugin: Path) -> None:
    with pytest.raises(SpecError, match='search.engine is "countin"; did you mean counting?'):
        choose_engine(load_study(small, ("search.engine='countin'",)))
    with pytest.raises(HpoError, match="entry point 'broken' .hpo_counting:run_nothing. cannot be loaded"):
        choose_engine(load_study(small, ("search.engine='broken'",)))


def test_sampler_and_pruner_objects_are_used(small: Path) -> None:
    class Sampler(optuna.samplers.RandomSampler):
        pass

    class Pruner(optuna.pruners.NopPruner):
        calls = 0

        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            Pruner.calls += 1
            return True

    notices = Notices()
    spec = load_study(small, ("search.trials=2",))
    study = run_search(spec, url(small), notices, sampler=Sampler(seed=3), pruner=Pruner())
    other = optuna.create_study(sampler=Sampler(seed=3))
    wanted = [spec.space.suggest(other.ask()) for _ in range(2)]
    assert [trial.params for trial in study.get_trials()] == wanted
    assert Pruner.calls == 2 and all(trial.state.name == "PRUNED" for trial in study.get_trials())
    assert "sampler: Sampler, passed from Python; search.sampler is not used" in notices.texts
    assert "pruner: Pruner, passed from Python; search.pruner is not used" in notices.texts


def test_objects_need_the_inline_engine(small: Path) -> None:
    spec = load_study(small, ("search.workers=2",))
    with pytest.raises(
        SpecError, match="search.sampler was passed as a RandomSampler object, which only engine inline"
    ):
        run_search(spec, url(small), SearchListener(), sampler=optuna.samplers.RandomSampler())
    with pytest.raises(SpecError, match="search.pruner was passed as a NopPruner object"):
        run_search(spec, url(small), SearchListener(), pruner=optuna.pruners.NopPruner())
    assert list(small.parent.iterdir()) == [small]


@pytest.mark.parametrize("sampler", ["grid", "brute-force"])
def test_an_exhausted_grid_is_the_reason_even_with_a_timeout(small: Path, sampler: str) -> None:
    axis = "space.parameters={learning_rate={choices=[1e-4, 1e-3]}}"
    spec = load_study(small, (axis, f"search.sampler='{sampler}'", "search.trials=9", "search.timeout='1h'"))
    study = run_search(spec, url(small), SearchListener())
    assert sorted(trial.params["learning_rate"] for trial in study.get_trials()) == [1e-4, 1e-3]
    assert why_ended(study, spec) == f"every combination of the search space was tried ({sampler})"
    assert why_ended(study, load_study(small, (axis, "search.trials=2"))) is None
    more = load_study(small, (axis, "search.trials=9", "search.timeout=1", "search.sampler='random'"))
    assert why_ended(study, more) == "the timeout was reached; continue with a longer --timeout"
