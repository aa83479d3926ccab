"""Tests of the facade: the rest of hpo imports accelerations from the package, which imports torch only when needed."""

from __future__ import annotations

import subprocess
import sys

from hpo.training import acceleration


def test_every_name_of_the_facade_can_be_imported() -> None:
    assert set(acceleration.__all__) == set(acceleration._MODULES)
    assert all(callable(getattr(acceleration, name)) for name in acceleration.__all__)


def test_importing_the_facade_does_not_import_torch() -> None:
    code = "import sys; from hpo.training.acceleration import check_speed, frozen_gc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
