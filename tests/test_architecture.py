"""The structure of the package: imports between packages, unique names, and commands that start quickly."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support import synthetic

HPO = Path(__file__).resolve().parents[1] / "hpo"
PACKAGES = (  # each imports only those before it
    "errors",
    "disk_errors",
    "paths",
    "escaping",
    "atomic",
    "ownership",
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
    "pairwise",
    "export",
    "dashboard",
    "diagnosis",
    "api_results",
    "terminal",
    "api",
    "cli",
    "__main__",
)
TRAINING_LIBRARIES = {"torch", "transformers", "datasets", "evaluate", "accelerate"}
HEAVY_LIBRARIES = TRAINING_LIBRARIES | {"sklearn", "pandas", "optuna", "plotly", "numpy", "pydantic"}
# Words that name nothing: see the style guide. The second line are verbs without an object.
BANNED_NAMES = {"aside", "asked", "found", "given", "heard", "judged", "known", "look", "made", "own", "place", "said"}
BANNED_NAMES |= {"alone", "listed", "shown", "tell", "told", "words", "thing"}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Yield the path of each module below hpo/, and its syntax tree."""
    for file in sorted(HPO.rglob("*.py")):
        yield file.relative_to(HPO), ast.parse(file.read_text(encoding="utf8"))


def imported_modules(tree: ast.Module) -> list[str]:
    """Return the modules of hpo that a module imports."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "hpo":
            names += [f"hpo.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hpo."):
            names.append(str(node.module))
    return names


def test_packages_import_only_those_before_them() -> None:
    wrong, count = [], 0
    for path, tree in modules():
        package = path.parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        assert package in PACKAGES, f"add {package} to PACKAGES"
        for module in imported_modules(tree):
            count += 1
            imported = module.split(".")[1]
            if imported in PACKAGES and PACKAGES.index(imported) > PACKAGES.index(package):
                wrong.append(f"{path} imports {module}")
    assert count > 40 and not wrong


def test_acceleration_is_imported_through_its_package() -> None:
    wrong = [
        f"{path} imports {module}"
        for path, tree in modules()
        for module in imported_modules(tree)
        if module.startswith("hpo.training.acceleration.") and path.parts[:2] != ("training", "acceleration")
    ]
    assert wrong == []


def test_only_commands_and_terminal_print() -> None:
    for path, tree in modules():
        if path.parts[0] in {"cli", "terminal", "__main__.py"}:
            continue
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)], path


def test_module_names_are_unique_except_for_commands() -> None:
    names = Counter(path.name for path, _ in modules() if path.parts[0] != "cli" and path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_class_names_are_unique() -> None:
    names = Counter(node.name for _, tree in modules() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_modules_of_hpo_are_imported_under_their_own_name() -> None:
    aliased = [
        f"{path}: {alias.name} as {alias.asname}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and (getattr(node, "module", "") or alias.name).partition(".")[0] == "hpo"
    ]
    assert aliased == []


def test_functions_and_classes_have_names_that_say_something() -> None:
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    wrong = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, named) and node.name.strip("_").lower() in BANNED_NAMES
    ]
    assert wrong == []


def test_help_imports_no_heavy_library() -> None:
    code = "import sys; sys.argv = ['hpo', '--help']\nfrom hpo.cli import app\n"
    code += "try: app()\nexcept SystemExit: pass\nprint(sorted(sys.modules), file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Search hyperparameters" in process.stdout
    assert not HEAVY_LIBRARIES & set(ast.literal_eval(process.stderr.splitlines()[-1]))


def test_reading_commands_import_only_what_they_need(tmp_path: Path) -> None:
    spec = synthetic.make(tmp_path, 6, seeds=1)
    (shown, compared, reported), output = run_commands(spec.file, "show", "compare", "report")
    assert not (HEAVY_LIBRARIES - {"pydantic"} | {"sqlalchemy"}) & shown and "6 of 6 trials finished" in output
    assert {"optuna", "sklearn"} <= compared and not TRAINING_LIBRARIES & reported
    assert (spec.folder / "report.html").exists()


def run_commands(file: Path, *verbs: str) -> tuple[list[set[str]], str]:
    """Run commands one after the other in a process; return the modules loaded after each, and what was printed."""
    code = """
import json, sys
from hpo.cli import app
loaded = []
for verb in sys.argv[2:]:
    try: app([verb, sys.argv[1]])
    except SystemExit as exit: assert not exit.code
    loaded.append(sorted(sys.modules))
print(json.dumps(loaded), file=sys.stderr)
"""
    command = [sys.executable, "-c", code, str(file), *verbs]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return [set(names) for names in json.loads(process.stderr.splitlines()[-1])], process.stdout
