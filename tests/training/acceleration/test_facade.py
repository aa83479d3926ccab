"""Tests of the facade: the rest of hpo imports accelerations from the package, which imports torch only when needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import hpo
from hpo.training import acceleration

PACKAGE = Path(acceleration.__file__).parent
# Packages whose imports still have to be moved to the facade.
NOT_YET = {"search", "evaluation"}


def test_every_name_of_the_facade_can_be_imported() -> None:
    assert set(acceleration.__all__) == set(acceleration._MODULES)
    assert all(callable(getattr(acceleration, name)) for name in acceleration.__all__)


def test_importing_the_facade_does_not_import_torch() -> None:
    code = "import sys; from hpo.training.acceleration import check_speed, frozen_gc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_modules_import_only_the_facade() -> None:
    root = Path(hpo.__file__).parent
    files = [file for file in root.rglob("*.py") if PACKAGE not in file.parents]
    inside = [file for file in files if re.search(r"hpo\.training\.acceleration\.\w", file.read_text(encoding="utf8"))]
    assert not [file for file in inside if file.relative_to(root).parts[0] not in NOT_YET]
