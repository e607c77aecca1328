"""How a problem is put to a model; to an export of saltus as the family is asked."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from saltus.data.batches import Drill, Mixture
from saltus.data.shards import alphabet_of
from saltus.data.writing import BLANK, Alphabet, as_text
from saltus.errors import SaltusError
from saltus.probe.exam import Exam, make_exams
from saltus.probe.foreign.model import Foreign
from saltus.probe.shifted import longest, shifted_exams


class TooLongError(SaltusError):
    """Questions that do not fit a model's context."""


@dataclass(frozen=True)
class Questions:
    """The problems of one exam as token ids of a model, and as the text that tables show.

    Each of `targets` ends with its terminator; `max_tokens` bounds what is generated.
    """

    exam: Exam
    prompts: list[list[int]]
    targets: list[list[int]]
    shown: list[str]
    answers: list[str]
    max_tokens: int


class Notation(Protocol):
    """What puts problems to a model and reads what it answers."""

    ends: np.ndarray
    """(V,): whether a token ends an answer."""

    def exams(self, items: int, seed: int) -> list[tuple[Exam, Exam]]:
        """Return the probe's and the validation's problems of every drill that can be asked."""

    def shifted(self, exam: Exam, validation: Exam, seed: int) -> list[Exam]:
        """Return the shifted exams of a drill: those of the family that exist for it."""

    def ask(self, exam: Exam) -> Questions:
        """Return the problems of an exam as the model is asked them.

        Raises `TooLongError` if they do not fit its context.
        """

    def read(self, ids: Sequence[int]) -> str:
        """Return the answer in what was generated, the terminator left out."""


class FamilyNotation:
    """The family's own: one token a symbol, a relation sign per arm, separators around."""

    def __init__(self, model: Foreign, mixture: Mixture) -> None:
        assert model.saltus is not None
        raw = alphabet_of(model.saltus)
        self.alphabet = Alphabet(tuple(raw["symbols"]), raw["relations"], raw["separator"])
        (self.space,) = model.saltus.encode(" ")
        self.context = sys.maxsize if model.context is None else model.context
        self.mixture = mixture
        self.drills = [drill for drill in mixture.drills if drill.arm in self.alphabet.relations]
        self.ends = np.arange(model.vocabulary) == self.alphabet.separator

    def exams(self, items: int, seed: int) -> list[tuple[Exam, Exam]]:
        """See `Notation`."""
        return exams_of(self.drills, self.mixture, self.alphabet, items, seed)

    def shifted(self, exam: Exam, validation: Exam, seed: int) -> list[Exam]:
        """See `Notation`; longer ones than the context are among them, for `ask` to refuse."""
        return shifted_exams(
            exam, validation, self.mixture, self.alphabet,
            space=self.space, context=sys.maxsize, seed=seed,
        )  # fmt: skip

    def ask(self, exam: Exam) -> Questions:
        """See `Notation`."""
        if longest(exam) > self.context:
            raise TooLongError(
                f"--model: {exam.drill.task} takes {longest(exam)} tokens, expected at most the "
                f"model's {self.context}"
            )
        targets = rows_of(exam.target)
        return Questions(
            exam,
            rows_of(exam.prompt),
            targets,
            exam.asked.tolist(),
            [self.read(row) for row in targets],
            exam.target.shape[1] + 1,
        )

    def read(self, ids: Sequence[int]) -> str:
        """See `Notation`."""
        kept = [token for token in ids if token != self.alphabet.separator]
        return as_text(np.array(kept, dtype=np.int64), self.alphabet)


def rows_of(matrix: np.ndarray) -> list[list[int]]:
    """Return the rows of a token matrix without the blanks at their ends."""
    return [row[row != BLANK].tolist() for row in matrix]


def exams_of(
    drills: Sequence[Drill], mixture: Mixture, alphabet: Alphabet, items: int, seed: int
) -> list[tuple[Exam, Exam]]:
    """Return the probe's and the validation's problems of those drills that hold some out."""
    made = (make_exams(drill, mixture, alphabet, items, seed) for drill in drills)
    return [exams for exams in made if exams is not None]
