"""What gives the same model in less time, done wherever the study does not ask for training.speed = "exact"."""

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

# What a run hands to its optimizer and its loader; all else may change what one pass through the model does.
OUTSIDE_FORWARD = frozenset(
    (
        "learning_rate",
        "weight_decay",
        "warmup_ratio",
        "warmup_steps",
        "num_train_epochs",
        "max_steps",
        "lr_scheduler_type",
        "optim",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "max_grad_norm",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "train_sampling_strategy",
        "dataloader_drop_last",
    )
)
BATCH_LENGTHS = 8  # of batches on a GPU: so many that little is padding, so few that each comes back


class AccelerationSession:
    """The short ways of a study's runs on one device, one run after the other."""

    def __init__(self, spec: StudySpec) -> None:
        self.are_taken = spec.speed != "exact"
        self.most = spec.model.max_length
        self._graphs = CudaGraphs()
        self._recorded = 0  # texts in a batch whose pass is recorded
        self._is_recording = False  # in this run

    def padding(self, tokenizer: Any, device: torch.device) -> PaddingCollator:
        """What makes batches: of few lengths on a GPU, where each length has to be set up once."""
        is_rounded = self.are_taken and device.type == "cuda"
        return PaddingCollator(tokenizer, 8 * -(-self.most // (8 * BATCH_LENGTHS)) if is_rounded else 1, self.most)

    def order(self, rows: TokenizedSplit) -> list[int] | None:
        """Validation from its longest texts on, so that little of a batch is padding; None where it stays as it is."""
        return np.argsort(-rows.lengths, kind="stable").tolist() if self.are_taken else None

    def kernels(self, device: torch.device) -> AbstractContextManager[Any]:
        """While it lasts, attention and dropout go by shorter ways, where there are any."""
        return CpuKernels() if self.are_taken and device.type == "cpu" else nullcontext()

    @contextmanager
    def training(
        self, model: Any, texts: Mapping[str, torch.Tensor], values: Mapping[str, Any], recorded: int
    ) -> Iterator[None]:
        """While it lasts, a run with these values trains this model, and passes over so many texts may be recorded.

        `texts` are two of its own, to try on them whether a way can be gone.
        """
        if not self.are_taken:
            yield
            return
        texts = {name: tensor[:, :16].to(model.device) for name, tensor in texts.items() if name != "labels"}
        with _listed(model), cls_only_last_layer(model, texts) as is_alone:
            inside = {name: value for name, value in values.items() if name not in OUTSIDE_FORWARD}
            self._graphs.hold(model, is_alone, inside, recorded)  # batches of one size at a time: each takes its memory
            self._recorded, self._is_recording = recorded, False
            yield

    def one_pass(self, one_pass: ForwardBackward, inputs: dict[str, torch.Tensor], examples: Any) -> torch.Tensor:
        """The loss of a pass forward and backward: on an NVIDIA GPU recorded and replayed, where that can be done."""
        loss = None
        if self.are_taken and inputs["labels"].is_cuda and len(inputs["labels"]) == self._recorded:
            self._is_recording = not self._graphs.are_refused
            loss = self._graphs.run(one_pass, inputs, examples)
        return one_pass(inputs, examples) if loss is None else loss

    def spare_memory(self) -> bool:
        """Let go of recordings and make no more, as they take memory; whether the run that did not fit had any."""
        self._graphs.refuse()
        return self._is_recording


@contextmanager
def _listed(model: Any) -> Iterator[None]:
    """While it lasts, the model has its parameters at hand: Trainer asks for all of them several times a step.

    Otherwise each time it walks through all modules, which takes longer than a small model's step on a GPU.
    """
    parameters = list(model.parameters())
    model.parameters = lambda recurse=True: iter(parameters) if recurse else type(model).parameters(model, False)
    model.num_parameters = cache(model.num_parameters)
    try:
        yield
    finally:
        del model.parameters, model.num_parameters
