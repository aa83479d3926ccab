"""The folder of a local checkpoint: what can be wrong with it that shows without loading it, which takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

from hpo.errors import ModelError, unknown_name
from hpo.paths import expand_path
from hpo.study.spec import StudySpec

CONFIG_FILE, ADAPTER_FILE = "config.json", "adapter_config.json"


def find_checkpoint_folder(spec: StudySpec) -> Path | None:
    """Return the folder of the study's checkpoint, or None for one of the hub or a built-in one.

    Raises ModelError if there is no such folder, or if it holds no model of its own.
    """
    name = spec.model.checkpoint
    if name.startswith("builtin:"):
        if name != "builtin:tiny":
            raise ModelError(f"model.checkpoint {name} {unknown_name(name, ['builtin:tiny'])}")
        return None
    return find_model_folder(name, spec.file.parent, "model.checkpoint")


def find_model_folder(name: str, base: Path, key: str) -> Path | None:
    """Return the folder that a name means, relative to `base`, or None for a model of the hub.

    Raises ModelError, which names the key, if there is no such folder, or if it holds no model of its own.
    """
    path = base / expand_path(name)
    if path.is_file():
        raise ModelError(f"{key}: {path} is a file; name the folder that save_pretrained() has written")
    if not path.is_dir():
        if name.startswith((".", "/", "~")):
            raise ModelError(f"{key}: no folder {path}")
        return None
    # With peft installed, transformers would load the base model that an adapter names, from wherever that is.
    if (path / ADAPTER_FILE).exists():
        raise ModelError(
            f"{key}: {path} holds a PEFT adapter{_base_model(path)}, not a model ({ADAPTER_FILE}); merge it "
            "into its base model with merge_and_unload() and save_pretrained(), and name that folder"
        )
    if not (path / CONFIG_FILE).exists():
        raise ModelError(f"{key}: {path} has no {CONFIG_FILE}; name a folder written by save_pretrained()")
    return path


def _base_model(path: Path) -> str:
    try:
        base = json.loads((path / ADAPTER_FILE).read_text(encoding="utf8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return ""
    return f" of {base}" if base else ""
