"""The training loss with parts that PyTorch compiles: `transformer.apply_layer` as it stands.

Compiled are the layer and the cross-entropy, not the whole loss: all layers share one program, a
layer can be computed again for its gradient, and the head makes its logits in pieces.

Legend: R replica, B sequence, T token, N = B·T, D width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from saltus.model.kernels import residual_stream
from saltus.model.shape import Shape
from saltus.model.transformer import apply_layer, rms_norm, rotary

PIECE_BYTES = 1 << 30
"""More logits than this are made in pieces of tokens."""

Tables = tuple[Tensor, Tensor]
CompiledLayer = Callable[[Tensor, dict[str, Tensor], Tables, Shape], Tensor]


def cross_entropy(
    logits: Tensor,  # (R, n, V)
    targets: Tensor,  # (R, n)
) -> tuple[Tensor, Tensor]:
    """Return the loss of every token (R, n), in nats, and its gradient by the logits (R, n, V).

    Sums are in single precision or better, the gradient in the precision of the logits.
    """
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    normaliser = torch.logsumexp(scores, -1)
    losses = normaliser - scores.gather(2, targets[..., None])[..., 0]
    is_target = torch.arange(scores.shape[2], device=scores.device) == targets[..., None]
    gradient = (scores - normaliser[..., None]).exp() - is_target.to(scores.dtype)
    return losses, gradient.to(logits.dtype)


@dataclass(frozen=True)
class Parts:
    """What `compiled_losses` puts together: `apply_layer`, `rms_norm` and `cross_entropy`."""

    layer: CompiledLayer = apply_layer
    norm: Callable[[Tensor, Tensor], Tensor] = rms_norm
    entropy: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = cross_entropy


def compile_parts() -> Parts:
    """Return the parts compiled, and forget what was compiled before.

    A job gets the programs that it would get alone in its process: sizes before it would have made
    widths symbolic, and after eight programs PyTorch goes on without compiling.
    """
    return Parts(
        compile_layer(),
        torch.compile(rms_norm, dynamic=False),
        torch.compile(cross_entropy, dynamic=False),
    )


def compile_layer() -> CompiledLayer:
    """Return `apply_layer` compiled, and forget what was compiled before."""
    torch.compiler.reset()
    compiled: CompiledLayer = torch.compile(apply_layer, dynamic=False)
    return compiled


def compiled_pass(
    layer: CompiledLayer,
    x: Tensor,  # (R, N, D)
    part: dict[str, Tensor],
    tables: Tables,  # of `rotary`
    shape: Shape,
    dtype: torch.dtype,
) -> Tensor:  # (R, N, D)
    """Return the residual stream after one layer, matrix products in `dtype`."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return layer(x, part, tables, shape)


class HeadLosses(Function):
    """Output matrix and cross-entropy, and already on the way there the gradients of their sum.

    Every loss weighs the same in the objective; so the gradient of the logits is known as soon as
    they are, and none is made twice or kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # (R, N, D), normalised
        embedding: Tensor,  # (R, V, D)
        targets: Tensor,  # (R, N)
        scale: float,
        dtype: torch.dtype,
        entropy: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of every token (R, N), in nats, and `scale` times their sum.

        Only the sum has a derivative.
        """
        low, weight = hidden.to(dtype), embedding.to(dtype)
        losses = hidden.new_empty(targets.shape)
        of_hidden = torch.empty_like(low)
        of_embedding = torch.zeros_like(embedding)
        replicas, vocabulary = embedding.shape[:2]
        bytes_a_token = replicas * vocabulary * low.element_size()
        piece = even_piece(hidden.shape[1], max(1, PIECE_BYTES // bytes_a_token))
        pieces = (each.split(piece, 1) for each in (low, targets, losses, of_hidden))
        for given, wanted, of_tokens, into in zip(*pieces, strict=True):
            logits = torch.bmm(given, weight.transpose(1, 2))
            found, of_logits = entropy(logits, wanted)
            of_tokens.copy_(found)
            torch.bmm(of_logits, weight, out=into)
            of_embedding += torch.bmm(of_logits.transpose(1, 2), given)
        ctx.save_for_backward(of_hidden, of_embedding)
        ctx.scale = scale
        ctx.mark_non_differentiable(losses)
        return losses, scale * losses.sum()

    @staticmethod
    def backward(ctx: Any, _: Tensor, of_sum: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the hidden states and the embedding."""
        of_hidden, of_embedding = ctx.saved_tensors
        factor = ctx.scale * of_sum
        return of_hidden.to(of_embedding.dtype) * factor, of_embedding * factor, *(None,) * 4


def even_piece(tokens: int, most: int) -> int:
    """Return the largest divisor of `tokens` up to `most`: pieces of one shape are one program.

    Where that is less than half of `most`, the last piece is smaller instead.
    """
    largest = min(tokens, most)
    for piece in range(largest, (largest - 1) // 2, -1):
        if tokens % piece == 0:
            return piece
    return largest


def compiled_losses(
    parts: Parts,
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T + 1): inputs and shifted targets in one
    shape: Shape,
    scale: float,
    dtype: torch.dtype | None = None,
    checkpointing: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of every next token (R, B, T), in nats, and `scale` times its sum.

    Only the sum has a derivative. `dtype` is that of the matrix products, by default the
    parameters' own. With `checkpointing` a layer keeps its input alone and is computed again for
    its gradient.
    """
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    low = dtype or parameters["embedding"].dtype
    tables = rotary(shape, torch.arange(inputs.shape[2], device=tokens.device))

    def one(x: Tensor, part: dict[str, Tensor]) -> Tensor:
        return compiled_pass(parts.layer, x, part, tables, shape, low)

    x = residual_stream(one, parameters, inputs, shape, checkpointing)
    hidden = parts.norm(x, parameters["norm"][:, None])
    losses, objective = HeadLosses.apply(
        hidden, parameters["embedding"], targets.flatten(1), scale, low, parts.entropy
    )
    return losses.view(targets.shape), objective
