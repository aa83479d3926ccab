"""A checkpoint that cannot be loaded is one clear line, and no file of it runs code."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpo.errors import ModelError
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint
from tests.architectures.architectures import save_checkpoint


class Malicious:
    """What a pickle of unknown origin may hold: loading it creates a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def replace_weights(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


def change_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def truncate_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "unknown model type": (lambda f: change_config(f, model_type="nonesuch"), "nonesuch"),
    "quantized": (lambda f: change_config(f, quantization_config={"quant_method": "gptq", "bits": 4}), "quantized"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights that transformers can load"),
    "truncated weights": (truncate_weights, "SafetensorError"),
    "no pickle": (lambda f: replace_weights(f, b"not a pickle"), "its weights are a damaged pickle"),
    "other layers": (lambda f: change_config(f, num_hidden_layers=5), "weights of the model's body are missing"),
    "other width": (lambda f: change_config(f, intermediate_size=77), "weights of the model's body are missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_checkpoint_that_cannot_be_loaded_is_one_line(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    folder = save_checkpoint("bert", tmp_path / "checkpoint")
    damage(folder)
    with pytest.raises(ModelError) as caught:
        Checkpoint(ModelSpec(checkpoint=str(folder), max_length=16), [], ("a", "b"))
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert str(folder) in str(caught.value)


def save_plain_pickle(content: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("store", [torch.save, save_plain_pickle])
def test_pickle_that_holds_more_than_tensors_is_refused_and_never_run(
    tmp_path: Path, store: Callable[[object, Path], object]
) -> None:
    folder = save_checkpoint("bert", tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    store({"weights": Malicious(tmp_path / "trace")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than tensors, which is never run; save them as safetensors"):
        Checkpoint(ModelSpec(checkpoint=str(folder), max_length=16), [], ("a", "b"))
    assert not (tmp_path / "trace").exists()
