"""Held-out text: losses per domain and split, and a sample of next-token predictions.

Legend: R replica, B window, T token, V vocabulary, n sampled position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saltus.data.shards import Shard
from saltus.model.shape import Shape
from saltus.model.transformer import logits
from saltus.probe.decode import fit_temperature

LOGIT_BUDGET = 1 << 24
"""Logits held at once; windows are taken in groups that stay below it."""


@dataclass(frozen=True)
class TextScores:
    """Losses and samples of one shard.

    `losses` (R,) in nats/token over `tokens` targets that stand for `bytes` bytes; `sampled_logits`
    (R, n, V), `sampled_targets` (n,) and `sampled_documents` (n,) belong to the sampled positions.
    """

    losses: np.ndarray
    tokens: int
    bytes: int
    sampled_logits: Tensor
    sampled_targets: Tensor
    sampled_documents: np.ndarray

    @property
    def bits_per_byte(self) -> np.ndarray:
        """Return the losses in bits per byte of text, (R,)."""
        bits: np.ndarray = self.losses * self.tokens / np.log(2) / self.bytes
        return bits


def windows_of(shard: Shard, max_tokens: int, context: int) -> np.ndarray:
    """Return the first windows of a shard, (B, T + 1), overlapping by the one shared token.

    At most `max_tokens` targets. Raises `ValueError` if the shard does not fill one window.
    """
    count = min(max_tokens, len(shard.tokens) - 1) // context
    if count < 1:
        raise ValueError(f"{len(shard.tokens)} tokens are fewer than a window of {context + 1}")
    starts = np.arange(count) * context
    windows: np.ndarray = shard.tokens[starts[:, None] + np.arange(context + 1)]
    return windows.astype(np.int64)


@torch.no_grad()
def score_text(
    parameters: dict[str, Tensor],
    shard: Shard,
    shape: Shape,
    token_bytes: np.ndarray,  # (V,)
    *,
    max_tokens: int,
    sampled: int,
    seed: int,
) -> TextScores:
    """Score the first `max_tokens` tokens of a shard and keep the logits of `sampled` positions.

    The positions depend on `seed` and the shard alone: every model answers the same ones.
    """
    windows = windows_of(shard, max_tokens, shape.context)
    replicas = parameters["norm"].shape[0]
    device = parameters["norm"].device
    count = windows.shape[0] * shape.context
    generator = np.random.default_rng([seed, 3])
    positions = np.sort(generator.choice(count, size=min(sampled, count), replace=False))
    step = max(1, LOGIT_BUDGET // (replicas * shape.context * shape.vocabulary))
    total = torch.zeros(replicas, dtype=torch.float64, device=device)
    kept: list[Tensor] = []
    for first in range(0, len(windows), step):
        tokens = torch.from_numpy(windows[first : first + step]).to(device)
        inputs = tokens[:, :-1].expand(replicas, -1, -1)
        targets = tokens[:, 1:].reshape(1, -1, 1).expand(replicas, -1, -1)
        scores = logits(parameters, inputs, shape).float()  # (R, B·T, V)
        chosen = scores.gather(-1, targets)[..., 0] - scores.logsumexp(-1)
        total -= chosen.double().sum(1)
        low = first * shape.context
        here = positions[(positions >= low) & (positions < low + targets.shape[1])] - low
        kept.append(scores[:, torch.from_numpy(here).to(device)].clone())
    flat_targets = windows[:, 1:].ravel()
    documents = np.searchsorted(shard.offsets, positions + 1, side="left") - 1
    return TextScores(
        (total / count).cpu().numpy(),
        count,
        int(token_bytes[flat_targets].sum()),
        torch.cat(kept, 1),
        torch.from_numpy(flat_targets[positions]).to(device),
        documents,
    )


def temperature_of(validation: TextScores) -> Tensor:
    """Return the temperature (R,) fitted on the validation sample."""
    replicas = validation.sampled_logits.shape[0]
    return fit_temperature(
        validation.sampled_logits, validation.sampled_targets.expand(replicas, -1)
    )


def domain_shift(domain: str, trained: Sequence[str]) -> dict[str, Any]:
    """Return `shift` and `severity` of a domain: shifted where it is none of the `trained`."""
    if domain in trained:
        return {"shift": None, "severity": 0}
    return {"shift": "domain", "severity": 1}


def prediction_table(
    scores: TextScores,
    runs: list[str],
    domain: str,
    temperatures: Tensor,  # (R,)
    *,
    shift: str | None = None,
    severity: int = 0,
) -> pd.DataFrame:
    """Return the `tokens` rows of all runs: at T = 1 and at the fitted temperature.

    `shift` and its `severity` say how the text differs from that of training.
    """
    targets = scores.sampled_targets
    parts = []
    for row, run in enumerate(runs):
        for tempered, temperature in ((False, 1.0), (True, float(temperatures[row]))):
            probability = (scores.sampled_logits[row] / temperature).softmax(-1)  # (n, V)
            confidence, predicted = probability.max(-1)
            right = probability.gather(-1, targets[:, None])[:, 0]
            brier = probability.square().sum(-1) - 2 * right + 1
            parts.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "domain": domain,
                        "document": scores.sampled_documents,
                        "temperature": temperature,
                        "tempered": tempered,
                        "confidence": confidence.cpu().numpy(),
                        "correct": (predicted == targets).cpu().numpy(),
                        "nll": -right.clamp_min(1e-38).log().cpu().numpy(),
                        "brier": brier.cpu().numpy(),
                        "shift": pd.array([shift] * len(targets), dtype="string"),
                        "severity": severity,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
