"""The training stream: pure in (seed, step), fair in its shares, and never a held-out problem."""

import re
from collections import Counter

import numpy as np
import pytest

from saltus.data.arithmetic import enumerate_space
from saltus.data.batches import (
    ARITHMETIC,
    CHUNK_ROWS,
    ArithmeticRows,
    Batches,
    Drill,
    Mixture,
    TextRows,
)
from saltus.data.writing import SYMBOLS, Alphabet, as_text

CONTEXT = 24
FIRST_WORD = 100
ALPHABET = Alphabet(tuple(range(13)), {"plain": 13, "reversed": 14, "padded": 15}, 16)
DRILLS = (
    Drill("add_1", "plain", 1.0),
    Drill("add_2", "plain", 1.0),
    Drill("sub_2", "reversed", 2.0),
    Drill("chain_2", "padded", 4.0),
)
MIXTURE = Mixture({"first": 0.3, ARITHMETIC: 0.5, "second": 0.2}, DRILLS, 0.1, "salt")
# Every position holds a token of its own, so that a row tells where it was cut.
TEXTS = {
    "first": np.arange(FIRST_WORD, FIRST_WORD + 1_000, dtype=np.uint16),
    "second": np.arange(5_000, 5_700, dtype=np.uint16),
}


def make_batches(
    seeds: tuple[int, ...] = (3,), rows: int = 10, mixture: Mixture = MIXTURE
) -> Batches:
    texts = {name: tokens for name, tokens in TEXTS.items() if name in mixture.shares}
    return Batches(mixture, texts, ALPHABET, seeds=seeds, rows=rows, context=CONTEXT)


def test_a_batch_does_not_depend_on_what_was_asked_before() -> None:
    # 700 rows a step: half of them cross a chunk of problems at every third step or so.
    assert CHUNK_ROWS % 350 != 0
    ahead = {step: make_batches(rows=700).batch(step) for step in range(5)}
    one = make_batches(rows=700)
    for step in (4, 0, 3, 3, 1, 2, 4):
        assert np.array_equal(one.batch(step), ahead[step]), step
    assert ahead[0].shape == (1, 700, CONTEXT + 1)


def test_replicas_of_a_block_see_what_each_would_see_alone() -> None:
    seeds = (3, 40, 5)
    fused = make_batches(seeds)
    alone = [make_batches((seed,)) for seed in seeds]
    for step in (0, 1, 7, 300, 2):
        tokens = fused.batch(step)
        for row, single in zip(tokens, alone, strict=True):
            assert np.array_equal(row, single.batch(step)[0])
        assert not np.array_equal(tokens[0], tokens[1])


def test_two_replicas_of_one_seed_see_the_same() -> None:
    tokens = make_batches((3, 3)).batch(130)
    assert np.array_equal(tokens[0], tokens[1])


@pytest.mark.parametrize(
    "shares", [(0.6, 0.4), (0.5, 0.5), (0.05, 0.95), (0.3, 0.5, 0.2), (0.01, 0.01, 0.98), (1.0,)]
)
def test_any_run_of_rows_holds_nearly_its_shares(shares: tuple[float, ...]) -> None:
    mixture = Mixture({str(i): share for i, share in enumerate(shares)}, (), 0.1, "")
    sources = mixture.sources(np.arange(20_000))
    for index, share in enumerate(shares):
        excess = np.concatenate([[0.0], np.cumsum((sources == index) - share)])
        # The largest excess of any run is the range of the running sum.
        assert excess.max() - excess.min() < 6


def test_counts_before_a_step_are_those_of_the_batches() -> None:
    batches = make_batches(rows=7)
    counted = np.zeros(3, dtype=int)
    expected = [counted]
    for step in range(40):
        counted = counted + np.bincount(batches.sources(step), minlength=3)
        expected.append(counted)
    for step in (40, 0, 13, 12, 39, 1):
        assert np.array_equal(batches.rows_before(step), expected[step])
        batches.batch(step)
    assert expected[40].sum() == 40 * 7


def test_rows_come_from_the_sources_that_are_named() -> None:
    batches = make_batches(rows=50)
    tokens, sources = batches.batch(3)[0], batches.sources(3)
    for row, source in zip(tokens, sources, strict=True):
        name = batches.names[source]
        own = set(range(17)) if name == ARITHMETIC else set(TEXTS[name].tolist())
        assert set(row.tolist()) <= own


@pytest.mark.parametrize("length", [1_000, 993, 73])
def test_every_window_comes_once_an_epoch(length: int) -> None:
    text = TextRows(np.arange(length), CONTEXT + 1)
    count = text.windows
    assert count == (length - CONTEXT - 1) // CONTEXT
    stream = text.rows(seed=9, source=1, index=np.arange(3 * count))
    assert (np.diff(stream, axis=1) == 1).all(), "windows are contiguous"
    orders, offsets = [], []
    for epoch in range(3):
        starts = stream[epoch * count : (epoch + 1) * count, 0]
        # As many distinct starts as windows, one stride apart: inputs overlap nowhere.
        assert set(np.diff(np.sort(starts)).tolist()) <= {CONTEXT}
        offsets.append(starts.min())
        orders.append(tuple(starts))
        assert 0 <= offsets[-1] < CONTEXT
        assert starts.max() + CONTEXT < length
    assert len(set(orders)) == 3


def test_every_word_but_a_margin_is_read_in_an_epoch() -> None:
    text = TextRows(np.arange(1_000), CONTEXT + 1)
    read = np.unique(text.rows(seed=1, source=0, index=np.arange(text.windows)))
    assert len(read) > 1_000 - 2 * CONTEXT


def test_batches_run_through_the_windows_in_turn() -> None:
    batches = make_batches(rows=20)
    text = batches.texts["first"]
    rows = np.concatenate(
        [
            batches.batch(step)[0][batches.sources(step) == 0]
            for step in range(2 * text.windows // 5)
        ]
    )
    epoch = rows[: text.windows, 0]
    assert len(set(epoch.tolist())) == text.windows
    assert np.array_equal(rows, text.rows(3, 0, np.arange(len(rows))))


def problems_in(row: np.ndarray) -> tuple[list[str], str]:
    """The whole problems of a row, and what the end of the row cut off, relation signs kept."""
    names = dict(enumerate(SYMBOLS))
    names |= {13: "=", 14: "r", 15: "p", 16: "|"}
    first, *whole, cut = "".join(names[int(token)] for token in row).split("|")
    assert first == "", "a row begins with a separator"
    return whole, cut


def arithmetic_rows() -> np.ndarray:
    mixture = Mixture({ARITHMETIC: 1.0}, DRILLS, 0.1, "salt")
    return make_batches(rows=CHUNK_ROWS, mixture=mixture).batch(0)[0]


def test_arithmetic_rows_are_right_problems_one_after_another() -> None:
    whole_problem = re.compile(r"([0-9+*-]+)([=rp])(-?[0-9]+)")
    for row in arithmetic_rows():
        problems, cut = problems_in(row)
        assert problems and len(cut) <= len("1-6-0p-05")
        for problem in problems:
            question, relation, answer = whole_problem.fullmatch(problem).groups()  # type: ignore[union-attr]
            sign, digits = answer[: -len(answer.lstrip("-"))], answer.lstrip("-")
            digits = digits[::-1] if relation == "r" else digits
            assert int(sign + digits) == eval(question)
            assert relation != "p" or len(digits) == 2


def test_arithmetic_rows_hold_no_held_out_problem() -> None:
    held_out = set()
    for task, signs in (("add_2", "+"), ("sub_2", "-"), ("chain_2", "")):
        problems = enumerate_space(task, 0.1, "salt").split(held_out=True)
        for operands, operators in zip(
            problems.operands.tolist(), problems.operators.tolist(), strict=True
        ):
            names = [signs] if signs else ["+-"[operator] for operator in operators]
            held_out.add(
                str(operands[0])
                + "".join(f"{s}{x}" for s, x in zip(names, operands[1:], strict=True))
            )
    assert len(held_out) > 1_000
    seen = set()
    for row in arithmetic_rows():
        seen |= {re.split("[=rp]", problem)[0] for problem in problems_in(row)[0]}
    assert len(seen) > 1_500
    assert not seen & held_out


def test_drills_come_by_their_weights() -> None:
    relations: Counter[str] = Counter()
    for row in arithmetic_rows():
        # The first two of each row: whether a third is whole depends on its length.
        for problem in problems_in(row)[0][:2]:
            relations[re.sub("[0-9+-]+", "", problem)] += 1
    total = sum(relations.values())
    weights = {"=": 2 / 8, "r": 2 / 8, "p": 4 / 8}
    assert {sign: count / total for sign, count in relations.items()} == pytest.approx(
        weights, abs=0.03
    )


def test_chunks_are_reproducible_and_their_rows_differ() -> None:
    rows = ArithmeticRows(MIXTURE, ALPHABET, CONTEXT + 1)
    assert np.array_equal(rows.chunk(1, 2), rows.chunk(1, 2))
    assert not np.array_equal(rows.chunk(1, 2), rows.chunk(1, 3))
    assert not np.array_equal(rows.chunk(1, 2), rows.chunk(2, 2))
    assert len(np.unique(rows.chunk(1, 2), axis=0)) == CHUNK_ROWS
    assert as_text(rows.chunk(1, 2)[0][1:3], ALPHABET) != ""


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 1, 2 * CONTEXT])
def test_too_little_text_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="fewer than two windows"):
        TextRows(np.arange(length), CONTEXT + 1)


def test_the_least_text_that_is_accepted_can_be_read() -> None:
    text = TextRows(np.arange(2 * CONTEXT + 1), CONTEXT + 1)
    assert text.windows == 1
    for epoch in range(30):
        assert text.rows(0, 0, np.array([epoch])).shape == (1, CONTEXT + 1)
