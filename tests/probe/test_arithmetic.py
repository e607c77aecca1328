"""Held-out problems: every column of the items against a plain recomputation."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.data.arithmetic import enumerate_space
from saltus.data.batches import Drill
from saltus.data.writing import BLANK, as_text
from saltus.model.initialise import initial_parameters
from saltus.model.transformer import logits, unflatten
from saltus.probe import arithmetic
from saltus.probe.arithmetic import (
    answer_temperature,
    digits_correct,
    edit_distance,
    item_table,
    target_logits,
)
from saltus.probe.exam import Exam, make_exams

RUNS = ["first", "second"]
TEMPERATURES = torch.tensor([0.6, 1.5])


def exam_of(pupils: Any, drill: Drill, items: int = 150) -> Exam:
    exams = make_exams(drill, pupils.mixture, pupils.alphabet, items, seed=3)
    assert exams is not None
    return exams[0]


@pytest.fixture(scope="module")
def table(pupils: Any) -> pd.DataFrame:
    """The items of both drills, the exam's row number in `exam_row`."""
    parts = []
    for drill in pupils.mixture.drills:
        exam = exam_of(pupils, drill)
        parts.append(
            item_table(
                pupils.parameters, exam, pupils.shape, pupils.alphabet, RUNS, TEMPERATURES, 0
            )
        )
    return pd.concat(parts, ignore_index=True)


def ids_of(text: str, pupils: Any, relation: int) -> list[int]:
    symbols = dict(zip("0123456789+-*", pupils.alphabet.symbols, strict=True)) | {"=": relation}
    return [symbols[character] for character in text]


def test_items_equal_a_plain_recomputation(pupils: Any, table: pd.DataFrame) -> None:
    stop = pupils.alphabet.separator
    num_right = 0
    for item in table.sample(120, random_state=0).itertuples():
        r = RUNS.index(item.run)
        relation = pupils.alphabet.relations[item.arm]
        prompt = [stop, *ids_of(item.prompt, pupils, relation)]
        target = [*ids_of(item.target, pupils, relation), stop]

        def logs_after(
            text: list[int], count: int, temperature: float = 1.0, r: int = r
        ) -> torch.Tensor:
            scores = logits(pupils.alone(r), torch.tensor([[text]]), pupils.shape)[0]
            return (scores[-count - 1 : -1].double() / temperature).log_softmax(-1)

        forced = logs_after(prompt + target, len(target))
        nll = -forced[range(len(target)), target]
        assert item.token_nll == pytest.approx(nll.tolist(), abs=1e-4)
        assert item.target_nll == pytest.approx(float(nll.sum()), abs=1e-4)
        assert item.target_tokens == len(target)
        # Greedy is right exactly when the likeliest token is the target's at every place.
        assert item.exact == (forced.argmax(1).tolist() == target)
        num_right += item.exact

        if item.prediction.endswith("…"):
            continue
        answer = [*ids_of(item.prediction, pupils, relation), stop]
        for name, temperature in (
            ("confidence", 1.0),
            ("confidence_tempered", float(TEMPERATURES[r])),
        ):
            logs = logs_after(prompt + answer, len(answer), temperature)
            expected = logs[range(len(answer)), answer].sum().exp()
            assert getattr(item, name) == pytest.approx(float(expected), rel=1e-3)
    assert 3 < num_right < 100, "both right and wrong answers occur"


def test_targets_are_right_and_prompts_are_held_out(pupils: Any, table: pd.DataFrame) -> None:
    for drill in pupils.mixture.drills:
        rows = table[(table["task"] == drill.task) & (table["run"] == "first")]
        assert (rows["arm"] == drill.arm).all()
        space = enumerate_space(drill.task, 0.1, "salt")
        held_out = space.split(held_out=True)
        assert rows["prompt"].is_unique and len(rows) <= len(held_out)
        answers = set(held_out.answers.tolist())
        for prompt, target in zip(rows["prompt"], rows["target"], strict=True):
            value = eval(prompt.removesuffix("="))
            plain = str(value)
            assert target == (plain if drill.arm == "plain" else plain[::-1])
            assert value in answers
        assert rows["guess_rate"].iloc[0] == rows["target"].value_counts().max() / len(rows)


def test_scores_of_a_prediction(table: pd.DataFrame) -> None:
    for item in table.itertuples():
        assert item.exact == (item.prediction == item.target)
        assert item.edit_distance == recursive_distance(item.prediction, item.target)
        assert item.digits == sum(character.isdigit() for character in item.target)
        right = digits_correct(item.prediction, item.target, item.arm)
        assert 0 <= right <= item.digits
        assert item.digits_correct == right
        assert not item.exact or item.digits_correct == item.digits
        assert 0 < item.confidence <= 1 and 0 < item.confidence_tempered <= 1
    assert table["in_distribution"].all() and table["shift"].isna().all()
    assert not table.duplicated(["run", "task", "item"]).any()


def test_runs_answer_the_same_items(table: pd.DataFrame) -> None:
    keys = ["task", "item", "prompt", "target", "carries", "guess_rate"]
    first, second = (table.loc[table["run"] == run, keys] for run in RUNS)
    pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))


def test_replicas_answer_as_they_do_alone(pupils: Any, table: pd.DataFrame) -> None:
    exam = exam_of(pupils, pupils.mixture.drills[0])
    for r, run in enumerate(RUNS):
        alone = item_table(
            pupils.alone(r), exam, pupils.shape, pupils.alphabet, [run], TEMPERATURES[r : r + 1], 0
        )
        both = table[(table["run"] == run) & (table["task"] == exam.drill.task)]
        assert both["prediction"].tolist() == alone["prediction"].tolist()
        np.testing.assert_allclose(both["target_nll"], alone["target_nll"], rtol=1e-4, atol=1e-5)


def test_groups_of_problems_do_not_change_their_logits(
    pupils: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = exam_of(pupils, pupils.mixture.drills[1], items=30)
    whole, real = target_logits(pupils.parameters, exam, pupils.shape)
    monkeypatch.setattr(arithmetic, "LOGIT_BUDGET", 3_000)
    parts, again = target_logits(pupils.parameters, exam, pupils.shape)
    assert torch.equal(real, again)
    torch.testing.assert_close(parts[:, real], whole[:, real], atol=1e-5, rtol=1e-5)


def test_an_untrained_model_that_never_stops_is_wrong_and_unfinished(pupils: Any) -> None:
    flat = initial_parameters(pupils.shape, [0, 1])
    parameters = unflatten(flat, pupils.shape)
    # The separator is the opposite of every hidden state it would have to agree with.
    parameters["embedding"][:, pupils.alphabet.separator] = 0.0
    parameters["embedding"][:, :10] *= 40
    exam = exam_of(pupils, pupils.mixture.drills[0], items=20)
    found = item_table(parameters, exam, pupils.shape, pupils.alphabet, RUNS, TEMPERATURES, 0)
    assert found["prediction"].str.endswith("…").all()
    assert not found["exact"].any()


def test_the_temperature_is_that_of_the_answer_tokens(pupils: Any) -> None:
    exams = [exam_of(pupils, drill, items=40) for drill in pupils.mixture.drills]
    found = answer_temperature(pupils.parameters, exams, pupils.shape)

    def loss_at(temperatures: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(2)
        for exam in exams:
            scores, real = target_logits(pupils.parameters, exam, pupils.shape)
            logs = (scores / temperatures[:, None, None, None]).log_softmax(-1)
            targets = torch.from_numpy(np.where(exam.target == BLANK, 0, exam.target))
            index = targets.expand(2, -1, -1)[..., None]
            total -= (logs.gather(-1, index)[..., 0] * real).sum((1, 2))
        return total

    best = loss_at(found)
    for factor in (0.97, 1.03):
        assert (loss_at(found * factor) > best).all()


@pytest.mark.parametrize("task", ["add_1", "sub_1"])
def test_nothing_is_asked_of_one_digit_sums(task: str, pupils: Any) -> None:
    drill = Drill(task, "plain", 1.0)
    assert make_exams(drill, pupils.mixture, pupils.alphabet, 50, 0) is None


@pytest.mark.parametrize(("task", "items"), [("chain_2", 100), ("add_3", 60), ("mul_2x1", 500)])
def test_probe_and_validation_share_no_problem(task: str, items: int, pupils: Any) -> None:
    def prompts(exam: Exam) -> list[str]:
        return [as_text(row, pupils.alphabet) for row in exam.prompt]

    by_arm = []
    for arm in ("plain", "reversed", "padded"):
        exams = make_exams(Drill(task, arm, 1.0), pupils.mixture, pupils.alphabet, items, 0)
        assert exams is not None
        probe, validation = map(prompts, exams)
        assert len(set(probe) | set(validation)) == len(probe) + len(validation)
        assert len(probe) <= items
        assert len(validation) / len(probe) == pytest.approx(0.25, abs=0.03)
        by_arm.append(probe)
    assert by_arm[0] == by_arm[1] == by_arm[2], "arms are asked the same problems"
    held_out = enumerate_space(task, 0.1, "salt").split(held_out=True)
    assert len(by_arm[0]) == min(items, len(held_out) - len(validation))


def test_the_context_of_a_probe_is_that_of_training(pupils: Any) -> None:
    exam = exam_of(pupils, pupils.mixture.drills[1], items=30)
    stop = pupils.alphabet.separator
    assert (exam.prompt[:, 0] == stop).all()
    for prompt, target in zip(exam.prompt, exam.target, strict=True):
        prompt, target = prompt[prompt != BLANK], target[target != BLANK]
        assert prompt[-1] == pupils.alphabet.relations["reversed"]
        assert target[-1] == stop and stop not in target[:-1]
    part = exam.part(np.array([4, 1]))
    assert np.array_equal(part.prompt[1], exam.prompt[1]) and len(part) == 2
    assert np.array_equal(part.carries, exam.carries[[4, 1]]) and part.drill == exam.drill


@cache
def recursive_distance(left: str, right: str) -> int:
    """Levenshtein's definition, word for word."""
    if not left or not right:
        return len(left) + len(right)
    if left[-1] == right[-1]:
        return recursive_distance(left[:-1], right[:-1])
    return 1 + min(
        recursive_distance(left[:-1], right),
        recursive_distance(left, right[:-1]),
        recursive_distance(left[:-1], right[:-1]),
    )


def test_edit_distances_equal_the_recursive_definition() -> None:
    generator = np.random.default_rng(0)
    for _ in range(400):
        left, right = (
            "".join(generator.choice(list("012-"), size=generator.integers(0, 6))) for _ in "ab"
        )
        distance = edit_distance(left, right)
        assert distance == recursive_distance(left, right) == edit_distance(right, left)
        assert (distance == 0) == (left == right)
    assert edit_distance("kitten", "sitting") == 3


@pytest.mark.parametrize(
    ("prediction", "target", "arm", "right"),
    [
        ("95", "105", "plain", 1),  # the five; 9 stands where 0 should
        ("1105", "105", "plain", 3),
        ("501", "501", "reversed", 3),
        ("50", "501", "reversed", 2),
        ("-21", "21", "reversed", 2),
        ("-12", "-12", "plain", 2),
        ("", "7", "plain", 0),
    ],
)
def test_digits_are_compared_at_their_place_value(
    prediction: str, target: str, arm: str, right: int
) -> None:
    assert digits_correct(prediction, target, arm) == right
