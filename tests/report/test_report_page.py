"""The report in a real browser: complete, without errors, on a desktop and on a phone, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

import hpo
from tests.support import synthetic
from tests.support.browser import browser, console_errors, page_text, set_screen, wait_for

__all__ = ["browser"]  # a fixture


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 60 trials and all baselines; the texts contain scripts."""
    spec = synthetic.make(tmp_path_factory.mktemp("page"), 60, html=True)
    return hpo.Study(spec.file).report()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)], ids=["desktop", "phone"])
def test_all_plots_are_drawn_and_fit_the_width(browser: Chrome, page: Path, width: int, height: int) -> None:
    set_screen(browser, width, height)
    browser.get(page.as_uri())
    wait_for(browser, "Did the search pay?")
    browser.execute_script("document.querySelectorAll('.plot').forEach((plot) => plot.scrollIntoView())")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")  # draws plots that are not near the viewport yet
    plots = browser.execute_script("return document.querySelectorAll('.plot').length")
    drawn = browser.execute_script("return document.querySelectorAll('.plot .main-svg').length")
    assert plots >= 12 and drawn >= plots
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    widest = "return Math.max(...[...document.querySelectorAll('.drawing')].map((drawing) => drawing.scrollWidth))"
    assert browser.execute_script(widest) <= width
    assert not console_errors(browser)


def test_first_screen_answers_the_questions(browser: Chrome, page: Path) -> None:
    set_screen(browser, 1280, 900)
    browser.get(page.as_uri())
    for question in ("Did the search pay?", "What should I use?", "Can I trust the result?"):
        card = f"return [...document.querySelectorAll('h3')].find((h) => h.textContent == '{question}').parentNode"
        assert browser.execute_script(f"{card}.getBoundingClientRect().bottom <= innerHeight"), question


def test_script_in_a_text_is_displayed_and_not_executed(browser: Chrome, page: Path) -> None:
    set_screen(browser, 1280, 900)
    browser.get(page.as_uri())
    assert "<script>" in page_text(browser)
    assert browser.execute_script("return document.querySelectorAll('blockquote *').length") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast_of_text_is_sufficient(browser: Chrome, page: Path, dark: bool) -> None:
    """4.5 to 1, as the Web Content Accessibility Guidelines require (2.2, level AA)."""
    set_screen(browser, 1280, 900, dark)
    browser.get(page.as_uri())
    body = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (_luminance(body) < 0.05) == dark
    pairs = browser.execute_script(
        """
        const background = (element) => {
          for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (color != "rgba(0, 0, 0, 0)") return color;
          }
        };
        return [...document.querySelectorAll("main *, header *")]
          .filter((element) => !element.closest(".drawing, script"))
          .filter((element) => [...element.childNodes].some((node) => node.nodeType == 3 && node.textContent.trim()))
          .map((node) => [node.className || node.tagName, getComputedStyle(node).color, background(node)]);
        """
    )
    assert len(pairs) > 100
    faint = {name for name, color, background in pairs if _contrast(color, background) < 4.5}
    assert not faint


def _contrast(first: str, second: str) -> float:
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)`, as the guidelines define it."""
    channels = [int(channel) / 255 for channel in re.findall(r"\d+", color)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
