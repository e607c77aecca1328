"""Initial parameters: a replica's own seed decides them, and their spread is what is documented."""

import pytest
import torch

from saltus.model.initialise import (
    EMBEDDING_DEVIATION,
    RESIDUAL_OUTPUTS,
    initial_parameters,
)
from saltus.model.shape import Shape
from saltus.model.transformer import logits, token_losses, unflatten

SHAPE = Shape(300, width=64, depth=3, heads=4, feedforward=172, context=16)


def test_a_row_depends_on_its_own_seed_alone() -> None:
    blocks = [[5], [5, 9], [9, 5], [1, 2, 5, 9]]
    rows = [initial_parameters(SHAPE, block)[block.index(5)] for block in blocks]
    torch.manual_seed(0)
    torch.randn(7)
    rows.append(initial_parameters(SHAPE, [5])[0])
    assert all(torch.equal(row, rows[0]) for row in rows)
    nine = initial_parameters(SHAPE, [9])[0]
    assert not torch.equal(nine, rows[0])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    initial_parameters(SHAPE, [1])
    assert torch.equal(torch.randn(4), expected)


def test_seeds_up_to_32_bits_are_taken() -> None:
    assert torch.isfinite(initial_parameters(SHAPE, [2**32 - 1, 0])).all()


def test_deviations_are_the_documented_ones() -> None:
    for name, tensor in unflatten(initial_parameters(SHAPE, [0]), SHAPE).items():
        if name.endswith("norm"):
            assert (tensor == 1).all()
        elif name.endswith(RESIDUAL_OUTPUTS):
            assert (tensor == 0).all()
        else:
            expected = EMBEDDING_DEVIATION if name == "embedding" else tensor.shape[1] ** -0.5
            assert float(tensor.std()) == pytest.approx(expected, rel=0.05), name
            assert abs(float(tensor.mean())) < 0.05 * expected


def test_an_untrained_model_sees_the_last_token_alone() -> None:
    tokens = torch.randint(300, (1, 4, 16), generator=torch.Generator().manual_seed(0))
    tokens[..., -1] = 7
    scores = logits(unflatten(initial_parameters(SHAPE, [3]), SHAPE), tokens, SHAPE)
    last = scores.view(4, 16, 300)[:, -1]
    torch.testing.assert_close(last, last[:1].expand(4, -1))


def test_every_matrix_is_reached_within_two_steps() -> None:
    # Zeros that write to the stream hide what is behind them for one step, not for good.
    tokens = torch.randint(300, (1, 4, 17), generator=torch.Generator().manual_seed(0))
    flat = initial_parameters(SHAPE, [0])
    for _ in range(2):
        leaf = flat.clone().requires_grad_()
        losses = token_losses(unflatten(leaf, SHAPE), tokens, SHAPE)
        (gradient,) = torch.autograd.grad(losses.mean(), leaf)
        flat = flat - 0.1 * gradient
    for name, part in unflatten(gradient, SHAPE).items():
        assert part.abs().max() > 0, name
