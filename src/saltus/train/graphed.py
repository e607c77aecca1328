"""A training step as one CUDA graph: hundreds of small kernels started by one call.

A small model's kernels take less time than Python takes to start them; recorded once and replayed,
they follow each other without a gap. A replay reads and writes the memory that it was recorded
with, so what changes from step to step is copied into place before.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From tokens (R, B, T + 1), rates (R,) and the number of the step () to the rows' losses (R, B).

Parameters and moments change in place.
"""


@lru_cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that all steps of a device are recorded on.

    cuBLAS keeps a workspace for every stream it has ever seen.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class GraphedStep:
    """A step recorded on a GPU: what is recorded does not run until it is called.

    Raises what the step does, above all where memory is short.
    """

    def __init__(self, step: Step, device: torch.device, *inputs: Tensor) -> None:
        self._inputs = [each.to(device, copy=True) for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        failure: RuntimeError | None = None
        with torch.cuda.device(device):
            before = torch.cuda.current_stream()
            try:
                with torch.cuda.graph(self._graph, stream=recording_stream(device)):
                    try:
                        self._losses = step(*self._inputs)
                    except RuntimeError as error:
                        failure = error
                        raise
            except RuntimeError as error:
                # A recording that is broken off hides its cause, and stays on its own stream.
                torch.cuda.set_stream(before)
                raise failure or error from None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Take a step; the losses hold until the next."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._losses
