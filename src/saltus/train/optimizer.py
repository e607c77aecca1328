"""The optimizer over the replica axis: one update for all, each with its own rate and clipping.

Legend: R replica, P parameters, L layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saltus.model.shape import Shape, num_undecayed
from saltus.train.muon import muon_update
from saltus.train.spec import Optimizer


@dataclass
class OptimizerState:
    """Parameters, moments, and which replicas are alive.

    `first` holds Adam's first moment or Muon's momentum; `second` stays zero where Muon works.
    """

    parameters: Tensor  # (R, P)
    first: Tensor  # (R, P)
    second: Tensor  # (R, P)
    alive: Tensor  # (R,) bool


def optimizer_step(
    state: OptimizerState,
    gradient: Tensor,  # (R, P); overwritten
    losses: Tensor,  # (R,)
    rates: Tensor,  # (R,)
    step: int | Tensor,
    shape: Shape,
    options: Optimizer,
) -> None:
    """Update `state` in place; a replica whose loss or gradient is not finite is frozen for good.

    The gradient of each replica is clipped to the norm `options.clip`. `step` counts from 0, and is
    a tensor where a recorded step reads it anew. A frozen replica keeps the parameters and moments
    of its last good step. Matrices decay, norms and the embedding do not; with Muon, matrices are
    its own and the rest is AdamW's.
    """
    norms = torch.linalg.vector_norm(gradient, dim=1)
    state.alive &= torch.isfinite(losses) & torch.isfinite(norms)
    divisors = (norms / options.clip).clamp_min_(1.0)
    undecayed = num_undecayed(shape)
    stretches = [(slice(0, undecayed), 0.0)]
    if options.name == "adamw":
        stretches.append((slice(undecayed, None), options.decay))
    else:
        scaled = torch.where(state.alive[:, None], gradient[:, undecayed:] / divisors[:, None], 0.0)
        values, momentum = state.parameters[:, undecayed:], state.first[:, undecayed:]
        muon_update(values, momentum, scaled, rates, state.alive, shape, options)
    adamw_update(state, gradient, divisors, rates, step, stretches, options)


def adamw_update(
    state: OptimizerState,
    gradient: Tensor,  # (R, P); overwritten
    divisors: Tensor,  # (R,) of the gradient
    rates: Tensor,  # (R,)
    step: int | Tensor,
    stretches: list[tuple[slice, float]],
    options: Optimizer,
) -> None:
    """Update stretches of the rows, each with its decay (Loshchilov & Hutter 2019, algorithm 2).

    One call of PyTorch's fused kernel a replica and stretch, since a call takes one rate: a single
    pass over memory, where the formula in tensor operations takes fifteen. The kernel divides the
    gradient itself, and leaves alone what is marked as having met an infinity: here, the dead.
    """
    count = torch.zeros((), device=gradient.device).add_(step).add_(1)
    dead = (~state.alive).to(gradient.dtype)
    for row in range(gradient.shape[0]):
        for stretch, decay in stretches:
            torch._fused_adamw_(
                [state.parameters[row, stretch]],
                [gradient[row, stretch]],
                [state.first[row, stretch]],
                [state.second[row, stretch]],
                [],
                [count],
                lr=rates[row],
                beta1=options.beta1,
                beta2=options.beta2,
                weight_decay=decay,
                eps=options.epsilon,
                amsgrad=False,
                maximize=False,
                grad_scale=divisors[row],
                found_inf=dead[row],
            )
