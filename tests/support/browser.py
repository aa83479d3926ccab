"""Headless Chromium for tests that look at pages as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
PATIENCE = 30  # seconds until a page that is being drawn must show what it is to show


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser with a window of 1400 x 1000; the test skips where there is none, but never in CI."""
    if None in map(shutil.which, PROGRAMS):
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install chromium chromium-driver")
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    with chromium() as opened:
        yield opened


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Debian's Chromium without a screen."""
    programs = [shutil.which(name) for name in PROGRAMS]
    options = ChromeOptions()
    options.binary_location = str(programs[0])
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1400,1000"):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = Chrome(options=options, service=Service(programs[1]))
    try:
        yield opened
    finally:
        opened.quit()


def sized(browser: Chrome, width: int, height: int, dark: bool = False) -> None:
    """Give the page a screen of this size, a phone's where it is narrow, of a person who likes it light or dark."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def shown(browser: Chrome) -> str:
    """The text that the page shows now."""
    return browser.find_element(By.TAG_NAME, "body").text


def wait_for(browser: Chrome, *texts: str) -> str:
    """The text that the page shows once all of these are in it."""

    def has_all(_: Chrome) -> bool:
        return all(text in shown(browser) for text in texts)

    WebDriverWait(browser, PATIENCE, ignored_exceptions=[Exception]).until(has_all, f"the page never showed {texts}")
    return shown(browser)


def complaints(browser: Chrome) -> list[str]:
    """The errors on the browser's console since the last time this was asked."""
    return [str(entry["message"]) for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
