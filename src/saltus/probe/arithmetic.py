"""Problems of an exam: greedy answers, the target's probability, and the answer's confidence.

Legend: R replica, B problem, L token of a written problem, A answer token with its terminator.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saltus.data.writing import (
    BLANK,
    Alphabet,
    as_text,
    best_constant_accuracy,
    squeeze,
)
from saltus.model.shape import Shape
from saltus.model.transformer import logits
from saltus.probe.decode import fit_temperature, greedy
from saltus.probe.exam import Exam
from saltus.probe.sampled import DRAWS, count_matches, is_sampled

LOGIT_BUDGET = 1 << 24


@torch.no_grad()
def target_logits(parameters: dict[str, Tensor], exam: Exam, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return the logits before each target token (R, B, A, V), and which are real (B, A)."""
    replicas = parameters["norm"].shape[0]
    device = parameters["norm"].device
    lengths = (exam.prompt != BLANK).sum(1)
    (tokens,) = squeeze(np.concatenate([exam.prompt, exam.target], 1))
    tokens = np.where(tokens == BLANK, 0, tokens)
    width = exam.target.shape[1]
    columns = np.minimum(lengths[:, None] - 1 + np.arange(width), tokens.shape[1] - 1)
    step = max(1, LOGIT_BUDGET // (replicas * tokens.shape[1] * shape.vocabulary))
    parts = []
    for first in range(0, len(exam), step):
        rows = torch.from_numpy(tokens[first : first + step]).to(device)
        index = torch.from_numpy(columns[first : first + step]).to(device)
        scores = logits(parameters, rows.expand(replicas, -1, -1), shape).float()
        scores = scores.view(replicas, *rows.shape, shape.vocabulary)
        index = index[None, :, :, None].expand(replicas, -1, -1, shape.vocabulary)
        parts.append(scores.gather(2, index))
    return torch.cat(parts, 1), torch.from_numpy(exam.target != BLANK).to(device)


def answer_temperature(parameters: dict[str, Tensor], exams: list[Exam], shape: Shape) -> Tensor:
    """Return the temperature (R,) fitted on the answer tokens of the validation problems."""
    scores, targets = [], []
    for exam in exams:
        found, real = target_logits(parameters, exam, shape)
        scores.append(found[:, real])
        targets.append(torch.from_numpy(exam.target).to(real.device)[real])
    joined = torch.cat(scores, 1)
    return fit_temperature(joined, torch.cat(targets).expand(joined.shape[0], -1))


@torch.no_grad()
def item_table(
    parameters: dict[str, Tensor],
    exam: Exam,
    shape: Shape,
    alphabet: Alphabet,
    runs: list[str],
    temperatures: Tensor,  # (R,)
    seed: int,
) -> pd.DataFrame:
    """Return the `items` rows of one drill for all runs; their names and `seed` set the draws."""
    device = temperatures.device
    scores, real = target_logits(parameters, exam, shape)
    targets = torch.from_numpy(np.where(exam.target == BLANK, 0, exam.target)).to(device)
    logs = scores.log_softmax(-1)
    index = targets[None, ..., None].expand(len(runs), -1, -1, 1)
    token_nll = (-logs.gather(-1, index)[..., 0]).cpu().numpy()  # (R, B, A)

    prompts = exam.asked.tolist()
    answers = [as_text(row[:-1], alphabet) for row in _without_terminator(exam.target)]
    guess = best_constant_accuracy(answers)
    lengths = (exam.prompt != BLANK).sum(1)
    real_tokens = real.cpu().numpy()
    parts = []
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        decoded = greedy(
            parameters,
            torch.from_numpy(exam.prompt[chosen, :length]).to(device),
            shape,
            temperatures=temperatures,
            terminator=alphabet.separator,
            max_tokens=exam.target.shape[1] + 1,
        )
        generated = decoded.tokens.cpu().numpy()
        sampled = is_sampled(chosen) & (exam.shift is None)
        asked = chosen[sampled]
        matches = count_matches(
            parameters, exam.prompt[asked, :length], exam.target[asked], shape, alphabet, runs, seed
        )
        for row, run in enumerate(runs):
            predictions = [
                _answer_text(tokens, bool(done), alphabet)
                for tokens, done in zip(generated[row], decoded.finished[row], strict=True)
            ]
            expected = [answers[item] for item in chosen]
            losses = [token_nll[row, item][real_tokens[item]] for item in chosen]
            parts.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "task": exam.drill.task,
                        "arm": exam.drill.arm,
                        "item": chosen,
                        "prompt": [prompts[item] for item in chosen],
                        "target": expected,
                        "prediction": predictions,
                        "exact": [p == t for p, t in zip(predictions, expected, strict=True)],
                        "digits_correct": [
                            digits_correct(p, t, exam.drill.arm)
                            for p, t in zip(predictions, expected, strict=True)
                        ],
                        "digits": [sum(c.isdigit() for c in text) for text in expected],
                        "edit_distance": list(map(edit_distance, predictions, expected)),
                        "target_nll": [float(loss.sum()) for loss in losses],
                        "token_nll": [loss.astype(np.float32) for loss in losses],
                        "target_tokens": [len(loss) for loss in losses],
                        "confidence": decoded.log_probability[row].exp().cpu().numpy(),
                        "confidence_tempered": decoded.tempered[row].exp().cpu().numpy(),
                        "temperature": float(temperatures[row]),
                        "in_distribution": exam.shift is None,
                        "shift": pd.array([exam.shift] * len(chosen), dtype="string"),
                        "guess_rate": guess,
                        "carries": exam.carries[chosen],
                        "neighbour_exact": exam.neighbour[chosen],
                        "sampled": _where(sampled, DRAWS),
                        "sampled_exact": _where(sampled, matches[row]),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def no_items() -> pd.DataFrame:
    """Return an `items` table without rows: what a study without held-out problems has."""
    columns = {
        **dict.fromkeys(("run", "task", "arm", "prompt", "target", "prediction"), "str"),
        **dict.fromkeys(("item", "digits_correct", "digits", "edit_distance"), "int64"),
        **dict.fromkeys(("target_tokens", "carries"), "int64"),
        **dict.fromkeys(("exact", "in_distribution"), "bool"),
        **dict.fromkeys(("target_nll", "confidence", "confidence_tempered"), "float64"),
        **dict.fromkeys(("temperature", "guess_rate"), "float64"),
        "neighbour_exact": "float64",
        **dict.fromkeys(("sampled", "sampled_exact"), "Int64"),
        "token_nll": "object",
        "shift": "string",
    }
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def _where(sampled: np.ndarray, values: np.ndarray | int) -> pd.Series:
    """Return `values` at the problems `sampled` (n,), null elsewhere."""
    column = pd.Series(pd.NA, index=range(len(sampled)), dtype="Int64")
    column[sampled] = values
    return column


def _without_terminator(target: np.ndarray) -> np.ndarray:
    """Return the targets with the terminator blanked and a blank column kept at the end."""
    last = (target != BLANK).sum(1) - 1
    bare = target.copy()
    bare[np.arange(len(bare)), last] = BLANK
    return np.concatenate([bare, np.full((len(bare), 1), BLANK)], 1)


def _answer_text(tokens: np.ndarray, finished: bool, alphabet: Alphabet) -> str:
    """Return what was generated before the terminator; an unfinished answer ends with `…`."""
    ends = np.flatnonzero(tokens == alphabet.separator)
    text = as_text(tokens[: ends[0]] if len(ends) else tokens, alphabet)
    return text if finished else text + "…"


def digits_correct(prediction: str, target: str, arm: str) -> int:
    """Return how many digits of the target stand at their place value.

    Ones are where the answer ends, or in the arm `reversed` where its digits begin, after a sign.
    """
    if arm == "reversed":
        prediction, target = prediction.lstrip("-"), target.lstrip("-")
    else:
        prediction, target = prediction[::-1], target[::-1]
    pairs = zip(prediction, target, strict=False)
    return sum(p == t for p, t in pairs if t.isdigit())


@lru_cache(maxsize=1 << 16)
def edit_distance(left: str, right: str) -> int:
    """Return the Levenshtein distance of two short strings."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
