"""Decoding with a key-value cache, greedy or sampled, many replicas and prompts at once.

Legend: R replica, B prompt, P prompt token, S generated token, V vocabulary, N draw.
"""

from collections.abc import Sequence
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


def sample(
    parameters: dict[str, Tensor],
    prompts: Tensor,  # (B, P): the same for all replicas, all of one length
    shape: Shape,
    *,
    draws: int,
    seeds: Sequence[int],  # (R,)
    terminator: int,
    max_tokens: int,
) -> Tensor:  # (R, B, N, S)
    """Return `draws` continuations of every prompt at temperature 1, filled as in `Decoded`.

    Each replica has a stream of its own, so that it draws the same in any company. Tokens come by
    inversion of the cumulative distribution.
    """
    replicas, batch = len(seeds), prompts.shape[0]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    cache = Cache([], [])
    scores = logits(parameters, prompts.expand(replicas, -1, -1), shape, cache)
    scores = scores.view(replicas, batch, -1, shape.vocabulary)[:, :, -1]
    # All draws share the prompt: it is read once, and what it left in the cache is copied.
    cache = Cache(*([x.repeat_interleave(draws, 0) for x in y] for y in (cache.keys, cache.values)))
    finished = torch.zeros(replicas, batch * draws, dtype=torch.bool, device=prompts.device)
    tokens: list[Tensor] = []
    while True:
        uniform = torch.stack(
            [torch.rand(batch * draws, generator=generator) for generator in generators]
        ).to(prompts.device)
        reached = scores.float().softmax(-1).cumsum(-1)  # (R, B, V), then (R, B·N, V)
        level = uniform.view(*reached.shape[:2], -1) * reached[..., -1:]
        chosen = torch.searchsorted(reached, level, right=True).view_as(finished)
        chosen = torch.where(finished, terminator, chosen.clamp_max(shape.vocabulary - 1))
        tokens.append(chosen)
        finished = finished | (chosen == terminator)
        if len(tokens) == max_tokens or bool(finished.all()):
            return torch.stack(tokens, 2).view(replicas, batch, draws, -1)
        scores = logits(parameters, chosen[..., None], shape, cache)
        scores = scores.view(replicas, -1, shape.vocabulary)


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
