"""How an arithmetic problem is written: characters, arms, and the token matrix of many problems.

A problem is separator, prompt, answer, separator. The relation sign between prompt and answer names
the arm: arms share prompts, and a model cannot know otherwise which answer is asked for.
"""

from dataclasses import dataclass

import numpy as np

from saltus.data.arithmetic import OPERATORS, Problems, parse_task

RELATIONS = {"plain": "=", "reversed": "<|reversed|>", "padded": "<|padded|>"}
SYMBOLS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", *OPERATORS)
BLANK = -1
SEPARATOR = "<|endoftext|>"
"""Stands between documents and around problems; always the first special token."""


@dataclass(frozen=True)
class Written:
    """Problems as symbols, blanks not yet squeezed out.

    `prompt` is (n, P), ends with the relation sign; `answer` is (n, A). Entries are token ids, or
    `BLANK`. The separators are not included.
    """

    prompt: np.ndarray
    answer: np.ndarray


@dataclass(frozen=True)
class Alphabet:
    """The token ids of the symbols of arithmetic: ten digits, then + - *; relations by arm."""

    symbols: tuple[int, ...]
    relations: dict[str, int]
    separator: int


def answer_width(task: str) -> int:
    """Return the digits of the largest answer of `task`: what the padded arm fills up to."""
    kind, number = parse_task(task)
    return {"add": number + 1, "sub": number, "mul": 3, "chain": 2}[kind]


def _digits_of(values: np.ndarray, width: int, *, padded: bool) -> np.ndarray:
    """Return decimal digits (n, width), most significant first, leading zeros blank or kept."""
    places = 10 ** np.arange(width - 1, -1, -1)
    digits: np.ndarray = np.abs(values)[:, None] // places % 10
    if padded:
        return digits
    leading = np.abs(values)[:, None] < places
    leading[:, -1] = False
    return np.where(leading, BLANK, digits)


def write(problems: Problems, task: str, arm: str, alphabet: Alphabet) -> Written:
    """Return the problems of one task as token ids, in `arm`."""
    kind, number = parse_task(task)
    padded = arm == "padded"
    minus = 10 + OPERATORS.index("-")
    widths = {"mul": (2, 1), "chain": (1,) * (number + 1)}.get(kind, (number, number))
    columns = []
    for index, width in enumerate(widths):
        if index:
            columns.append(10 + problems.operators[:, index - 1 : index])
        columns.append(_digits_of(problems.operands[:, index], width, padded=padded))
    symbols = np.array([*alphabet.symbols, BLANK])
    prompt = symbols[np.concatenate(columns, 1)]
    relation = np.full((len(problems), 1), alphabet.relations[arm])
    digits = _digits_of(problems.answers, answer_width(task), padded=padded)
    if arm == "reversed":
        digits = digits[:, ::-1]
    sign = np.where(problems.answers < 0, minus, BLANK)[:, None]
    answer = symbols[np.concatenate([sign, digits], 1)]
    return Written(np.concatenate([prompt, relation], 1), answer)


def squeeze(matrix: np.ndarray, *companions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Move the blanks of each row to its end; reorder each companion matrix alike."""
    order = np.argsort(matrix == BLANK, axis=1, kind="stable")
    return tuple(np.take_along_axis(each, order, 1) for each in (matrix, *companions))


def as_text(tokens: np.ndarray, alphabet: Alphabet) -> str:
    """Return the characters of one row of token ids; relation signs print as `=`."""
    names = dict(zip(alphabet.symbols, SYMBOLS, strict=True))
    names |= dict.fromkeys(alphabet.relations.values(), "=")
    return "".join(names.get(int(token), "�") for token in tokens if token != BLANK)


def best_constant_accuracy(answers: list[str]) -> float:
    """Return the share of the commonest answer: the accuracy of the best constant guess."""
    _, counts = np.unique(np.array(answers), return_counts=True)
    return float(counts.max() / counts.sum())
