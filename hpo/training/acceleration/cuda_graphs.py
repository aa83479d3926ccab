"""Passes of a model on an NVIDIA GPU, recorded once for each shape of a batch and replayed as a whole.

A small model's step is some thousand kernels of a few microseconds each, and Python takes longer to launch them than
the GPU to run them. A CUDA graph launches all of them at once: the same kernels on the same memory, random draws going
on from where they are, so what is trained is the same. (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Inputs = Mapping[str, torch.Tensor]
ForwardBackward = Callable[
    [dict[str, torch.Tensor], torch.Tensor], torch.Tensor
]  # inputs, examples of the step -> loss


@dataclass(frozen=True)
class _Recorded:
    """One pass: what it reads, and where it leaves its loss."""

    graph: torch.cuda.CUDAGraph
    inputs: dict[str, torch.Tensor]
    examples: torch.Tensor
    loss: torch.Tensor


class CudaGraphs:
    """Recorded passes of the model that they are held for, forward and backward; they outlast a run."""

    def __init__(self) -> None:
        self.are_refused = False  # by a model that cannot be recorded, or for want of memory
        self.forget()

    def forget(self) -> None:
        """Let go of all passes and of their memory."""
        self._model: Callable[[], torch.nn.Module | None] = lambda: None
        self._ways: Any = None
        self._passes: dict[Any, _Recorded] = {}
        self._gradients: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._pool: Any = None

    def refuse(self) -> None:
        """Record no more, and let go of what was."""
        self.are_refused = True
        self.forget()

    def hold(self, model: torch.nn.Module, *ways: Any) -> None:
        """Keep what was recorded of this model, where its weights are where they were and a pass goes the same ways.

        The model itself is not kept: with it goes what was recorded.
        """
        ways = [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())], *ways
        if self._model() is not model or self._ways != ways:
            self.forget()
            self._model, self._ways = weakref.ref(model, lambda _: self.forget()), ways

    def run(self, one_pass: ForwardBackward, inputs: Inputs, examples: torch.Tensor) -> torch.Tensor | None:
        """The loss of one pass, whose gradients are added to the parameters'; None where it must be run as ever.

        That is so for a model that cannot be recorded, because it waits for the GPU in the middle of a pass, say. A
        step's first pass finds parameters without gradients. Raises torch.OutOfMemoryError.
        """
        shape = tuple((name, each.shape) for name, each in inputs.items())
        if shape not in self._passes and not self.are_refused and not self._record(shape, one_pass, inputs, examples):
            self.refuse()
        if self.are_refused or not self._attach():
            return None
        recorded = self._passes[shape]
        for name, each in inputs.items():
            recorded.inputs[name].copy_(each)
        recorded.examples.copy_(examples)
        recorded.graph.replay()
        return recorded.loss.clone()

    def _attach(self) -> bool:
        """Give the parameters the gradients that passes write, at nought where a step begins; whether they have them.

        They do not where another way has begun the step.
        """
        own = [parameter.grad for parameter in self._gradients]
        if all(each is None for each in own):
            torch._foreach_zero_(list(self._gradients.values()))
            for parameter, gradient in self._gradients.items():
                parameter.grad = gradient
            return True
        return all(each is gradient for each, gradient in zip(own, self._gradients.values(), strict=True))

    def _record(self, shape: Any, one_pass: ForwardBackward, inputs: Inputs, examples: torch.Tensor) -> bool:
        """Record a pass, after one that shows which parameters it has gradients for; whether it could be.

        Neither leaves a trace: gradients and random states are what they were.
        """
        still = {name: each.clone() for name, each in inputs.items()}, examples.clone()
        model = self._model()
        assert model is not None, "hold() comes first"
        parameters = list(model.parameters())
        before = [parameter.grad for parameter in parameters]
        try:
            with torch.random.fork_rng(devices=[examples.device]):
                for parameter in parameters:
                    parameter.grad = None
                drawn = torch.get_rng_state()
                self._aside(lambda: one_pass(dict(still[0]), still[1]))
                if not torch.equal(torch.get_rng_state(), drawn):
                    return False  # a choice that is drawn on the processor would be recorded with all else
                for parameter in parameters:
                    if parameter.grad is not None:
                        self._gradients.setdefault(parameter, parameter.grad)
                    parameter.grad = self._gradients.get(parameter)
                graph, loss = self._capture(lambda: one_pass(dict(still[0]), still[1]))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # what cannot be recorded is known by its failing
            return False
        finally:
            for parameter, gradient in zip(parameters, before, strict=True):
                parameter.grad = gradient
        self._pool = graph.pool()
        self._passes[shape] = _Recorded(graph, *still, loss)
        return True

    def _capture(self, work: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # What other threads do beside it, as those that load batches, does not disturb a recording; one that fails
            # may leave another stream behind.
            recording = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
            with torch.cuda.stream(stream), recording:
                return graph, work()
        except RuntimeError:
            # The random generator still takes itself for recorded; another takes its place.
            fresh = torch.Generator(stream.device)
            torch.cuda.default_generators[stream.device_index].graphsafe_set_state(fresh)
            raise

    @staticmethod
    def _aside(work: Callable[[], Any]) -> None:
        """Do it on a stream of its own, as a recording does, so that all that is made once is made."""
        aside: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
        torch.cuda.current_stream().wait_stream(aside)
