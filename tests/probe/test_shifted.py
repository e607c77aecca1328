"""Shifted problems: what each kind promises of them, and that their answers are right."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.data.arithmetic import TASKS, Problems, enumerate_space, parse_task
from saltus.data.batches import Drill, Mixture
from saltus.data.writing import BLANK, Alphabet, as_text, squeeze, write
from saltus.probe.arithmetic import item_table
from saltus.probe.exam import Exam, make_exams
from saltus.probe.expression import answers_of, form_of, longer_form, prompts_of, solve, tokens_of
from saltus.probe.shifted import SHIFTED_ITEMS, SHIFTS, shifted_exams

ALPHABET = Alphabet(tuple(range(13)), {"plain": 13, "reversed": 14, "padded": 15}, 16)
SPACE = 17
ARMS = ("plain", "reversed", "padded")
ASKED = ("add_2", "add_4", "sub_2", "sub_3", "mul_2x1", "chain_2", "chain_3")


def mixture_of(*drills: Drill) -> Mixture:
    return Mixture({"arithmetic": 1.0}, drills, 0.1, "salt")


def shifted_of(
    task: str, arm: str = "plain", *others: Drill, context: int = 32, items: int = 150
) -> tuple[Exam, Exam, dict[str, Exam]]:
    """The exam, the validation and the shifted exams by kind."""
    drill = Drill(task, arm, 1.0)
    mixture = mixture_of(drill, *others)
    exams = make_exams(drill, mixture, ALPHABET, items, seed=3)
    assert exams is not None
    made = shifted_exams(*exams, mixture, ALPHABET, space=SPACE, context=context, seed=3)
    return *exams, {str(exam.shift): exam for exam in made}


def digits_of(exam: Exam) -> np.ndarray:
    """The number of digits of every operand, (n, k)."""
    return np.vectorize(lambda value: len(str(value)))(exam.problems.operands)


def text_of(row: np.ndarray) -> str:
    return as_text(row[(row != ALPHABET.separator) & (row != SPACE)], ALPHABET)


@pytest.mark.parametrize("task", [task for task in TASKS if not task.endswith("_4")])
def test_problems_are_solved_and_written_as_the_tasks_do(task: str) -> None:
    kind, _ = parse_task(task)
    problems = enumerate_space(task, 0.1, "salt").problems
    chosen = np.random.default_rng(0).integers(len(problems), size=300)
    problems = problems.take(chosen)
    found = solve(kind, problems.operands, problems.operators)
    assert np.array_equal(found.answers, problems.answers)
    assert np.array_equal(found.carries, problems.carries)
    for arm in ARMS:
        written = write(problems, task, arm, ALPHABET)
        for matrix, texts in (
            (written.prompt, prompts_of(problems, arm, form_of(task))),
            (written.answer, answers_of(problems, arm, form_of(task))),
        ):
            (expected,) = squeeze(matrix)
            assert np.array_equal(expected, tokens_of(texts, arm, ALPHABET, matrix.shape[1]))


@pytest.mark.parametrize(
    ("task", "longer"),
    [("add_1", "add_2"), ("add_3", "add_4"), ("sub_2", "sub_3"), ("chain_2", "chain_3")],
)
def test_a_longer_task_is_written_as_the_task_of_that_length(task: str, longer: str) -> None:
    assert longer_form(task) == form_of(longer)


def test_forms_beyond_the_tasks_hold_their_largest_answer() -> None:
    assert longer_form("add_4").answer == len(str(2 * 99_999))
    assert longer_form("sub_4").answer == 5
    assert longer_form("mul_2x1").answer == len(str(999 * 9))
    assert longer_form("chain_3").answer == len(str(5 * 9))


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("task", ASKED)
def test_shifted_answers_are_right_and_prompts_distinct(task: str, arm: str) -> None:
    _, _, kinds = shifted_of(task, arm)
    expected = (
        set(SHIFTS) if parse_task(task)[0] in ("add", "sub") else set(SHIFTS) - {"all_carries"}
    )
    assert set(kinds) == expected
    for shift, exam in kinds.items():
        assert 0 < len(exam) <= SHIFTED_ITEMS and exam.shift == shift
        assert len(set(exam.asked)) == len(exam)
        for asked, prompt, target in zip(exam.asked, exam.prompt, exam.target, strict=True):
            prompt, target = prompt[prompt != BLANK], target[target != BLANK]
            assert prompt[0] == target[-1] == ALPHABET.separator
            assert prompt[-1] == ALPHABET.relations[arm]
            assert asked.replace(" ", "") == text_of(prompt)
            numbers = asked.removesuffix("=").replace(" ", "")
            # Leading zeros of the padded arm are no octal numbers.
            value = eval("".join(_without_zeros(numbers)))
            written = text_of(target)
            sign, digits = ("-", written[1:]) if written.startswith("-") else ("", written)
            digits = digits[::-1] if arm == "reversed" else digits
            assert int(sign + digits) == value
            if arm != "padded":
                assert digits == str(abs(value))
        # A sign, the digits and a terminator find room; greedy decoding goes one token further.
        assert exam.target.shape[1] >= (exam.target != BLANK).sum(1).max()


def _without_zeros(expression: str) -> list[str]:
    return [str(int(part)) if part.isdigit() else part for part in re.split(r"([-+*])", expression)]


@pytest.mark.parametrize("task", ASKED)
def test_longer_and_out_of_range_problems_lie_outside_the_task(task: str) -> None:
    kind, number = parse_task(task)
    _, _, kinds = shifted_of(task)
    longer, outside = digits_of(kinds["longer"]), digits_of(kinds["out_of_range"])
    widths = np.array(form_of(task).operands)
    if kind == "chain":
        assert longer.shape[1] == widths.size + 1 and (longer == 1).all()
        assert ((outside == 2).sum(1) == 1).all() and (outside <= 2).all()
    elif kind == "mul":
        assert (longer == [3, 1]).all() and (outside == [1, 1]).all()
    else:
        assert (longer == number + 1).all()
        assert (np.sort(outside, 1) == [number - 1, number]).all()
    if kind != "mul":
        for place in range(outside.shape[1]):
            assert (outside != widths)[:, place].any(), "every operand is the one in turn"
    for shift in ("longer", "out_of_range"):
        assert np.isnan(kinds[shift].neighbour).all()
        counts = np.bincount(kinds[shift].carries)
        assert counts.size > 1


@pytest.mark.parametrize("task", ["add_2", "add_4", "sub_2", "sub_3"])
def test_all_columns_carry_in_held_out_pairs(task: str) -> None:
    kind, number = parse_task(task)
    exam, validation, kinds = shifted_of(task)
    full = kinds["all_carries"]
    for left, right in full.problems.operands:
        carry, columns = 0, 0
        larger, smaller = max(left, right), min(left, right)
        for place in range(number):
            a, b = (value // 10**place % 10 for value in (larger, smaller))
            carry = int(a + b + carry >= 10 if kind == "add" else a - b - carry < 0)
            columns += carry
        assert columns == (number if kind == "add" else number - 1)

    def pairs(problems: Problems) -> set[tuple[int, ...]]:
        return {tuple(sorted(pair)) for pair in problems.operands.tolist()}

    assert not pairs(full.problems) & pairs(validation.problems)
    if number < 4:
        training = enumerate_space(task, 0.1, "salt").split(held_out=False)
        assert not pairs(full.problems) & pairs(training)
    assert full.carries.mean() > exam.carries.mean()
    assert ((full.neighbour >= 0) & (full.neighbour <= 1)).all()


def test_phrasing_asks_the_same_problems_with_spaces() -> None:
    exam, _, kinds = shifted_of("chain_2", "reversed")
    other = kinds["phrasing"]
    assert len(other) == SHIFTED_ITEMS < len(exam)
    for row in range(len(other)):
        spaced, bare = other.prompt[row], exam.prompt[row]
        assert np.array_equal(spaced[(spaced != SPACE) & (spaced != BLANK)], bare[bare != BLANK])
        operators = np.flatnonzero((spaced >= 10) & (spaced < 13))
        assert (spaced[operators - 1] == SPACE).all() and (spaced[operators + 1] == SPACE).all()
        assert (spaced == SPACE).sum() == 2 * operators.size == 4
    assert np.array_equal(other.target, exam.target[: len(other)])
    assert np.array_equal(other.neighbour, exam.neighbour[: len(other)])


def test_longer_problems_are_left_out_or_held_out_where_they_are_trained() -> None:
    assert "longer" not in shifted_of("chain_2", "plain", Drill("chain_3", "plain", 1.0))[2]
    _, _, kinds = shifted_of("chain_2", "plain", Drill("chain_3", "reversed", 1.0))
    held_out = enumerate_space("chain_3", 0.1, "salt").split(held_out=True)
    known = set(prompts_of(held_out, "plain", form_of("chain_3")))
    assert set(kinds["longer"].asked) <= known and len(kinds["longer"]) == SHIFTED_ITEMS


def test_a_kind_that_does_not_fit_the_context_is_left_out() -> None:
    assert set(shifted_of("chain_2", context=14)[2]) == {"longer", "out_of_range"}
    assert set(shifted_of("chain_2", context=15)[2]) == {"longer", "out_of_range", "phrasing"}
    for context in (11, 12, 14, 20):
        for exam in shifted_of("chain_2", context=context)[2].values():
            lengths = (exam.prompt != BLANK).sum(1) + (exam.target != BLANK).sum(1)
            assert lengths.max() <= context


def test_the_choice_depends_on_the_seed_alone() -> None:
    first, again = shifted_of("add_2")[2], shifted_of("add_2", "padded")[2]
    for shift, exam in first.items():
        assert np.array_equal(exam.problems.operands, again[shift].problems.operands)


def test_rows_of_shifted_problems(pupils: Any) -> None:
    """They carry the kind and the temperatures given, and are decoded as far as they may need."""
    drill, runs = pupils.mixture.drills[0], ["first", "second"]
    exams = make_exams(drill, pupils.mixture, pupils.alphabet, 60, seed=3)
    assert exams is not None
    # Of the pupils' tokens one stands for the relation of an arm that they never saw.
    made = shifted_exams(*exams, pupils.mixture, pupils.alphabet, space=15, context=16, seed=3)
    temperatures = torch.tensor([0.6, 1.5])
    tables = {}
    for exam in made:
        found = item_table(
            pupils.parameters, exam, pupils.shape, pupils.alphabet, runs, temperatures, 0
        )
        tables[exam.shift] = found
        assert (found["shift"] == exam.shift).all() and not found["in_distribution"].any()
        assert found["sampled"].isna().all() and found["sampled_exact"].isna().all()
        assert (found["exact"] == (found["prediction"] == found["target"])).all()
        assert sorted(found["temperature"].unique()) == pytest.approx([0.6, 1.5])
        assert not np.allclose(found["confidence"], found["confidence_tempered"])
        first = found[found["run"] == "first"].sort_values("item")
        assert first["prompt"].tolist() == exam.asked[first["item"]].tolist()
    assert set(tables) == {"longer", "out_of_range", "phrasing"}
    own = item_table(
        pupils.parameters, exams[0], pupils.shape, pupils.alphabet, runs, temperatures, 0
    )
    pd.testing.assert_series_equal(own.dtypes, tables["longer"].dtypes)
    # The same problem has the same number in both, so that the two can be paired.
    both = own.merge(tables["phrasing"], on=["run", "task", "arm", "item"])
    assert len(both) == len(tables["phrasing"]) == 2 * min(len(exams[0]), SHIFTED_ITEMS)
    assert (both["target_x"] == both["target_y"]).all()
    assert (both["prompt_x"] == both["prompt_y"].str.replace(" ", "")).all()
