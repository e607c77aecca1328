"""Counts against the tensors themselves and against PyTorch's own counter of operations."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from saltus.model.count import count_parameters, flops_6nd, flops_per_token
from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape, layout, num_parameters
from saltus.model.transformer import logits, token_losses, unflatten

SHAPES = [
    Shape(32, width=4, depth=1, heads=1, feedforward=8, context=8),
    Shape(64, width=12, depth=3, heads=3, feedforward=20, context=16),
    Shape(512, width=16, depth=2, heads=2, feedforward=44, context=12),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_of_the_layout(shape: Shape) -> None:
    counts = count_parameters(shape)
    by_role = dict.fromkeys(("embedding", "matrix", "norm"), 0)
    for entry in layout(shape):
        by_role[entry.role] += entry.size
    assert counts.total == num_parameters(shape) == initial_parameters(shape, [0]).numel()
    assert counts.embedding == by_role["embedding"]
    assert counts.nonembedding == by_role["matrix"] + by_role["norm"]
    assert counts.head == 0
    assert counts.total == counts.embedding + counts.head + counts.nonembedding
    assert flops_6nd(shape) == 6 * counts.total


def test_names_are_unique() -> None:
    names = [entry.name for entry in layout(SHAPES[1])]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("replicas", [1, 2])
def test_operations_are_those_that_torch_counts(shape: Shape, replicas: int) -> None:
    batch = 3
    flat = initial_parameters(shape, list(range(replicas))).requires_grad_()
    tokens = torch.zeros(replicas, batch, shape.context + 1, dtype=torch.long)
    # The plain kernel computes all scores and masks half of them: the counter sees its products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward, torch.no_grad():
        logits(unflatten(flat, shape), tokens[..., :-1], shape)
    num_tokens = replicas * batch * shape.context
    assert 3 * forward.get_total_flops() == flops_per_token(shape) * num_tokens
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as training:
        token_losses(unflatten(flat, shape), tokens, shape).sum().backward()
    assert training.get_total_flops() == flops_per_token(shape) * num_tokens


def test_operations_grow_as_the_formula_says() -> None:
    base = Shape(64, width=8, depth=2, heads=2, feedforward=16, context=32)
    deeper = Shape(64, width=8, depth=5, heads=2, feedforward=16, context=32)
    wordier = Shape(164, width=8, depth=2, heads=2, feedforward=16, context=32)
    layer = 2 * (4 * 64 + 3 * 8 * 16) + 4 * 32 * 8
    assert flops_per_token(deeper) - flops_per_token(base) == 3 * 3 * layer
    assert flops_per_token(wordier) - flops_per_token(base) == 3 * 2 * 8 * 100
