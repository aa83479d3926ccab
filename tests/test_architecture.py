"""The house keeps its order: rooms import only what lies before them, and the shell's front door is light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

from tests.support import synthetic

HPO = Path(__file__).resolve().parents[1] / "hpo"
PACKAGES = (
    "errors",
    "atomic",
    "plugins",
    "study",
    "store",
    "data",
    "training",
    "search",
    "evaluation",
    "results",
    "plots",
    "report",
    "predict",
    "export",
    "dashboard",
    "terminal",
    "api",
    "cli",
    "__main__",
)
TRAINING = {"torch", "transformers", "datasets", "evaluate", "accelerate"}
HEAVY = TRAINING | {"sklearn", "pandas", "optuna", "plotly", "numpy", "pydantic"}


def imports(file: Path) -> list[str]:
    """The modules of hpo that a file imports."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "hpo":
            found += [f"hpo.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hpo."):
            found.append(str(node.module))
    return found


def test_rooms_import_only_what_lies_before_them() -> None:
    wrong, seen = [], 0
    for file in HPO.rglob("*.py"):
        room = file.relative_to(HPO).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for module in imports(file):
            seen += 1
            there = module.split(".")[1]
            if there in PACKAGES and PACKAGES.index(there) > PACKAGES.index(room):
                wrong.append(f"{file.relative_to(HPO)} imports {module}")
    assert seen > 40 and not wrong


def test_only_the_shell_prints_or_exits() -> None:
    for file in HPO.rglob("*.py"):
        if file.relative_to(HPO).parts[0] in {"cli", "terminal", "__main__.py"}:
            continue
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)], file


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['hpo', '--help']\nfrom hpo.cli import app\n"
    code += "try: app()\nexcept SystemExit: pass\nprint(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Search hyperparameters" in done.stdout
    assert not HEAVY & set(ast.literal_eval(done.stderr.splitlines()[-1]))


def test_readers_import_only_what_they_need(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 6, seeds=1)
    code = """
import json, sys
from hpo.cli import app
loaded = []
for verb in ("show", "compare", "report"):
    try: app([verb, sys.argv[1]])
    except SystemExit as left: assert not left.code
    loaded.append(sorted(sys.modules))
print(json.dumps(loaded), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code, str(spec.file)], capture_output=True, text=True, check=True)
    shown, compared, reported = map(set, json.loads(done.stderr.splitlines()[-1]))
    assert "6 of 6 trials finished" in done.stdout and (spec.folder / "report.html").exists()
    assert not (HEAVY - {"pydantic"} | {"sqlalchemy"}) & shown
    assert {"optuna", "sklearn"} <= compared and not TRAINING & reported
