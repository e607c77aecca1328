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

from saltus.model.shape import MATRICES, NORMS, Shape, layout

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
    """Return cosine and sine (T, K / 2) of token positions (T,), one per rotary pair.

    Su et al. 2021, eq. 34. A pair is two neighbouring units, as in that paper; checkpoints of
    Qwen3 hold the same pairs in halves (see `export`).
    """
    half = shape.head_width // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float64) / half
    angle = positions.double()[:, None] * shape.rope_base**-exponent
    return angle.cos().float(), angle.sin().float()


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Return x / rms(x) · gain over the last axis (Zhang & Sennrich 2019, eq. 4)."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPSILON) * gain


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn every pair of x (…, T, K) by its angle, given by tables (T, K / 2)."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return torch.stack(turned, -1).flatten(-2)


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, per layer, each (R·B, H, T, K)."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Return how many tokens are cached."""
        return self.keys[0].shape[2] if self.keys else 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens to a layer's, and return all of them."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], 2)
            self.values[layer] = torch.cat([self.values[layer], value], 2)
        return self.keys[layer], self.values[layer]


def layer_of(parameters: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """Return the tensors of one layer by their names within it."""
    return {name: parameters[f"layers.{layer}.{name}"] for name in (*NORMS, *MATRICES)}


def embed(embedding: Tensor, tokens: Tensor) -> Tensor:
    """Return the embeddings (R, N, D) of tokens (R, N), each replica from its own (R, V, D)."""
    replicas, vocabulary, width = embedding.shape
    offset = torch.arange(replicas, device=tokens.device)[:, None] * vocabulary
    return F.embedding(tokens + offset, embedding.reshape(-1, width))


def apply_layer(
    x: Tensor,  # (R, N, D)
    part: dict[str, Tensor],  # each (R, …)
    tables: tuple[Tensor, Tensor],  # of `rotary`
    shape: Shape,
    cache: Cache | None = None,
    layer: int = 0,
) -> Tensor:  # (R, N, D)
    """Return the residual stream after one layer, `layer` being its place in `cache`."""
    replicas, heads, head = x.shape[0], shape.heads, shape.head_width
    length = tables[0].shape[0]

    normed = rms_norm(x, part["attention.norm"][:, None])
    qkv = torch.bmm(normed, part["attention.qkv"])
    qkv = qkv.view(replicas, -1, length, 3, heads, head).permute(3, 0, 1, 4, 2, 5)
    query, key, value = qkv.unbind(0)  # (R, B, H, T, K)
    gains = (-1, 1, 1, 1, head)
    query = rotate(rms_norm(query, part["attention.query_norm"].view(gains)), *tables)
    key = rotate(rms_norm(key, part["attention.key_norm"].view(gains)), *tables)
    query, key, value = (each.reshape(-1, heads, length, head) for each in (query, key, value))
    seen = cache.length if cache is not None and layer < len(cache.keys) else 0
    if cache is not None:
        key, value = cache.extend(layer, key, value)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=seen == 0)
    mixed = mixed.transpose(1, 2).reshape(replicas, -1, shape.width)
    x = x + torch.bmm(mixed, part["attention.output"])

    normed = rms_norm(x, part["feedforward.norm"][:, None])
    gate, up = torch.bmm(normed, part["feedforward.gate_up"]).chunk(2, -1)
    return x + torch.bmm(F.silu(gate) * up, part["feedforward.down"])


def hidden_states(
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T)
    shape: Shape,
    cache: Cache | None = None,
) -> Tensor:  # (R, N, D)
    """Return the normalised last hidden states; extend `cache` by these tokens when given.

    With a cache, `tokens` must be either the first ones or a single column.
    """
    replicas, _, length = tokens.shape
    seen = cache.length if cache is not None else 0
    assert seen == 0 or length == 1, "a filled cache takes one token at a time"
    tables = rotary(shape, torch.arange(seen, seen + length, device=tokens.device))
    x = embed(parameters["embedding"], tokens.reshape(replicas, -1))
    for layer in range(shape.depth):
        x = apply_layer(x, layer_of(parameters, layer), tables, shape, cache, layer)
    return rms_norm(x, parameters["norm"][:, None])


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
    scores = scores.flatten(0, 1).to(torch.promote_types(scores.dtype, torch.float32))
    losses = F.cross_entropy(scores, targets.reshape(-1), reduction="none")
    return losses.view(targets.shape)
