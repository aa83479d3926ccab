"""FORMATS: what `hpo export` writes, each format a file or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hpo.atomic import sweep_leftovers
from hpo.data.csv_writer import write_csv
from hpo.errors import ModelError, StudyError
from hpo.export.bundle_writer import write_bundle
from hpo.export.model_card import model_card
from hpo.ownership import CHOOSE_OTHER, check_folder, check_outside, owned_file, owned_folder
from hpo.paths import copy_files
from hpo.results.best_config import best_config_json, best_config_python, best_config_toml, best_config_yaml
from hpo.results.study_results import StudyResults
from hpo.training.model_folder import read_model_info

WriteExport = Callable[[StudyResults, Path], None]
CARD_FILE = "README.md"
MODEL_FORMAT = "model"


@dataclass(frozen=True)
class ExportFormat:
    """One format: its default name, the function that writes it, and whether that is a folder."""

    file: str  # {study} stands for the study's name
    write: WriteExport  # into a file, or into an empty folder
    is_folder: bool = False
    write_raw: WriteExport | None = None  # the same for --raw: without protection against formulas


def _text_writer(render: Callable[[StudyResults], str]) -> WriteExport:
    def write(results: StudyResults, target: Path) -> None:
        target.write_text(render(results), encoding="utf8")

    return write


def _csv_writer(raw: bool) -> WriteExport:
    def write(results: StudyResults, target: Path) -> None:
        write_csv(results.trials_table, target, raw)

    return write


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
    "trials-csv": ExportFormat("trials.csv", _csv_writer(raw=False), write_raw=_csv_writer(raw=True)),
    "trials-parquet": ExportFormat("trials.parquet", _write_parquet),
    "model-card": ExportFormat(CARD_FILE, _text_writer(model_card)),
    MODEL_FORMAT: ExportFormat("model", _write_model, is_folder=True),
    "bundle": ExportFormat("{study}.bundle.zip", write_bundle),
}


def check_format(name: str, push: bool = False, raw: bool = False, system: str | None = None) -> None:
    """Raise StudyError for an unknown format, and for an option that the format does not have."""
    if name not in FORMATS:
        raise StudyError(f"--format is {name!r}; known: {', '.join(FORMATS)}")
    if push and not FORMATS[name].is_folder:
        raise StudyError(
            f"--push-to-hub takes --format model, not {name}: a repository holds the weights and the model card"
        )
    if system is not None and name != MODEL_FORMAT:
        raise StudyError(f"--system takes --format {MODEL_FORMAT}, not {name}: the others are of the search")
    if raw and FORMATS[name].write_raw is None:
        known = ", ".join(known_name for known_name, row in FORMATS.items() if row.write_raw)
        raise StudyError(f"--raw takes --format {known}, not {name}: no other has cells that a spreadsheet would run")


def export_format(
    results: StudyResults, name: str, output: Path | None = None, overwrite: bool = False, raw: bool = False
) -> Path:
    """Write one format to `output`, or into `export/` in the study's folder, and return the path.

    It is written completely before it replaces an earlier export. Raises StudyError for an unknown format, a study that
    has nothing to export yet, a path that cannot be written, and, unless `overwrite` is set, one that holds something
    else. `raw` leaves texts in a CSV file that a spreadsheet would take for formulas as they are.
    """
    check_format(name, raw=raw)
    export = FORMATS[name]
    if raw and export.write_raw:
        export = replace(export, write=export.write_raw)
    return write_export(results, export, output, overwrite)


def write_export(results: StudyResults, export: ExportFormat, output: Path | None, overwrite: bool) -> Path:
    """Write a format as `export_format` does."""
    file = export.file.format(study=results.search.study_name.replace("/", "-"))
    target = output or results.spec.folder / "export" / file
    if target.is_dir() and not export.is_folder:
        target /= file
    check_outside(target, results.needed_paths)
    try:
        with _parent_folders(target):
            if export.is_folder:
                _check_replaceable(results, target, overwrite)
                replacing = owned_folder(target, overwrite=overwrite)
            else:
                replacing = owned_file(target, results.spec.folder, overwrite)
            with replacing as temporary:
                export.write(results, temporary)
    except OSError as error:
        raise StudyError(f"{target}: cannot be written: {error.strerror or error}; choose another --output") from None
    sweep_leftovers(results.spec.folder)
    return target


def _check_replaceable(results: StudyResults, target: Path, overwrite: bool) -> None:
    """Raise StudyError if the target exists and is neither empty nor an earlier export of this study's model.

    Files of others in such an export are kept; with `overwrite`, so are those of any folder, except those that have the
    name of one that is written.
    """
    if not target.is_dir():
        if target.exists():
            raise StudyError(f"{target}: is a file; choose another --output")
        return
    if overwrite or not any(target.iterdir()):
        return
    try:
        is_export = read_model_info(target).study == results.spec.name and (target / CARD_FILE).exists()
    except ModelError:
        is_export = False
    if not is_export:
        name = results.spec.name
        raise StudyError(f"{target}: exists and is not an export of study {name!r}; {CHOOSE_OTHER}")
    check_folder(target, CHOOSE_OTHER)


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
