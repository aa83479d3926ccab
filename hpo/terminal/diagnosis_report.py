"""Print what `hpo doctor` has found."""

from __future__ import annotations

from hpo.diagnosis import Diagnosis
from hpo.escaping import escape_controls
from hpo.study.storage_url import StorageUrl
from hpo.terminal.console import print_line


def print_diagnosis(diagnosis: Diagnosis, url: str | None) -> None:
    """Print the environment, and one line per finding."""
    environment = diagnosis.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    print_line(f"versions: {versions}")
    bf16 = "yes" if environment["bf16"] else "no"
    print_line(
        f"device: {environment['device']}; {environment['threads']} threads on {environment['processors']} processors; "
        f"bf16: {bf16}"
    )
    print_line(f"store: {StorageUrl.parse(url).text if url else 'none here; name a study, or a URL after --storage'}")
    for finding in diagnosis.findings:
        style = "red" if finding.is_damage else "yellow"
        print_line(escape_controls(str(finding)), style=style, whole=True)
    damages = sum(finding.is_damage for finding in diagnosis.findings)
    others = len(diagnosis.findings) - damages
    summary = f"{damages} damaged" if damages else "nothing is damaged"
    print_line(summary + (f", {others} left over" if others else ""))
