"""Problems as lines of text, as a model that is no export of saltus is asked them.

    12 + 34 = 46

Some solved problems stand in front that training may draw, a line each: the question ends with the
relation sign, the answer is a space, the number and the line's end. Digits may join into one token,
and since no foreign tokenizer has a sign for the other arms, only the plain one is asked for.
"""

import re
import sys
from collections.abc import Sequence

import numpy as np

from saltus.data.arithmetic import Sampler
from saltus.data.batches import Drill, Mixture
from saltus.data.writing import Alphabet, as_text, write
from saltus.errors import SaltusError
from saltus.probe.exam import Exam
from saltus.probe.foreign.model import Foreign
from saltus.probe.foreign.questions import Questions, TooLongError, exams_of, rows_of
from saltus.probe.shifted import shifted_exams

SYMBOLIC, SPACE = Alphabet(tuple(range(13)), {"plain": 13}, 14), 15
"""Ids of no tokenizer, in which problems are drawn before they are written as text."""
SHOTS = 4


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
        return exams_of(self.drills, self.mixture, SYMBOLIC, items, seed)

    def shifted(self, exam: Exam, validation: Exam, seed: int) -> list[Exam]:
        """See `Notation`."""
        return shifted_exams(
            exam, validation, self.mixture, SYMBOLIC, space=SPACE, context=sys.maxsize, seed=seed
        )

    def ask(self, exam: Exam) -> Questions:
        """See `Notation`; another phrasing is the one without spaces about the operators."""
        shown, lines = exam.asked.tolist(), list(map(spaced, exam.asked))
        if exam.shift == "phrasing":
            shown = lines = list(map(joined, exam.asked))
        answers = [as_text(np.array(row[:-1]), SYMBOLIC) for row in rows_of(exam.target)]
        begin = [] if self.model.separator is None else [self.model.separator]
        prompts, targets = [], []
        shots = self._solved(exam.drill.task, len(exam))
        for before, line, answer in zip(shots, lines, answers, strict=True):
            prompt, target = self._cut(before + line, f" {answer}\n")
            prompts.append(begin + prompt)
            targets.append(target)
        longest_answer = exam.target.shape[1] + 2
        questions = Questions(exam, prompts, targets, shown, answers, longest_answer)
        longest = max(map(len, prompts)) + questions.max_tokens
        if self.model.context is not None and longest > self.model.context:
            raise TooLongError(
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


def joined(question: str) -> str:
    """Return `12+34 =` of `12 + 34=`: the phrasing that no solved problem in front has."""
    return question.replace(" ", "").replace("=", " =")
