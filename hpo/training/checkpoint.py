"""Checkpoint -> model and tokenizer; float32 masters; reset in place between trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.data.splits import TextData
from hpo.errors import HpoError, ModelError, unknown_name
from hpo.study.spec import ModelSpec, StudySpec
from hpo.training.tiny_model import build_tiny_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Checkpoint:
    """A checkpoint loaded once: its tokenizer, and any number of models that start from its weights.

    One model stays resident. `fresh()` copies the checkpoint's weights over it and draws anew what the checkpoint
    lacks (the head), so nothing of a trial outlives it and no second model is ever in memory (trap 10).
    """

    def __init__(
        self, spec: ModelSpec, texts: Sequence[str], label_names: tuple[str, ...], folder: Path | None = None
    ) -> None:
        self.name = spec.checkpoint
        self._where = str(folder or spec.checkpoint)
        self.notices: list[str] = []
        self._code = spec.trust_remote_code
        self._resident: PreTrainedModel | None = None
        self._changes: dict[str, Any] = {}  # in what the resident model's config differs
        self.has_head = False  # whether the checkpoint brings a trained head for the study's labels
        if spec.checkpoint == "builtin:tiny":
            self.tokenizer, self.config = build_tiny_model(texts, spec.max_length)
            self._base: dict[str, torch.Tensor] = {}
        else:
            self.tokenizer, self.config, self._base = self._from_pretrained(spec, label_names)
        self.config.num_labels = len(label_names)
        self.config.id2label = dict(enumerate(label_names))
        self.config.label2id = {name: index for index, name in enumerate(label_names)}
        self.config.problem_type = "single_label_classification"
        self.config.dtype = "float32"

    def fresh(self, changes: Mapping[str, Any] | None = None) -> PreTrainedModel:
        """The model at its start, in float32: the checkpoint's weights, and a head drawn from torch's present seed.

        `changes` are config fields that differ (dropouts, say); other ones than the last time need another model.
        """
        changes = dict(changes or {})
        if self._resident is None or changes != self._changes:
            if self._resident is not None:
                remove_accelerate_wrappers(self._resident)  # or it lives on in a circle of accelerate's
            self._resident = None  # before the next is made: two models at once would double the memory
            self._resident, self._changes = self._build(changes), changes
        self._reset(self._resident)
        return self._resident

    def reason_against(self, field: str, values: Sequence[Any]) -> str | None:
        """Why a config field cannot take these values, or None where it can."""
        if field in {"num_labels", "id2label", "label2id", "problem_type", "dtype", "vocab_size", "model_type"}:
            return "cannot be searched: data and checkpoint decide it"
        known = {name for name in self.config.to_dict() if not name.startswith("_")}
        if field not in known:
            near = unknown_name(field, known, limit=0)
            return near if "did you mean" in near else f"is unknown to the config of {self.name}"
        now = getattr(self.config, field)
        for value in values:
            fits = isinstance(value, int | float) if isinstance(now, float) else type(value) is type(now)
            if now is not None and not fits or isinstance(value, bool) != isinstance(now, bool) and now is not None:
                return f"holds {value!r}; must be {type(now).__name__}, as {now!r} in the checkpoint's config"
        return None

    def _build(self, changes: Mapping[str, Any]) -> PreTrainedModel:
        import copy

        import torch
        from transformers import AutoModelForSequenceClassification

        config = copy.deepcopy(self.config)
        for field, value in changes.items():
            setattr(config, field, value)
        with torch.random.fork_rng():  # what is drawn here is overwritten; the seed is for the head
            # A checkpoint's own dtype would win otherwise: one in fp16 would train in pure fp16 (trap 22).
            model = AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32, trust_remote_code=self._code
            )
        strange = [name for name, tensor in model.state_dict().items() if _differs(self._base.get(name), tensor)]
        if strange:
            raise ModelError(f"{self.name}: {dict(changes)} does not fit the checkpoint's weights ({strange[0]})")
        return model

    def _reset(self, model: PreTrainedModel) -> None:
        import torch

        remove_accelerate_wrappers(model)
        model.zero_grad(set_to_none=True)
        device = next(model.parameters()).device
        if not self._base:
            model.to("cpu")  # so that draws come from one generator, whatever the device
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name in self._base:
                    tensor.copy_(self._base[name])
        for prefix, module in model.named_modules():
            own = dict(module.named_parameters(prefix=prefix, recurse=False))
            if own and not own.keys() & self._base.keys():
                _draw(model, module)
        model.to(device)

    def _from_pretrained(self, spec: ModelSpec, label_names: tuple[str, ...]) -> tuple[Any, Any, dict[str, Any]]:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        where = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
        where = {name: value for name, value in where.items() if value}
        try:
            config = AutoConfig.from_pretrained(self._where, **where)
            tokenizer = AutoTokenizer.from_pretrained(self._where, **where)
            self._check_tokenizer(tokenizer, config, spec.max_length)
            head_names = [str(config.id2label[index]) for index in range(config.num_labels)]
            config.num_labels = len(label_names)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                self._where,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **where,
            )
        except HpoError:
            raise
        except Exception as error:  # a damaged file fails in as many ways as there are libraries that read it
            raise ModelError(_load_problem(spec.checkpoint, error)) from None
        drawn = set(loading["missing_keys"]) | {entry[0] for entry in loading["mismatched_keys"]}
        body = f"{model.base_model_prefix}."
        lacking = sorted(name for name in drawn if name.startswith(body) and "pooler" not in name)
        if lacking:
            raise ModelError(f"{spec.checkpoint}: {len(lacking)} weights of the model's body are missing: {lacking[0]}")
        base = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items() if name not in drawn}
        fitted = self._fit_head(base, body, head_names, label_names)
        self.has_head = fitted.keys() >= model.state_dict().keys()
        return tokenizer, config, fitted

    def _fit_head(
        self, base: dict[str, Any], body: str, head_names: list[str], label_names: tuple[str, ...]
    ) -> dict[str, Any]:
        """The weights with the head's rows in the study's label order, or without a head of other labels."""
        head = [name for name in base if not name.startswith(body)]
        rows = [name for name in head if base[name].shape[:1] == (len(label_names),)]
        order = _label_order(head_names, label_names) if rows and len(head_names) == len(label_names) else None
        if order is None:
            what = f"its labels are {_listed(head_names)}" if rows else f"it has no head for {len(label_names)} labels"
            self.notices.append(f"{self.name}: {what}; a head for {_listed(label_names)} is drawn anew in each trial")
            return {name: tensor for name, tensor in base.items() if name not in rows}
        if not _is_numbered(label_names) and _is_numbered(head_names):
            self.notices.append(
                f"{self.name}: {_listed(head_names)} are taken for {_listed(label_names)}, in this order"
            )
        if order != list(range(len(order))):
            self.notices.append(f"{self.name}: the head's labels {_listed(head_names)} are put in the study's order")
        return {name: tensor[order].clone() if name in rows else tensor for name, tensor in base.items()}

    def _check_tokenizer(self, tokenizer: Any, config: Any, max_length: int) -> None:
        # Where a folder has no tokenizer, transformers 5 makes up an empty one without a word.
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise ModelError(f"{self.name}: no tokenizer beside the weights; save one there (tokenizer.json)")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ModelError(f"{self.name}: the tokenizer has no padding token, so texts cannot share a batch")
            tokenizer.pad_token = tokenizer.eos_token
            config.pad_token_id = tokenizer.pad_token_id
        positions = getattr(config, "max_position_embeddings", None) or max_length
        if config.model_type in {"roberta", "xlm-roberta", "camembert", "longformer"}:
            positions -= config.pad_token_id + 1  # their positions are counted from behind the padding's index
        longest = min(positions, tokenizer.model_max_length)
        if max_length > longest:
            raise ModelError(f"model.max_length is {max_length}; {self.name} takes at most {longest} tokens")


def load_checkpoint(spec: StudySpec, data: TextData) -> Checkpoint:
    """The study's checkpoint. Raises ModelError (not there, no tokenizer, too short) and SpecError (`model.` axes)."""
    name = spec.model.checkpoint
    path = spec.file.parent / Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not path.is_dir():
        raise ModelError(f"model.checkpoint: no folder {path}")
    if name.startswith("builtin:") and name != "builtin:tiny":
        raise ModelError(f"model.checkpoint {name} {unknown_name(name, ['builtin:tiny'])}")
    checkpoint = Checkpoint(spec.model, data.train.texts, data.label_names, path if path.is_dir() else None)
    asked = {f"training.{name}": [value] for name, value in spec.fixed.items()}
    asked |= {f"space.parameters.{name}": axis.ends for name, axis in spec.space.parameters.items()}
    for key, values in asked.items():
        _, is_model, field = key.partition(".model.")
        if not is_model:
            continue
        if reason := checkpoint.reason_against(field, values):
            raise spec.error(key, reason)
        for value in values:
            try:
                checkpoint.fresh({field: value})
            except Exception as error:  # whatever a model's own code makes of a value that it cannot take
                raise spec.error(key, f"holds {value!r}: {first_line(error)}") from None
    return checkpoint


def remove_accelerate_wrappers(model: PreTrainedModel) -> None:
    """Take away what accelerate has put around a model's forward pass.

    It marks a model that it has prepared and wrapped for bf16, and leaves it alone ever after: without this a trial
    after the first would train with the first one's precision, whatever its arguments say.
    """
    for mark in ("forward", "_original_forward", "_is_accelerate_prepared"):
        model.__dict__.pop(mark, None)


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """The model as safetensors, with its tokenizer and config, in a folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _draw(model: PreTrainedModel, module: Any) -> None:
    """Draw a module's weights as the model's own class does it for new ones."""
    module._is_hf_initialized = False
    for parameter in module.parameters(recurse=False):
        parameter._is_hf_initialized = False
    model._init_weights(module)


def _differs(stored: Any, tensor: Any) -> bool:
    return stored is not None and stored.shape != tensor.shape


def _label_order(head: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """For each label of the study the head's row that means it, or None where the names say nothing or otherwise.

    Names agree where one starts the other whatever the case (neg, NEGATIVE). Labels that are mere numbers, on either
    side, stand for positions.
    """
    if _is_numbered(labels) or _is_numbered(head):
        return list(range(len(labels)))
    order = []
    for label in labels:
        low = label.lower()
        rows = [row for row, name in enumerate(head) if name.lower().startswith(low) or low.startswith(name.lower())]
        if len(rows) != 1:
            return None
        order += rows
    return order if sorted(order) == list(range(len(labels))) else None


def _is_numbered(names: Sequence[str]) -> bool:
    """0, 1, ... or LABEL_0, LABEL_1, ..."""
    return [name.upper().removeprefix("LABEL_") for name in names] == [str(index) for index in range(len(names))]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def first_line(error: Exception) -> str:
    """An error in one line: the first of its text, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _load_problem(checkpoint: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "couldn't connect" in text or "offline" in text.lower():
        reason = "the hub cannot be reached and nothing is cached; give a folder, or try again with a connection"
    elif "not a local folder and is not a valid model identifier" in text or "404" in text:
        reason = "no such checkpoint on the hub (or it is private: `hf auth login`)"
    elif "trust_remote_code" in text:
        reason = "it brings code of its own; model.trust_remote_code = true runs it, if you trust it"
    else:
        reason = f"{type(error).__name__}: {text[:200]}"
    return f"model.checkpoint {checkpoint}: {reason}"
