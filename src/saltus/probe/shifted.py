"""Arithmetic under shift: problems that training shows neither as such nor in this form.

`longer`: a digit more to every operand, a step more to a chain. `all_carries`: held-out pairs whose
every column carries or borrows. `out_of_range`: one operand of a length that the task never shows.
`phrasing`: the held-out problems themselves, with spaces about their operators.
"""

import numpy as np

# Which of a + b and b + a is asked has no public name: data/ decides it for the held-out problems.
from saltus.data.arithmetic import (
    OPERATORS,
    Problems,
    Sampler,
    _first_of_each,
    distinct_problems,
    operand_range,
    parse_task,
)
from saltus.data.batches import Drill, Mixture
from saltus.data.writing import BLANK, Alphabet
from saltus.probe.exam import Exam
from saltus.probe.expression import (
    Form,
    answers_of,
    form_of,
    longer_form,
    prompts_of,
    solve,
    tokens_of,
)
from saltus.probe.neighbour import neighbour_exact

SHIFTS = ("longer", "all_carries", "out_of_range", "phrasing")
SHIFTED_ITEMS = 100
"""Problems of each kind and drill, at most."""
CANDIDATES = 64
"""Problems drawn for each one that is asked, so that every count of carries is among them."""


def shifted_exams(
    exam: Exam,
    validation: Exam,
    mixture: Mixture,
    alphabet: Alphabet,
    *,
    space: int,
    context: int,
    seed: int,
) -> list[Exam]:
    """Return the shifted exams of the drill that asks `exam` and fits with `validation`.

    `space` is the token of a space. A kind is left out where it does not exist: `longer` if that
    very task is trained in this arm, `all_carries` but for pairs or if none such is held out, any
    whose longest problem does not fit `context` with both separators.
    """
    drill = exam.drill
    own = form_of(drill.task)
    found: list[tuple[str, Problems, Form]] = []
    if (longer := _longer(drill, mixture, seed)) is not None:
        found.append(("longer", longer, longer_form(drill.task)))
    if (full := _all_carries(drill, mixture, validation, seed)) is not None:
        found.append(("all_carries", full, own))
    found.append(("out_of_range", _out_of_range(drill, seed), own))
    found.append(("phrasing", exam.problems.take(np.arange(min(SHIFTED_ITEMS, len(exam)))), own))
    exams = []
    for shift, problems, form in found:
        if shift in ("longer", "out_of_range"):
            neighbour = np.full(len(problems), np.nan)
        else:
            share, salt = mixture.held_out_share, mixture.salt
            neighbour = neighbour_exact(problems, drill.task, share, salt)
        made = _exam(drill, problems, form, neighbour, shift, alphabet, space)
        if longest(made) <= context:
            exams.append(made)
    return exams


def longest(exam: Exam) -> int:
    """Return the tokens of an exam's longest problem with both separators."""
    lengths = (exam.prompt != BLANK).sum(1) + (exam.target != BLANK).sum(1)
    return int(lengths.max())


def _exam(
    drill: Drill,
    problems: Problems,
    form: Form,
    neighbour: np.ndarray,
    shift: str,
    alphabet: Alphabet,
    space: int,
) -> Exam:
    """Return the problems as tokens, written in the drill's arm."""
    prompts = prompts_of(problems, drill.arm, form, " " if shift == "phrasing" else "")
    answers = answers_of(problems, drill.arm, form)
    prompt = tokens_of(prompts, drill.arm, alphabet, max(map(len, prompts)), space)
    separator = np.full((len(problems), 1), alphabet.separator)
    # As the drill's own: room for a sign, the digits and the terminator.
    width = 2 + max(form.answer, *(len(answer.lstrip("-")) for answer in answers))
    target = tokens_of(answers, drill.arm, alphabet, width)
    target[np.arange(len(answers)), [len(answer) for answer in answers]] = alphabet.separator
    prompt = np.concatenate([separator, prompt], 1)
    return Exam(drill, problems, np.array(prompts), prompt, target, neighbour, shift)


def _longer(drill: Drill, mixture: Mixture, seed: int) -> Problems | None:
    """Return problems a digit or a step longer; held-out ones where another arm trains them."""
    kind, number = parse_task(drill.task)
    name = drill.task.replace(str(number), str(number + 1), 1)
    arms = {other.arm for other in mixture.drills if other.task == name}
    if drill.arm in arms:
        return None
    if arms:
        return distinct_problems(name, mixture.held_out_share, mixture.salt, SHIFTED_ITEMS, seed)
    widths = np.tile(longer_form(drill.task).operands, (CANDIDATES * SHIFTED_ITEMS, 1))
    return _drawn(kind, widths, _generator("longer", drill.task, seed))


def _out_of_range(drill: Drill, seed: int) -> Problems:
    """Return problems with one operand a digit short, or in chains a digit longer."""
    kind, _ = parse_task(drill.task)
    generator = _generator("out_of_range", drill.task, seed)
    widths = np.tile(form_of(drill.task).operands, (CANDIDATES * SHIFTED_ITEMS, 1))
    # The other factor of a product has one digit, which cannot be fewer.
    place = generator.integers(1 if kind == "mul" else widths.shape[1], size=len(widths))
    widths[np.arange(len(widths)), place] += 1 if kind == "chain" else -1
    return _drawn(kind, widths, generator)


def _all_carries(drill: Drill, mixture: Mixture, validation: Exam, seed: int) -> Problems | None:
    """Return held-out pairs whose every column carries; none is of the validation's problems.

    Of a difference the first column never borrows: the smaller operand is taken from the larger.
    """
    kind, number = parse_task(drill.task)
    if kind not in ("add", "sub"):
        return None
    sampler = Sampler(drill.task, mixture.held_out_share, mixture.salt, held_out=True)
    generator = _generator("all_carries", drill.task, seed)
    if sampler.enumerated:
        pool = sampler.pool.take(generator.permutation(len(sampler.pool)))
    else:
        pool = sampler.draw(generator, CANDIDATES * SHIFTED_ITEMS)
    known = {tuple(sorted(pair)) for pair in validation.problems.operands.tolist()}
    fresh = np.array([tuple(sorted(pair)) not in known for pair in pool.operands.tolist()])
    full = pool.carries == (number if kind == "add" else number - 1)
    pool = pool.take(np.flatnonzero(full & fresh))
    return pool.take(_first_of_each(pool, kind)[:SHIFTED_ITEMS]) if len(pool) else None


def _drawn(kind: str, widths: np.ndarray, generator: np.random.Generator) -> Problems:
    """Return distinct problems with operands of these digits (n, k), carries as even as may be."""
    ranges = np.array([(0, 0), *(operand_range(digits) for digits in range(1, widths.max() + 1))])
    operands = generator.integers(ranges[widths, 0], ranges[widths, 1])
    shape = (len(widths), widths.shape[1] - 1)
    if kind == "chain":
        operators = generator.integers(2, size=shape)
    else:
        sign = {"add": "+", "sub": "-", "mul": "*"}[kind]
        operators = np.full(shape, OPERATORS.index(sign))
    problems = solve(kind, operands, operators)
    problems = problems.take(_first_of_each(problems, kind))
    turn = np.zeros(len(problems), dtype=np.int64)
    for value in np.unique(problems.carries):
        same = problems.carries == value
        turn[same] = np.arange(np.count_nonzero(same))
    return problems.take(np.argsort(turn, kind="stable")[:SHIFTED_ITEMS])


def _generator(shift: str, task: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, *shift.encode(), *task.encode()])
