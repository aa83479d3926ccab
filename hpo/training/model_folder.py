"""The model folder that `hpo retrain` and `hpo export` write: a model, its labels, and how texts were prepared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpo.data.columns import ReadOptions
from hpo.errors import ModelError, first_line
from hpo.study.file_options import Encoding, Quoting, Separator
from hpo.study.spec_tables import Component
from hpo.training.checkpoint import save_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INFO_FILE = "recipe.json"
TRANSFORMER, LINEAR_PROBE, WORD_COUNTS = "transformer", "linear-probe", "word-counts"  # kinds of models


class ModelInfo(BaseModel):
    """Where a model comes from, and how a text is prepared before it is classified."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a later version may have more fields

    study: str
    baseline: str | None = Field(None, description="Which baseline the model is; null for the winner")
    kind: str = Field(TRANSFORMER, description="How the model is stored, which decides how it is loaded")
    text: str = Field(description="Name of the text column in training")
    clean: list[Component] = Field(description="Cleaning steps, in order")
    separator: Separator | None = Field(None, description="How files were read, as the keys of `data` say")
    quoting: Quoting | None = None
    encoding: Encoding | None = None
    header: bool = True
    max_length: int | None = Field(description="Tokens per text; null for a model that reads whole texts")
    labels: list[str]
    made: dict[str, Any] = Field(default_factory=dict, description="Values, seed, scores, data, versions")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 of each file of the model")

    @property
    def read_options(self) -> ReadOptions:
        """How files were read in training. A folder of an earlier version does not say, and has the defaults."""
        return ReadOptions(self.separator, self.quoting, self.encoding, self.header)

    @property
    def remedy(self) -> str:
        """What helps if the folder is damaged."""
        command = "hpo retrain STUDY"
        if self.baseline is not None:
            command = f"hpo export STUDY --system {quote(self.baseline)}"
        return f"delete the folder, and {command} writes it again"


def write_model_folder(folder: Path, model: PreTrainedModel, tokenizer: Any, info: ModelInfo) -> None:
    """Write everything that `hpo predict` needs into a folder."""
    save_model(model, tokenizer, folder)
    write_model_info(folder, info)


def write_model_info(folder: Path, info: ModelInfo) -> None:
    """Write the info next to the files of a model, which are complete, with their checksums."""
    files = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != INFO_FILE
    }
    info = info.model_copy(update={"files": files})
    (folder / INFO_FILE).write_text(info.model_dump_json(indent=2), encoding="utf8")


def check_files(folder: Path, info: ModelInfo) -> None:
    """Raise ModelError if a file of the model is missing or has changed. Earlier versions stored no checksums."""
    for name, checksum in info.files.items():
        try:
            is_same = hash_file(folder / name) == checksum
        except OSError as error:
            raise ModelError(f"{folder / name}: {error.strerror}; {info.remedy}") from None
        if not is_same:
            raise ModelError(f"{folder / name}: is damaged, or was changed after it was written; {info.remedy}")


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_transformer(folder: Path, remedy: str, trust_remote_code: bool = False) -> tuple[PreTrainedModel, Any]:
    """Load the model (in evaluation mode) and the tokenizer of a folder; safetensors only.

    Raises ModelError, which ends with the remedy, if they are damaged.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=trust_remote_code, output_loading_info=True
        )
    except Exception as error:  # a damaged file raises whatever the library that reads it raises
        raise ModelError(f"{folder}: {first_line(error)}; {remedy}") from None
    if missing := sorted(loading["missing_keys"]):  # transformers would draw them at random and go on
        raise ModelError(f"{folder}: {len(missing)} weights are missing, first {missing[0]}; {remedy}")
    # Without tokenizer files, transformers 5 silently returns a tokenizer with special tokens only.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{folder}: contains no tokenizer; {remedy}")
    return model.eval(), tokenizer


def read_model_info(folder: Path) -> ModelInfo:
    """Read the info in a model folder. Raises ModelError if it is missing or cannot be read."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no model folder; run hpo retrain STUDY to write it")
    try:
        return ModelInfo.model_validate_json((folder / INFO_FILE).read_text(encoding="utf8"))
    except OSError:
        raise ModelError(f"{folder}: no {INFO_FILE}, so hpo retrain did not make this folder") from None
    except UnicodeDecodeError:
        raise ModelError(f"{folder / INFO_FILE}: is not UTF-8; delete the folder, and write it again") from None
    except ValidationError as error:
        first = error.errors()[0]
        location = "".join(f"{part} " for part in first["loc"])
        raise ModelError(f"{folder / INFO_FILE}: {location}{first['msg']}") from None
