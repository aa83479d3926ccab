"""Forward and backward passes on an NVIDIA GPU, recorded once for each shape of a batch and replayed as a whole.

A small model's step is about a thousand kernels of a few microseconds each, and Python takes longer to launch them than
the GPU to run them. A CUDA graph launches all of them at once: the same kernels on the same memory, with random draws
that continue from the generator's state, so the trained model is the same.
(https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hpo.training.library_internals import zero_tensors

Inputs = Mapping[str, torch.Tensor]
# Takes inputs and the number of examples of the optimizer step, runs forward and backward, returns the loss.
ForwardBackward = Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class _RecordedPass:
    """A graph, the tensors that it reads, and the one that it writes its loss to."""

    graph: torch.cuda.CUDAGraph
    inputs: dict[str, torch.Tensor]
    examples: torch.Tensor
    loss: torch.Tensor


class CudaGraphs:
    """Recorded forward and backward passes of one model; they outlast a run."""

    def __init__(self) -> None:
        self.is_disabled = False  # the model cannot be recorded, or memory ran out
        self.clear()

    def clear(self) -> None:
        """Free all recorded passes and their memory."""
        self._model: Callable[[], torch.nn.Module | None] = lambda: None
        self._conditions: Any = None
        self._passes: dict[Any, _RecordedPass] = {}
        self._gradients: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._pool: Any = None

    def disable(self) -> None:
        """Free all recorded passes and record no more."""
        self.is_disabled = True
        self.clear()

    def prepare_for(self, model: torch.nn.Module, *conditions: Any) -> None:
        """Keep the recorded passes if they are of this model, its tensors have not moved, and the conditions are equal.

        The conditions are whatever else changes a pass. The model is held by a weak reference: if it is freed, so are
        its recorded passes.
        """
        addresses = [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]
        conditions = addresses, *conditions
        if self._model() is not model or self._conditions != conditions:
            self.clear()
            self._model, self._conditions = weakref.ref(model, lambda _: self.clear()), conditions

    def run(self, one_pass: ForwardBackward, inputs: Inputs, examples: torch.Tensor) -> torch.Tensor | None:
        """Replay a pass, which adds its gradients to the parameters', and return its loss.

        Returns None if the pass has to be run as usual: the model cannot be recorded (it waits for the GPU in the
        middle of a pass, for example). The first pass of a step must find parameters without gradients. Raises
        torch.OutOfMemoryError.
        """
        shape = tuple((name, tensor.shape) for name, tensor in inputs.items())
        if shape not in self._passes and not self.is_disabled and not self._record(shape, one_pass, inputs, examples):
            self.disable()
        if self.is_disabled or not self._attach_gradients():
            return None
        recorded = self._passes[shape]
        for name, tensor in inputs.items():
            recorded.inputs[name].copy_(tensor)
        recorded.examples.copy_(examples)
        recorded.graph.replay()
        return recorded.loss.clone()

    def _attach_gradients(self) -> bool:
        """Give the parameters the gradients that graphs write to, zero at the start of a step.

        Returns False if a pass that was not replayed has begun the step, with gradients of its own.
        """
        current = [parameter.grad for parameter in self._gradients]
        if all(gradient is None for gradient in current):
            zero_tensors(self._gradients.values())
            for parameter, gradient in self._gradients.items():
                parameter.grad = gradient
            return True
        pairs = zip(current, self._gradients.values(), strict=True)
        return all(gradient is recorded for gradient, recorded in pairs)

    def _record(self, shape: Any, one_pass: ForwardBackward, inputs: Inputs, examples: torch.Tensor) -> bool:
        """Record a pass, after a trial pass that shows which parameters get gradients. Returns whether it succeeded.

        Neither pass leaves a trace: gradients and random states are restored.
        """
        static_inputs, static_examples = {name: each.clone() for name, each in inputs.items()}, examples.clone()
        model = self._model()
        assert model is not None, "prepare_for() comes first"
        parameters = list(model.parameters())
        before = [parameter.grad for parameter in parameters]
        try:
            with torch.random.fork_rng(devices=[examples.device]):
                for parameter in parameters:
                    parameter.grad = None
                cpu_state = torch.get_rng_state()
                self._run_on_side_stream(lambda: one_pass(dict(static_inputs), static_examples))
                if not torch.equal(torch.get_rng_state(), cpu_state):
                    return False  # a choice drawn on the CPU, such as layer dropout, would be recorded once for all
                for parameter in parameters:
                    if parameter.grad is not None:
                        self._gradients.setdefault(parameter, parameter.grad)
                    parameter.grad = self._gradients.get(parameter)
                graph, loss = self._capture(lambda: one_pass(dict(static_inputs), static_examples))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # the only sign that something cannot be recorded
            return False
        finally:
            for parameter, gradient in zip(parameters, before, strict=True):
                parameter.grad = gradient
        self._pool = graph.pool()
        self._passes[shape] = _RecordedPass(graph, static_inputs, static_examples, loss)
        return True

    def _capture(self, work: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # thread_local: other threads, such as those that load batches, may use the GPU during the capture. The
            # stream is set again because a capture that fails may leave another one current.
            recording = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
            with torch.cuda.stream(stream), recording:
                return graph, work()
        except RuntimeError:
            # After a failed capture the random generator still counts as captured and raises; replace its state.
            fresh = torch.Generator(stream.device)
            torch.cuda.default_generators[stream.device_index].graphsafe_set_state(fresh)
            raise

    @staticmethod
    def _run_on_side_stream(work: Callable[[], Any]) -> None:
        """Run the work on another stream, as a capture does, so that whatever is created only once is created."""
        side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream().wait_stream(side)
