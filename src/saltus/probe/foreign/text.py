"""Held-out text before a foreign model: the `losses` and `tokens` tables of the family.

An export of saltus reads windows of a shard, as the family does. Any other model reads document
after document by itself, the separator in front, in windows that share one token; each token of
text is scored once, and bytes are those of the documents.

Legend: W window, T token, V vocabulary, n sampled position.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from saltus.data.shards import Shard
from saltus.data.writing import BLANK
from saltus.errors import CorpusError
from saltus.probe.foreign.answers import FIT_LOGITS
from saltus.probe.foreign.model import Foreign
from saltus.probe.text import (
    LOGIT_BUDGET,
    TextScores,
    prediction_table,
    temperature_of,
    windows_of,
)


@dataclass(frozen=True)
class Pages:
    """Windows of text: `tokens` (W, T + 1), blanks at the ends; `documents` (W, T); `bytes`."""

    tokens: np.ndarray
    documents: np.ndarray
    bytes: int


def pages_of_shard(shard: Shard, budget: int, context: int, token_bytes: np.ndarray) -> Pages:
    """Return what the family reads of a shard: at most `budget` targets.

    Raises `CorpusError` if it does not fill one window.
    """
    try:
        tokens = windows_of(shard, budget, context)
    except ValueError as error:
        raise CorpusError(f"text: {error}; expected more of it") from error
    place = np.arange(tokens[:, 1:].size).reshape(len(tokens), context)
    documents = np.searchsorted(shard.offsets, place + 1, side="left") - 1
    return Pages(tokens, documents, int(token_bytes[tokens[:, 1:]].sum()))


def pages_of(documents: Sequence[str], model: Foreign, window: int) -> Pages:
    """Return the windows of documents, each begun anew.

    Raises `CorpusError` if not one token is predicted.
    """
    rows, numbers = [], []
    scored_bytes = 0
    for number, text in enumerate(documents):
        ids = model.encode(text)
        scored_bytes += len(text.encode())
        if model.separator is not None:
            ids = [model.separator, *ids]
        elif ids:  # nothing stands before the first token, so it is not predicted
            scored_bytes -= len(model.decode(ids[:1]).encode())
        for first in range(0, len(ids) - 1, window):
            rows.append(ids[first : first + window + 1])
            numbers.append(number)
    if not rows:
        raise CorpusError(f"text: found no token to predict in {len(documents)} documents")
    width = max(map(len, rows))
    tokens = np.full((len(rows), width), BLANK)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    return Pages(tokens, np.repeat(numbers, width - 1).reshape(len(rows), -1), scored_bytes)


def score_pages(model: Foreign, pages: Pages, sampled: int, seed: int) -> TextScores:
    """Score all pages and keep the logits of `sampled` positions, one replica."""
    inputs, targets = pages.tokens[:, :-1], pages.tokens[:, 1:]
    real = targets != BLANK
    count = int(real.sum())
    generator = np.random.default_rng([seed, 3])
    positions = generator.choice(count, size=min(sampled, count), replace=False)
    is_sampled = np.zeros(count, dtype=bool)
    is_sampled[positions] = True
    kept_at = np.zeros_like(real)
    kept_at[real] = is_sampled
    step = max(1, LOGIT_BUDGET // (inputs.shape[1] * model.vocabulary))
    total, kept = 0.0, []
    for first in range(0, len(inputs), step):
        part = slice(first, first + step)
        width = int(real[part].sum(1).max())
        given = torch.from_numpy(np.maximum(inputs[part, :width], 0)).to(model.device)
        wanted = torch.from_numpy(np.maximum(targets[part, :width], 0)).to(model.device)
        scores = model.logits(given)
        logs = scores.gather(-1, wanted[..., None])[..., 0] - scores.logsumexp(-1)
        scored = torch.from_numpy(real[part, :width]).to(model.device)
        total -= float(logs[scored].double().sum())
        kept.append(scores[torch.from_numpy(kept_at[part, :width]).to(model.device)].cpu())
    return TextScores(
        np.array([total / count]),
        count,
        pages.bytes,
        torch.cat(kept)[None],
        torch.from_numpy(targets[kept_at]),
        pages.documents[kept_at],
    )


def text_temperature(model: Foreign, pages: Pages, sampled: int, seed: int) -> torch.Tensor:
    """Return the temperature (1,) fitted on the validation text.

    With a large vocabulary on fewer positions than are `sampled` for the tables.
    """
    fitted = min(sampled, max(1, FIT_LOGITS // model.vocabulary))
    return temperature_of(score_pages(model, pages, fitted, seed))


def token_table(
    scores: TextScores,
    run: str,
    domain: str,
    temperature: torch.Tensor,
    *,
    shift: str | None = None,
    severity: int = 0,
) -> pd.DataFrame:
    """Return the `tokens` rows, made of some positions at a time: a vocabulary may be large."""
    count, vocabulary = scores.sampled_logits.shape[1:]
    step = max(1, LOGIT_BUDGET // vocabulary)
    parts = []
    for first in range(0, count, step):
        part = slice(first, first + step)
        some = TextScores(
            scores.losses,
            scores.tokens,
            scores.bytes,
            scores.sampled_logits[:, part],
            scores.sampled_targets[part],
            scores.sampled_documents[part],
        )
        parts.append(
            prediction_table(some, [run], domain, temperature, shift=shift, severity=severity)
        )
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("tempered", kind="stable", ignore_index=True)
