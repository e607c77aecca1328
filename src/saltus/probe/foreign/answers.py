"""Answers of a foreign model: the `items` table, with the family's columns and definitions.

Drawn answers (`sampled`) are a check of the family's own decoder and stay null.

Legend: B problem, n answer token, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saltus.data.writing import best_constant_accuracy
from saltus.probe.arithmetic import LOGIT_BUDGET, digits_correct, edit_distance
from saltus.probe.decode import fit_temperature
from saltus.probe.foreign.model import Foreign
from saltus.probe.foreign.questions import Notation, Questions

FIT_LOGITS = 1 << 26
"""Logits that a temperature is fitted on at most: of more, every k-th answer token is taken."""


def item_table(
    model: Foreign, notation: Notation, questions: Questions, temperature: float
) -> pd.DataFrame:
    """Return the `items` rows of one exam."""
    exam, count = questions.exam, len(questions.prompts)
    token_nll: list[np.ndarray] = [np.empty(0)] * count
    for chosen, scores, targets in target_logits(model, questions):
        logs = scores.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        for row, item in enumerate(chosen):
            real = len(questions.targets[item])
            token_nll[item] = -logs[row, :real].cpu().numpy().astype(np.float32)
    predictions = [""] * count
    confidence, tempered = np.empty(count, np.float32), np.empty(count, np.float32)
    for chosen in _groups(questions, model.vocabulary):
        prompts = torch.tensor([questions.prompts[item] for item in chosen], device=model.device)
        found = greedy(model, prompts, notation.ends, temperature, questions.max_tokens)
        confidence[chosen], tempered[chosen] = found.confidence, found.tempered
        for item, ids, done in zip(chosen, found.tokens, found.finished, strict=True):
            predictions[item] = notation.read(ids) + ("" if done else "…")
    answers = questions.answers
    pairs = list(zip(predictions, answers, strict=True))
    return pd.DataFrame(
        {
            "run": model.name,
            "task": exam.drill.task,
            "arm": exam.drill.arm,
            "item": np.arange(count),
            "prompt": questions.shown,
            "target": answers,
            "prediction": predictions,
            "exact": [p == t for p, t in pairs],
            "digits_correct": [digits_correct(p, t, exam.drill.arm) for p, t in pairs],
            "digits": [sum(c.isdigit() for c in text) for text in answers],
            "edit_distance": [edit_distance(p, t) for p, t in pairs],
            "target_nll": [float(nll.sum()) for nll in token_nll],
            "token_nll": token_nll,
            "target_tokens": [len(nll) for nll in token_nll],
            "confidence": confidence,
            "confidence_tempered": tempered,
            "temperature": temperature,
            "in_distribution": exam.shift is None,
            "shift": pd.array([exam.shift] * count, dtype="string"),
            "guess_rate": best_constant_accuracy(answers),
            "carries": exam.carries,
            "neighbour_exact": exam.neighbour,
            "sampled": pd.array([pd.NA] * count, dtype="Int64"),
            "sampled_exact": pd.array([pd.NA] * count, dtype="Int64"),
        }
    )


class Greedy:
    """What was generated after each of B prompts, up to the terminator.

    `tokens` leaves the terminator in, since one token may hold the answer's last digit with it;
    `confidence` and `tempered` (B,) are products of the probabilities of the generated tokens, the
    terminator's included; `finished` (B,) tells whether it came.
    """

    def __init__(self, rows: Tensor, total: Tensor, tempered: Tensor, ends: Tensor) -> None:
        stop = ends[rows]  # (B, S)
        self.finished = stop.any(1).cpu().numpy()
        lengths = torch.where(stop.any(1), stop.int().argmax(1) + 1, rows.shape[1])
        self.tokens = [
            row[:length] for row, length in zip(rows.tolist(), lengths.tolist(), strict=True)
        ]
        self.confidence = total.exp().cpu().numpy()
        self.tempered = tempered.exp().cpu().numpy()


def greedy(
    model: Foreign,
    prompts: Tensor,  # (B, P), all of one length
    ends: np.ndarray,  # (V,)
    temperature: float,
    max_tokens: int,
) -> Greedy:
    """Return the most likely continuation of every prompt, token by token."""
    stops = torch.from_numpy(ends).to(prompts.device)
    total = torch.zeros(len(prompts), device=prompts.device)
    tempered = torch.zeros_like(total)
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    cache, tokens = None, prompts
    for _ in range(max_tokens):
        scores, cache = model.step(tokens, cache)
        chosen = scores.argmax(-1)
        for sum_of_logs, divisor in ((total, 1.0), (tempered, temperature)):
            logs = (scores / divisor).log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
            sum_of_logs += torch.where(finished, 0.0, logs)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        finished = finished | stops[chosen]
        if bool(finished.all()):
            break
    return Greedy(tokens[:, prompts.shape[1] :], total, tempered, stops)


def answer_temperature(model: Foreign, validations: Sequence[Questions]) -> float:
    """Return the temperature fitted on the answer tokens of the validation problems."""
    count = sum(len(target) for questions in validations for target in questions.targets)
    stride = -(-count * model.vocabulary // FIT_LOGITS)
    scores, targets, seen = [], [], 0
    for questions in validations:
        for chosen, found, ids in target_logits(model, questions):
            lengths = torch.tensor([len(questions.targets[item]) for item in chosen])
            real = torch.arange(ids.shape[1]) < lengths[:, None]
            kept = real.flatten().nonzero()[:, 0].to(found.device)
            kept = kept[(-seen) % stride :: stride]
            seen += int(real.sum())
            scores.append(found.flatten(0, 1)[kept])
            targets.append(ids.flatten()[kept])
    return float(fit_temperature(torch.cat(scores)[None], torch.cat(targets)[None])[0])


def target_logits(
    model: Foreign, questions: Questions
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield groups of problems (B,), the logits before each target token (B, n, V), and the tokens.

    Behind a target's terminator both are filled up.
    """
    for chosen in _groups(questions, model.vocabulary):
        prompts = [questions.prompts[item] for item in chosen]
        answers = [questions.targets[item] for item in chosen]
        width = max(map(len, answers))
        filled = [row + [row[-1]] * (width - len(row)) for row in answers]
        tokens = torch.tensor([p + a for p, a in zip(prompts, filled, strict=True)])
        scores = model.logits(tokens[:, :-1].to(model.device))
        yield chosen, scores[:, -width:], torch.tensor(filled, device=model.device)


def _groups(questions: Questions, vocabulary: int) -> Iterator[np.ndarray]:
    """Yield the numbers of problems with prompts of one length, few enough to be read at once."""
    lengths = np.array([len(prompt) for prompt in questions.prompts])
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        step = max(1, LOGIT_BUDGET // ((int(length) + questions.max_tokens) * vocabulary))
        for first in range(0, len(same), step):
            yield same[first : first + step]
