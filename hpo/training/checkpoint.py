"""A checkpoint: its tokenizer and model, with float32 weights, reset in place between trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.data.collator import read_token_types
from hpo.data.splits import TextData
from hpo.errors import HpoError, ModelError, first_line
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import ModelSpec
from hpo.training.arguments import select_model_fields
from hpo.training.checkpoint_errors import explain_load_error
from hpo.training.checkpoint_folder import find_checkpoint_folder
from hpo.training.head_labels import list_labels, list_pairs, match_labels, read_head_labels
from hpo.training.library_internals import draw_missing_weights, remove_accelerate_wrappers
from hpo.training.model_fields import (
    MODEL_PREFIX,
    FieldEffect,
    field_problem,
    find_field_effect,
)
from hpo.training.tiny_model import build_tiny_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Models whose positions are counted from the index of the padding token onward.
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "longformer"}


class Checkpoint:
    """A checkpoint loaded once: its tokenizer, and any number of models that start from its weights.

    One model stays resident. `fresh()` copies the checkpoint's weights over it and draws what the checkpoint lacks (the
    head), so nothing of a trial outlives it and there is never a second model in memory (pitfall 10).
    """

    def __init__(
        self, spec: ModelSpec, texts: Sequence[str], label_names: tuple[str, ...], folder: Path | None = None
    ) -> None:
        self.name = spec.checkpoint
        self.notices: list[str] = []
        self.has_head = False  # whether the checkpoint brings a trained head for the study's labels
        self.assumed_labels = ""  # what the labels are taken to mean, if only their order says which row is which
        self._source = str(folder or spec.checkpoint)
        self._trust_remote_code = spec.trust_remote_code
        self._resident: PreTrainedModel | None = None
        self._changes: dict[str, Any] = {}  # fields in which the resident model's config differs
        self._effects: dict[str, FieldEffect] = {}
        if spec.checkpoint == "builtin:tiny":
            self.tokenizer, self.config = build_tiny_model(texts, spec.max_length)
            self._weights: dict[str, torch.Tensor] = {}
        else:
            self.tokenizer, self.config, self._weights = self._load_pretrained(spec, label_names)
        self.tokenizer.model_max_length = spec.max_length  # saved with a model: others truncate as it was trained
        self.config.num_labels = len(label_names)
        self.config.id2label = dict(enumerate(label_names))
        self.config.label2id = {name: index for index, name in enumerate(label_names)}
        self.config.problem_type = "single_label_classification"
        self.config.dtype = "float32"

    def fresh(self, changes: Mapping[str, Any] | None = None) -> PreTrainedModel:
        """Return the model at its start, in float32: the checkpoint's weights, and a head drawn from torch's seed.

        `changes` are config fields that differ, such as dropouts. If they are not those of the last call, another model
        is built.
        """
        changes = dict(changes or {})
        if self._resident is None or changes != self._changes:
            if self._resident is not None:
                remove_accelerate_wrappers(self._resident)  # they hold the model in a reference cycle
            self._resident = None  # before the next is built: two models at once would double the memory
            self._resident, self._changes = self._build(changes), changes
        self._reset(self._resident)
        return self._resident

    def release(self) -> None:
        """Free what the resident model holds besides its weights, and its memory of an accelerator."""
        import torch

        if self._resident is not None:
            remove_accelerate_wrappers(self._resident)
            self._resident.zero_grad(set_to_none=True)
            self._resident.to("cpu")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def field_effect(self, field: str, value: Any) -> FieldEffect:
        """Return what a config field changes in the model. `value` is one that it can take."""
        if field not in self._effects:
            self._effects[field] = find_field_effect(self._build_without_weights, self.config, field, value)
        return self._effects[field]

    def _changed_config(self, changes: Mapping[str, Any]) -> Any:
        import copy

        config = copy.deepcopy(self.config)
        for field, value in changes.items():
            setattr(config, field, value)
        return config

    def _build(self, changes: Mapping[str, Any]) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForSequenceClassification

        with torch.random.fork_rng():  # what is drawn here is overwritten; the seed is for the head
            # Without dtype the checkpoint's own would win: one in fp16 would train in pure fp16 (pitfall 22).
            model = AutoModelForSequenceClassification.from_config(
                self._changed_config(changes), dtype=torch.float32, trust_remote_code=self._trust_remote_code
            )
        for name, tensor in model.state_dict().items():
            if name in self._weights and self._weights[name].shape != tensor.shape:
                raise ModelError(f"{self.name}: {dict(changes)} does not fit the checkpoint's weights ({name})")
        return model

    def _build_without_weights(self, changes: Mapping[str, Any]) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForSequenceClassification

        try:
            with torch.random.fork_rng(), torch.device("meta"):
                return AutoModelForSequenceClassification.from_config(
                    self._changed_config(changes), trust_remote_code=self._trust_remote_code
                )
        except Exception:  # a model's own code may need the values of weights while it is built
            return self._build(changes)

    def _reset(self, model: PreTrainedModel) -> None:
        import torch

        remove_accelerate_wrappers(model)
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name in self._weights:
                    tensor.copy_(self._weights[name])
        draw_missing_weights(model, self._weights.keys())

    def _load_pretrained(self, spec: ModelSpec, label_names: tuple[str, ...]) -> tuple[Any, Any, dict[str, Any]]:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        options = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
        options = {name: value for name, value in options.items() if value}
        try:
            config = AutoConfig.from_pretrained(self._source, **options)
            if getattr(config, "quantization_config", None):
                raise ModelError(f"model.checkpoint {spec.checkpoint}: its weights are quantized; give the original")
            tokenizer = AutoTokenizer.from_pretrained(self._source, **options)
            self._check_tokenizer(tokenizer, config, spec.max_length)
            head_labels = read_head_labels(config.id2label)
            config.num_labels = len(label_names)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                self._source,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
        except HpoError:
            raise
        except Exception as error:  # a damaged file raises whatever the library that reads it raises
            raise ModelError(f"model.checkpoint {spec.checkpoint}: {explain_load_error(error)}") from None
        _match_token_types(tokenizer, model)
        drawn = set(loading["missing_keys"]) | {entry[0] for entry in loading["mismatched_keys"]}
        body = f"{model.base_model_prefix}."
        lacking = sorted(name for name in drawn if name.startswith(body) and "pooler" not in name)
        if lacking:
            raise ModelError(f"{spec.checkpoint}: {len(lacking)} weights of the model's body are missing: {lacking[0]}")
        weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items() if name not in drawn}
        fitted = self._fit_head(weights, _output_rows(model), head_labels, label_names)
        self.has_head = fitted.keys() >= model.state_dict().keys()
        return tokenizer, config, fitted

    def _fit_head(
        self, weights: dict[str, Any], outputs: set[str], head_labels: list[str], label_names: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return the weights with the head's rows in the study's label order, or without a head of other labels.

        `outputs` are the tensors that have a row per label.
        """
        rows = outputs & weights.keys()
        match = match_labels(head_labels, label_names) if rows else None
        if match is None:
            reason = f"its labels are {list_labels(head_labels)}" if rows else f"no head for {len(label_names)} labels"
            self.notices.append(
                f"{self.name}: {reason}; each trial starts with a new random head for {list_labels(label_names)}"
            )
            return {name: tensor for name, tensor in weights.items() if name not in rows}
        if match.is_assumed:
            self.assumed_labels = list_pairs(head_labels, label_names)
            self.notices.append(
                f"{self.name}: the names of its labels do not say which is which; assuming {self.assumed_labels}"
            )
        if match.rows != list(range(len(match.rows))):
            self.notices.append(f"{self.name}: reordered the head's labels {list_labels(head_labels)} as in the study")
        return {name: tensor[match.rows].clone() if name in rows else tensor for name, tensor in weights.items()}

    def _check_tokenizer(self, tokenizer: Any, config: Any, max_length: int) -> None:
        # If a folder has no tokenizer, transformers 5 makes an empty one without a warning (pitfall 24).
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise ModelError(f"{self.name}: no tokenizer next to the weights; save one there (tokenizer.json)")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ModelError(f"{self.name}: the tokenizer has no padding token, so texts cannot share a batch")
            tokenizer.pad_token = tokenizer.eos_token
            config.pad_token_id = tokenizer.pad_token_id
        longest = find_longest_input(tokenizer, config)
        if max_length > longest:
            raise ModelError(f"model.max_length is {max_length}; {self.name} takes at most {longest} tokens")


def find_longest_input(tokenizer: Any, config: Any) -> int:
    """Return how many tokens a model takes; a very large number if there is no limit."""
    longest = int(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None) or longest
    if positions < 0:  # XLNet's way to say that there is no limit
        return longest
    if config.model_type in _OFFSET_POSITIONS:
        positions -= config.pad_token_id + 1
    return int(min(positions, longest))


def load_checkpoint(spec: StudySpec, data: TextData) -> Checkpoint:
    """Load the study's checkpoint and check the fields of its config that the study sets or searches.

    Raises ModelError (not found, no tokenizer, texts too long) and SpecError (a `model.` field or value).
    """
    checkpoint = Checkpoint(spec.model, data.train.texts, data.label_names, find_checkpoint_folder(spec))
    for key in ("gradient_checkpointing", "activation_checkpointing"):  # transformers has renamed the first
        if spec.fixed.get(key) and not checkpoint.fresh().supports_gradient_checkpointing:
            raise spec.error(f"training.{key}", f"is not supported by {checkpoint.name}; remove it")
    for field, value in select_model_fields(spec.fixed).items():
        key = f"training.{MODEL_PREFIX}{field}"
        _check_field(spec, checkpoint, key, field, [value])
        if not checkpoint.field_effect(field, value).is_used:
            checkpoint.notices.append(f"{key} has no effect: no module of {checkpoint.name} uses it")
    for field, axis in select_model_fields(spec.space.parameters).items():
        key = f"space.parameters.{MODEL_PREFIX}{field}"
        _check_field(spec, checkpoint, key, field, axis.ends)
        if not checkpoint.field_effect(field, axis.ends[0]).is_used:
            raise spec.error(key, f"has no effect: no module of {checkpoint.name} uses it; remove it")
    return checkpoint


def _check_field(spec: StudySpec, checkpoint: Checkpoint, key: str, field: str, values: Sequence[Any]) -> None:
    if problem := field_problem(checkpoint.config, checkpoint.name, field, values):
        raise spec.error(key, problem)
    for value in values:
        try:
            checkpoint.fresh({field: value})
        except Exception as error:  # whatever a model's own code makes of a value that it cannot take
            raise spec.error(key, f"holds {value!r}: {first_line(error)}") from None


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save the model as safetensors, with its config and tokenizer, into a folder."""
    model.save_pretrained(folder)
    # A fast tokenizer would save the truncation of its last call, if there was one: tokens may come from the cache.
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)


def _match_token_types(tokenizer: Any, model: PreTrainedModel) -> None:
    """Keep the tokenizer from giving token types that training leaves out, if the model's output depends on them.

    Types that are all 0 are left out, as most models take them by default. GPT-2 and XLM add an embedding for them.
    """
    import torch

    if "token_type_ids" not in tokenizer.model_input_names or read_token_types(tokenizer):
        return
    encoded = tokenizer("a", return_token_type_ids=True, return_tensors="pt")
    types = encoded.pop("token_type_ids")
    model.eval()
    with torch.no_grad():
        try:
            is_same = torch.allclose(model(**encoded, token_type_ids=types).logits, model(**encoded).logits, atol=1e-6)
        except Exception:  # a model's own code may take no token types
            is_same = False
    if not is_same:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]


def _output_rows(model: PreTrainedModel) -> set[str]:
    """Return the names of the tensors that have a row per label.

    A shape shows nothing by itself: a layer of the head may be as wide as there are labels. So the model is compared
    with one for another number of labels.
    """
    import copy

    import torch

    config = copy.deepcopy(model.config)
    config.num_labels += 1
    try:
        with torch.device("meta"):
            other = type(model)(config).state_dict()
    except Exception:  # a model's own code may need the values of weights while it is built
        with torch.random.fork_rng():
            other = type(model)(config).state_dict()
    return {name for name, tensor in model.state_dict().items() if tensor.shape != other[name].shape}
