"""The model folder that `hpo retrain` writes: weights, tokenizer, labels, and how texts were prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpo.data.columns import ReadOptions
from hpo.errors import ModelError
from hpo.study.file_options import Encoding, Quoting, Separator
from hpo.study.spec_tables import Component
from hpo.training.checkpoint import save_model
from hpo.training.checkpoint_errors import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INFO_FILE = "recipe.json"
REMEDY = "delete the folder, and hpo retrain STUDY writes it again"


class ModelInfo(BaseModel):
    """Where a model comes from, and how a text is prepared before it is classified."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a later version may have more fields

    study: str
    text: str = Field(description="Name of the text column in training")
    clean: list[Component] = Field(description="Cleaning steps, in order")
    separator: Separator | None = Field(None, description="How files were read, as the keys of `data` say")
    quoting: Quoting | None = None
    encoding: Encoding | None = None
    header: bool = True
    max_length: int = Field(description="Tokens per text")
    labels: list[str]
    made: dict[str, Any] = Field(default_factory=dict, description="Values, seed, scores, data, versions")

    @property
    def read_options(self) -> ReadOptions:
        """How files were read in training. A folder of an earlier version does not say, and has the defaults."""
        return ReadOptions(self.separator, self.quoting, self.encoding, self.header)


def write_model_folder(folder: Path, model: PreTrainedModel, tokenizer: Any, info: ModelInfo) -> None:
    """Write everything that `hpo predict` needs into a folder."""
    save_model(model, tokenizer, folder)
    (folder / INFO_FILE).write_text(info.model_dump_json(indent=2), encoding="utf8")


def read_model_folder(folder: Path, trust_remote_code: bool = False) -> tuple[PreTrainedModel, Any, ModelInfo]:
    """Load the model (in evaluation mode), the tokenizer and the info of a model folder; safetensors only.

    Raises ModelError if the folder does not exist, was not written by hpo, or is damaged.
    """
    info = read_model_info(folder)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=trust_remote_code, output_loading_info=True
        )
    except Exception as error:  # a damaged file raises whatever the library that reads it raises
        raise ModelError(f"{folder}: {first_line(error)}; {REMEDY}") from None
    if missing := sorted(loading["missing_keys"]):  # transformers would draw them at random and go on
        raise ModelError(f"{folder}: {len(missing)} weights are missing, first {missing[0]}; {REMEDY}")
    return model.eval(), tokenizer, info


def read_model_info(folder: Path) -> ModelInfo:
    """Read the info in a model folder. Raises ModelError if it is missing or cannot be read."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no model folder; run hpo retrain STUDY to write it")
    try:
        return ModelInfo.model_validate_json((folder / INFO_FILE).read_text(encoding="utf8"))
    except OSError:
        raise ModelError(f"{folder}: no {INFO_FILE}, so hpo retrain did not make this folder") from None
    except UnicodeDecodeError:
        raise ModelError(f"{folder / INFO_FILE}: is not UTF-8; {REMEDY}") from None
    except ValidationError as error:
        first = error.errors()[0]
        location = "".join(f"{part} " for part in first["loc"])
        raise ModelError(f"{folder / INFO_FILE}: {location}{first['msg']}") from None
