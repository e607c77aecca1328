"""What a foreign model is asked, and that its answers are read as its own library reads them."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.calibrate.summary import summarise_calibration
from saltus.data.arithmetic import distinct_problems
from saltus.data.batches import ARITHMETIC, Drill, Mixture
from saltus.errors import SaltusError
from saltus.probe.foreign.answers import answer_temperature, greedy, item_table, target_logits
from saltus.probe.foreign.job import Probed, probe_foreign
from saltus.probe.foreign.lines import LineNotation, spaced
from saltus.probe.foreign.model import Foreign, load_foreign
from saltus.probe.foreign.sources import Texts, texts_of_file
from saltus.probe.foreign.text import pages_of, score_pages, token_table
from saltus.probe.noise import NOISE
from saltus.probe.spec import ProbeSpec

CPU = torch.device("cpu")
DRILLS = (
    Drill("add_1", "plain", 1.0),
    Drill("add_2", "reversed", 1.0),
    Drill("sub_2", "plain", 1.0),
    Drill("chain_2", "plain", 1.0),
)
MIXTURE = Mixture({ARITHMETIC: 1.0}, DRILLS, 0.1, "salt")
KINDS = ("gpt2", "gpt_neox", "llama")
TEXT = ["One and one is two, and 12 + 34 = 46.\n\nNaïve — so!", "Nothing leaps.", "8"]
Folder = Callable[[str], Path]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, foreign_folder: Folder) -> Foreign:
    return load_foreign(foreign_folder(request.param), CPU)


def test_decoding_through_the_cache_is_one_pass(model: Foreign) -> None:
    notation = LineNotation(model, MIXTURE, 2, 0)
    (asked, _), *_ = notation.exams(8, 0)
    questions = notation.ask(asked)
    ends = np.zeros(model.vocabulary, dtype=bool)
    for prompt in questions.prompts[:4]:
        found = greedy(model, torch.tensor([prompt]), ends, 2.0, 6)
        (answer,) = found.tokens
        scores = model.logits(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1]
        assert scores.argmax(-1).tolist() == answer and not found.finished[0]
        for divisor, confidence in ((1.0, found.confidence), (2.0, found.tempered)):
            each = (scores / divisor).log_softmax(-1)[torch.arange(6), answer]
            assert confidence[0] == pytest.approx(each.sum().exp().item(), rel=1e-4)


def test_an_answer_stops_at_its_terminator(model: Foreign) -> None:
    notation = LineNotation(model, MIXTURE, 0, 0)
    prompt = torch.tensor([notation.ask(notation.exams(4, 0)[0][0]).prompts[0]])
    free = greedy(model, prompt, np.zeros(model.vocabulary, dtype=bool), 1.0, 5)
    stop = free.tokens[0][2]
    first = free.tokens[0].index(stop)
    ends = np.arange(model.vocabulary) == stop
    found = greedy(model, prompt, ends, 1.0, 5)
    assert found.tokens[0] == free.tokens[0][: first + 1] and found.finished[0]
    assert found.confidence[0] > free.confidence[0]


def test_target_losses_are_those_of_each_problem_alone(model: Foreign) -> None:
    notation = LineNotation(model, MIXTURE, 3, 0)
    questions = notation.ask(notation.exams(12, 0)[1][0])
    table = item_table(model, notation, questions, 1.0)
    assert len({len(target) for target in questions.targets}) > 1
    for row in table.itertuples():
        prompt, target = questions.prompts[row.item], questions.targets[row.item]
        scores = model.logits(torch.tensor([[*prompt, *target]]))[0, len(prompt) - 1 : -1]
        expected = -scores.log_softmax(-1)[torch.arange(len(target)), target]
        np.testing.assert_allclose(row.token_nll, expected.numpy(), rtol=1e-4, atol=1e-5)
        assert row.target_nll == pytest.approx(expected.sum().item(), rel=1e-4)


def test_text_losses_are_those_of_transformers(model: Foreign) -> None:
    pages = pages_of(TEXT, model, 90)
    scores = score_pages(model, pages, 10, 0)
    nats = 0.0
    for text in TEXT:
        ids = torch.tensor([[model.separator, *model.encode(text)]])
        nats += model.model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    assert scores.losses[0] * scores.tokens == pytest.approx(nats, rel=1e-4)
    assert scores.tokens == sum(len(model.encode(text)) for text in TEXT)
    assert scores.bytes == sum(len(text.encode()) for text in TEXT)
    assert scores.bits_per_byte[0] == pytest.approx(nats / np.log(2) / scores.bytes, rel=1e-4)


def test_short_windows_score_every_token_once(model: Foreign) -> None:
    long, short = (pages_of(TEXT, model, window) for window in (90, 7))
    assert short.tokens.shape[1] == 8 and short.bytes == long.bytes
    for pages in (long, short):
        scored = [token for row in pages.tokens for token in row[1:] if token >= 0]
        assert scored == [token for text in TEXT for token in model.encode(text)]
    kept = score_pages(model, short, 10**6, 0)
    documents = np.repeat([0, 1, 2], [len(model.encode(text)) for text in TEXT])
    assert (kept.sampled_documents == documents).all()


def test_a_table_made_in_parts_is_the_table(
    model: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = score_pages(model, pages_of(TEXT, model, 90), 20, 0)
    whole = token_table(scores, "a", "text", torch.tensor([2.0]))
    monkeypatch.setattr("saltus.probe.foreign.text.LOGIT_BUDGET", 3 * model.vocabulary)
    parts = token_table(scores, "a", "text", torch.tensor([2.0]))
    pd.testing.assert_frame_equal(whole, parts)


def test_parameters_are_counted_once_and_by_part(model: Foreign) -> None:
    found = model.parameters()
    assert found["params_total"] == sum(p.numel() for p in model.model.parameters())
    matrix = model.vocabulary * 16
    positions = 96 * 16 if model.model.config.model_type == "gpt2" else 0
    assert found["params_embedding"] == matrix + positions
    assert found["params_head"] == (0 if model.model.config.tie_word_embeddings else matrix)
    parts = ("params_embedding", "params_head", "params_nonembedding")
    assert sum(found[part] for part in parts) == found["params_total"]


def test_questions_are_lines_with_solved_problems_in_front(foreign_folder: Folder) -> None:
    model = load_foreign(foreign_folder("llama"), CPU)
    notation = LineNotation(model, MIXTURE, 2, 0)
    exams = notation.exams(20, 0)
    # One-digit sums are trained on alone; of the other arms the plain one is asked.
    asked = [(exam.drill.task, exam.drill.arm) for exam, _ in exams]
    assert asked == [(task, "plain") for task in ("add_2", "sub_2", "chain_2")]
    shots = set()
    for exam, _ in exams:
        questions = notation.ask(exam)
        held_out = {*questions.shown, *(notation.ask(exams[0][1]).shown)}
        for place, (prompt, target) in enumerate(
            zip(questions.prompts, questions.targets, strict=True)
        ):
            assert prompt[0] == model.separator
            *solved, last = model.decode(prompt[1:]).split("\n")
            assert len(solved) == 2 and last == spaced(questions.shown[place])
            assert model.decode(target) == f" {questions.answers[place]}\n"
            for line in (*solved, last + model.decode(target)):
                left, _, right = line.partition("=")
                assert eval(left) == int(right) and f" {int(right)}" == right.rstrip("\n")
            shots |= {re.sub(" ", "", line.partition("=")[0]) + "=" for line in solved}
            assert not shots & held_out
    # Digits do join here, and a question has solved problems of its own.
    assert len(shots) > 20
    assert any(
        len(target) < 1 + len(answer) + 1
        for target, answer in zip(questions.targets, questions.answers, strict=True)
    )


def test_held_out_problems_are_those_of_the_family(foreign_folder: Folder) -> None:
    notation = LineNotation(load_foreign(foreign_folder("llama"), CPU), MIXTURE, 0, 0)
    probe, validation = notation.exams(40, 3)[1]
    expected = distinct_problems("sub_2", 0.1, "salt", 50, 3)
    texts = {f"{a}-{b}=" for a, b in expected.operands}
    shown = [notation.ask(exam).shown for exam in (probe, validation)]
    assert set(shown[0]) | set(shown[1]) == texts and not set(shown[0]) & set(shown[1])


def test_shifts_are_those_of_the_family_written_as_lines(foreign_folder: Folder) -> None:
    """Every kind stands behind solved problems of the task as it is; phrasing alone changes it."""
    model = load_foreign(foreign_folder("llama"), CPU)
    notation = LineNotation(model, MIXTURE, 1, 0)
    exam, validation = notation.exams(20, 0)[0]
    shifted = {each.shift: notation.ask(each) for each in notation.shifted(exam, validation, 0)}
    assert set(shifted) == {"longer", "all_carries", "out_of_range", "phrasing"}
    asked = {*notation.ask(exam).shown, *notation.ask(validation).shown}
    for shift, questions in shifted.items():
        for prompt, target, shown in zip(
            questions.prompts, questions.targets, questions.shown, strict=True
        ):
            solved, line = model.decode(prompt[1:]).split("\n")
            left, right = re.fullmatch(r"(\d+) ?\+ ?(\d+) =", line).groups()
            assert model.decode(target) == f" {int(left) + int(right)}\n"
            assert re.fullmatch(r"\d\d \+ \d\d = \d+", solved)
            assert len(target) <= questions.max_tokens
            if shift == "phrasing":
                assert line == shown == f"{left}+{right} =" and f"{left}+{right}=" in asked
            else:
                assert line == f"{left} + {right} ="
            lengths = {"longer": {(3, 3)}, "out_of_range": {(1, 2), (2, 1)}}
            assert (len(left), len(right)) in lengths.get(str(shift), {(2, 2)})


def test_what_does_not_fit_the_context_is_left_out_and_told(foreign_folder: Folder) -> None:
    model = load_foreign(foreign_folder("gpt2"), CPU)
    asked = ProbeSpec(10, 400, 200, 60, 0, ("text",), ("text",))
    pages = pages_of(TEXT, model, 32)
    texts = Texts({"text": pages}, {"text": pages}, {}, ("text",))

    def tables(context: int, shots: int = 0) -> Probed:
        small = Foreign(**{**vars(model), "context": context})
        return probe_foreign(small, asked, MIXTURE, texts, shots)

    notation = LineNotation(model, MIXTURE, 0, 0)
    lengths = {
        each.shift: max(map(len, questions.prompts)) + questions.max_tokens
        for exams in notation.exams(10, 0)
        for each in (exams[0], *notation.shifted(*exams, 0))
        for questions in [notation.ask(each)]
    }
    whole, less = tables(96), tables(max(lengths.values()) - 1)
    assert whole.too_long == () and less.too_long
    kept = {(task, shift) for task, shift in less.tables["items"][["task", "shift"]].values}
    for told in less.too_long:
        task, shift = told.rstrip(")").split(" (")
        assert (task, shift) not in kept
    with pytest.raises(SaltusError, match="--shots: found 9"):
        tables(96, 9)


def test_noise_breaks_characters_and_is_read_all_the_same(
    foreign_folder: Folder, tmp_path: Path
) -> None:
    model = load_foreign(foreign_folder("gpt2"), CPU)
    path = tmp_path / "umlauts.jsonl"
    documents = [f"Natürlich springt sie nicht: Übung {n} für Öl." for n in range(12)]
    path.write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    asked = ProbeSpec(10, 400, 200, 60, 0, ("text",), ("text",))
    texts, _ = texts_of_file(path, model, asked, 90)
    clean, noisy = texts.test["umlauts"], texts.noise["umlauts"]
    assert len(noisy) == len(NOISE)
    read = [
        "".join(model.decode(row[row >= 0].tolist()) for row in pages.tokens)
        for pages in (clean, *noisy)
    ]
    assert "�" not in read[0] and "�" in read[-1]
    tables = probe_foreign(model, asked, MIXTURE, texts, 0).tables
    rows = tables["tokens"]
    assert set(rows.loc[rows["shift"] == "noise", "severity"]) == {1, 2, 3, 4, 5}
    # The temperature is that of clean text, and the losses are of clean text alone.
    assert rows.loc[rows["tempered"], "temperature"].nunique() == 1
    assert set(tables["losses"]["split"]) == {"test", "validation"} and len(tables["losses"]) == 2


class Oracle:
    """Reads the last line, works it out, and is almost sure of each token of the answer."""

    def __init__(self, tokenizer: Any, sureness: float) -> None:
        self.tokenizer, self.sureness = tokenizer, sureness

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        vocabulary = len(self.tokenizer)
        scores = torch.zeros(*tokens.shape, vocabulary)
        for row, ids in enumerate(tokens.tolist()):
            for place in range(len(ids)):
                scores[row, place, self._next(ids[: place + 1])] = self.sureness
        return scores

    def _next(self, ids: Sequence[int]) -> int:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        line = text.rpartition("\n")[2]
        question, equals, given = line.partition("=")
        if not equals:
            return 0
        answer = self.tokenizer(f" {eval(question)}\n")["input_ids"]
        done = len(self.tokenizer(given)["input_ids"]) if given else 0
        return int(answer[min(done, len(answer) - 1)])


@pytest.mark.parametrize("shots", [0, 1])
def test_a_model_that_can_add_is_right_and_sure(
    shots: int, foreign_folder: Folder, joining_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_foreign(foreign_folder("gpt2"), CPU)
    oracle = Oracle(joining_tokenizer, sureness=12.0)
    monkeypatch.setattr(Foreign, "logits", lambda _, tokens: oracle(tokens))
    monkeypatch.setattr(Foreign, "step", lambda _, tokens, cache: (oracle(tokens)[:, -1], None))
    notation = LineNotation(model, MIXTURE, shots, 0)
    exams = notation.exams(8, 0)
    validations = [notation.ask(validation) for _, validation in exams]
    temperature = answer_temperature(model, validations)
    # Always right: the sharper the better.
    assert temperature < 0.5
    each = 1 / (1 + (model.vocabulary - 1) * np.exp(-12.0))
    for exam, _ in exams:
        table = item_table(model, notation, notation.ask(exam), temperature)
        assert table["exact"].all() and (table["digits_correct"] == table["digits"]).all()
        assert (table["edit_distance"] == 0).all()
        expected = each ** table["target_tokens"]
        # Single precision, several tokens: processors differ by 1e-5.
        np.testing.assert_allclose(table["confidence"], expected, rtol=3e-5)
        np.testing.assert_allclose(np.exp(-table["target_nll"]), expected, rtol=3e-5)
        np.testing.assert_allclose(table["confidence_tempered"], 1, rtol=1e-5)


def test_the_temperature_takes_part_of_many_tokens(
    foreign_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_foreign(foreign_folder("llama"), CPU)
    notation = LineNotation(model, MIXTURE, 0, 0)
    questions = [notation.ask(exam) for exam, _ in notation.exams(30, 0)]
    seen: list[int] = []
    monkeypatch.setattr(
        "saltus.probe.foreign.answers.fit_temperature",
        lambda scores, targets: seen.append(targets.shape[1]) or torch.tensor([1.0]),
    )
    count = sum(len(target) for each in questions for target in each.targets)
    answer_temperature(model, questions)
    monkeypatch.setattr("saltus.probe.foreign.answers.FIT_LOGITS", 50 * model.vocabulary)
    answer_temperature(model, questions)
    stride = -(-count // 50)
    assert seen == [count, -(-count // stride)]


def test_tables_of_a_foreign_model_can_be_calibrated(foreign_folder: Folder) -> None:
    model = load_foreign(foreign_folder("gpt2"), CPU)
    asked = ProbeSpec(30, 400, 200, 60, 0, ("text",), ("text",))
    pages = pages_of(TEXT, model, 32)
    texts = Texts({"text": pages}, {"text": pages}, {"text": (pages,)}, ("text",))
    tables = probe_foreign(model, asked, MIXTURE, texts, 1).tables
    rows = summarise_calibration(tables["tokens"], tables["items"], tables["runs"])
    assert set(rows["level"]) >= {"token", "answer", "answer:sub_2:plain"}
    assert rows.loc[rows["level"] == "answer", "ece"].notna().all()
    runs = tables["runs"].iloc[0]
    assert runs["architecture"] == "gpt2" and runs["run"] == "gpt2"
    assert pd.isna(runs["tokens"]) and pd.isna(runs["horizon"]) and runs["depth"] == 2
    again = probe_foreign(model, asked, MIXTURE, texts, 1).tables
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_groups_do_not_matter(foreign_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_foreign(foreign_folder("gpt_neox"), CPU)
    notation = LineNotation(model, MIXTURE, 1, 0)
    questions = notation.ask(notation.exams(20, 0)[0][0])
    groups = [chosen for chosen, _, _ in target_logits(model, questions)]
    whole = item_table(model, notation, questions, 1.5)
    monkeypatch.setattr("saltus.probe.foreign.answers.LOGIT_BUDGET", 1)
    assert len(list(target_logits(model, questions))) == 20 > len(groups)
    alone = item_table(model, notation, questions, 1.5)
    pd.testing.assert_frame_equal(whole, alone, rtol=1e-4)
