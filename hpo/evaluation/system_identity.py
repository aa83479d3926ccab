"""What an existing system is: a checksum of its files, or its commit on the hub. A run is stored with it.

So a changed file or folder gives another run, and a stored run is never reported for what has replaced it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hpo.errors import DataError, ModelError
from hpo.paths import expand_path
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import ExistingModel, ExistingPredictions
from hpo.training.checkpoint_errors import describe_load_error
from hpo.training.checkpoint_folder import CONFIG_FILE


def find_source(system: ExistingModel | ExistingPredictions, spec: StudySpec) -> str | None:
    """Return what a system is now, or None if its file, folder or cached model is not here. Nothing is downloaded.

    `sha256:...` or `owner/name@commit`, and the options that change its predictions.
    """
    path = spec.file.parent / expand_path(system.location)
    if isinstance(system, ExistingPredictions):
        content = checksum_files([path]) if path.is_file() else None
    else:
        content = checksum_folder(path) if path.is_dir() else _find_cached_commit(system)
    return None if content is None else " ".join([content, *_list_options(system)])


def resolve_source(system: ExistingModel | ExistingPredictions, spec: StudySpec) -> str:
    """Return what a system is now; the commit of a model on the hub is the newest one.

    Raises:
        DataError, ModelError: There is no such file, folder or model.
    """
    path = spec.file.parent / expand_path(system.location)
    if isinstance(system, ExistingModel) and not path.exists() and not system.model.startswith((".", "/", "~")):
        return " ".join([_download_commit(system), *_list_options(system)])
    source = find_source(system, spec)
    if source is None:
        error = DataError if isinstance(system, ExistingPredictions) else ModelError
        raise error(f"baseline {system.name}: {path}: no such file or folder; correct the path, or leave it out")
    return source


def checksum_files(files: Sequence[Path], root: Path | None = None) -> str:
    """Return a checksum of the content of files, and of their paths below `root`."""
    try:
        stats = [file.stat() for file in files]
        names = [str(file.relative_to(root)) if root else "" for file in files]
        keys = zip(files, names, (stat.st_size for stat in stats), (stat.st_mtime_ns for stat in stats), strict=True)
        return _hash_files(tuple(keys))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def checksum_folder(folder: Path) -> str:
    """Return a checksum of all files below a folder but hidden ones."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    return checksum_files(visible, folder)


def read_commit(source: str) -> str | None:
    """Return the commit of a model on the hub from its source; None for files and folders."""
    return source.split(" ")[0].partition("@")[2] or None


@lru_cache(maxsize=32)
def _hash_files(files: tuple[tuple[Path, str, int, int], ...]) -> str:
    # All of the content, unlike `fingerprint_checkpoint`: two models may differ in one small tensor.
    digest = hashlib.sha256()
    for file, name, size, _ in files:
        digest.update(f"{name} {size} ".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def _list_options(system: ExistingModel | ExistingPredictions) -> list[str]:
    options = system.model_dump(exclude={"name", "model", "predictions", "revision"}, exclude_defaults=True)
    return [f"{name}={value}" for name, value in options.items()]


def _find_cached_commit(system: ExistingModel) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(system.model, CONFIG_FILE, revision=system.revision)
    except HFValidationError:  # a path
        return None
    return _name_commit(system, file) if isinstance(file, str) else None


def _download_commit(system: ExistingModel) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return _name_commit(system, hf_hub_download(system.model, CONFIG_FILE, revision=system.revision))
    except Exception as error:  # the library passes on whatever its transport raises
        reason = describe_load_error(system.model, error).removeprefix("model.checkpoint ")
        raise ModelError(f"baseline {system.name}: {reason}") from None


def _name_commit(system: ExistingModel, file: str) -> str:
    return f"{system.model}@{Path(file).parent.name}"  # .../snapshots/<commit>/config.json
