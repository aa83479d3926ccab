"""The house keeps its order: rooms import only what lies before them, and the shell's front door is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HPO = Path(__file__).resolve().parents[1] / "hpo"
ROOMS = ["errors", "study", "data", "training", "search", "final", "output", "terminal", "api", "cli", "__main__"]
HEAVY = {"torch", "transformers", "datasets", "sklearn", "pandas", "optuna", "evaluate", "plotly", "numpy", "pydantic"}


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
            if there in ROOMS and ROOMS.index(there) > ROOMS.index(room):
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
