"""Problems that no task holds, solved and written as the tasks solve and write theirs.

Legend: n problems, k operands.
"""

from dataclasses import dataclass

import numpy as np

from saltus.data.arithmetic import (
    OPERATORS,
    Ints,
    Problems,
    count_borrows,
    count_carries,
    parse_task,
)
from saltus.data.writing import BLANK, SYMBOLS, Alphabet, answer_width


@dataclass(frozen=True)
class Form:
    """Digits that the padded arm fills operands (k,) and answers up to; longer ones stay whole."""

    operands: tuple[int, ...]
    answer: int


def form_of(task: str) -> Form:
    """Return how a task is written."""
    kind, number = parse_task(task)
    widths = {"mul": (2, 1), "chain": (1,) * (number + 1)}.get(kind, (number, number))
    return Form(widths, answer_width(task))


def longer_form(task: str) -> Form:
    """Return how a task is written with a digit more to every operand, or a step more to a chain.

    Of products the first operand alone grows.
    """
    kind, number = parse_task(task)
    if kind == "chain":
        widths: tuple[int, ...] = (1,) * (number + 2)
    else:
        widths = (3, 1) if kind == "mul" else (number + 1, number + 1)
    largest = np.array([10**width - 1 for width in widths])
    value = {"mul": largest.prod(), "sub": largest.max()}.get(kind, largest.sum())
    return Form(widths, len(str(value)))


def solve(kind: str, operands: Ints, operators: Ints) -> Problems:
    """Return the problems of `operands` (n, k) and `operators` (n, k - 1) with answers and carries.

    Carries are counted as in `saltus.data.arithmetic`, over the columns of the longest operand.
    """
    left, right = operands[:, 0], operands[:, 1]
    digits = len(str(operands.max(initial=0)))
    if kind == "chain":
        steps = np.where(operators == OPERATORS.index("+"), 1, -1) * operands[:, 1:]
        totals = np.cumsum(np.concatenate([operands[:, :1], steps], 1), 1)
        answers, carries = totals[:, -1], (np.diff(totals // 10, axis=1) != 0).sum(1)
    elif kind == "mul":
        answers, carries = left * right, left % 10 * right // 10
    elif kind == "add":
        answers, carries = left + right, count_carries(left, right, digits)
    else:
        answers = left - right
        carries = count_borrows(np.maximum(left, right), np.minimum(left, right), digits)
    return Problems(operands, operators, answers, carries)


def prompts_of(problems: Problems, arm: str, form: Form, around: str = "") -> list[str]:
    """Return the prompts as text, `=` for the relation sign, `around` beside operators."""
    widths = form.operands if arm == "padded" else (1,) * len(form.operands)
    prompts = []
    for operands, operators in zip(problems.operands, problems.operators, strict=True):
        first, *others = (
            str(operand).zfill(width) for operand, width in zip(operands, widths, strict=True)
        )
        steps = (
            f"{around}{OPERATORS[operator]}{around}{operand}"
            for operator, operand in zip(operators, others, strict=True)
        )
        prompts.append(first + "".join(steps) + "=")
    return prompts


def answers_of(problems: Problems, arm: str, form: Form) -> list[str]:
    """Return the answers as text."""
    answers = []
    for value in problems.answers:
        digits = str(abs(value)).zfill(form.answer if arm == "padded" else 1)
        answers.append(("-" if value < 0 else "") + (digits[::-1] if arm == "reversed" else digits))
    return answers


def tokens_of(
    texts: list[str], arm: str, alphabet: Alphabet, width: int, space: int | None = None
) -> np.ndarray:
    """Return the texts as token ids (n, width), blanks at the end; `space` stands for a blank."""
    ids = dict(zip(SYMBOLS, alphabet.symbols, strict=True)) | {"=": alphabet.relations[arm]}
    if space is not None:
        ids[" "] = space
    tokens = np.full((len(texts), width), BLANK)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [ids[character] for character in text]
    return tokens
