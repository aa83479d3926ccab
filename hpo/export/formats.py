"""FORMATS: what people take away from a study, each a file or a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpo.atomic import atomic_file, atomic_folder
from hpo.errors import ModelError, StudyError
from hpo.export.bundle import write_bundle
from hpo.export.model_card import model_card
from hpo.results.best_config import best_config_json, best_config_python, best_config_toml, best_config_yaml
from hpo.results.study_results import StudyResults
from hpo.training.model_folder import read_model_info

Write = Callable[[StudyResults, Path], None]
CARD_FILE = "README.md"


@dataclass(frozen=True)
class ExportFormat:
    """What it is called where nobody names it, and what writes it: a file, or into an empty folder."""

    file: str  # {study} stands for the study's name
    write: Write
    is_folder: bool = False


def _text(content: Callable[[StudyResults], str]) -> Write:
    """A format that is one text."""

    def write(record: StudyResults, target: Path) -> None:
        target.write_text(content(record), encoding="utf8")

    return write


def _csv(record: StudyResults, target: Path) -> None:
    record.frame.to_csv(target, index=False)


def _parquet(record: StudyResults, target: Path) -> None:
    table = record.frame.copy()
    for column in table.select_dtypes(object).columns:  # choices of several types, which a column of parquet cannot be
        table[column] = table[column].map(str, na_action="ignore").astype("string")
    table.to_parquet(target, index=False)


def _model(record: StudyResults, target: Path) -> None:
    """The model folder with its card."""
    about = model_card(record)  # first, as it refuses a study without a model
    shutil.copytree(record.spec.model_folder, target, dirs_exist_ok=True)
    (target / CARD_FILE).write_text(about, encoding="utf8")


FORMATS: dict[str, ExportFormat] = {
    "best-config": ExportFormat("best_config.toml", _text(best_config_toml)),
    "best-config-json": ExportFormat("best_config.json", _text(best_config_json)),
    "best-config-yaml": ExportFormat("best_config.yaml", _text(best_config_yaml)),
    "best-config-python": ExportFormat("best_config.py", _text(best_config_python)),
    "trials-csv": ExportFormat("trials.csv", _csv),
    "trials-parquet": ExportFormat("trials.parquet", _parquet),
    "model-card": ExportFormat(CARD_FILE, _text(model_card)),
    "model": ExportFormat("model", _model, is_folder=True),
    "bundle": ExportFormat("{study}.bundle.zip", write_bundle),
}


def check_format(name: str, push: bool = False) -> None:
    """Raise StudyError for a format that is unknown, or that is no folder to be pushed."""
    if name not in FORMATS:
        raise StudyError(f"--format {name!r} is unknown; known: {', '.join(FORMATS)}")
    if push and not FORMATS[name].is_folder:
        raise StudyError(f"--push-to-hub takes --format model, not {name}: a repository holds weights with their card")


def export_format(record: StudyResults, name: str, output: Path | None = None) -> Path:
    """Where a format of the study now lies: in `output`, or below `export` in the study's own folder.

    It is written aside and then moved, so half of it is never there; a file that is there is replaced. Raises
    StudyError for an unknown format, a study that has nothing to export yet, a folder that this has not made, and a
    place that cannot be written to.
    """
    check_format(name)
    form = FORMATS[name]
    file = form.file.format(study=record.search.study_name.replace("/", "-"))
    target = output or record.spec.folder / "export" / file
    if target.is_dir() and not form.is_folder:
        target /= file
    try:
        with _parents(target):
            if form.is_folder:
                _refuse_others(record, target)
                with atomic_folder(target) as aside:
                    form.write(record, aside)
            else:
                with atomic_file(target) as aside:
                    form.write(record, aside)
    except OSError as error:
        raise StudyError(f"{target}: cannot be written: {error.strerror or error}; choose another --output") from None
    return target


def _refuse_others(record: StudyResults, target: Path) -> None:
    """Raise StudyError where a folder would be replaced that is no earlier export of this study's model."""
    if target.resolve() == record.spec.model_folder.resolve():
        raise StudyError(f"{target}: is the model folder itself; choose another --output")
    if not target.is_dir():
        if target.exists():
            raise StudyError(f"{target}: is a file; choose another --output")
        return
    try:
        is_ours = read_model_info(target).study == record.spec.name and (target / CARD_FILE).exists()
    except ModelError:
        is_ours = not any(target.iterdir())
    if not is_ours:
        raise StudyError(f"{target}: is there, and no export of study {record.spec.name!r}; choose another --output")


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """The folders above a path, made where they are not there, and taken away again where nothing came of it."""
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise
