"""The pictures in the README, taken of the quickstart study's real report and dashboard: `make pictures`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.browser import chromium, sized, wait_for

HERE = Path(__file__).parent
ROOT = HERE.parent
STUDY = "studies/quickstart.toml"  # as make demo calls it; pictures show what was typed


def main() -> None:
    """Take both pictures, of what make demo has left."""
    page = ROOT / "studies" / "quickstart" / "report.html"
    if not page.exists():
        sys.exit("there is no report yet; make demo writes it")
    with chromium() as browser:
        sized(browser, 1100, 620)
        browser.get(page.as_uri())
        browser.save_screenshot(str(HERE / "report.png"))
        command = [sys.executable, "-m", "hpo", "dashboard", STUDY, "--read-only", "--no-browser", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
            try:
                assert server.stdout
                address = next(line for line in server.stdout if "/note" in line).split()[-1]
                browser.get(address)
                wait_for(browser, "tfidf-logreg")
                browser.save_screenshot(str(HERE / "dashboard.png"))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
