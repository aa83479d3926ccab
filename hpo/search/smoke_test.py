"""Smoke test: one training step on the longest texts, so that what fails in every trial is found before the first one.

The step is that of a trial: RungTrainer with the study's precision, device, model fields and accelerations, and middle
values of the search space. Its batch holds the longest text, the shortest (so there is padding) and the one with the
largest token id, of any split. Nothing of it remains: the study folder and the random state are not touched, and every
trial resets the model.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from hpo.atomic import scratch_folder
from hpo.data.splits import Split, TextData
from hpo.data.token_cache import TokenizedSplit, tokenize_split
from hpo.errors import HpoError, ModelError, first_line
from hpo.store.provenance import describe_device
from hpo.store.trial_state import DIVERGED, INFEASIBLE
from hpo.training.acceleration import frozen_gc
from hpo.training.arguments import select_model_fields
from hpo.training.context import RunContext
from hpo.training.measurements import TrialEnded
from hpo.training.searchable import changes_forward_pass
from hpo.training.trainer import RungTrainer

SCHEDULE_STEPS = 1000  # of the learning rate's schedule, of which only the first step is made
MIN_LENGTH = 8  # of texts that are tried after a failure; the least model.max_length
LENGTHS_BEYOND = 16  # lengths above a limit, all of which must fail

_logger = logging.getLogger(__name__)
_passed: dict[tuple[str, str], list[str]] = {}  # (study hash, data fingerprint) -> notices, of this process


def run_smoke_test(context: RunContext, data: TextData) -> list[str]:
    """Make one training step with the study's settings, once per process, and return notices for the user.

    The test texts are tokenized, their labels are not read. Raises ModelError or another HpoError, in one line, if the
    step fails; the log has the traceback.
    """
    key = context.spec.hash(), data.fingerprint
    if key not in _passed:
        tokens = tokenize_splits(context, data)
        rows = SampleRows(select_rows(list(tokens.values())))
        values = _choose_values(context, len(rows))
        # With the values in the study file too, the model is built once and not again for the trainer's first run.
        fixed = {name: value for name, value in context.spec.training.items() if name != "num_train_epochs"}
        spec = context.spec.model_copy(update={"training": {**fixed, **values}})
        with frozen_gc(), _kept_random_state():
            try:
                model = context.checkpoint.fresh(select_model_fields(spec.fixed))
                notices = check_vocabulary(context, model, data, tokens)
                _make_step(replace(context, spec=spec), values, rows)
            finally:
                context.checkpoint.release()
        _passed[key] = notices
    return _passed[key]


def tokenize_splits(context: RunContext, data: TextData) -> dict[str, TokenizedSplit]:
    """Return the tokens of every split; those of the test split as final runs read them, without its labels."""
    tokens = {"train": context.train, "validation": context.validation}
    if data.test is not None:
        blind = Split(data.test.texts, [0] * len(data.test), data.test.ids)
        tokens["test"] = tokenize_split(blind, context.checkpoint.tokenizer, context.spec.model.max_length)
    return tokens


def check_vocabulary(
    context: RunContext, model: Any, data: TextData, tokens: Mapping[str, TokenizedSplit]
) -> list[str]:
    """Raise ModelError if a split has a token for which the model has no embedding; return notices.

    A GPU would stop with an assertion that ends the process, and only when the token comes: a word that only test has
    would let the whole search be paid.
    """
    name, tokenizer = context.checkpoint.name, context.checkpoint.tokenizer
    count = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if count is None:  # not a table, for example hashed characters
        return []
    sizes = f"the model has embeddings for {count:,} tokens, its tokenizer has {len(tokenizer):,}"
    advice = "use the tokenizer that the model was trained with, or enlarge the model with resize_token_embeddings()"
    if int(tokenizer.pad_token_id) >= count:
        padding = f"the padding token {tokenizer.pad_token!r} has id {tokenizer.pad_token_id}"
        raise ModelError(f"model.checkpoint {name}: {padding}, but {sizes}; {advice}")
    for split, rows in tokens.items():
        row, token = rows.find_largest_token()
        if token >= count:
            where = f"{split}: the text of row {data.splits()[split].ids[row] + 1}"
            text = tokenizer.convert_ids_to_tokens(token)
            raise ModelError(
                f"{where} has token {text!r} with id {token}, but {sizes} (model.checkpoint {name}); {advice}"
            )
    if len(tokenizer) > count:
        return [f"{name}: {sizes}; no split has one of the others, but a text that has one cannot be classified"]
    return []


def select_rows(splits: Sequence[TokenizedSplit]) -> list[np.ndarray]:
    """Return the token ids of the longest text, then the one with the largest token id, then the shortest."""
    longest = max(splits, key=lambda split: int(split.lengths.max()))
    largest = max(splits, key=lambda split: split.find_largest_token()[1])
    shortest = min(splits, key=lambda split: int(split.lengths.min()))
    rows = [
        longest[int(longest.lengths.argmax())],
        largest[largest.find_largest_token()[0]],
        shortest[int(shortest.lengths.argmin())],
    ]
    return [np.asarray(row["input_ids"]) for row in rows]


class SampleRows(TokenizedSplit):
    """A few tokenized texts, all with label 0."""

    def __init__(self, rows: Sequence[np.ndarray]) -> None:
        self.rows, self.labels = list(rows), np.zeros(len(rows), dtype=np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each text."""
        return np.array([len(row) for row in self.rows])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index], "labels": 0}

    def __reduce__(self) -> Any:
        return SampleRows, (self.rows,)


class EmbeddingGuard(TorchFunctionMode):
    """Raise IndexError for an index beyond an embedding table, also on a GPU, where torch would end the process.

    `position_limit` is the number of tokens for which there are positions, if a table of positions was seen: one that
    the first text, of `tokens` tokens, reads row after row. Where the positions start differs between models. Those of
    RoBERTa and MPNet start behind the row of the padding token, so their 514 rows are enough for 512 tokens.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.position_limit: int | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.embedding:
            self._check(*[*args, *(kwargs[name] for name in ("input", "weight") if name in kwargs)][:2])
        return func(*args, **kwargs)

    def _check(self, indices: torch.Tensor, weight: torch.Tensor) -> None:
        count = weight.shape[0]
        if indices.numel() == 0 or indices.device.type == "meta":
            return
        if int(indices.max()) >= count or int(indices.min()) < 0:
            raise IndexError(f"index {int(indices.max())} is not in an embedding of {count} rows")
        first = indices.reshape(-1, indices.shape[-1])[:, : self.tokens] if indices.dim() else indices
        if first.dim() == 2 and first.shape[1] == self.tokens >= MIN_LENGTH:
            consecutive = first[(first.diff(dim=1) == 1).all(dim=1)]
            if len(consecutive):
                limit = count - int(consecutive.min())
                self.position_limit = min(limit, self.position_limit or limit)


class _StepMade(Exception):
    """The training step is made; nothing after it is needed."""


def _choose_values(context: RunContext, rows: int) -> dict[str, Any]:
    """Return the study's accelerations and a middle value of each axis, with so many rows in a batch."""
    axes = context.spec.space.parameters
    middle = {name: axes[name].middle for name in axes if name != "num_train_epochs"}
    step = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 1, "max_steps": SCHEDULE_STEPS}
    return {**context.accelerations, **middle, **step}


def _make_step(context: RunContext, values: Mapping[str, Any], rows: SampleRows) -> None:
    """Make the step. Raises ModelError if it fails, or if the model takes fewer tokens than model.max_length."""
    spec, name, longest = context.spec, context.checkpoint.name, int(rows.lengths.max())
    guard = EmbeddingGuard(longest)
    limit: int | None = None
    try:
        with scratch_folder() as folder, guard:
            # Trainer creates the folder of its study.
            elsewhere = spec.model_copy(update={"file": folder / spec.file.name})
            _train_one_step(replace(context, spec=elsewhere, train=rows, validation=rows), values)
    except TrialEnded as error:
        _logger.info("the smoke test failed", exc_info=error)
        if problem := _describe_end(context, str(error), longest):
            raise ModelError(problem) from None
    except HpoError:
        raise
    except Exception as error:  # whatever the model's own code, or a library below it, raises
        _logger.info("the smoke test failed", exc_info=error)
        limit = find_length_limit(context.checkpoint.fresh(select_model_fields(spec.fixed)), rows[0]["input_ids"])
        if limit is None:
            raise ModelError(
                f"model.checkpoint {name}: a training step on texts of up to {longest} tokens fails: "
                f"{type(error).__name__}: {first_line(error)}; compare [training] with what this model supports, "
                "or choose another checkpoint (-v shows where)"
            ) from None
    limit = limit or guard.position_limit
    if limit is not None and limit < spec.model.max_length:
        raise ModelError(
            f"model.max_length is {spec.model.max_length}; {name} takes at most {limit} tokens; "
            f"set model.max_length = {limit}"
        )


def _train_one_step(context: RunContext, values: Mapping[str, Any]) -> None:
    """Make the first step of a trial. Raises what ends it, TrialEnded also for a value that does not reach the run."""
    trainer = RungTrainer(context)

    def end(_step: int, _steps: int, _loss: float | None) -> None:
        trainer.counters.check_finite("at the first step")
        raise _StepMade

    trainer.on_progress = end
    with suppress(_StepMade):
        trainer.run(values, seed=0)


def _describe_end(context: RunContext, reason: str, longest: int) -> str | None:
    """Return the message for a step that ended early, or None if trials with other values may not."""
    name = context.checkpoint.name
    if reason.startswith(INFEASIBLE):
        return (
            f"model.max_length is {context.spec.model.max_length}: out of memory when {name} is trained on one text of "
            f"{longest} tokens ({describe_device()}); lower it, set training.gradient_checkpointing = true, or choose "
            "a smaller checkpoint"
        )
    if reason.startswith(DIVERGED):
        if any(map(changes_forward_pass, context.spec.space.parameters)):
            return None
        return f"model.checkpoint {name}: {reason}; its weights are damaged, or it cannot be trained in this precision"
    return f"{context.spec.file}: a training step shows what every trial would end with: {reason}"


def find_length_limit(model: Any, tokens: np.ndarray) -> int | None:
    """Return the largest number of a text's first tokens that the model reads, found by trying; None if all or none."""
    model.to("cpu").eval()

    def is_read(length: int) -> bool:
        inputs = torch.from_numpy(np.asarray(tokens[:length], dtype=np.int64))[None]
        try:
            with torch.no_grad(), EmbeddingGuard(length):
                type(model).forward(model, input_ids=inputs, attention_mask=torch.ones_like(inputs))
        except Exception:  # whatever the model's own code makes of too many tokens
            return False
        return True

    works, fails = MIN_LENGTH, len(tokens)
    if fails <= works or is_read(fails) or not is_read(works):
        return None
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if is_read(middle) else (works, middle)
    # A model that takes only multiples of some length has no such limit.
    is_limit = not any(map(is_read, range(works + 1, min(works + LENGTHS_BEYOND, len(tokens)))))
    return works if is_limit else None


@contextmanager
def _kept_random_state() -> Iterator[None]:
    """Restore the states of all random generators that a run seeds."""
    python, arrays = random.getstate(), np.random.get_state()
    # Without a list, the states of all GPUs of the machine would be read, which takes memory on each of them.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
    random.setstate(python)
    np.random.set_state(arrays)
