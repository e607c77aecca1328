"""What looking up the nearest training problem would score on held-out problems.

A model that memorises would answer an unseen problem as the most similar one it has seen. Nearest
is the least sum of absolute differences of operands among the problems of the task that training
may draw; signs do not count, so that `3+0-2` is as near as can be to `3-0-2`. Of ties the share
with the right answer counts.

Legend: n problems, k operands, m candidates, O combinations of operators (1 but for chains).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# The rank by which four-digit pairs are held out has no public name: data/ decides the training.
from saltus.data.arithmetic import (
    ENUMERATED_DIGITS,
    Ints,
    Problems,
    _hash_rank,
    enumerate_space,
    operand_range,
    parse_task,
)

Lookup = Callable[[Ints], tuple[Ints, Ints]]
"""Operands (m, k) within range in; which of them are trained on and their answers, both (m, O)."""


def neighbour_exact(problems: Problems, task: str, share: float, salt: str) -> NDArray[np.float64]:
    """Return the share of the nearest training problems whose answer is that of each problem, (n,).

    problems: held out of `task` by `share` and `salt`. The L1 sphere about every problem is looked
    through at growing radius until some problem on it was left for training; 0 if none is.
    """
    low, high = _ranges(task)
    lookup = _pairs(task, share, salt) if _is_large(task) else _enumerated(task, share, salt)
    found = np.zeros(len(problems))
    waiting = np.arange(len(problems))
    for radius in range(int((high - low).sum())):
        around = problems.operands[waiting, None] + _sphere(low.size, radius)  # (n, m, k)
        inside = ((around >= low) & (around < high)).all(-1)
        trained, answers = lookup(around[inside])
        right = trained & (answers == np.repeat(problems.answers[waiting], inside.sum(1))[:, None])
        item = np.nonzero(inside)[0]
        num_trained, num_right = (
            np.bincount(item, each.sum(1), waiting.size) for each in (trained, right)
        )
        done = num_trained > 0
        found[waiting[done]] = num_right[done] / num_trained[done]
        waiting = waiting[~done]
        if not waiting.size:
            break
    return found


def _is_large(task: str) -> bool:
    kind, number = parse_task(task)
    return kind in ("add", "sub") and number > ENUMERATED_DIGITS


def _ranges(task: str) -> tuple[Ints, Ints]:
    """Return the half-open ranges of the operands of a task, (k,) and (k,)."""
    kind, number = parse_task(task)
    if kind == "chain":
        return np.zeros(number + 1, dtype=np.int64), np.full(number + 1, 10)
    if kind == "mul":
        return np.array([10, 1]), np.array([100, 10])
    low, high = operand_range(number)
    return np.array([low, low]), np.array([high, high])


@lru_cache
def _sphere(k: int, radius: int) -> Ints:
    """Return all integer vectors (m, k) whose absolute values sum to `radius`."""
    if k == 1:
        return np.array([[radius], [-radius]] if radius else [[0]])
    parts = []
    for first in range(-radius, radius + 1):
        rest = _sphere(k - 1, radius - abs(first))
        parts.append(np.concatenate([np.full((len(rest), 1), first), rest], 1))
    return np.concatenate(parts)


def _enumerated(task: str, share: float, salt: str) -> Lookup:
    """Look problems up where the whole space is listed: in order of operands, then operators."""
    space = enumerate_space(task, share, salt)
    low, high = _ranges(task)
    combinations = len(space.held_out) // int(np.prod(high - low))
    trained = ~space.held_out.reshape(-1, combinations)
    answers = space.problems.answers.astype(np.int64).reshape(-1, combinations)

    def lookup(operands: Ints) -> tuple[Ints, Ints]:
        row = np.ravel_multi_index(tuple((operands - low).T), tuple(high - low))
        return trained[row], answers[row]

    return lookup


def _pairs(task: str, share: float, salt: str) -> Lookup:
    """Look pairs up that are too many to be listed: held out are those of low rank."""
    kind, _ = parse_task(task)
    limit = np.uint64(share * 2**64)

    def lookup(operands: Ints) -> tuple[Ints, Ints]:
        trained = _hash_rank(salt, np.sort(operands, axis=1)) >= limit
        left, right = operands.T
        return trained[:, None], (left + right if kind == "add" else left - right)[:, None]

    return lookup
