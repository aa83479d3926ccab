"""FORMATS: what `hpo export` writes, each format a file or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpo.atomic import atomic_file, atomic_folder
from hpo.errors import ModelError, StudyError
from hpo.export.bundle_writer import write_bundle
from hpo.export.model_card import model_card
from hpo.paths import copy_files
from hpo.results.best_config import best_config_json, best_config_python, best_config_toml, best_config_yaml
from hpo.results.study_results import StudyResults
from hpo.training.model_folder import read_model_info

WriteExport = Callable[[StudyResults, Path], None]
CARD_FILE = "README.md"


@dataclass(frozen=True)
class ExportFormat:
    """One format: its default name, the function that writes it, and whether that is a folder."""

    file: str  # {study} stands for the study's name
    write: WriteExport  # into a file, or into an empty folder
    is_folder: bool = False


def _text_writer(render: Callable[[StudyResults], str]) -> WriteExport:
    def write(results: StudyResults, target: Path) -> None:
        target.write_text(render(results), encoding="utf8")

    return write


def _write_csv(results: StudyResults, target: Path) -> None:
    results.trials_table.to_csv(target, index=False)


def _write_parquet(results: StudyResults, target: Path) -> None:
    table = results.trials_table.copy()
    # Choices of several types are a column of Python objects, which Parquet cannot store.
    for column in table.select_dtypes(object).columns:
        table[column] = table[column].map(str, na_action="ignore").astype("string")
    table.to_parquet(target, index=False)


def _write_model(results: StudyResults, target: Path) -> None:
    """Copy the model folder and add the model card."""
    card = model_card(results)  # before the copy, because it fails if there is no model
    copy_files(results.spec.model_folder, target)
    (target / CARD_FILE).write_text(card, encoding="utf8")


FORMATS: dict[str, ExportFormat] = {
    "best-config": ExportFormat("best_config.toml", _text_writer(best_config_toml)),
    "best-config-json": ExportFormat("best_config.json", _text_writer(best_config_json)),
    "best-config-yaml": ExportFormat("best_config.yaml", _text_writer(best_config_yaml)),
    "best-config-python": ExportFormat("best_config.py", _text_writer(best_config_python)),
    "trials-csv": ExportFormat("trials.csv", _write_csv),
    "trials-parquet": ExportFormat("trials.parquet", _write_parquet),
    "model-card": ExportFormat(CARD_FILE, _text_writer(model_card)),
    "model": ExportFormat("model", _write_model, is_folder=True),
    "bundle": ExportFormat("{study}.bundle.zip", write_bundle),
}


def check_format(name: str, push: bool = False) -> None:
    """Raise StudyError if a format is unknown, or if it is to be pushed to the hub and is not a folder."""
    if name not in FORMATS:
        raise StudyError(f"--format is {name!r}; known: {', '.join(FORMATS)}")
    if push and not FORMATS[name].is_folder:
        raise StudyError(
            f"--push-to-hub takes --format model, not {name}: a repository holds the weights and the model card"
        )


def export_format(results: StudyResults, name: str, output: Path | None = None) -> Path:
    """Write one format to `output`, or into `export/` in the study's folder, and return the path.

    It is written completely before it replaces an older file or an earlier export of the same model. Raises StudyError
    for an unknown format, a study that has nothing to export yet, a folder that is something else, and a path that
    cannot be written.
    """
    check_format(name)
    export = FORMATS[name]
    file = export.file.format(study=results.search.study_name.replace("/", "-"))
    target = output or results.spec.folder / "export" / file
    if target.is_dir() and not export.is_folder:
        target /= file
    try:
        with _parent_folders(target):
            if export.is_folder:
                _check_replaceable(results, target)
            with atomic_folder(target) if export.is_folder else atomic_file(target) as temporary:
                export.write(results, temporary)
    except OSError as error:
        raise StudyError(f"{target}: cannot be written: {error.strerror or error}; choose another --output") from None
    return target


def _check_replaceable(results: StudyResults, target: Path) -> None:
    """Raise StudyError if the target exists and is neither empty nor an earlier export of this study's model."""
    if target.resolve() == results.spec.model_folder.resolve():
        raise StudyError(f"{target}: is the study's model folder; choose another --output")
    if not target.is_dir():
        if target.exists():
            raise StudyError(f"{target}: is a file; choose another --output")
        return
    try:
        is_replaceable = read_model_info(target).study == results.spec.name and (target / CARD_FILE).exists()
    except ModelError:
        is_replaceable = not any(target.iterdir())
    if not is_replaceable:
        name = results.spec.name
        raise StudyError(f"{target}: exists and is not an export of study {name!r}; choose another --output")


@contextmanager
def _parent_folders(target: Path) -> Iterator[None]:
    """Create the parent folders of a path; if the block fails, remove those that were created."""
    created = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()
        raise
