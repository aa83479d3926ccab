"""A study file says exactly what runs, and every mistake in it has one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study.spec import StudySpec, load_study


def test_defaults_and_paths(small: Path) -> None:
    spec = load_study(small)
    assert (spec.name, spec.objective, spec.search.sampler.name) == ("small", "accuracy", "tpe")
    assert spec.folder == small.parent / "small"
    assert spec.search.rungs == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("serch.trials=3", "serch is unknown; did you mean search?"),
        ("search.smapler=1", "search.smapler is unknown; did you mean sampler?"),
        ("data.tetx='t'", "data.tetx is unknown; did you mean text?"),
        ("space.parameters.learning_rate.hihg=1", "space.parameters.learning_rate.hihg is unknown; did you mean high?"),
        ("search.trials=zero", 'search.trials is "zero"; input should be a valid integer'),
        ("search.trials=0", "search.trials is 0; input should be greater than or equal to 1"),
        ("search.seed=true", "search.seed is true; input should be a valid integer"),
        ("search.timeout=2x", 'search.timeout is "2x"; must be seconds, or a text such as "90s", "30m", "2h", "1d"'),
        ("search.rungs=[0.5]", "rungs must be rising shares above 0 that end with 1.0"),
        ("data.validation=2.5", "data.validation is 2.5"),
        ("name='a b'", 'name is "a b"'),
        ("space.parameters.learning_rate.low=1", "has low 1 above high 0.01"),
        ("space.parameters.learning_rate.choices=[1]", "needs either choices"),
        ("data.source.x=1", "source is no table"),
        ("trials", "must look like key=value"),
        ("int=3", "int is unknown"),
        ("file='x'", "file is unknown"),
        ("data.Text='x'", "data.Text is unknown; did you mean text?"),
        ("data.validation=[]", "data.validation is []"),
        ("data.label='text'", "has 'text' for both text and label"),
        ("space.parameters.learning_rate.low=nan", "finite number"),
        ("space..x=3", "is no key"),
    ],
)
def test_each_mistake_has_one_line_that_names_it(small: Path, override: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(small, (override,))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_broken_toml(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_study(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(SpecError, match="is not TOML"):
        load_study(tmp_path / "broken.toml")


def test_set_reaches_into_the_space_file_and_its_paths_start_where_the_shell_stands(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "space.toml").write_text("[parameters.weight_decay]\nlow = 0.0\nhigh = 0.3\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rows.csv").write_text("text,label\n")
    monkeypatch.chdir(elsewhere)
    spec = load_study(
        small, ("space.parameters.weight_decay.high=0.1", 'space.file="space.toml"', "data.train=rows.csv")
    )
    assert spec.space.parameters["weight_decay"].high == 0.1
    assert spec.data.train == str(elsewhere / "rows.csv")


def test_who_follows_a_search_is_no_part_of_its_identity(small: Path) -> None:
    followed = load_study(small, ("training.report_to=tensorboard", "training.logging_steps=5"))
    assert followed.identity() == load_study(small).identity() and followed.training["report_to"] == "tensorboard"


def test_budget_is_no_part_of_the_identity_but_values_are(small: Path) -> None:
    spec = load_study(small)
    for same in ("search.trials=9", "search.timeout='2h'", "search.workers=2", "storage='sqlite:///x.db'"):
        assert load_study(small, (same,)).hash() == spec.hash()
    for other in ("search.seed=1", "training.num_train_epochs=2", "objective='f1'"):
        assert load_study(small, (other,)).hash() != spec.hash()


def test_a_storage_url_with_its_password_is_not_in_what_is_stored(small: Path) -> None:
    spec = load_study(small, ("storage='postgresql://me:secret@db/x'",))
    assert "secret" not in str(spec.resolved()) and "secret" not in str(spec.identity())


def test_nothing_of_a_spec_can_be_changed(small: Path) -> None:
    spec: StudySpec = load_study(small)
    with pytest.raises(Exception, match="frozen"):
        spec.search.trials = 5  # type: ignore[misc]
