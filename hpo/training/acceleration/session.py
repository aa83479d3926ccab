"""AccelerationSession: what gives the same model in less time, unless the study asks for training.speed = "exact"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch

from hpo.data.collator import PaddingCollator
from hpo.data.token_cache import TokenizedSplit
from hpo.study.spec import StudySpec
from hpo.training.acceleration.cls_only import cls_only_last_layer
from hpo.training.acceleration.cpu_kernels import CpuKernels
from hpo.training.acceleration.cuda_graphs import CudaGraphs, ForwardBackward
from hpo.training.searchable import changes_forward_pass

BATCH_LENGTHS = 8  # lengths of batches on a GPU: enough that little is padding, few enough that each comes again


class AccelerationSession:
    """The accelerations of a study's runs on one device, one run after the other."""

    def __init__(self, spec: StudySpec) -> None:
        self.is_enabled = spec.speed != "exact"
        self.max_length = spec.model.max_length
        self._graphs = CudaGraphs()
        self._recorded_batch = 0  # texts in a batch whose passes are recorded
        self._has_recorded = False  # in this run

    def build_collator(self, tokenizer: Any, device: torch.device) -> PaddingCollator:
        """Return the collator: it rounds lengths up on a GPU, which has to be set up once for each length."""
        is_rounded = self.is_enabled and device.type == "cuda"
        multiple = 8 * -(-self.max_length // (8 * BATCH_LENGTHS)) if is_rounded else 1
        return PaddingCollator(tokenizer, multiple, self.max_length)

    def evaluation_order(self, rows: TokenizedSplit) -> list[int] | None:
        """Return the rows from the longest text on, so that little of a batch is padding; None for their own order."""
        return np.argsort(-rows.lengths, kind="stable").tolist() if self.is_enabled else None

    def kernels(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return a context in which attention and dropout use faster kernels, if there are any for the device."""
        return CpuKernels() if self.is_enabled and device.type == "cpu" else nullcontext()

    @contextmanager
    def accelerate(
        self, model: Any, texts: Mapping[str, torch.Tensor], values: Mapping[str, Any], recorded_batch: int
    ) -> Iterator[None]:
        """Accelerate the training of a model, in a run with these values.

        `texts` is a small batch of the run's own texts, to test an acceleration on. Passes over batches of
        `recorded_batch` texts may be recorded; 0 records none.
        """
        if not self.is_enabled:
            yield
            return
        texts = {name: tensor[:, :16].to(model.device) for name, tensor in texts.items() if name != "labels"}
        with _cached_parameters(model), cls_only_last_layer(model, texts) as is_cls_only:
            conditions = {name: value for name, value in values.items() if changes_forward_pass(name)}
            # Only one batch size at a time is recorded, because the recorded passes of each take their own memory.
            self._graphs.prepare_for(model, is_cls_only, conditions, recorded_batch)
            self._recorded_batch, self._has_recorded = recorded_batch, False
            yield

    def run_pass(self, one_pass: ForwardBackward, inputs: dict[str, torch.Tensor], examples: Any) -> torch.Tensor:
        """Run a forward and backward pass and return its loss; on an NVIDIA GPU replay a recorded one if possible."""
        loss = None
        if self.is_enabled and inputs["labels"].is_cuda and len(inputs["labels"]) == self._recorded_batch:
            self._has_recorded = not self._graphs.is_disabled
            loss = self._graphs.run(one_pass, inputs, examples)
        return one_pass(inputs, examples) if loss is None else loss

    def release_recordings(self) -> bool:
        """Free recorded passes, which take memory, and record no more. Returns whether this run had any."""
        self._graphs.disable()
        return self._has_recorded


@contextmanager
def _cached_parameters(model: Any) -> Iterator[None]:
    """Keep the list of the model's parameters: Trainer asks for all of them several times per step.

    Otherwise each call walks through all modules, which takes longer than a small model's step on a GPU.
    """
    parameters = list(model.parameters())
    model.parameters = lambda recurse=True: iter(parameters) if recurse else type(model).parameters(model, False)
    model.num_parameters = cache(model.num_parameters)
    try:
        yield
    finally:
        del model.parameters, model.num_parameters
