"""Losses and sampled predictions on text against plain loops."""

import math

import numpy as np
import pytest
import torch

from saltus.data.shards import Shard
from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape
from saltus.model.transformer import logits, unflatten
from saltus.probe import text
from saltus.probe.text import (
    TextScores,
    prediction_table,
    score_text,
    temperature_of,
    windows_of,
)

SHAPE = Shape(30, width=8, depth=2, heads=2, feedforward=12, context=10)
SEPARATOR = 29


def make_shard(documents: int = 25, seed: int = 0) -> Shard:
    """Documents of 3 to 20 tokens with separators around them."""
    generator = np.random.default_rng(seed)
    tokens, offsets = [SEPARATOR], [0]
    for _ in range(documents):
        tokens += [*generator.integers(29, size=generator.integers(3, 21)).tolist(), SEPARATOR]
        offsets.append(len(tokens) - 1)
    return Shard(
        np.array(tokens, dtype=np.uint16),
        np.array(offsets),
        np.arange(documents) * 7,
        num_bytes=0,
        separator=SEPARATOR,
    )


SHARD = make_shard()
TOKEN_BYTES = np.array([1 + n % 4 for n in range(29)] + [0])
FLAT = initial_parameters(SHAPE, [0, 1, 2])
FLAT = FLAT + 0.3 * torch.randn(FLAT.shape, generator=torch.Generator().manual_seed(0))


def score(max_tokens: int = 10_000, sampled: int = 40, seed: int = 0) -> TextScores:
    return score_text(
        unflatten(FLAT, SHAPE),
        SHARD,
        SHAPE,
        TOKEN_BYTES,
        max_tokens=max_tokens,
        sampled=sampled,
        seed=seed,
    )


@pytest.mark.parametrize("max_tokens", [10, 57, 10_000])
def test_losses_equal_a_plain_loop(max_tokens: int) -> None:
    scores = score(max_tokens)
    length = min(max_tokens, len(SHARD.tokens) - 1) // 10 * 10
    for r in range(3):
        parameters = unflatten(FLAT[r : r + 1], SHAPE)
        nats, num_bytes = 0.0, 0
        for start in range(0, length, 10):
            window = SHARD.tokens[start : start + 11].astype(int).tolist()
            output = logits(parameters, torch.tensor([[window[:-1]]]), SHAPE)[0].double()
            for position, target in enumerate(window[1:]):
                nats -= float(output[position].log_softmax(0)[target])
                num_bytes += int(TOKEN_BYTES[target])
        assert scores.losses[r] == pytest.approx(nats / length, rel=1e-5)
        assert scores.bits_per_byte[r] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    assert scores.tokens == length and scores.bytes == num_bytes


def test_sampled_logits_belong_to_their_positions() -> None:
    whole = score(sampled=10_000)
    # All positions: the mean NLL of the sample is the loss.
    logs = whole.sampled_logits.log_softmax(-1)
    index = whole.sampled_targets.expand(3, -1)[..., None]
    nll = -logs.gather(-1, index)[..., 0].mean(1)
    assert nll.tolist() == pytest.approx(whole.losses.tolist(), rel=1e-5)
    assert np.array_equal(whole.sampled_targets, SHARD.tokens[1 : whole.tokens + 1])

    some = score(sampled=40)
    assert some.sampled_logits.shape == (3, 40, 30)
    # Windows that begin alike have equal logits: one of the positions that fit is the sampled one.
    difference = (whole.sampled_logits[:, :, None] - some.sampled_logits[:, None]).abs()
    for n, fitting in enumerate((difference.amax((0, 3)) < 1e-5).T):
        pairs = {
            (int(whole.sampled_targets[at]), int(whole.sampled_documents[at]))
            for at in fitting.nonzero()[:, 0].tolist()
        }
        assert (int(some.sampled_targets[n]), int(some.sampled_documents[n])) in pairs


def test_documents_are_those_that_hold_the_target() -> None:
    scores = score(sampled=10_000)
    for position, document in enumerate(scores.sampled_documents):
        # The separator after a document is what its text predicts, and so belongs to it.
        assert SHARD.offsets[document] < position + 1 <= SHARD.offsets[document + 1]
    assert (np.diff(scores.sampled_documents) >= 0).all()


def test_every_sampled_document_exists() -> None:
    # A shard whose last window ends with the last separator of all.
    tokens = np.array([SEPARATOR, *range(9), SEPARATOR], dtype=np.uint16)
    shard = Shard(tokens, np.array([0, 10]), np.array([0]), num_bytes=9, separator=SEPARATOR)
    scores = score_text(
        unflatten(FLAT, SHAPE), shard, SHAPE, TOKEN_BYTES, max_tokens=10, sampled=10, seed=0
    )
    assert scores.sampled_documents.max() < shard.num_documents


def test_every_model_is_asked_the_same_positions() -> None:
    first, again, other = score(seed=1), score(seed=1), score(seed=2)
    assert torch.equal(first.sampled_logits, again.sampled_logits)
    assert not np.array_equal(first.sampled_documents, other.sampled_documents)
    alone = score_text(
        unflatten(FLAT[2:], SHAPE),
        SHARD,
        SHAPE,
        TOKEN_BYTES,
        max_tokens=10_000,
        sampled=40,
        seed=1,
    )
    assert torch.equal(alone.sampled_targets, first.sampled_targets)
    torch.testing.assert_close(alone.sampled_logits[0], first.sampled_logits[2])


def test_groups_of_windows_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score()
    monkeypatch.setattr(text, "LOGIT_BUDGET", 3 * 10 * 30 * 2)
    parts = score()
    assert parts.losses.tolist() == pytest.approx(whole.losses.tolist(), rel=1e-6)
    torch.testing.assert_close(parts.sampled_logits, whole.sampled_logits, atol=1e-5, rtol=1e-5)
    assert np.array_equal(parts.sampled_documents, whole.sampled_documents)


def test_windows_overlap_by_the_shared_token() -> None:
    windows = windows_of(SHARD, 35, 10)
    assert windows.shape == (3, 11) and windows.dtype == np.int64
    assert np.array_equal(windows[:-1, -1], windows[1:, 0])
    assert np.array_equal(windows.ravel()[:11], SHARD.tokens[:11])
    with pytest.raises(ValueError, match="fewer than a window"):
        windows_of(SHARD, 9, 10)


def test_predictions_equal_numpy() -> None:
    scores = score(sampled=60)
    temperatures = torch.tensor([0.5, 1.3, 2.0])
    table = prediction_table(scores, ["a", "b", "c"], "domain", temperatures)
    assert len(table) == 3 * 2 * 60
    for r, run in enumerate("abc"):
        for tempered in (False, True):
            rows = table[(table["run"] == run) & (table["tempered"] == tempered)]
            temperature = float(temperatures[r]) if tempered else 1.0
            assert rows["temperature"].unique().tolist() == [pytest.approx(temperature)]
            z = scores.sampled_logits[r].double().numpy() / temperature
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            targets = scores.sampled_targets.numpy()
            onehot = np.eye(30)[targets]
            np.testing.assert_allclose(rows["confidence"], p.max(1), rtol=1e-5)
            assert np.array_equal(rows["correct"], p.argmax(1) == targets)
            np.testing.assert_allclose(rows["nll"], -np.log((p * onehot).sum(1)), rtol=1e-4)
            np.testing.assert_allclose(
                rows["brier"], ((p - onehot) ** 2).sum(1), rtol=1e-4, atol=1e-6
            )
            assert np.array_equal(rows["document"], scores.sampled_documents)


def test_the_fitted_temperature_lowers_the_loss() -> None:
    scores = score(sampled=200)
    temperatures = temperature_of(scores)
    assert temperatures.shape == (3,)
    table = prediction_table(scores, ["a", "b", "c"], "domain", temperatures)
    nll = table.groupby(["run", "tempered"])["nll"].mean().unstack()
    assert (nll[True] < nll[False]).all()
