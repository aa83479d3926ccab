"""The report in a real browser: drawn without a word of complaint, on a desk and on a phone, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

import hpo
from tests.support import synthetic
from tests.support.browser import browser, complaints, shown, sized, wait_for

__all__ = ["browser"]  # a fixture


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 60 trials and all baselines, on texts that hold scripts."""
    spec = synthetic.make(tmp_path_factory.mktemp("page"), 60, html=True)
    return hpo.Study(spec.file).report()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)], ids=["desk", "phone"])
def test_all_plots_are_drawn_and_nothing_sticks_out(browser: Chrome, page: Path, width: int, height: int) -> None:
    sized(browser, width, height)
    browser.get(page.as_uri())
    wait_for(browser, "Did the search pay?")
    browser.execute_script("document.querySelectorAll('.plot').forEach((plot) => plot.scrollIntoView())")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")  # draws what was not yet near the screen
    plots = browser.execute_script("return document.querySelectorAll('.plot').length")
    drawn = browser.execute_script("return document.querySelectorAll('.plot .main-svg').length")
    assert plots >= 12 and drawn >= plots
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    widest = "return Math.max(...[...document.querySelectorAll('.drawing')].map((each) => each.scrollWidth))"
    assert browser.execute_script(widest) <= width
    assert not complaints(browser)


def test_the_first_screen_answers(browser: Chrome, page: Path) -> None:
    sized(browser, 1280, 900)
    browser.get(page.as_uri())
    for question in ("Did the search pay?", "What do I use?", "Can I trust it?"):
        end = f"return [...document.querySelectorAll('h3')].find((h) => h.textContent == '{question}').parentNode"
        assert browser.execute_script(f"{end}.getBoundingClientRect().bottom <= innerHeight"), question


def test_a_script_in_a_text_is_read_and_not_run(browser: Chrome, page: Path) -> None:
    sized(browser, 1280, 900)
    browser.get(page.as_uri())
    assert "<script>" in shown(browser)
    assert browser.execute_script("return document.querySelectorAll('blockquote *').length") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_word_stands_out_from_its_ground(browser: Chrome, page: Path, dark: bool) -> None:
    """4.5 to 1, as the Web Content Accessibility Guidelines (2.2, level AA) ask for."""
    sized(browser, 1280, 900, dark)
    browser.get(page.as_uri())
    body = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (_luminance(body) < 0.05) == dark
    pairs = browser.execute_script(
        """
        const ground = (each) => {
          for (let at = each; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (colour != "rgba(0, 0, 0, 0)") return colour;
          }
        };
        return [...document.querySelectorAll("main *, header *")].filter((each) => !each.closest(".drawing, script"))
          .filter((each) => [...each.childNodes].some((node) => node.nodeType == 3 && node.textContent.trim()))
          .map((each) => [each.className || each.tagName, getComputedStyle(each).color, ground(each)]);
        """
    )
    assert len(pairs) > 100
    faint = {name for name, ink, ground in pairs if _contrast(ink, ground) < 4.5}
    assert not faint


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as in the guidelines."""
    channels = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
