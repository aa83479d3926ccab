"""Take the README's screenshots from the quickstart's report and dashboard: `make pictures`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.browser import chromium, set_screen, wait_for

DOCS = Path(__file__).parent
ROOT = DOCS.parent
STUDY = "studies/quickstart.toml"  # relative, as users type it: the dashboard shows the command


def main() -> None:
    """Take both screenshots of what `make demo` has written."""
    report = ROOT / "studies" / "quickstart" / "report.html"
    if not report.exists():
        sys.exit(f"{report} does not exist; run: make demo")
    with chromium() as browser:
        set_screen(browser, 1100, 620)
        browser.get(report.as_uri())
        browser.save_screenshot(str(DOCS / "report.png"))
        command = [sys.executable, "-m", "hpo", "dashboard", STUDY, "--read-only", "--no-browser", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
            try:
                assert server.stdout
                address = next(line for line in server.stdout if "/note" in line).split()[-1]
                browser.get(address)
                wait_for(browser, "tfidf-logreg")
                browser.save_screenshot(str(DOCS / "dashboard.png"))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
