"""Derivatives by hand: what the definition computes, in double precision and in pieces."""

import pytest
import torch
from torch import Tensor

from saltus.model import kernels
from saltus.model.initialise import initial_parameters
from saltus.model.kernels import (
    GatedUnit,
    HeadLosses,
    NormedProduct,
    ShortAttention,
    TurnedHeads,
    written_losses,
)
from saltus.model.shape import Shape
from saltus.model.transformer import token_losses, unflatten

SHAPES = {
    "one head": Shape(23, width=6, depth=1, heads=1, feedforward=5, context=7),
    "heads": Shape(40, width=24, depth=3, heads=3, feedforward=36, context=16),
    "long": Shape(17, width=8, depth=2, heads=2, feedforward=12, context=kernels.SHORT_CONTEXT + 9),
}
DOUBLE = torch.float64


def losses_and_gradient(
    losses_of,  # type: ignore[no-untyped-def]
    shape: Shape,
    precision: torch.dtype,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """Losses (2, 3, T) and the gradient of a sum with a weight of its own for every token."""
    generator = torch.Generator().manual_seed(4)
    start = initial_parameters(shape, [1, 2])
    start = (start + 0.05 * torch.randn(start.shape, generator=generator)).to(precision)
    flat = start.requires_grad_()
    tokens = torch.randint(shape.vocabulary, (2, 3, shape.context + 1), generator=generator)
    weights = torch.rand(2, 3, shape.context, generator=generator).to(precision)
    losses = losses_of(unflatten(flat, shape), tokens, shape, **options)
    (gradient,) = torch.autograd.grad((losses * weights).sum(), flat)
    return losses.detach(), gradient


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_losses_and_gradients_equal_the_definition(name: str, checkpointing: bool) -> None:
    expected, slope = losses_and_gradient(token_losses, SHAPES[name], DOUBLE)
    found, ours = losses_and_gradient(
        written_losses, SHAPES[name], DOUBLE, checkpointing=checkpointing
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours, slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_single_precision_is_as_near_as_the_definition_itself(name: str) -> None:
    truth, slope = losses_and_gradient(token_losses, SHAPES[name], DOUBLE)
    for losses_of in (token_losses, written_losses):
        found, ours = losses_and_gradient(losses_of, SHAPES[name], torch.float32)
        torch.testing.assert_close(found.double(), truth, rtol=0, atol=1e-5)
        assert (ours.double() - slope).norm() < 3e-6 * slope.norm()


def test_a_large_vocabulary_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = SHAPES["heads"]
    whole = losses_and_gradient(written_losses, shape, DOUBLE)
    sizes: list[int] = []
    real = torch.softmax

    def counted(logits: Tensor, dim: int) -> Tensor:
        if logits.shape[-1] == shape.vocabulary:
            sizes.append(logits.shape[1])
        return real(logits, dim)

    monkeypatch.setattr(kernels, "LOGITS_BYTES", 4 * 2 * shape.vocabulary * 11)
    monkeypatch.setattr(torch, "softmax", counted)
    pieces = losses_and_gradient(written_losses, shape, DOUBLE)
    assert sizes == 2 * [11, 11, 11, 11, 4], "forward, and again for the gradient"
    for found, expected in zip(pieces, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_low_precision_keeps_losses_and_parameters_in_full() -> None:
    shape = SHAPES["heads"]
    expected, slope = losses_and_gradient(token_losses, shape, torch.float32)
    found, ours = losses_and_gradient(written_losses, shape, torch.float32, dtype=torch.bfloat16)
    assert found.dtype == ours.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    assert (ours - slope).norm() < 0.03 * slope.norm()


def random(*size: int, seed: int = 0) -> Tensor:
    """Return a tensor in double precision that asks for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=DOUBLE).requires_grad_()


def test_each_derivative_equals_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LOGITS_BYTES", 1)  # kept probabilities are used up by one pass
    angles = torch.rand(4, 3, dtype=DOUBLE)
    turn = torch.polar(torch.ones_like(angles), angles)
    mask = torch.full((4, 4), float("-inf"), dtype=DOUBLE).triu(1)
    targets = torch.tensor([[0, 2, 1], [6, 6, 3]])
    check = torch.autograd.gradcheck
    assert check(lambda x, w: NormedProduct.apply(x, w, DOUBLE), (random(2, 3, 4), random(2, 4, 5)))
    assert check(
        lambda qkv, gains: TurnedHeads.apply(qkv, gains, turn, 2),
        (random(2, 8, 36), random(2, 2, 6)),
    )
    assert check(
        lambda q, k, v: ShortAttention.apply(q, k, v, mask),
        tuple(random(3, 4, 2, seed=seed) for seed in range(3)),
    )
    assert check(GatedUnit.apply, (random(2, 3, 8),))
    assert check(
        lambda x, w: HeadLosses.apply(x, w, targets, DOUBLE), (random(2, 3, 4), random(2, 4, 7))
    )


def test_a_wrong_answer_held_for_certain_has_a_finite_loss() -> None:
    x = torch.eye(2)[None] * 1.0
    weight = torch.tensor([[[900.0, -900.0, 0.0], [0.0, 0.0, 0.0]]])
    losses = HeadLosses.apply(x, weight, torch.tensor([[1, 2]]), torch.float32)
    assert losses[0, 0].item() == pytest.approx(1800 * 2**0.5, rel=1e-3)
    assert losses[0, 1].item() == pytest.approx(torch.tensor(3.0).log().item())
