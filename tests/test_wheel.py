"""The built wheel has everything that the quickstart needs, and runs it outside the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("hpo", "search_spaces", "studies", "pyproject.toml", "setup.py", "README.md", "LICENSE")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.db*", "store.artifacts")

pytestmark = pytest.mark.long


def run_command(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder, without this session's PYTHONPATH, and return its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy: setuptools leaves build/ and *.egg-info behind, and reuses stale files in build/."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=NOT_COPIED)
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run_command(*pip, "--wheel-dir", folder, folder / "source", folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment, and return that environment's folder.

    The environment sees this one's dependencies through a .pth file. The editable install of hpo stays invisible:
    Python does not process .pth files of a folder that it gets from a .pth file.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet")
    run_command(*pip, "--no-deps", "--no-index", wheel, folder=folder)
    return folder


def test_wheel_holds_package_data_and_license_but_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    examples = {name.removeprefix("hpo/examples/") for name in names if name.startswith("hpo/examples/")}
    spaces = {f"search_spaces/{file.name}" for file in (ROOT / "search_spaces").glob("*.toml")}
    assert examples == {"studies/quickstart.toml", *spaces}
    assert "hpo/py.typed" in names and "hpo/study/starter_study.toml" in names
    assert any(name.startswith("hpo/report/templates/") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"hpo"}


def test_installed_wheel_runs_the_quickstart_outside_the_clone(installed: Path, tmp_path: Path) -> None:
    code = "import hpo; print(hpo.__file__)"
    package = Path(run_command(installed / "bin" / "python", "-c", code, folder=tmp_path).strip()).parent
    assert package.is_relative_to(installed)
    shutil.copytree(package / "examples", tmp_path / "project")
    small = ["data.rows={train=96, validation=32, test=32}", "data.validation=32", "model.max_length=32"]
    small += ["final.seeds=1", 'final.baselines=["majority", "tfidf-logreg"]']
    overrides = [argument for override in small for argument in ("--set", override)]
    hpo = installed / "bin" / "hpo"
    output = run_command(
        hpo, "run", "studies/quickstart.toml", "--trials", "1", *overrides, folder=tmp_path / "project"
    )
    assert "verdict: " in output
    assert (tmp_path / "project" / "studies" / "quickstart" / "report.html").stat().st_size > 10_000


def test_installed_wheel_writes_starter_files(installed: Path, tmp_path: Path) -> None:
    run_command(installed / "bin" / "hpo", "init", "my-project", folder=tmp_path)
    assert (tmp_path / "my-project" / "studies" / "first.toml").exists()
    assert (tmp_path / "my-project" / "search_spaces" / "finetune.toml").exists()
