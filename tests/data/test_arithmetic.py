"""Spaces of problems: right answers, what is held out, and that it is distributed as the rest."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from saltus.data import arithmetic
from saltus.data.arithmetic import (
    OPERATORS,
    TASKS,
    Problems,
    Sampler,
    count_borrows,
    count_carries,
    distinct_problems,
    enumerate_space,
    parse_task,
)

SHARE = 0.1
SALT = "saltus held-out 0"
ENUMERATED = [task for task in TASKS if not task.endswith("_4")]
HELD_OUT = [task for task in ENUMERATED if not task.endswith("_1")]
# Three-digit differences share their pairs with the sums, and a test says so: one is slow enough.
WITHOUT_TWIN = [task for task in HELD_OUT if task != "sub_3"]


def expressions(problems: Problems) -> list[str]:
    """The problems as Python expressions, such as `3+5-2`."""
    texts = []
    for operands, operators in zip(problems.operands, problems.operators, strict=True):
        signs = ["", *(OPERATORS[operator] for operator in operators)]
        texts.append("".join(f"{s}{int(x)}" for s, x in zip(signs, operands, strict=True)))
    return texts


def codes(problems: Problems) -> np.ndarray:
    """One integer for each expression, different for different ones: (n,)."""
    digits = np.concatenate([problems.operands, problems.operators], 1)
    return digits @ (10_000 ** np.arange(digits.shape[1]) if digits.shape[1] < 4 else
                     16 ** np.arange(digits.shape[1]))  # fmt: skip


def slow_carries(left: int, right: int) -> int:
    """Add as at school, column by column from the right, and count the carries."""
    carries = carry = 0
    width = max(len(str(left)), len(str(right)))
    for a, b in zip(reversed(f"{left:0{width}}"), reversed(f"{right:0{width}}"), strict=True):
        carry = 1 if int(a) + int(b) + carry > 9 else 0
        carries += carry
    return carries


def slow_borrows(larger: int, smaller: int) -> int:
    """Subtract as at school and count the columns that borrow from the next."""
    borrows = borrow = 0
    width = len(str(larger))
    for a, b in zip(reversed(str(larger)), reversed(f"{smaller:0{width}}"), strict=True):
        borrow = 1 if int(a) - borrow < int(b) else 0
        borrows += borrow
    return borrows


def slow_crossings(operands: list[int], operators: list[int]) -> int:
    """Count the steps of a chain after which the running total lies in another decade."""
    total, crossings = operands[0], 0
    for operand, operator in zip(operands[1:], operators, strict=True):
        after = total + operand if operator == 0 else total - operand
        crossings += range(total - total % 10, total - total % 10 + 10).count(after) == 0
        total = after
    return crossings


def sample(task: str, count: int = 3000) -> Problems:
    """All problems of a small space, else some drawn from its training part."""
    if task in ENUMERATED:
        problems = enumerate_space(task, SHARE, SALT).problems
        if len(problems) > count:
            chosen = np.random.default_rng(0).choice(len(problems), count, replace=False)
            problems = problems.take(chosen)
        return problems
    return Sampler(task, SHARE, SALT, held_out=False).draw(np.random.default_rng(0), count)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_what_python_computes(task: str) -> None:
    problems = sample(task)
    assert len(problems) > 50
    assert [eval(text) for text in expressions(problems)] == problems.answers.tolist()


@pytest.mark.parametrize("task", TASKS)
def test_operands_have_the_digits_of_the_task(task: str) -> None:
    kind, number = parse_task(task)
    lengths = {"chain": [1] * (number + 1), "mul": [2, 1]}.get(kind, [number, number])
    operands = sample(task).operands
    assert operands.min() >= 0
    for column, length in zip(operands.T, lengths, strict=True):
        assert {len(str(value)) for value in column} == {length}


@pytest.mark.parametrize("task", TASKS)
def test_carries_equal_a_count_by_hand(task: str) -> None:
    kind, _ = parse_task(task)
    problems = sample(task, 1000)
    for operands, operators, carries in zip(
        problems.operands.tolist(), problems.operators.tolist(), problems.carries, strict=True
    ):
        if kind == "add":
            expected = slow_carries(*operands)
        elif kind == "sub":
            expected = slow_borrows(max(operands), min(operands))
        elif kind == "mul":
            expected = int(f"{operands[0] % 10 * operands[1]:02}"[0])
        else:
            expected = slow_crossings(operands, operators)
        assert carries == expected, operands


def test_known_carries() -> None:
    left, right = np.array([999, 500, 950, 0]), np.array([1, 499, 60, 0])
    assert count_carries(left, right, 3).tolist() == [3, 0, 2, 0]
    assert count_borrows(np.array([1000, 52, 70]), np.array([1, 25, 70]), 4).tolist() == [3, 1, 0]


@pytest.mark.parametrize("digits", [2, 3])
def test_addition_and_subtraction_hold_out_the_same_unordered_pairs(digits: int) -> None:
    sets = []
    for kind in ("add", "sub"):
        space = enumerate_space(f"{kind}_{digits}", SHARE, SALT)
        operands = space.split(held_out=True).operands
        ordered = np.unique(operands, axis=0)
        assert np.array_equal(ordered, np.unique(operands[:, ::-1], axis=0))
        sets.append(ordered)
    assert np.array_equal(*sets)
    pairs = sets[0][sets[0][:, 0] <= sets[0][:, 1]]
    total = (9 * 10 ** (digits - 1)) * (9 * 10 ** (digits - 1) + 1) // 2
    assert len(pairs) == pytest.approx(SHARE * total, abs=1)


@pytest.mark.parametrize("task", [*WITHOUT_TWIN, "add_1", "sub_1"])
def test_held_out_and_training_divide_the_space(task: str) -> None:
    space = enumerate_space(task, SHARE, SALT)
    parts = [codes(space.split(held_out=part)) for part in (True, False)]
    assert len(np.unique(np.concatenate(parts))) == len(space.problems)
    assert len(parts[0]) + len(parts[1]) == len(space.problems)
    if task in HELD_OUT:
        assert len(parts[0]) / len(space.problems) == pytest.approx(SHARE, rel=0.02)


@pytest.mark.parametrize("task", ["add_1", "sub_1"])
def test_one_digit_tasks_hold_nothing_out(task: str) -> None:
    space = enumerate_space(task, SHARE, SALT)
    assert not space.held_out.any()
    assert len(space.problems) == 100
    assert len(distinct_problems(task, SHARE, SALT, 50, 0)) == 0
    assert len(Sampler(task, SHARE, SALT, held_out=True).pool) == 0


@pytest.mark.parametrize("task", ["add_2", "mul_2x1", "chain_2"])
def test_the_salt_alone_decides_what_is_held_out(task: str) -> None:
    first = enumerate_space(task, SHARE, SALT).held_out.copy()
    enumerate_space.cache_clear()
    arithmetic._held_out_pairs.cache_clear()
    assert np.array_equal(first, enumerate_space(task, SHARE, SALT).held_out)
    other = enumerate_space(task, SHARE, "another salt").held_out
    # Independent choices share a tenth of a tenth.
    assert (first & other).mean() < 3 * SHARE**2


@pytest.mark.parametrize("task", WITHOUT_TWIN)
@pytest.mark.parametrize("held_out", [True, False])
def test_draws_stay_on_their_side(task: str, held_out: bool) -> None:
    own = codes(enumerate_space(task, SHARE, SALT).split(held_out=held_out))
    sampler = Sampler(task, SHARE, SALT, held_out=held_out)
    drawn = sampler.draw(np.random.default_rng(1), 5000)
    assert len(drawn) == 5000
    assert np.isin(codes(drawn), own).all()
    assert len(sampler.pool) == len(own)


@pytest.fixture
def narrow_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four-digit operands from 9,980 to 10,000 only, so that draws cover the whole space."""
    monkeypatch.setattr(arithmetic, "operand_range", lambda digits: (9_980, 10_000))


def test_four_digit_draws_never_cross_sides(narrow_operands: None) -> None:
    sides: dict[bool, set[tuple[int, ...]]] = {}
    for held_out in (True, False):
        found = []
        for task in ("add_4", "sub_4"):
            sampler = Sampler(task, SHARE, SALT, held_out=held_out)
            assert not sampler.enumerated
            drawn = sampler.draw(np.random.default_rng(2), 8000).operands
            found.append({tuple(pair) for pair in drawn.tolist()})
            assert found[-1] == {(b, a) for a, b in found[-1]}
        assert found[0] == found[1]
        sides[held_out] = found[0]
    assert not sides[True] & sides[False]
    assert len(sides[True] | sides[False]) == 400
    assert 0.03 < len(sides[True]) / 400 < 0.2


def test_four_digit_pairs_are_held_out_at_the_share() -> None:
    sampler = Sampler("add_4", 0.3, SALT, held_out=True)
    pairs = np.sort(np.random.default_rng(3).integers(1000, 10_000, (20_000, 2)), axis=1)
    rank = arithmetic._hash_rank(sampler.salt, pairs)
    assert (rank < np.uint64(0.3 * 2**64)).mean() == pytest.approx(0.3, abs=0.015)


def table_of(values: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Counts (2, k) of each value among held-out and among training problems."""
    return np.stack(
        [[np.count_nonzero(values[held_out == side] == v) for v in np.unique(values)]
         for side in (True, False)]
    )  # fmt: skip


def one_of_each_pair(task: str, problems: Problems) -> np.ndarray:
    """A mask that takes each unordered pair once: both orders would count one choice twice."""
    if not task.startswith(("add", "sub")):
        return np.ones(len(problems), dtype=bool)
    return problems.operands[:, 0] <= problems.operands[:, 1]


@pytest.mark.parametrize("task", ["add_2", "add_3", "chain_2", "sub_2", "sub_3", "chain_3"])
@pytest.mark.parametrize("quantity", ["last digit", "carries"])
def test_held_out_answers_are_distributed_as_training_ones(task: str, quantity: str) -> None:
    space = enumerate_space(task, SHARE, SALT)
    once = one_of_each_pair(task, space.problems)
    problems, held_out = space.problems.take(np.flatnonzero(once)), space.held_out[once]
    values = np.abs(problems.answers) % 10 if quantity == "last digit" else problems.carries
    assert chi2_contingency(table_of(values, held_out)).pvalue > 0.01


@pytest.mark.parametrize("task", ["add_2", "add_3"])
def test_a_linear_rule_fails_that_test(task: str) -> None:
    problems = enumerate_space(task, SHARE, SALT).problems
    problems = problems.take(np.flatnonzero(one_of_each_pair(task, problems)))
    left, right = problems.operands.T
    linear = (7919 * left + 104729 * right) % 10 == 0
    # As large a part as ours, but exactly the sums that end in 0.
    assert linear.mean() == pytest.approx(SHARE, abs=0.02)
    last = problems.answers % 10
    assert set(last[linear]) == {0} and 0 not in set(last[~linear])
    assert chi2_contingency(table_of(last, linear)).pvalue < 1e-100


@pytest.mark.parametrize("task", [*HELD_OUT, "add_1"])
def test_every_count_of_carries_is_drawn_equally_often(task: str) -> None:
    drawn = Sampler(task, SHARE, SALT, held_out=False).draw(np.random.default_rng(4), 6000)
    _, counts = np.unique(drawn.carries, return_counts=True)
    space = enumerate_space(task, SHARE, SALT).split(held_out=False)
    assert len(counts) == len(np.unique(space.carries))
    assert chisquare(counts).pvalue > 1e-3


def test_problems_of_one_count_of_carries_are_drawn_uniformly() -> None:
    drawn = Sampler("chain_2", SHARE, SALT, held_out=True).draw(np.random.default_rng(5), 30_000)
    pool = enumerate_space("chain_2", SHARE, SALT).split(held_out=True)
    counts = Counter(expressions(drawn))
    for carries in np.unique(pool.carries):
        members = expressions(pool.take(np.flatnonzero(pool.carries == carries)))
        assert chisquare([counts[member] for member in members]).pvalue > 1e-3


@pytest.mark.parametrize("task", ["add_4", "sub_4"])
@pytest.mark.parametrize("held_out", [True, False])
def test_four_digit_draws_are_balanced_and_repeatable(task: str, held_out: bool) -> None:
    sampler = Sampler(task, SHARE, SALT, held_out=held_out)
    drawn = sampler.draw(np.random.default_rng(6), 4000)
    assert len(drawn) == 4000
    assert drawn.operands.min() >= 1000 and drawn.operands.max() <= 9999
    # Acceptance rates are estimated: each class is within a tenth of its share.
    shares = np.bincount(drawn.carries) / 4000
    assert shares == pytest.approx(np.full(len(shares), 1 / len(shares)), rel=0.15)
    again = Sampler(task, SHARE, SALT, held_out=held_out).draw(np.random.default_rng(6), 4000)
    assert np.array_equal(drawn.operands, again.operands)


def test_draws_depend_on_the_generator_alone() -> None:
    sampler = Sampler("add_2", SHARE, SALT, held_out=False)
    first = sampler.draw(np.random.default_rng(7), 100)
    sampler.draw(np.random.default_rng(8), 33)
    again = sampler.draw(np.random.default_rng(7), 100)
    assert np.array_equal(first.operands, again.operands)
    assert not np.array_equal(first.operands, sampler.draw(np.random.default_rng(9), 100).operands)


@pytest.mark.parametrize("task", ["add_2", "chain_2", "add_4"])
def test_nothing_can_be_drawn(task: str) -> None:
    sampler = Sampler(task, SHARE, SALT, held_out=False)
    assert len(sampler.draw(np.random.default_rng(0), 0)) == 0


@pytest.mark.parametrize("task", [*HELD_OUT, "add_4", "sub_4"])
def test_probe_problems_are_distinct_held_out_and_balanced(task: str) -> None:
    problems = distinct_problems(task, SHARE, SALT, 120, 1)
    texts = expressions(problems)
    assert len(set(texts)) == len(texts)
    if task.endswith("_4"):
        assert len(texts) == 120
        rank = arithmetic._hash_rank(SALT, np.sort(problems.operands, axis=1))
        assert (rank < np.uint64(SHARE * 2**64)).all()
        return
    pool = enumerate_space(task, SHARE, SALT).split(held_out=True)
    assert set(texts) <= set(expressions(pool))
    assert len(texts) == min(120, len(pool))
    there, got = np.bincount(pool.carries), np.bincount(problems.carries)
    for carries, count in enumerate(got):
        # A class gives as many as any other, unless it has no more to give.
        assert count >= got.max() - 1 or count == there[carries]


def test_probe_problems_repeat_and_change_with_the_seed() -> None:
    def texts_for(seed: int) -> list[str]:
        return expressions(distinct_problems("add_3", SHARE, SALT, 50, seed))

    assert texts_for(1) == texts_for(1)
    assert texts_for(1) != texts_for(2)
    both: Any = set(texts_for(1)) & set(texts_for(2))
    assert len(both) < 10


def test_a_probe_gets_all_there_is_of_a_small_space() -> None:
    pool = enumerate_space("mul_2x1", SHARE, SALT).split(held_out=True)
    problems = distinct_problems("mul_2x1", SHARE, SALT, 10_000, 0)
    assert sorted(expressions(problems)) == sorted(expressions(pool))


@pytest.mark.parametrize("task", ["add_5", "mul_3", "mul_2", "chain_1", "add_2x1", ""])
def test_unknown_tasks_are_refused(task: str) -> None:
    with pytest.raises(ValueError, match="unknown task"):
        parse_task(task)


def test_four_digits_are_not_enumerated() -> None:
    with pytest.raises(ValueError, match="too large"):
        enumerate_space("add_4", SHARE, SALT)


@pytest.mark.parametrize("task", ["add_2", "add_3", "add_4"])
def test_a_probe_asks_a_sum_in_one_order_only(task: str) -> None:
    problems = distinct_problems(task, 0.1, "salt", 300, seed=0)
    pairs = {tuple(sorted(pair)) for pair in problems.operands.tolist()}
    assert len(pairs) == len(problems) == 300
    # Both orders occur: it is not the sorted one that is asked.
    assert 0.3 < np.mean(problems.operands[:, 0] < problems.operands[:, 1]) < 0.7


@pytest.mark.parametrize("task", ["add_3", "sub_3", "chain_3", "mul_2x1"])
def test_a_space_is_kept_small_and_handed_out_as_it_is(task: str) -> None:
    problems = enumerate_space(task, SHARE, SALT).problems
    arrays = problems.arrays()
    assert sum(each.nbytes for each in arrays) <= sum(each.size for each in arrays) * 2
    taken = problems.take(np.arange(len(problems)))
    for kept, given in zip(arrays, taken.arrays(), strict=True):
        assert given.dtype == np.int64 and np.array_equal(kept, given)
    left, right = taken.operands.T[:2]
    if task != "chain_3":
        value = {"add_3": left + right, "sub_3": left - right, "mul_2x1": left * right}[task]
        assert np.array_equal(taken.answers, value)
