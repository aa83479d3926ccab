"""Error messages: suggestions for unknown names and values."""

from __future__ import annotations

from hpo.errors import SpecError, unknown_name, unknown_value


def test_an_unknown_value_is_repeated_with_a_suggestion() -> None:
    error = SpecError("studies/x.toml", "objective", unknown_value("acuracy", ["accuracy", "f1"]))
    assert str(error) == 'studies/x.toml: objective is "acuracy"; did you mean accuracy?'
    assert unknown_value(3, ["tpe", "gp"]) == 'is "3"; known: gp, tpe'
    assert unknown_value("x", map(str, range(10, 30)), limit=2) == 'is "x"; known: 10, 11, ...'


def test_an_unknown_name_is_not_repeated() -> None:
    assert unknown_name("smapler", ["sampler", "pruner"]) == "is unknown; did you mean sampler?"
