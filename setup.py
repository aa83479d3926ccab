"""Build step that adds the search spaces and the quickstart study to the wheel; metadata is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
EXAMPLES = ("search_spaces/*.toml", "studies/quickstart.toml")


class BuildWithExamples(build_py):
    """Copy the example files into the built package.

    `[tool.setuptools.package-dir]` can map these folders too, but only together with a hand-kept list of all packages:
    with it, `packages.find` is not available, and a package that is missing in the list is missing in the wheel.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the files are read from the clone
        for pattern in EXAMPLES:
            for file in sorted(ROOT.glob(pattern)):
                # Same layout as in the clone: quickstart.toml names ../search_spaces/from-scratch.toml.
                target = Path(self.build_lib) / "hpo" / "examples" / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithExamples})
