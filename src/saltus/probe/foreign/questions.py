"""How a problem is put to a model: as the family is asked, or as a line of text.

An export of saltus gets the tokens that the family gets. Any other model gets lines,

    12 + 34 = 46

with some solved problems in front that training may draw, a line each: the question ends with the
relation sign, the answer is a space, the number and the line's end. Digits may join into one token,
and since no foreign tokenizer has a sign for the other arms, only the plain one is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from saltus.data.arithmetic import Sampler
from saltus.data.batches import Drill, Mixture
from saltus.data.shards import alphabet_of
from saltus.data.writing import BLANK, Alphabet, answer_width, as_text, write
from saltus.errors import SaltusError
from saltus.probe.exam import Exam, make_exams
from saltus.probe.foreign.model import Foreign

SYMBOLIC = Alphabet(tuple(range(13)), {"plain": 13}, 14)
"""Ids of no tokenizer, in which problems are drawn before they are written as text."""
SHOTS = 4


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

    def ask(self, exam: Exam) -> Questions:
        """Return the problems of an exam as the model is asked them."""

    def read(self, ids: Sequence[int]) -> str:
        """Return the answer in what was generated, the terminator left out."""


class FamilyNotation:
    """The family's own: one token a symbol, a relation sign per arm, separators around."""

    def __init__(self, model: Foreign, mixture: Mixture) -> None:
        assert model.saltus is not None
        raw = alphabet_of(model.saltus)
        self.alphabet = Alphabet(tuple(raw["symbols"]), raw["relations"], raw["separator"])
        self.mixture = mixture
        self.drills = [drill for drill in mixture.drills if drill.arm in self.alphabet.relations]
        self.ends = np.arange(model.vocabulary) == self.alphabet.separator

    def exams(self, items: int, seed: int) -> list[tuple[Exam, Exam]]:
        """See `Notation`."""
        return _exams(self.drills, self.mixture, self.alphabet, items, seed)

    def ask(self, exam: Exam) -> Questions:
        """See `Notation`."""
        targets = _rows(exam.target)
        return Questions(
            exam,
            _rows(exam.prompt),
            targets,
            [as_text(row[1:], self.alphabet) for row in exam.prompt],
            [self.read(row) for row in targets],
            answer_width(exam.drill.task) + 3,
        )

    def read(self, ids: Sequence[int]) -> str:
        """See `Notation`."""
        kept = [token for token in ids if token != self.alphabet.separator]
        return as_text(np.array(kept, dtype=np.int64), self.alphabet)


class LineNotation:
    """Lines of text, `shots` solved problems in front of each question.

    Raises `SaltusError` if the tokenizer joins a question with its answer or loses a line's end.
    """

    def __init__(self, model: Foreign, mixture: Mixture, shots: int, seed: int) -> None:
        self.model, self.mixture, self.shots, self.seed = model, mixture, shots, seed
        tasks = dict.fromkeys(drill.task for drill in mixture.drills)
        self.drills = [Drill(task, "plain", 1.0) for task in tasks]
        self.ends = np.zeros(model.vocabulary, dtype=bool)
        for token in range(min(model.vocabulary, len(model.tokenizer))):
            self.ends[token] = "\n" in model.decode([token])
        if model.end is not None:
            self.ends[model.end] = True

    def exams(self, items: int, seed: int) -> list[tuple[Exam, Exam]]:
        """See `Notation`."""
        return _exams(self.drills, self.mixture, SYMBOLIC, items, seed)

    def ask(self, exam: Exam) -> Questions:
        """See `Notation`."""
        shown = [as_text(row[1:], SYMBOLIC) for row in exam.prompt]
        answers = [as_text(np.array(row[:-1]), SYMBOLIC) for row in _rows(exam.target)]
        begin = [] if self.model.separator is None else [self.model.separator]
        prompts, targets = [], []
        shots = self._solved(exam.drill.task, len(exam))
        for before, question, answer in zip(shots, shown, answers, strict=True):
            text = before + spaced(question)
            prompt, target = self._cut(text, f" {answer}\n")
            prompts.append(begin + prompt)
            targets.append(target)
        questions = Questions(
            exam, prompts, targets, shown, answers, answer_width(exam.drill.task) + 4
        )
        longest = max(map(len, prompts)) + questions.max_tokens
        if self.model.context is not None and longest > self.model.context:
            raise SaltusError(
                f"--shots: found {self.shots}: {exam.drill.task} then takes {longest} tokens, "
                f"expected at most the model's {self.model.context}"
            )
        return questions

    def read(self, ids: Sequence[int]) -> str:
        """See `Notation`; spaces around the answer do not count."""
        return self.model.decode(list(ids)).partition("\n")[0].strip(" ")

    def _solved(self, task: str, count: int) -> list[str]:
        """Return the lines in front of each of `count` questions: problems that are not asked."""
        sampler = Sampler(task, self.mixture.held_out_share, self.mixture.salt, held_out=False)
        generator = np.random.default_rng([self.seed, 4, *task.encode()])
        drawn = sampler.draw(generator, count * self.shots)
        written = write(drawn, task, "plain", SYMBOLIC)
        lines = [
            f"{spaced(as_text(prompt, SYMBOLIC))} {as_text(answer, SYMBOLIC)}\n"
            for prompt, answer in zip(written.prompt, written.answer, strict=True)
        ]
        return ["".join(lines[n * self.shots : (n + 1) * self.shots]) for n in range(count)]

    def _cut(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        """Return the tokens of the question, and those of the answer behind it."""
        prompt, whole = self.model.encode(question), self.model.encode(question + answer)
        target = whole[len(prompt) :]
        if whole[: len(prompt)] != prompt:
            line = question.rpartition("\n")[2]
            raise SaltusError(
                f"--model: the tokenizer joins the end of '{line}' with the answer behind it; "
                "expected a token's end there"
            )
        if self.model.decode(target).strip(" ") != answer.strip(" ") or not self.ends[target[-1]]:
            raise SaltusError(
                f"--model: the tokenizer gives {answer!r} back as {self.model.decode(target)!r}"
            )
        return prompt, target


def spaced(question: str) -> str:
    """Return `12 + 34 =` of `12+34=`."""
    return re.sub(r"([-+*=])", r" \1 ", question).strip()


def _rows(matrix: np.ndarray) -> list[list[int]]:
    """Return the rows of a token matrix without the blanks at their ends."""
    return [row[row != BLANK].tolist() for row in matrix]


def _exams(
    drills: Sequence[Drill], mixture: Mixture, alphabet: Alphabet, items: int, seed: int
) -> list[tuple[Exam, Exam]]:
    made = (make_exams(drill, mixture, alphabet, items, seed) for drill in drills)
    return [exams for exams in made if exams is not None]
