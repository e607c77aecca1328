"""Greedy decoding with a key-value cache, many replicas and prompts at once.

Legend: R replica, B prompt, P prompt token, S generated token, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saltus.model.shape import Shape
from saltus.model.transformer import Cache, logits


@dataclass(frozen=True)
class Decoded:
    """What was generated after each prompt, the terminator included.

    `tokens` is (R, B, S), filled with the terminator after it came; `log_probability` (R, B) sums
    the log-probabilities of the generated tokens up to and including the terminator, `tempered` the
    same at the replica's temperature; `finished` (R, B) tells whether the terminator came.
    """

    tokens: Tensor
    log_probability: Tensor
    tempered: Tensor
    finished: Tensor


def greedy(
    parameters: dict[str, Tensor],
    prompts: Tensor,  # (B, P): the same for all replicas, all of one length
    shape: Shape,
    *,
    temperatures: Tensor,  # (R,)
    terminator: int,
    max_tokens: int,
) -> Decoded:
    """Return the most likely continuation of every prompt, token by token."""
    replicas = temperatures.shape[0]
    batch = prompts.shape[0]
    cache = Cache([], [])
    given = prompts.expand(replicas, -1, -1)
    finished = torch.zeros(replicas, batch, dtype=torch.bool, device=prompts.device)
    total = torch.zeros(replicas, batch, device=prompts.device)
    tempered = torch.zeros_like(total)
    tokens: list[Tensor] = []
    for _ in range(max_tokens):
        scores = logits(parameters, given, shape, cache)
        scores = scores.view(replicas, batch, -1, shape.vocabulary)[:, :, -1].float()
        chosen = scores.argmax(-1)  # (R, B)
        for sum_of_logs, divisor in ((total, None), (tempered, temperatures[:, None, None])):
            logs = (scores if divisor is None else scores / divisor).log_softmax(-1)
            step = logs.gather(-1, chosen[..., None])[..., 0]
            sum_of_logs += torch.where(finished, 0.0, step)
        chosen = torch.where(finished, terminator, chosen)
        tokens.append(chosen)
        finished = finished | (chosen == terminator)
        if bool(finished.all()):
            break
        given = chosen[..., None]
    return Decoded(torch.stack(tokens, 2), total, tempered, finished)


def fit_temperature(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the temperature (R,) of least NLL of `targets` (R, n) under `scores` (R, n, V).

    Guo et al. 2017, §4.2. The NLL is convex in the inverse temperature β, with slope E_p[z] - z_y
    and curvature Var_p[z]: Newton's method, kept within [1/20, 20].
    """
    scores = scores.double()
    target = scores.gather(-1, targets[..., None])[..., 0].mean(1)
    inverse = torch.ones(scores.shape[0], dtype=torch.float64, device=scores.device)
    for _ in range(50):
        probability = (scores * inverse[:, None, None]).softmax(-1)
        mean = (probability * scores).sum(-1)
        variance = (probability * scores.square()).sum(-1) - mean.square()
        step = (mean.mean(1) - target) / variance.mean(1).clamp_min(1e-12)
        step = step.clamp(-0.5 * inverse, 0.5 * inverse)
        inverse = (inverse - step).clamp(0.05, 20.0)
        if bool((step.abs() < 1e-8 * inverse).all()):
            break
    return (1 / inverse).float()
