"""How problems are written: every answer is right in every arm, and nothing is lost on the way."""

from collections import Counter

import numpy as np
import pytest

from saltus.data.arithmetic import ARMS, TASKS, Problems, Sampler, enumerate_space
from saltus.data.writing import (
    BLANK,
    SYMBOLS,
    Alphabet,
    answer_width,
    as_text,
    best_constant_accuracy,
    squeeze,
    write,
)

SALT = "salt"
# Ids in no order, with gaps, as a tokenizer may have them.
ALPHABET = Alphabet(
    symbols=tuple(np.random.default_rng(0).permutation(np.arange(40, 66, 2)).tolist()),
    relations={"plain": 7, "reversed": 3, "padded": 5},
    separator=0,
)


def problems_of(task: str, count: int = 1500) -> Problems:
    return Sampler(task, 0.1, SALT, held_out=False).draw(np.random.default_rng(1), count)


def written_as(answer: int, task: str, arm: str) -> str:
    """The answer of a task in an arm, spelt independently of the code under test."""
    sign, digits = ("-" if answer < 0 else ""), str(abs(answer))
    if arm == "reversed":
        digits = digits[::-1]
    if arm == "padded":
        digits = digits.zfill(WIDTHS[task])
    return sign + digits


WIDTHS = {
    **{f"add_{k}": k + 1 for k in range(1, 5)},
    **{f"sub_{k}": k for k in range(1, 5)},
    "mul_2x1": 3,
    "chain_2": 2,
    "chain_3": 2,
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("arm", ARMS)
def test_python_agrees_with_what_is_written(task: str, arm: str) -> None:
    written = write(problems_of(task), task, arm, ALPHABET)
    answers = set()
    for prompt, answer in zip(written.prompt, written.answer, strict=True):
        assert prompt[-1] == ALPHABET.relations[arm]
        question = as_text(prompt[:-1], ALPHABET)
        assert set(question) <= set("0123456789+-*")
        answers.add(eval(question))
        assert as_text(answer, ALPHABET) == written_as(eval(question), task, arm)
    kind = task.split("_")[0]
    assert (min(answers) < 0) == (kind in ("sub", "chain")), "negative answers occur"


@pytest.mark.parametrize("task", TASKS)
def test_arms_share_prompts_and_differ_in_the_relation_sign_alone(task: str) -> None:
    problems = problems_of(task, 200)
    prompts = [write(problems, task, arm, ALPHABET).prompt for arm in ARMS]
    for prompt in prompts[1:]:
        assert np.array_equal(prompt[:, :-1], prompts[0][:, :-1])
    signs = [set(prompt[:, -1].tolist()) for prompt in prompts]
    assert all(len(sign) == 1 for sign in signs) and len(set.union(*signs)) == len(ARMS)


@pytest.mark.parametrize("task", [task for task in TASKS if not task.endswith("_4")])
def test_the_width_is_that_of_the_longest_answer(task: str) -> None:
    answers = enumerate_space(task, 0.1, SALT).problems.answers
    assert answer_width(task) == len(str(np.abs(answers).max()))
    assert answer_width(task) == WIDTHS[task]


def test_zero_and_negatives_are_written_out() -> None:
    operands = np.array([[10, 10], [10, 30], [30, 10], [99, 10]])
    operators = np.ones((4, 1), dtype=int)
    answers = operands[:, 0] - operands[:, 1]
    problems = Problems(operands, operators, answers, np.zeros(4, dtype=int))
    expected = {
        "plain": ["0", "-20", "20", "89"],
        "reversed": ["0", "-02", "02", "98"],
        "padded": ["00", "-20", "20", "89"],
    }
    for arm, texts in expected.items():
        found = write(problems, "sub_2", arm, ALPHABET).answer
        assert [as_text(row, ALPHABET) for row in found] == texts


def test_squeeze_keeps_the_order_of_what_is_there_and_moves_companions_along() -> None:
    generator = np.random.default_rng(2)
    matrix = np.where(
        generator.random((200, 12)) < 0.4, BLANK, generator.integers(50, size=(200, 12))
    )
    places = np.broadcast_to(np.arange(12), matrix.shape)
    squeezed, moved = squeeze(matrix, places)
    for before, after, places_after in zip(matrix, squeezed, moved, strict=True):
        kept = before[before != BLANK]
        assert np.array_equal(after[: len(kept)], kept)
        assert (after[len(kept) :] == BLANK).all()
        assert np.array_equal(before[places_after], after)
        assert sorted(places_after) == list(range(12))


def test_every_symbol_reads_back_and_foreign_tokens_show() -> None:
    tokens = np.array([*ALPHABET.symbols, BLANK, ALPHABET.relations["padded"], 1])
    assert as_text(tokens, ALPHABET) == "".join(SYMBOLS) + "=�"


def test_the_best_constant_answer_is_the_commonest() -> None:
    answers = [str(n) for n in np.random.default_rng(3).integers(20, size=300)]
    assert best_constant_accuracy(answers) == Counter(answers).most_common(1)[0][1] / 300
    assert best_constant_accuracy(["7"]) == 1.0
