"""Cleaning steps, one at a time and combined."""

from __future__ import annotations

import pickle

import pytest

from hpo.data.cleaning import CLEANERS, build_cleaner
from hpo.study.spec_tables import NamedComponent


def clean(text: str, *steps: str | NamedComponent) -> str:
    return build_cleaner([NamedComponent(name=step) if isinstance(step, str) else step for step in steps])(text)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("good.<br /><br />Bad", "good.  Bad"),
        ("a <b>bold</b> <A HREF='x'>link</A>", "a  bold   link "),
        ("if a < b and c > d", "if a < b and c > d"),
        ("I <3 it, 5<6", "I <3 it, 5<6"),
        ("R&amp;B &quot;caf&eacute;&quot; &#39;n&#x27; more", "R&B \"caf\u00e9\" 'n' more"),
        ("&lt;b&gt; stays", "<b> stays"),
        ('<a title="x > y">k</a>', " k "),
        ("in<!-- a > b -->out", "in out"),
        ("<script>if (a < b) alert('<p>')</script>seen<style>p {}</style>", " seen "),
        ("an unclosed <b and so on", "an unclosed <b and so on"),
    ],
)
def test_strip_html_removes_markup_and_decodes_entities(html: str, text: str) -> None:
    assert clean(html, "strip_html") == text


def test_strip_html_takes_linear_time_on_hostile_text() -> None:
    hostile = "<a b='" * 3_000 + "<a " * 3_000
    assert clean(hostile, "strip_html") == hostile


def test_strip_punctuation_removes_or_keeps_apostrophes() -> None:
    text = "Don't stop, it\u2019s \u201cgood\u201d \u2014 50% 'off'_or not!"
    assert clean(text, "strip_punctuation", "collapse_spaces") == "Dont stop its good 50 off or not"
    keeping = NamedComponent.model_validate({"name": "strip_punctuation", "keep_apostrophes": True})
    assert clean(text, keeping, "collapse_spaces") == "Don't stop it\u2019s good 50 off or not"


def test_strip_punctuation_keeps_letters_of_every_script_and_emoji() -> None:
    assert (
        clean("\u0939\u093f\u0928\u094d\u0926\u0940 \U0001f600!", "strip_punctuation")
        == "\u0939\u093f\u0928\u094d\u0926\u0940 \U0001f600 "
    )


def test_remove_stopwords_ignores_case_and_removes_only_whole_words() -> None:
    assert clean("The film, and the thesis: AND now", "remove_stopwords") == "film, thesis:"
    assert clean("don't couldnt", "remove_stopwords") == "don't"


def test_steps_are_applied_in_order() -> None:
    assert clean("<B>GOOD</B>  film", "strip_html", "lowercase", "collapse_spaces") == "good film"
    assert clean("&LT;B&GT;", "strip_html", "lowercase") == "<b>"
    assert clean("&LT;B&GT;", "lowercase", "strip_html", "strip_html") == " "
    assert clean("as it is", *[]) == "as it is"


def test_every_step_returns_text_and_can_be_pickled_for_a_worker() -> None:
    for name in CLEANERS:
        assert isinstance(clean("A <b>film</b>, it's good.", name), str)
    cleaner = build_cleaner([NamedComponent(name=name) for name in CLEANERS])
    assert pickle.loads(pickle.dumps(cleaner))("The <b>Film</b>, it's good.") == "film good"


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"name": "strip_htm"}, "strip_htm is unknown; did you mean strip_html?"),
        ({"name": "strip_punctuation", "keep_apostrophe": True}, "did you mean keep_apostrophes?"),
        ({"name": "strip_punctuation", "keep_apostrophes": "yes"}, "is 'yes'; must be of type bool"),
        ({"name": "lowercase", "locale": "tr"}, "lowercase.locale is unknown; it has no options"),
    ],
)
def test_unknown_step_or_option_is_an_error(step: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("?", r"\?")):
        build_cleaner([NamedComponent.model_validate(step)])
