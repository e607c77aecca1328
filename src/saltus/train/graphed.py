"""A training step as one CUDA graph: hundreds of small kernels started by one call.

A small model's kernels take less time than Python takes to start them; recorded once and replayed,
they follow each other without a gap. A replay reads and writes the memory that it was recorded
with, so what changes from step to step is copied into place before.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From tokens (R, B, T + 1), rates (R,) and the number of the step () to the rows' losses (R, B).

Parameters and moments change in place.
"""


class GraphedStep:
    """A step recorded on a GPU; to record takes no step."""

    def __init__(self, step: Step, *inputs: Tensor) -> None:
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = step(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Take a step; the losses hold until the next."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._losses
