"""Arithmetic problems: their spaces, what is held out, and how one is written.

A task is a space of expressions: ordered operand pairs for addition, subtraction and
multiplication, whole expressions for chains (`3+5-2=6`). Spaces of up to a million expressions are
enumerated; four-digit pairs are drawn and classed on the way. What is held out depends only on the
operands and a salt, so it is the same for every arm, seed and size, and for addition
and subtraction alike.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Ints = np.ndarray  # integer arrays; shapes stand in the docstrings

ARMS = ("plain", "reversed", "padded")
OPERATORS = "+-*"
TASKS = (
    *(f"{kind}_{digits}" for kind in ("add", "sub") for digits in range(1, 5)),
    "mul_2x1",
    "chain_2",
    "chain_3",
)
ENUMERATED_DIGITS = 3


@dataclass(frozen=True)
class Problems:
    """A batch of n expressions with k operands each.

    `operands` is (n, k); `operators` (n, k - 1) indexes `OPERATORS`; `answers` and `carries` are
    (n,). `carries` counts the columns that carry (addition) or borrow (subtraction), the tens that
    a product carries, or the steps of a chain that leave the current ten.
    """

    operands: Ints
    operators: Ints
    answers: Ints
    carries: Ints

    def __len__(self) -> int:
        return len(self.answers)

    def take(self, index: Ints) -> "Problems":
        """Return the problems at `index`, in that order, as 64-bit integers."""
        return Problems(*(each[index].astype(np.int64) for each in self.arrays()))

    def compact(self) -> "Problems":
        """Return the same in the smallest integers that hold them: a fifth of the memory."""
        return Problems(*map(_smallest, self.arrays()))

    def arrays(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Return all that is known of the problems, field by field."""
        return self.operands, self.operators, self.answers, self.carries


def _smallest(values: Ints) -> Ints:
    """Return integers in the smallest signed type that holds them."""
    most = int(np.abs(values).max(initial=0))
    return values.astype(np.min_scalar_type(-most - 1))


def count_carries(left: Ints, right: Ints, digits: int) -> Ints:
    """Return how many of the `digits` columns of left + right carry; all arrays are (n,)."""
    carries = np.zeros(left.shape, dtype=np.int64)
    carry = np.zeros(left.shape, dtype=np.int64)
    for place in range(digits):
        column = left // 10**place % 10 + right // 10**place % 10 + carry
        carry = (column >= 10).astype(np.int64)
        carries += carry
    return carries


def count_borrows(larger: Ints, smaller: Ints, digits: int) -> Ints:
    """Return how many of the `digits` columns of larger - smaller borrow; all arrays are (n,)."""
    borrows = np.zeros(larger.shape, dtype=np.int64)
    borrow = np.zeros(larger.shape, dtype=np.int64)
    for place in range(digits):
        column = larger // 10**place % 10 - smaller // 10**place % 10 - borrow
        borrow = (column < 0).astype(np.int64)
        borrows += borrow
    return borrows


def _hash_rank(salt: str, keys: Ints) -> Ints:
    """Return a 64-bit rank for each row of integer `keys` (n, k), from BLAKE2b."""
    rows = np.ascontiguousarray(keys, dtype=np.int64)
    seed = salt.encode()
    width = rows.shape[1] * 8
    raw = rows.tobytes()
    digests = b"".join(
        hashlib.blake2b(raw[start : start + width], digest_size=8, key=seed).digest()
        for start in range(0, len(raw), width)
    )
    return np.frombuffer(digests, dtype=np.uint64)


def _lowest_of_each_stratum(rank: Ints, strata: Ints, share: float) -> Ints:
    """Return a mask (n,) that takes the `share` of lowest ranks within each stratum.

    The rounding remainders are carried from stratum to stratum, so that the total is the share.
    """
    held_out = np.zeros(rank.shape, dtype=bool)
    owed = 0.0
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        owed += share * len(members)
        take = min(len(members), round(owed))
        owed -= take
        held_out[members[np.argsort(rank[members], kind="stable")[:take]]] = True
    return held_out


@lru_cache(maxsize=8)
def _held_out_pairs(digits: int, share: float, salt: str) -> Ints:
    """Return the symmetric mask of held-out pairs of `digits`-digit operands.

    Pairs are stratified by the last digit and the carries of their sum and ranked by hash. Rows and
    columns are operands less their smallest value.
    """
    low, high = operand_range(digits)
    first, second = np.triu_indices(high - low)
    left, right = first + low, second + low
    strata = count_carries(left, right, digits) * 10 + (left + right) % 10
    chosen = _lowest_of_each_stratum(_hash_rank(salt, np.stack([left, right], 1)), strata, share)
    mask = np.zeros((high - low, high - low), dtype=bool)
    mask[first, second] = chosen
    mask[second, first] = chosen
    return mask


def operand_range(digits: int) -> tuple[int, int]:
    """Return the half-open range of operands with exactly `digits` digits (0 counts as one)."""
    return (0 if digits == 1 else 10 ** (digits - 1)), 10**digits


def parse_task(task: str) -> tuple[str, int]:
    """Return (kind, number) of a task name: digits of the operands, or steps of a chain."""
    found = re.fullmatch(r"(add|sub|chain|mul)_(\d)(x1)?", task)
    if task not in TASKS or found is None:
        raise ValueError(f"unknown task {task!r}")
    return found[1], int(found[2])


def _pair_problems(kind: str, digits: int, left: Ints, right: Ints) -> Problems:
    """Return the problems left ± right, with their carries or borrows; arrays are (n,)."""
    if kind == "add":
        answers, carries = left + right, count_carries(left, right, digits)
    else:
        answers = left - right
        carries = count_borrows(np.maximum(left, right), np.minimum(left, right), digits)
    operator = np.full((len(left), 1), OPERATORS.index("+" if kind == "add" else "-"))
    return Problems(np.stack([left, right], 1), operator, answers, carries)


def _chains(steps: int) -> Problems:
    """Return every chain of one-digit operands with `steps` additions and subtractions."""
    operands = np.array(list(itertools.product(range(10), repeat=steps + 1)))
    signs = np.array(list(itertools.product((0, 1), repeat=steps)))
    operands = np.repeat(operands, len(signs), axis=0)
    operators = np.tile(signs, (len(operands) // len(signs), 1))
    total = operands[:, 0].copy()
    crossings = np.zeros(len(total), dtype=np.int64)
    for step in range(steps):
        after = total + np.where(operators[:, step] == 0, 1, -1) * operands[:, step + 1]
        crossings += after // 10 != total // 10
        total = after
    return Problems(operands, operators, total, crossings)


@dataclass(frozen=True)
class Space:
    """An enumerated task: all its problems, and which are held out, (n,)."""

    problems: Problems
    held_out: Ints

    def split(self, *, held_out: bool) -> Problems:
        """Return the held-out problems, or those left for training."""
        return self.problems.take(np.flatnonzero(self.held_out == held_out))


@lru_cache(maxsize=16)
def enumerate_space(task: str, share: float, salt: str) -> Space:
    """Return the whole space of `task`, kept compact, with a `share` of it held out.

    One-digit sums and differences (55 pairs) serve training only: nothing of them is held out.
    Raises `ValueError` for four-digit tasks, which are too large to enumerate.
    """
    space = _listed(task, share, salt)
    return Space(space.problems.compact(), space.held_out)


def _listed(task: str, share: float, salt: str) -> Space:
    kind, number = parse_task(task)
    if kind == "chain":
        problems = _chains(number)
        keys = np.concatenate([problems.operands, problems.operators], 1)
        strata = problems.carries * 100 + problems.answers % 10
        return Space(problems, _lowest_of_each_stratum(_hash_rank(salt, keys), strata, share))
    if kind == "mul":
        left, right = (grid.ravel() for grid in np.mgrid[10:100, 1:10])
        carries = left % 10 * right // 10
        problems = Problems(
            np.stack([left, right], 1),
            np.full((len(left), 1), OPERATORS.index("*")),
            left * right,
            carries,
        )
        rank = _hash_rank(salt, np.stack([right, left], 1))
        return Space(problems, _lowest_of_each_stratum(rank, problems.answers % 10, share))
    if number > ENUMERATED_DIGITS:
        raise ValueError(f"{task} is too large to enumerate")
    low, high = operand_range(number)
    left, right = (grid.ravel() for grid in np.mgrid[low:high, low:high])
    problems = _pair_problems(kind, number, left, right)
    if number == 1:
        return Space(problems, np.zeros(len(left), dtype=bool))
    return Space(problems, _held_out_pairs(number, share, salt)[left - low, right - low])


class Sampler:
    """Draws problems of one task from its training or its held-out part, balanced by carries.

    Every count of carries that occurs is drawn equally often, and problems of one count uniformly.
    """

    def __init__(self, task: str, share: float, salt: str, *, held_out: bool) -> None:
        self.task, self.share, self.salt, self.held_out = task, share, salt, held_out
        self.kind, self.number = parse_task(task)
        self.enumerated = not (self.kind in ("add", "sub") and self.number > ENUMERATED_DIGITS)
        if self.enumerated:
            pool = enumerate_space(task, share, salt).split(held_out=held_out)
            self.pool = pool.take(np.argsort(pool.carries, kind="stable")).compact()
            _, self.starts, self.sizes = np.unique(
                self.pool.carries, return_index=True, return_counts=True
            )
        else:
            first = self._candidates(np.random.default_rng(0), 200_000)
            counts = np.bincount(first.carries) / len(first)
            self.acceptance = counts[counts > 0].min() / np.maximum(counts, 1e-12)

    def draw(self, generator: np.random.Generator, count: int) -> Problems:
        """Return `count` problems drawn with replacement."""
        if self.enumerated:
            stratum = generator.integers(len(self.sizes), size=count)
            within = (generator.random(count) * self.sizes[stratum]).astype(np.int64)
            return self.pool.take(self.starts[stratum] + within)
        parts: list[Problems] = [self._candidates(generator, 0)]
        missing = count
        while missing > 0:
            part = self._accepted(generator, max(1024, 4 * missing))
            parts.append(part.take(np.arange(min(missing, len(part)))))
            missing -= len(parts[-1])
        fields = zip(*(part.arrays() for part in parts), strict=True)
        return Problems(*map(np.concatenate, fields))

    def _candidates(self, generator: np.random.Generator, count: int) -> Problems:
        low, high = operand_range(self.number)
        left, right = generator.integers(low, high, size=(2, count))
        return _pair_problems(self.kind, self.number, left, right)

    def _accepted(self, generator: np.random.Generator, count: int) -> Problems:
        drawn = self._candidates(generator, count)
        kept = drawn.take(np.flatnonzero(generator.random(count) < self.acceptance[drawn.carries]))
        pairs = np.sort(kept.operands, axis=1)
        held_out = _hash_rank(self.salt, pairs) < np.uint64(self.share * 2**64)
        return kept.take(np.flatnonzero(held_out == self.held_out))


def distinct_problems(task: str, share: float, salt: str, count: int, seed: int) -> Problems:
    """Return up to `count` distinct held-out problems of `task` for a probe, in a fixed order.

    Of a + b and b + a only one is asked: they are one problem, held out together. Enumerated spaces
    give `count` of their held-out problems, the same number for every count of carries as far as
    they reach.
    """
    sampler = Sampler(task, share, salt, held_out=True)
    generator = np.random.default_rng([seed, *task.encode()])
    if not sampler.enumerated:
        drawn = sampler.draw(generator, 4 * count)
        return drawn.take(_first_of_each(drawn, sampler.kind)[:count])
    shuffled = generator.permutation(len(sampler.pool))
    shuffled = shuffled[_first_of_each(sampler.pool.take(shuffled), sampler.kind)]
    carries = sampler.pool.carries[shuffled]
    turn = np.zeros(len(shuffled), dtype=np.int64)
    for value in np.unique(carries):
        turn[carries == value] = np.arange(np.count_nonzero(carries == value))
    return sampler.pool.take(shuffled[np.argsort(turn, kind="stable")[:count]])


def _first_of_each(problems: Problems, kind: str) -> Ints:
    """Return the indices of the first of each distinct problem, ascending; sums commute."""
    keys = np.concatenate([problems.operands, problems.operators], 1)
    if kind == "add":
        keys = np.sort(problems.operands, axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return np.sort(first)
