"""Study files: defaults, overrides, errors of one line, and the identity of a study."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study.overrides import format_override
from hpo.study.spec import StudySpec, load_study


def test_defaults_and_paths(small: Path) -> None:
    spec = load_study(small)
    assert (spec.name, spec.objective, spec.search.sampler.name) == ("small", "accuracy", "tpe")
    assert spec.folder == small.parent / "small"
    assert spec.search.rungs == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serch.trials=3", "serch is unknown; did you mean search?"),
        ("search.smapler=1", "search.smapler is unknown; did you mean sampler?"),
        ("data.tetx='t'", "data.tetx is unknown; did you mean text?"),
        ("space.parameters.learning_rate.hihg=1", "space.parameters.learning_rate.hihg is unknown; did you mean high?"),
        ("search.trials=zero", 'search.trials is "zero"; input should be a valid integer'),
        ("search.trials=0", "search.trials is 0; input should be greater than or equal to 1"),
        ("search.seed=true", "search.seed is true; input should be a valid integer"),
        (
            "search.timeout=2x",
            'search.timeout is "2x"; must be a number of seconds, or text such as "90s", "30m", "2h", "1d"',
        ),
        (
            "search.save_every=ten minutes",
            'search.save_every is "ten minutes"; must be a whole number of steps, or text such as "10m"',
        ),
        ("search.save_every=1.5", "search.save_every is 1.5; must be a whole number of steps"),
        ("search.rungs=[0.5]", "rungs must be increasing shares above 0 that end with 1.0"),
        ("data.validation=2.5", "data.validation is 2.5"),
        ("name='a b'", 'name is "a b"'),
        ("space.parameters.learning_rate.low=1", "has low 1 above high 0.01"),
        ("space.parameters.learning_rate.choices=[1]", "needs either choices"),
        ("data.source.x=1", "source is not a table"),
        ("trials", "must look like key=value"),
        ("int=3", "int is unknown"),
        ("file='x'", "file is unknown"),
        ("data.Text='x'", "data.Text is unknown; did you mean text?"),
        ("data.validation=[]", "data.validation is []"),
        ("data.label='text'", "has 'text' for both text and label"),
        ("space.parameters.learning_rate.low=nan", "finite number"),
        ("space..x=3", "space..x is not a valid key"),
    ],
)
def test_an_error_is_one_line_that_names_the_key(small: Path, override: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(small, (override,))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{name = 'x'}", "final.baselines.0 has neither model nor predictions; give one"),
        ("{name = 'x', model = 'a', predictions = 'b'}", "final.baselines.0 has both model and predictions; give one"),
        ("{name = 'x', modle = 'a', model = 'b'}", "final.baselines.0.modle is unknown; did you mean model?"),
        ("{name = 'x', predictions = 'a', lable = 'b'}", "final.baselines.0.lable is unknown; did you mean label?"),
        (
            "{name = 'x', predictions = 'a', revision = 'b'}",
            "final.baselines.0.revision is unknown; did you mean predictions?",
        ),
        ("{model = 'a'}", "final.baselines.0.name is missing"),
        ("'majority', 3", "final.baselines.1 is 3; must be the name of a baseline, or a table with name and"),
        ("{name = 'nb-svm', model = 'a'}", '"nb-svm"; must not be the name of one of hpo\'s own systems'),
        ("{name = 'winner', model = 'a'}", '"winner"; must not be the name of one of hpo\'s own systems'),
        ("{name = 'trial #3', model = 'a'}", '"trial #3"; must not be the name of one of hpo\'s own systems'),
        ('{name = "a\\u0007", model = "a"}', "must not start with -, or hold a comma, a semicolon or a control"),
        ("{name = 'a, b', model = 'a'}", "must not start with -, or hold a comma, a semicolon or a control"),
        ("{name = ' ', model = 'a'}", "must have 1 to 40 characters, and no blanks around it"),
        ("{name = 'x', model = 'a'}, {name = 'x', predictions = 'b'}", "final baselines has 'x' twice"),
        ("{name = 'x', model = 'builtin:tiny'}", "must be a trained model: a model folder or a hub id"),
    ],
)
def test_tables_of_existing_systems_are_checked(small: Path, entries: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        load_study(small, (f"final.baselines=[{entries}]",))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_existing_systems_are_no_part_of_the_identity_and_read_back(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths in --set start at the current folder, where they exist."""
    monkeypatch.chdir(small.parent)
    (small.parent / "theirs.csv").touch()
    entries = '["majority", {name = "in production", model = "a/b"}, {name = "vendor", predictions = "theirs.csv"}]'
    spec = load_study(small, (f"final.baselines={entries}",))
    assert spec.final.baseline_names == ["majority", "in production", "vendor"]
    model, predictions = spec.final.existing_systems
    assert (model.location, predictions.location) == ("a/b", str(small.parent / "theirs.csv"))
    assert spec.hash() == load_study(small).hash()
    _, _, file, *options = shlex.split(spec.command("baseline"))
    assert load_study(file, tuple(options[1::2])).final == spec.final


def test_a_missing_file_and_invalid_toml_raise_errors(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_study(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(SpecError, match="is not TOML"):
        load_study(tmp_path / "broken.toml")


def test_overrides_change_the_space_file_and_their_paths_start_at_the_current_folder(
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
    listed = load_study(small, ('data.train=["rows.csv", "*.csv", "none.csv"]',))
    assert listed.data.train == [str(elsewhere / "rows.csv"), str(elsewhere / "*.csv"), "none.csv"]


def test_trackers_are_not_part_of_the_identity(small: Path) -> None:
    tracked = load_study(small, ("training.report_to=tensorboard", "training.logging_steps=5"))
    assert tracked.identity() == load_study(small).identity() and tracked.training["report_to"] == "tensorboard"


def test_the_budget_is_not_part_of_the_identity_but_values_are(small: Path) -> None:
    spec = load_study(small)
    for same in ("search.trials=9", "search.timeout='2h'", "search.workers=2", "storage='sqlite:///x.db'"):
        assert load_study(small, (same,)).hash() == spec.hash()
    for other in ("search.seed=1", "training.num_train_epochs=2", "objective='f1'"):
        assert load_study(small, (other,)).hash() != spec.hash()


def test_a_storage_url_is_not_stored(small: Path) -> None:
    spec = load_study(small, ("storage='postgresql://me:secret@db/x'",))
    assert "secret" not in str(spec.resolved()) and "secret" not in str(spec.identity())


def test_a_spec_is_frozen(small: Path) -> None:
    spec: StudySpec = load_study(small)
    with pytest.raises(Exception, match="frozen"):
        spec.search.trials = 5  # type: ignore[misc]


@pytest.mark.parametrize("name", ["2026-11-27", "study-1", "12", "true", "1e5", "inf"])
def test_a_printed_command_reads_back_the_same_study(small: Path, name: str) -> None:
    spec = load_study(small, (format_override("name", name), "search.trials=9", "training.optim='adamw_torch'"))
    words = shlex.split(spec.command("retrain"))
    assert words[:3] == ["hpo", "retrain", str(small)] and "search.trials=9" not in words
    again = load_study(small, tuple(words[4::2]))
    assert set(words[3::2]) == {"--set"} and again.identity() == spec.identity() and again.name == name


def test_a_date_needs_no_quotes_as_name(small: Path) -> None:
    assert load_study(small, ("name=2026-11-27",)).name == "2026-11-27"
