"""Headless Chromium, for tests that check pages as users see them."""

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
MAX_WAIT = 30  # seconds until a page must show a text


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser with a window of 1400 x 1000. Without Chromium the test is skipped; in CI it fails."""
    if None in map(shutil.which, PROGRAMS):
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install chromium chromium-driver")
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    with chromium() as driver:
        yield driver


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Debian's Chromium without a display."""
    programs = [shutil.which(name) for name in PROGRAMS]
    options = ChromeOptions()
    options.binary_location = str(programs[0])
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1400,1000"):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(programs[1]))
    try:
        yield driver
    finally:
        driver.quit()


def set_screen(browser: Chrome, width: int, height: int, dark: bool = False) -> None:
    """Give the page a screen of this size, a phone's if it is narrow, and a light or dark color scheme."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def page_text(browser: Chrome) -> str:
    """The text that the page shows now."""
    return browser.find_element(By.TAG_NAME, "body").text


def wait_for(browser: Chrome, *texts: str) -> str:
    """Wait until the page shows all of these texts, and return all of its text."""

    def has_all(_: Chrome) -> bool:
        return all(text in page_text(browser) for text in texts)

    WebDriverWait(browser, MAX_WAIT, ignored_exceptions=[Exception]).until(has_all, f"the page never showed {texts}")
    return page_text(browser)


def console_errors(browser: Chrome) -> list[str]:
    """The errors on the browser's console since the last call."""
    return [str(entry["message"]) for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
