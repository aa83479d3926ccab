"""The two systems of a comparison, as people name them in the shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpo.data.readers import table_suffixes
from hpo.errors import HpoError, ModelError
from hpo.evaluation.existing_models import ModelSource, describe_folder
from hpo.evaluation.system_identity import checksum_files, checksum_folder
from hpo.store.storage import storage_url
from hpo.study.spec import StudySpec, load_study


@dataclass(frozen=True)
class Operand:
    """One of two systems that are compared: a study, a model folder, or a file of predictions."""

    name: str
    kind: Literal["study", "model", "predictions"]
    path: Path
    study: StudySpec | None = None
    storage: str | None = None

    @property
    def url(self) -> str:
        """The URL of the study's store."""
        assert self.study is not None
        return storage_url(self.study, self.storage)

    @property
    def model(self) -> ModelSource:
        """The model of the folder, or the deployed model of the study.

        Raises:
            ModelError: The study has none yet.
        """
        if self.study is None:
            return ModelSource(str(self.path), str(self.path), Path())
        folder = self.study.model_folder
        if not folder.is_dir():
            raise ModelError(f"{folder}: no such model folder; `{self.study.command('retrain')}` creates it")
        trusted = self.study.model.trust_remote_code
        return ModelSource(f"study {self.name}", str(folder), Path(), trust_remote_code=trusted)

    def compute_source(self) -> str:
        """Return the checksum of the model folder or file of predictions."""
        return checksum_files([self.path]) if self.kind == "predictions" else checksum_folder(self.model.path)


def parse_operands(
    paths: Sequence[Path], overrides: Sequence[str] = (), storage: str | None = None
) -> tuple[Operand, Operand]:
    """Return the two systems that these paths name.

    Raises:
        HpoError: One does not exist, or both are the same.
    """
    first, second = (_parse_operand(path, overrides, storage) for path in paths)
    if first.path.resolve() == second.path.resolve():
        raise HpoError(f"{second.path}: is compared with itself; name another system")
    if first.study and second.study and (first.name, first.url) == (second.name, second.url):
        raise HpoError(f"{second.path}: is the same study {second.name!r}; name another system")
    if overrides and not (first.study or second.study):
        raise HpoError("--set changes a study file, and none is compared; leave it out")
    if first.name == second.name:
        return _rename(first), _rename(second)
    return first, second


def _parse_operand(path: Path, overrides: Sequence[str], storage: str | None) -> Operand:
    if path.is_dir():
        return Operand(describe_folder(path), "model", path)
    if path.suffix.lower() in table_suffixes():
        return Operand(path.name, "predictions", path)
    if not path.exists() and path.suffix != ".toml":
        raise HpoError(
            f"{path}: no such study file, model folder or file of predictions; download a model of the hub with "
            f"`hf download {shlex.quote(str(path))} --local-dir FOLDER`, and name the folder"
        )
    study = load_study(path, tuple(overrides))
    return Operand(study.name, "study", path, study, storage)


def _rename(operand: Operand) -> Operand:
    """Return a system under its path, because its short name does not tell it from the other one."""
    return Operand(str(operand.path), operand.kind, operand.path, operand.study, operand.storage)
