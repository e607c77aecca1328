"""A decoder-only transformer in the shape of Qwen3, many replicas in one program.

Legend: R replica, B sequence, T token, N = B·T, D width, H head, K head width,
F feed-forward width, V vocabulary, P parameters.

Pre-norm RMSNorm, rotary positions, QK-norm, SwiGLU, tied embeddings, no biases. The parameters of a
replica are one row of a flat (R, P) tensor; `layout` says where each matrix stands in it. One flat
tensor makes the optimizer, clipping, snapshots and the mask of diverged replicas one line each.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from saltus.model.shape import Shape, layout

NORM_EPSILON = 1e-6


def unflatten(
    flat: Tensor,  # (R, P)
    shape: Shape,
) -> dict[str, Tensor]:  # each (R, *entry.shape)
    """Return the named views of a flat parameter tensor.

    One `split` rather than many slices: its backward is a single concatenation.
    """
    entries = layout(shape)
    pieces = torch.split(flat, [entry.size for entry in entries], dim=1)
    return {
        entry.name: piece.view(-1, *entry.shape)
        for entry, piece in zip(entries, pieces, strict=True)
    }


def rotary(shape: Shape, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and signed sine tables (T, K) for token positions (T,), the halves convention.

    With x = (a, b) in halves, the rotation is x·cos + (b, a)·sin, the sign folded into sin.
    Su et al. 2021, eq. 34, in the layout of Qwen3.
    """
    half = shape.head_width // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float64) / half
    angle = positions.double()[:, None] * shape.rope_base**-exponent  # (T, K / 2)
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat([cosine, cosine], 1).float(), torch.cat([-sine, sine], 1).float()


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Return x / rms(x) · gain over the last axis (Zhang & Sennrich 2019, eq. 4)."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPSILON) * gain


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Apply rotary positions to x (…, T, K)."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([second, first], -1) * sine


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, per layer, each (R·B, H, T, K)."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Return how many tokens are cached."""
        return self.keys[0].shape[2] if self.keys else 0


def hidden_states(
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T)
    shape: Shape,
    cache: Cache | None = None,
) -> Tensor:  # (R, N, D)
    """Return the normalised last hidden states; extend `cache` by these tokens when given.

    With a cache, `tokens` must be either the first ones or a single column.
    """
    replicas, batch, length = tokens.shape
    heads, head = shape.heads, shape.head_width
    seen = cache.length if cache is not None else 0
    assert seen == 0 or length == 1, "a filled cache takes one token at a time"
    positions = torch.arange(seen, seen + length, device=tokens.device)
    cosine, sine = rotary(shape, positions)

    embedding = parameters["embedding"]
    offset = torch.arange(replicas, device=tokens.device)[:, None] * shape.vocabulary
    x = F.embedding(
        tokens.reshape(replicas, -1) + offset, embedding.reshape(-1, shape.width)
    )  # (R, N, D)
    for layer in range(shape.depth):
        name = f"layers.{layer}."
        part = {key: parameters[name + key] for key in LAYER_TENSORS}

        normed = rms_norm(x, part["attention.norm"][:, None])
        qkv = torch.bmm(normed, part["attention.qkv"])
        qkv = qkv.view(replicas, batch, length, 3, heads, head).permute(3, 0, 1, 4, 2, 5)
        query, key, value = qkv.unbind(0)  # (R, B, H, T, K)
        gains = (-1, 1, 1, 1, head)
        query = rotate(rms_norm(query, part["attention.query_norm"].view(gains)), cosine, sine)
        key = rotate(rms_norm(key, part["attention.key_norm"].view(gains)), cosine, sine)
        query, key, value = (
            each.reshape(-1, heads, each.shape[3], head) for each in (query, key, value)
        )
        if cache is not None:
            if seen:
                key = torch.cat([cache.keys[layer], key], 2)
                value = torch.cat([cache.values[layer], value], 2)
                cache.keys[layer], cache.values[layer] = key, value
            else:
                cache.keys.append(key)
                cache.values.append(value)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=seen == 0)
        mixed = mixed.transpose(1, 2).reshape(replicas, -1, shape.width)
        x = x + torch.bmm(mixed, part["attention.output"])

        normed = rms_norm(x, part["feedforward.norm"][:, None])
        gate, up = torch.bmm(normed, part["feedforward.gate_up"]).chunk(2, -1)
        x = x + torch.bmm(F.silu(gate) * up, part["feedforward.down"])
    return rms_norm(x, parameters["norm"][:, None])


LAYER_TENSORS = (
    "attention.norm",
    "attention.qkv",
    "attention.query_norm",
    "attention.key_norm",
    "attention.output",
    "feedforward.norm",
    "feedforward.gate_up",
    "feedforward.down",
)


def logits(
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T)
    shape: Shape,
    cache: Cache | None = None,
) -> Tensor:  # (R, N, V)
    """Return next-token logits, the embedding being the output matrix as well."""
    hidden = hidden_states(parameters, tokens, shape, cache)
    return torch.bmm(hidden, parameters["embedding"].transpose(1, 2))


def token_losses(
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T + 1): inputs and shifted targets in one
    shape: Shape,
) -> Tensor:  # (R, B, T)
    """Return the cross-entropy of every next token, in nats."""
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    scores = logits(parameters, inputs, shape)
    losses = F.cross_entropy(scores.flatten(0, 1).float(), targets.reshape(-1), reduction="none")
    return losses.view(targets.shape)
