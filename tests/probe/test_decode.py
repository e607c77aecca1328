"""Greedy decoding against whole passes without a cache, and temperatures against SciPy."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from saltus.model.transformer import logits
from saltus.probe.decode import Decoded, fit_temperature, greedy, sample


def prompts_of_one_length(pupils: Any, count: int = 12) -> Tensor:
    """Separator, `a+b-c`, relation sign: (count, 7)."""
    digits = torch.randint(10, (count, 3), generator=torch.Generator().manual_seed(0))
    prompts = torch.empty(count, 7, dtype=torch.long)
    prompts[:, 0] = pupils.alphabet.separator
    prompts[:, 1:6:2] = digits
    prompts[:, 2], prompts[:, 4] = 10, 11
    prompts[:, 6] = pupils.alphabet.relations["plain"]
    return prompts


def decode(
    pupils: Any, prompts: Tensor, max_tokens: int = 6, replica: int | None = None
) -> Decoded:
    temperatures = torch.tensor([0.7, 1.9])
    parameters = pupils.parameters
    if replica is not None:
        parameters = pupils.alone(replica)
        temperatures = temperatures[replica : replica + 1]
    return greedy(
        parameters,
        prompts,
        pupils.shape,
        temperatures=temperatures,
        terminator=pupils.alphabet.separator,
        max_tokens=max_tokens,
    )


@pytest.mark.parametrize("max_tokens", [1, 2, 6])
def test_decoding_takes_the_likeliest_token_each_time(pupils: Any, max_tokens: int) -> None:
    prompts = prompts_of_one_length(pupils)
    decoded = decode(pupils, prompts, max_tokens)
    stop = pupils.alphabet.separator
    for r, temperature in enumerate((0.7, 1.9)):
        parameters = pupils.alone(r)
        for b, prompt in enumerate(prompts):
            text, total, tempered = prompt.tolist(), 0.0, 0.0
            for _ in range(max_tokens):
                scores = logits(parameters, torch.tensor([[text]]), pupils.shape)[0, -1].double()
                best = int(scores.argmax())
                total += float(scores.log_softmax(0)[best])
                tempered += float((scores / temperature).log_softmax(0)[best])
                text.append(best)
                if best == stop:
                    break
            generated = text[len(prompt) :]
            found = decoded.tokens[r, b].tolist()
            assert found == generated + [stop] * (len(found) - len(generated))
            assert bool(decoded.finished[r, b]) == (stop in generated)
            assert float(decoded.log_probability[r, b]) == pytest.approx(total, abs=1e-4)
            assert float(decoded.tempered[r, b]) == pytest.approx(tempered, abs=1e-4)


def test_most_answers_end_and_differ(pupils: Any) -> None:
    decoded = decode(pupils, prompts_of_one_length(pupils))
    assert decoded.finished.float().mean() > 0.8
    assert len(set(map(tuple, decoded.tokens.flatten(0, 1).tolist()))) > 1


def test_replicas_decode_as_they_do_alone(pupils: Any) -> None:
    prompts = prompts_of_one_length(pupils)
    together = decode(pupils, prompts)
    for r in range(2):
        alone = decode(pupils, prompts, replica=r)
        width = alone.tokens.shape[2]
        assert torch.equal(together.tokens[r, :, :width], alone.tokens[0])
        torch.testing.assert_close(together.tempered[r], alone.tempered[0], atol=1e-5, rtol=1e-5)


def mean_nll(inverse: float, scores: np.ndarray, targets: np.ndarray) -> float:
    """The mean negative log-likelihood at temperature 1 / inverse, the plain way."""
    scaled = scores * inverse
    top = scaled.max(1)
    normaliser = top + np.log(np.exp(scaled - top[:, None]).sum(1))
    return float((normaliser - scaled[np.arange(len(targets)), targets]).mean())


@pytest.mark.parametrize(
    ("scale", "classes", "count"), [(1, 5, 400), (8, 17, 300), (0.3, 3, 2_000)]
)
def test_temperatures_are_those_that_scipy_finds(scale: float, classes: int, count: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(3, count, classes)) * scale
    # Labels drawn at other temperatures than 1: sharper, true, and flatter logits than the labels.
    truth = (0.5, 1.0, 2.5)
    targets = np.empty((3, count), dtype=np.int64)
    for r, temperature in enumerate(truth):
        noise = generator.gumbel(size=scores[r].shape)
        targets[r] = (scores[r] / temperature + noise).argmax(1)
    found = fit_temperature(torch.from_numpy(scores), torch.from_numpy(targets)).numpy()
    for r, temperature in enumerate(truth):
        best = minimize_scalar(
            mean_nll,
            bounds=(0.05, 20.0),
            args=(scores[r], targets[r]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert 1 / found[r] == pytest.approx(best.x, rel=1e-4)
        assert scale < 1 or found[r] == pytest.approx(temperature, rel=0.4)


def test_where_no_temperature_is_best_the_loss_is_as_low_as_the_bounds_allow() -> None:
    scores = torch.eye(4, dtype=torch.float64).expand(2, 4, 4) * 3
    right = torch.arange(4)
    # Always right: the colder the better. Always wrong: the hotter the better.
    targets = torch.stack([right, (right + 1) % 4])
    found = fit_temperature(scores, targets)
    assert (found >= 0.05).all() and (found <= 20).all()
    for r, bound in enumerate((20.0, 0.05)):
        loss, limit = (
            mean_nll(inverse, scores[r].numpy(), targets[r].numpy())
            for inverse in (1 / float(found[r]), bound)
        )
        assert loss == pytest.approx(limit, abs=1e-9)


def test_logits_that_say_nothing_keep_a_finite_temperature() -> None:
    found = fit_temperature(torch.zeros(1, 10, 4), torch.zeros(1, 10, dtype=torch.long))
    assert torch.isfinite(found).all()


def test_a_replica_of_nan_leaves_its_neighbours_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 200, 6, generator=generator)
    targets = torch.randint(6, (2, 200), generator=generator)
    expected = fit_temperature(scores[1:], targets[1:])
    scores[0] = torch.nan
    assert fit_temperature(scores, targets)[1:].tolist() == pytest.approx(expected.tolist())


def test_draws_follow_the_distribution_and_stop(pupils: Any) -> None:
    prompts, stop, draws = prompts_of_one_length(pupils, 3), pupils.alphabet.separator, 4_000
    drawn = sample(
        pupils.parameters,
        prompts,
        pupils.shape,
        draws=draws,
        seeds=[5, 6],
        terminator=stop,
        max_tokens=5,
    )
    assert drawn.shape[:3] == (2, 3, draws)
    ended = (drawn == stop).cumsum(3) > 0
    assert (drawn[ended] == stop).all()
    for r, b in [(r, b) for r in range(2) for b in range(3)]:
        distinct, counts = drawn[r, b].unique(dim=0, return_counts=True)
        for answer, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            cut = answer[: answer.index(stop) + 1] if stop in answer else answer
            text = torch.tensor([[[*prompts[b].tolist(), *cut]]])
            logs = logits(pupils.alone(r), text, pupils.shape)[0].log_softmax(-1)
            places = range(prompts.shape[1] - 1, text.shape[2] - 1)
            p = float(sum(logs[place, token] for place, token in zip(places, cut, strict=True)))
            p = float(np.exp(p))
            # Five standard deviations, of about a thousand answers; rare ones by Poisson.
            assert abs(count - draws * p) < 5 * np.sqrt(draws * p * (1 - p)) + 4


def test_a_replica_draws_the_same_in_any_company(pupils: Any) -> None:
    prompts = prompts_of_one_length(pupils)
    keywords: dict[str, Any] = {
        "draws": 8,
        "terminator": pupils.alphabet.separator,
        "max_tokens": 5,
    }
    both = sample(pupils.parameters, prompts, pupils.shape, seeds=[5, 6], **keywords)
    for r in range(2):
        alone = sample(pupils.alone(r), prompts, pupils.shape, seeds=[5 + r], **keywords)
        width = alone.shape[3]
        same = (both[r, :, :, :width] == alone[0]).all(-1).float().mean()
        assert same > 0.99, "a draw on the very edge of two tokens may fall to either"
    assert not torch.equal(both[0], both[1])
