"""The transformer against a plain float64 one, replicas against themselves alone, and the cache."""

import math

import pytest
import torch
from torch import Tensor

from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape, layout, num_parameters
from saltus.model.transformer import (
    Cache,
    logits,
    rotary,
    rotate,
    token_losses,
    unflatten,
)

SHAPES = {
    "one head": Shape(19, width=6, depth=1, heads=1, feedforward=5, context=7),
    "heads": Shape(23, width=12, depth=3, heads=3, feedforward=20, context=11, rope_base=50.0),
    "narrow": Shape(17, width=4, depth=2, heads=2, feedforward=8, context=5),
}


def random_parameters(shape: Shape, replicas: int, seed: int = 0) -> Tensor:
    """Parameters far from their initial values, norm gains included: (R, P)."""
    generator = torch.Generator().manual_seed(seed)
    flat = initial_parameters(shape, list(range(seed, seed + replicas)))
    return flat + 0.2 * torch.randn(flat.shape, generator=generator)


def random_tokens(shape: Shape, replicas: int, batch: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(shape.vocabulary, (replicas, batch, length), generator=generator)


def normalise(x: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm of one vector."""
    return x / (x.pow(2).sum() / len(x) + 1e-6).sqrt() * gain


def turn(x: Tensor, position: int, base: float) -> Tensor:
    """Rotate the pairs (x_2i, x_2i+1) of one head's vector by position · base^(-2i/K)."""
    turned = torch.empty_like(x)
    for i in range(len(x) // 2):
        angle = position * base ** (-2 * i / len(x))
        a, b = x[2 * i], x[2 * i + 1]
        turned[2 * i] = a * math.cos(angle) - b * math.sin(angle)
        turned[2 * i + 1] = b * math.cos(angle) + a * math.sin(angle)
    return turned


def plain_logits(row: Tensor, tokens: list[int], shape: Shape) -> Tensor:
    """Logits (T, V) of one sequence under one replica's parameters (P,), vector by vector."""
    named, start = {}, 0
    for entry in layout(shape):
        named[entry.name] = row[start : start + entry.size].view(entry.shape)
        start += entry.size
    width, head = shape.width, shape.head_width
    stream = [named["embedding"][token] for token in tokens]
    for layer in range(shape.depth):
        part = {
            name.removeprefix(f"layers.{layer}."): tensor
            for name, tensor in named.items()
            if name.startswith(f"layers.{layer}.")
        }
        queries, keys, values = [], [], []
        for position, x in enumerate(stream):
            stacked = normalise(x, part["attention.norm"]) @ part["attention.qkv"]
            for index, (parts, gain) in enumerate(
                ((queries, "query_norm"), (keys, "key_norm"), (values, None))
            ):
                heads = stacked[index * width : (index + 1) * width].split(head)
                if gain is not None:
                    heads = [
                        turn(normalise(h, part[f"attention.{gain}"]), position, shape.rope_base)
                        for h in heads
                    ]
                parts.append(heads)
        after = []
        for position, x in enumerate(stream):
            mixed = []
            for h in range(shape.heads):
                scores = torch.stack(
                    [queries[position][h] @ keys[t][h] / head**0.5 for t in range(position + 1)]
                )
                weights = scores.exp() / scores.exp().sum()
                mixed.append(sum(w * values[t][h] for t, w in enumerate(weights)))
            x = x + torch.cat(mixed) @ part["attention.output"]
            both = normalise(x, part["feedforward.norm"]) @ part["feedforward.gate_up"]
            gate, up = both[: shape.feedforward], both[shape.feedforward :]
            hidden = gate / (1 + (-gate).exp()) * up
            after.append(x + hidden @ part["feedforward.down"])
        stream = after
    return torch.stack([normalise(x, named["norm"]) @ named["embedding"].T for x in stream])


def plain_losses(row: Tensor, tokens: list[int], shape: Shape) -> Tensor:
    """Cross-entropy (T,) of every next token of one sequence."""
    scores = plain_logits(row, tokens[:-1], shape)
    return torch.stack(
        [s.exp().sum().log() - s[target] for s, target in zip(scores, tokens[1:], strict=True)]
    )


@pytest.mark.parametrize("name", SHAPES)
def test_logits_losses_and_gradients_equal_a_plain_transformer(name: str) -> None:
    shape = SHAPES[name]
    replicas, batch = 2, 2
    flat = random_parameters(shape, replicas)
    tokens = random_tokens(shape, replicas, batch, shape.context + 1)

    ours = flat.clone().requires_grad_()
    scores = logits(unflatten(ours, shape), tokens[..., :-1], shape)
    scores = scores.view(replicas, batch, shape.context, shape.vocabulary)
    losses = token_losses(unflatten(ours, shape), tokens, shape)
    (gradient,) = torch.autograd.grad(losses.mean((1, 2)).sum(), ours)

    for r in range(replicas):
        row = flat[r].double().requires_grad_()
        expected = [plain_losses(row, tokens[r, b].tolist(), shape) for b in range(batch)]
        for b in range(batch):
            plain = plain_logits(row, tokens[r, b, :-1].tolist(), shape)
            torch.testing.assert_close(scores[r, b].double(), plain, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(losses[r].double(), torch.stack(expected), atol=2e-5, rtol=1e-5)
        (truth,) = torch.autograd.grad(torch.stack(expected).mean(), row)
        error = torch.linalg.vector_norm(gradient[r].double() - truth)
        assert error < 1e-5 * torch.linalg.vector_norm(truth)


def test_the_plain_gradient_is_that_of_finite_differences() -> None:
    shape = SHAPES["narrow"]
    row = random_parameters(shape, 1)[0].double()
    tokens = random_tokens(shape, 1, 1, shape.context + 1)[0, 0].tolist()
    direction = torch.randn(row.shape, generator=torch.Generator().manual_seed(1)).double()
    direction /= direction.norm()
    leaf = row.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(plain_losses(leaf, tokens, shape).mean(), leaf)
    step = 6e-6  # eps^(1/3)
    up, down = (
        plain_losses(row + sign * step * direction, tokens, shape).mean() for sign in (1, -1)
    )
    assert float(gradient @ direction) == pytest.approx(float((up - down) / (2 * step)), rel=1e-6)


def test_replicas_in_one_program_equal_each_alone() -> None:
    shape = SHAPES["heads"]
    flat = random_parameters(shape, 3)
    tokens = random_tokens(shape, 3, 4, shape.context + 1)
    together = flat.clone().requires_grad_()
    losses = token_losses(unflatten(together, shape), tokens, shape)
    (gradient,) = torch.autograd.grad(losses.mean((1, 2)).sum(), together)
    for r in range(3):
        single = flat[r : r + 1].clone().requires_grad_()
        alone = token_losses(unflatten(single, shape), tokens[r : r + 1], shape)
        (own,) = torch.autograd.grad(alone.mean(), single)
        torch.testing.assert_close(losses[r], alone[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(gradient[r], own[0], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e30])
def test_a_broken_replica_leaves_its_neighbours_as_they_are(poison: float) -> None:
    shape = SHAPES["narrow"]
    flat = random_parameters(shape, 3)
    tokens = random_tokens(shape, 3, 2, shape.context + 1)
    broken = flat.clone()
    broken[1] = poison
    results = []
    for start in (flat, broken):
        leaf = start.clone().requires_grad_()
        losses = token_losses(unflatten(leaf, shape), tokens, shape)
        (gradient,) = torch.autograd.grad(losses.mean((1, 2)).sum(), leaf)
        results.append((losses.detach(), gradient))
    for healthy, beside in zip(*results, strict=True):
        assert torch.equal(healthy[[0, 2]], beside[[0, 2]])


def test_no_token_sees_a_later_one() -> None:
    shape = SHAPES["heads"]
    parameters = unflatten(random_parameters(shape, 2), shape)
    tokens = random_tokens(shape, 2, 3, shape.context)
    changed = tokens.clone()
    changed[..., 6:] = (changed[..., 6:] + 1) % shape.vocabulary
    before, after = (
        logits(parameters, each, shape).view(2, 3, shape.context, -1) for each in (tokens, changed)
    )
    torch.testing.assert_close(before[:, :, :6], after[:, :, :6], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(before[:, :, 6], after[:, :, 6])


@pytest.mark.parametrize("prefix", [1, 4])
def test_decoding_with_a_cache_equals_the_whole_pass(prefix: int) -> None:
    shape = SHAPES["heads"]
    parameters = unflatten(random_parameters(shape, 2), shape)
    tokens = random_tokens(shape, 2, 3, shape.context)
    whole = logits(parameters, tokens, shape).view(2, 3, shape.context, -1)
    cache = Cache([], [])
    steps = [logits(parameters, tokens[..., :prefix], shape, cache).view(2, 3, prefix, -1)]
    for position in range(prefix, shape.context):
        assert cache.length == position
        given = tokens[..., position : position + 1]
        steps.append(logits(parameters, given, shape, cache).view(2, 3, 1, -1))
    torch.testing.assert_close(torch.cat(steps, 2), whole, atol=2e-5, rtol=1e-5)


def test_rotations_keep_lengths_and_know_distances_alone() -> None:
    shape = Shape(8, width=16, depth=1, heads=2, feedforward=8, context=40)
    generator = torch.Generator().manual_seed(2)
    query, key = torch.randn(2, 8, generator=generator)
    cosine, sine = rotary(shape, torch.arange(40))
    turned_query = rotate(query.expand(40, -1), cosine, sine)
    turned_key = rotate(key.expand(40, -1), cosine, sine)
    torch.testing.assert_close(turned_query.norm(dim=1), query.norm().expand(40))
    products = turned_query @ turned_key.T
    for distance in range(-30, 31, 7):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_the_named_tensors_are_views_that_cover_the_row_once(name: str) -> None:
    shape = SHAPES[name]
    flat = torch.arange(2 * num_parameters(shape)).view(2, -1)
    named = unflatten(flat, shape)
    assert [tuple(tensor.shape[1:]) for tensor in named.values()] == [
        entry.shape for entry in layout(shape)
    ]
    joined = torch.cat([tensor.reshape(2, -1) for tensor in named.values()], 1)
    assert torch.equal(joined, flat)
    assert all(tensor.untyped_storage().data_ptr() == flat.data_ptr() for tensor in named.values())
