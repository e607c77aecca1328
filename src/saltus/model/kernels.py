"""The training loss with derivatives written by hand: what `transformer.token_losses` computes.

Autograd keeps and rereads every small step of a norm, a rotation or a gated unit; on a CPU those
passes over memory cost as much as a small model's matrix products. Here each is one function with
its own backward pass, few passes and reused buffers. Norm gains are folded into the matrix that
follows, rotations are complex products, and a causal softmax over a short context is one batched
product, a softmax and another. `dtype` is that of matrix products and of what lies between them;
norms, rotations, the residual stream and the losses stay in the parameters' own precision.

Legend: R replica, B sequence, T token, N = B·T, D width, O any output width, H head, K head width,
F feed-forward width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from saltus.model.shape import Shape
from saltus.model.transformer import NORM_EPSILON, embed, layer_of, rotary

SHORT_CONTEXT = 128
"""Up to here all scores are held at once, which beats the blockwise kernel (docs/log.md)."""
LOGITS_BYTES = 1 << 28
"""More logits than this are made in pieces of tokens, and made again for the gradient."""


def inverse_rms(x: Tensor) -> Tensor:
    """Return 1 / rms(x) over the last axis, kept as an axis of one."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(NORM_EPSILON).rsqrt_()


def norm_gradient(gradient: Tensor, unit: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of x from that of u = x / rms(x), in the memory of `gradient`.

    du/dx = (1 − u uᵀ / D) / rms: the part of the gradient along u is taken out, the rest scaled.
    """
    along = (gradient * unit).mean(-1, keepdim=True)
    return gradient.addcmul_(unit, along, value=-1).mul_(inverse)


class NormedProduct(Function):
    """x / rms(x) · W: a norm whose gain is folded into the matrix, and the product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return (R, N, O) of `dtype` from x (R, N, D) and weight (R, D, O)."""
        inverse = inverse_rms(x)
        unit = x * inverse
        low, weight = unit.to(dtype), weight.to(dtype)
        ctx.save_for_backward(unit, inverse, low, weight)
        return torch.bmm(low, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of x and weight."""
        unit, inverse, low, weight = ctx.saved_tensors
        of_weight = torch.bmm(low.transpose(1, 2), gradient).to(unit.dtype)
        of_unit = torch.bmm(gradient, weight.transpose(1, 2)).to(unit.dtype)
        return norm_gradient(of_unit, unit, inverse), of_weight, None


class TurnedHeads(Function):
    """Splits queries, keys and values into heads; norms, scales and turns the first two."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,  # (R, N, 3D)
        gains: Tensor,  # (2, R, K) of queries and keys
        turn: Tensor,  # (T, K / 2) complex, of modulus one
        heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # each (R·B·H, T, K)
        """Return queries, keys and values, in the precision of `qkv`."""
        replicas, (length, half) = qkv.shape[0], turn.shape
        width = 2 * half
        split = qkv.view(replicas, -1, length, 3, heads, width).permute(3, 0, 1, 4, 2, 5)
        pair = torch.empty_like(split[:2], dtype=gains.dtype, memory_format=torch.contiguous_format)
        pair.copy_(split[:2])
        value = split[2].reshape(-1, length, width)
        inverse = inverse_rms(pair)
        unit = pair.mul_(inverse)
        gains = gains.view(2, replicas, 1, 1, 1, width)
        turned = as_complex(unit * gains).mul_(turn)
        query, key = torch.view_as_real(turned).to(qkv.dtype).view(2, -1, length, width).unbind(0)
        ctx.save_for_backward(unit, inverse, gains, turn)
        return query, key, value

    @staticmethod
    def backward(
        ctx: Any, of_query: Tensor, of_key: Tensor, of_value: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of qkv and gains: turn back, then the norm's."""
        unit, inverse, gains, turn = ctx.saved_tensors
        _, replicas, batch, heads, length, width = unit.shape
        gradient = torch.empty_like(unit)
        back = turn.conj().resolve_conj()
        for into, given in zip(gradient, (of_query, of_key), strict=True):
            given = given.to(unit.dtype).view(into.shape)
            torch.mul(as_complex(given), back, out=as_complex(into))
        product = gradient * unit
        of_gains = product.sum((2, 3, 4)).view(2, replicas, width)
        # The mean of gain · gradient · unit over a head, as a product with the gains as a column.
        column = (gains / width).view(2 * replicas, width, 1)
        along = torch.bmm(product.view(2 * replicas, -1, width), column)
        gradient.mul_(gains).addcmul_(unit, along.view_as(inverse), value=-1)
        joined = of_value.new_empty(replicas, batch, length, 3, heads, width)
        parts = joined.permute(3, 0, 1, 4, 2, 5)
        torch.mul(gradient, inverse, out=gradient)
        parts[:2] = gradient
        parts[2] = of_value.view(replicas, batch, heads, length, width)
        return joined.view(replicas, -1, 3 * heads * width), of_gains, None, None


def as_complex(x: Tensor) -> Tensor:
    """Return neighbouring pairs of a contiguous tensor (…, K) as complex numbers (…, K / 2)."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


class ShortAttention(Function):
    """Causal attention over a short context, all scores held at once."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Return softmax(q kᵀ / √K + mask) v for (R·B·H, T, K); the mask is (T, T), 0 or −∞."""
        ctx.scale = query.shape[-1] ** -0.5
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=ctx.scale)
        weights = torch.softmax(scores, -1)
        ctx.save_for_backward(query, key, value, weights)
        return torch.bmm(weights, value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of queries, keys and values."""
        query, key, value, weights = ctx.saved_tensors
        of_value = torch.bmm(weights.transpose(1, 2), gradient)
        of_weights = torch.bmm(gradient, value.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query = scaled_product(of_scores, key, ctx.scale)
        of_key = scaled_product(of_scores.transpose(1, 2), query, ctx.scale)
        return of_query, of_key, of_value, None


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Return scale · left · right, batched, without a pass of its own for the scale."""
    return torch.baddbmm(right.new_empty(()), left, right, beta=0, alpha=scale)


class GatedUnit(Function):
    """silu(gate) · up, the two lying side by side (Shazeer 2020, SwiGLU)."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        """Return (R, N, F) from (R, N, 2F)."""
        gate, up = gate_up.chunk(2, -1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of both, side by side."""
        gate_up, opened = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        joined = torch.empty_like(gate_up)
        of_gate, of_up = joined.chunk(2, -1)
        torch.mul(gradient, opened, out=of_up)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=of_gate)
        return joined


class HeadLosses(Function):
    """Norm, output matrix and cross-entropy in one; large vocabularies in pieces of tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        weight: Tensor,  # (R, D, V), the norm's gain folded in
        targets: Tensor,  # (R, N)
        dtype: torch.dtype,
    ) -> Tensor:  # (R, N)
        """Return the cross-entropy of every token, in nats.

        With p the softmax, log Σ exp z = max z − log max p: one pass for both the probabilities
        that the gradient needs and the loss.
        """
        inverse = inverse_rms(x)
        unit = x * inverse
        low, weight = unit.to(dtype), weight.to(dtype)
        piece = max(1, LOGITS_BYTES // (4 * x.shape[0] * weight.shape[2]))
        whole = piece >= x.shape[1]
        losses, kept = [], []
        for given, wanted in zip(low.split(piece, 1), targets.split(piece, 1), strict=True):
            logits = torch.bmm(given, weight).to(x.dtype)
            probabilities = torch.softmax(logits, -1)
            normaliser = logits.amax(-1) - probabilities.amax(-1).log_()
            losses.append(normaliser - logits.gather(2, wanted[..., None])[..., 0])
            kept = [probabilities] if whole else []
        ctx.save_for_backward(unit, inverse, low, weight, targets, *kept)
        ctx.piece = piece
        return torch.cat(losses, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of x and weight; a token's is (p − its target) · its own weight."""
        unit, inverse, low, weight, targets, *kept = ctx.saved_tensors
        of_unit = torch.empty_like(unit)
        of_weight = torch.zeros_like(weight, dtype=unit.dtype)
        pieces = (each.split(ctx.piece, 1) for each in (of_unit, low, targets, gradient))
        for into, given, wanted, of_loss in zip(*pieces, strict=True):
            if kept:
                probabilities = kept[0]
            else:
                probabilities = torch.softmax(torch.bmm(given, weight).to(unit.dtype), -1)
            of_logits = probabilities.mul_(of_loss[..., None])
            of_logits.scatter_add_(2, wanted[..., None], -of_loss[..., None])
            of_logits = of_logits.to(weight.dtype)
            of_weight += torch.bmm(given.transpose(1, 2), of_logits)
            into.copy_(torch.bmm(of_logits, weight.transpose(1, 2)))
        return norm_gradient(of_unit, unit, inverse), of_weight, None, None


def added_product(x: Tensor, given: Tensor, weight: Tensor) -> Tensor:
    """Return x + given · weight, the product in the precision of `given`."""
    if given.dtype == x.dtype:
        return torch.baddbmm(x, given, weight)
    return x + torch.bmm(given, weight.to(given.dtype))


def written_layer(
    x: Tensor,  # (R, N, D)
    part: dict[str, Tensor],
    turn: Tensor,  # (T, K / 2) complex
    shape: Shape,
    dtype: torch.dtype,
) -> Tensor:  # (R, N, D)
    """Return the residual stream after one layer, as `transformer.apply_layer` does."""
    replicas, length = x.shape[0], turn.shape[0]
    gains = torch.stack([part["attention.query_norm"], part["attention.key_norm"]])
    folded = part["attention.qkv"] * part["attention.norm"][:, :, None]
    query, key, value = TurnedHeads.apply(
        NormedProduct.apply(x, folded, dtype), gains, turn, shape.heads
    )
    if length <= SHORT_CONTEXT:
        mask = torch.full((length, length), float("-inf"), device=x.device, dtype=dtype).triu_(1)
        mixed = ShortAttention.apply(query, key, value, mask)
    else:
        query, key, value = (each.unflatten(0, (-1, shape.heads)) for each in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    mixed = mixed.view(-1, shape.heads, length, shape.head_width).transpose(1, 2)
    x = added_product(x, mixed.reshape(replicas, -1, shape.width), part["attention.output"])
    folded = part["feedforward.gate_up"] * part["feedforward.norm"][:, :, None]
    hidden = GatedUnit.apply(NormedProduct.apply(x, folded, dtype))
    return added_product(x, hidden, part["feedforward.down"])


def residual_stream(
    layer: Callable[[Tensor, dict[str, Tensor]], Tensor],
    parameters: dict[str, Tensor],
    inputs: Tensor,  # (R, B, T)
    shape: Shape,
    checkpointing: bool,
) -> Tensor:  # (R, N, D)
    """Return the residual stream after every layer, `layer` being one with its tensors.

    With `checkpointing` a layer keeps its input alone and is computed again for its gradient.
    """
    x = embed(parameters["embedding"], inputs.reshape(inputs.shape[0], -1))
    for number in range(shape.depth):
        part = layer_of(parameters, number)
        if checkpointing:  # nothing random in a layer, and a recording cannot keep its state
            x = checkpoint(layer, x, part, use_reentrant=False, preserve_rng_state=False)
        else:
            x = layer(x, part)
    return x


def head_losses(
    x: Tensor,  # (R, N, D)
    parameters: dict[str, Tensor],
    targets: Tensor,  # (R, B, T)
    dtype: torch.dtype,
) -> Tensor:  # (R, B, T)
    """Return the cross-entropy of every target, the embedding being the output matrix."""
    losses: Tensor = HeadLosses.apply(x, output_matrix(parameters), targets.flatten(1), dtype)
    return losses.view(targets.shape)


def output_matrix(parameters: dict[str, Tensor]) -> Tensor:
    """Return the embedding with the last norm's gain folded in, as a matrix (R, D, V)."""
    return (parameters["embedding"] * parameters["norm"][:, None]).transpose(1, 2)


def written_losses(
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T + 1): inputs and shifted targets in one
    shape: Shape,
    dtype: torch.dtype | None = None,
    checkpointing: bool = False,
) -> Tensor:  # (R, B, T)
    """Return the cross-entropy of every next token, in nats, as `transformer.token_losses` does.

    `dtype` is that of the matrix products, by default the parameters' own. With `checkpointing`
    a layer keeps its input alone and is computed again for its gradient.
    """
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    precision = parameters["embedding"].dtype
    dtype = dtype or precision
    cosine, sine = rotary(shape, torch.arange(inputs.shape[2], device=tokens.device))
    turn = torch.complex(cosine.to(precision), sine.to(precision))

    def layer(x: Tensor, part: dict[str, Tensor]) -> Tensor:
        return written_layer(x, part, turn, shape, dtype)

    x = residual_stream(layer, parameters, inputs, shape, checkpointing)
    return head_losses(x, parameters, targets, dtype)
