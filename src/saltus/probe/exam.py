"""Held-out problems of one drill as tokens: what a probe asks, and what it sets temperatures with.

Legend: B problem, P token of a prompt, A answer token with its terminator.
"""

from dataclasses import dataclass, replace

import numpy as np

from saltus.data.arithmetic import Problems, distinct_problems
from saltus.data.batches import Drill, Mixture
from saltus.data.writing import Alphabet, as_text, squeeze, write
from saltus.probe.neighbour import neighbour_exact

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Exam:
    """Problems of one drill as tokens.

    `asked` (B,) are the prompts as text; `prompt` (B, P) with the leading separator, blanks at the
    end; `target` (B, A) ends with the terminator, blanks after it; `neighbour` (B,) is the share of
    the nearest training problems with the right answer, NaN outside the task's space. `shift` names
    what sets the problems apart from those of training; None for held-out problems as they are.
    """

    drill: Drill
    problems: Problems
    asked: np.ndarray
    prompt: np.ndarray
    target: np.ndarray
    neighbour: np.ndarray
    shift: str | None = None

    def __len__(self) -> int:
        return len(self.problems)

    @property
    def carries(self) -> np.ndarray:
        """Return how many columns of each problem carry, (B,)."""
        return self.problems.carries

    def part(self, index: np.ndarray) -> "Exam":
        """Return the problems at `index`."""
        return replace(
            self,
            problems=self.problems.take(index),
            asked=self.asked[index],
            prompt=self.prompt[index],
            target=self.target[index],
            neighbour=self.neighbour[index],
        )


def make_exams(
    drill: Drill, mixture: Mixture, alphabet: Alphabet, items: int, seed: int
) -> tuple[Exam, Exam] | None:
    """Return the probe's and the validation's problems of a drill; None if nothing is held out.

    Distinct held-out problems, at most `items` of them and a fifth as many again for validation; a
    space with fewer is divided in the same proportion.
    """
    wanted = round(items / (1 - VALIDATION_SHARE))
    if drill.task in ("add_1", "sub_1"):
        return None
    problems = distinct_problems(drill.task, mixture.held_out_share, mixture.salt, wanted, seed)
    written = write(problems, drill.task, drill.arm, alphabet)
    separator = np.full((len(problems), 1), alphabet.separator)
    (prompt,) = squeeze(np.concatenate([separator, written.prompt], 1))
    (target,) = squeeze(np.concatenate([written.answer, separator], 1))
    neighbour = neighbour_exact(problems, drill.task, mixture.held_out_share, mixture.salt)
    asked = np.array([as_text(row[1:], alphabet) for row in prompt])
    exam = Exam(drill, problems, asked, prompt, target, neighbour)
    is_validation = np.arange(len(exam)) % round(1 / VALIDATION_SHARE) == 0
    return exam.part(np.flatnonzero(~is_validation)), exam.part(np.flatnonzero(is_validation))
