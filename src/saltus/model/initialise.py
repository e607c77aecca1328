"""Initial parameters, one replica a row, each from its own seed.

Legend: R replica, P parameters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from saltus.model.shape import Shape, layout

EMBEDDING_DEVIATION = 0.06
RESIDUAL_OUTPUTS = ("attention.output", "feedforward.down")


def initial_parameters(shape: Shape, seeds: Sequence[int]) -> Tensor:
    """Return the flat parameters (R, P) in float32, on the CPU.

    Matrices are normal with deviation 1/√(fan in), but those that write to the residual stream are
    zero (Zhang et al. 2019, Fixup), so that a token's own embedding is not drowned before anything
    is learnt: on small models this took a fifth of a nat off the loss at 100k tokens. Embeddings,
    the output matrix too, are normal with a deviation of .06; norm gains are one. A row depends on
    its own seed alone, never on its neighbours.
    """
    return torch.stack([_one_replica(shape, seed) for seed in seeds])


def _one_replica(shape: Shape, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pieces = []
    for entry in layout(shape):
        if entry.role == "norm":
            pieces.append(torch.ones(entry.size))
            continue
        deviation = EMBEDDING_DEVIATION if entry.role == "embedding" else entry.shape[0] ** -0.5
        if entry.name.endswith(RESIDUAL_OUTPUTS):
            deviation = 0.0
        pieces.append(torch.randn(entry.size, generator=generator) * deviation)
    return torch.cat(pieces)
