"""AdamW over the replica axis: one update for all, each with its own rate and clipping.

Legend: R replica, P parameters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saltus.model.shape import Shape, layout
from saltus.train.spec import Optimizer


@dataclass
class AdamState:
    """Parameters, both moments, and which replicas are alive."""

    parameters: Tensor  # (R, P)
    first: Tensor  # (R, P)
    second: Tensor  # (R, P)
    alive: Tensor  # (R,) bool


def decay_mask(shape: Shape) -> Tensor:
    """Return 1 for matrices and 0 for norms and the embedding, by role: (P,)."""
    return torch.cat(
        [torch.full((entry.size,), float(entry.role == "matrix")) for entry in layout(shape)]
    )


def adamw_step(
    state: AdamState,
    gradient: Tensor,  # (R, P); overwritten
    losses: Tensor,  # (R,)
    rates: Tensor,  # (R,)
    step: int,
    decayed: Tensor,  # (P,)
    options: Optimizer,
) -> None:
    """Update `state` in place; a replica whose loss or gradient is not finite is frozen for good.

    The gradient of each replica is clipped to the norm `options.clip`. `step` counts from 0. A
    frozen replica keeps the parameters and moments of its last good step: it is masked by
    selection, since 0 · NaN is NaN.
    """
    norms = torch.linalg.vector_norm(gradient, dim=1)
    state.alive &= torch.isfinite(losses) & torch.isfinite(norms)
    keep = state.alive[:, None]
    scale = (options.clip / norms.clamp_min(1e-12)).clamp_max(1.0)[:, None]
    gradient = torch.where(keep, gradient.mul_(scale), 0.0)

    first = torch.lerp(state.first, gradient, 1 - options.beta1)
    second = state.second.mul(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
    correction1 = 1 - options.beta1 ** (step + 1)
    correction2 = 1 - options.beta2 ** (step + 1)
    denominator = (second / correction2).sqrt_().add_(options.epsilon)
    update = (first / correction1).div_(denominator)
    update.addcmul_(state.parameters, decayed.expand_as(update), value=options.decay)
    parameters = torch.addcmul(state.parameters, update, rates[:, None], value=-1.0)

    torch.where(keep, first, state.first, out=state.first)
    torch.where(keep, second, state.second, out=state.second)
    torch.where(keep, parameters, state.parameters, out=state.parameters)
