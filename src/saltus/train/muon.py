"""Muon: momentum whose matrices are orthogonalised (Jordan et al. 2024), over the replica axis.

Legend: R replica, L layer, M matrices side by side, P parameters of all matrices.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from saltus.model.shape import MATRICES, Shape, layer_shapes
from saltus.train.spec import Optimizer

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration, chosen for a steep start (Jordan et al. 2024)."""
ITERATIONS = 5
SMALLEST_NORM = 1e-7
SIDE_BY_SIDE = {"attention.qkv": 3, "feedforward.gate_up": 2}
"""Matrices that share a tensor are orthogonalised each by itself."""


def orthogonalise(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Return matrices (…, m, n) with their singular values drawn towards one, about .7 to 1.2.

    The odd polynomial aX + bX XᵀX + cX (XᵀX)² acts on the singular values alone; five rounds take
    the whole interval (0, 1] there. Products are made in `dtype`, on the smaller side.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).flatten(0, -3).to(dtype)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    unit = x.mT if tall else x
    return unit.to(matrices.dtype).reshape(matrices.shape)


def stacks(rows: Tensor, shape: Shape) -> Iterator[Tensor]:
    """Yield views (R, L, in, M, out) of the matrices in rows (R, P), one for each kind."""
    shapes = layer_shapes(shape)
    start = 0
    for name in MATRICES:
        inside, outside = shapes[name]
        beside = SIDE_BY_SIDE.get(name, 1)
        end = start + shape.depth * inside * outside
        dims = (shape.depth, inside, beside, outside // beside)
        yield torch.unflatten(rows[:, start:end], 1, dims)
        start = end


def muon_update(
    parameters: Tensor,  # (R, P), updated
    momentum: Tensor,  # (R, P), updated
    gradient: Tensor,  # (R, P), finite
    rates: Tensor,  # (R,)
    alive: Tensor,  # (R,) bool
    shape: Shape,
    options: Optimizer,
) -> None:
    """Update the matrices of every living replica, with Nesterov momentum and decoupled decay.

    A step is scaled by .2·√max(in, out), so that its entries are as large as AdamW's and one rate
    rule serves both (Liu et al. 2025, eq. 4). Products are in bfloat16 on a GPU, as in
    `torch.optim.Muon`, and in single precision on a CPU.
    """
    dtype = torch.bfloat16 if gradient.is_cuda else gradient.dtype
    keep = alive[:, None, None, None, None]
    rate = rates.view(-1, 1, 1, 1, 1)
    tensors = (parameters, momentum, gradient)
    for values, averages, slopes in zip(*(stacks(each, shape) for each in tensors), strict=True):
        average = torch.lerp(averages, slopes, 1 - options.momentum)
        ahead = torch.lerp(slopes, average, options.momentum)
        direction = orthogonalise(ahead.transpose(2, 3), dtype).transpose(2, 3)
        size = 0.2 * max(values.shape[2], values.shape[4]) ** 0.5
        moved = values * (1 - rate * options.decay) - rate * size * direction
        values.copy_(torch.where(keep, moved, values))
        averages.copy_(torch.where(keep, average, averages))
