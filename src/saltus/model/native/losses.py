"""The training loss in C: what `transformer.token_losses` computes, on a CPU.

A block of the residual stream is one call forward and one back, with a derivative written by hand.
It goes through replicas one after the other and through each in pieces of rows that stay in the
cache, matrix products included, and keeps for the way back no more than that needs: attention keeps
queries, keys and values and one normaliser a token and head, and computes its weights again (Dao et
al. 2022, algorithm 4). Single precision alone.

Legend: R replica, B sequence, T token, N = B·T, D width, H head, K head width,
F feed-forward width, V vocabulary.
"""

from collections.abc import Sequence
from ctypes import CDLL, c_float, c_long, c_void_p
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from saltus.model.kernels import residual_stream
from saltus.model.native.library import library_file
from saltus.model.shape import Shape
from saltus.model.transformer import NORM_EPSILON, rotary

LANES = 8
"""How many floats the C takes at once."""
ATTENTION = ("norm", "qkv", "query_norm", "key_norm", "output")
FEEDFORWARD = ("norm", "gate_up", "down")
"""The parameters of a layer's parts, in the order of the C's arguments."""


@lru_cache
def library() -> CDLL:
    """Return the compiled functions. Raises `NoCompilerError` where they cannot be had."""
    loaded = CDLL(str(library_file()))
    for name in ("attention_room", "feedforward_room", "head_room"):
        getattr(loaded, name).restype = c_long
    return loaded


Argument = c_void_p | c_long | c_float


def call(name: str, *given: Tensor | int | float | Argument) -> Any:
    """Call a function of this folder's C with tensors, sizes and numbers in order."""
    arguments: list[Argument] = []
    for each in given:
        if isinstance(each, Tensor):
            assert each.is_contiguous() and each.dtype in (torch.float32, torch.int64)
            arguments.append(c_void_p(each.data_ptr()))
        elif isinstance(each, int):
            arguments.append(c_long(each))
        else:
            arguments.append(c_float(each) if isinstance(each, float) else each)
    return getattr(library(), name)(*arguments)


def strided(*parameters: Tensor) -> list[Argument]:
    """Return where parameters (R, …) lie, each with the floats from one replica to the next."""
    given: list[Argument] = []
    for each in parameters:
        assert each[0].is_contiguous() and each.dtype == torch.float32
        given += [c_void_p(each.data_ptr()), c_long(each.stride(0))]
    return given


def room(like: Tensor, name: str, *sizes: int) -> Tensor:
    """Return memory for the functions of a part of the model."""
    return like.new_empty(call(f"{name}_room", *sizes))


def dense(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return memory for the gradients of parameters."""
    return [torch.empty_like(each, memory_format=torch.contiguous_format) for each in parameters]


def padded_tables(
    cosine: Tensor,  # (T, K / 2)
    sine: Tensor,  # (T, K / 2)
) -> tuple[Tensor, Tensor]:  # each (T, K padded)
    """Return the tables of `rotary` as the C takes them, padded to a multiple of its lanes."""
    signed = torch.stack([-sine, sine], -1).flatten(1)
    wide = (cosine.repeat_interleave(2, 1), signed)
    first, second = (F.pad(each, (0, -each.shape[1] % LANES)) for each in wide)
    return first, second


class Attention(Function):
    """x + attention(x): norm, queries, keys and values, their norms and rotations, mixing."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        cosine: Tensor,  # (T, K padded)
        sine: Tensor,  # (T, K padded)
        *parameters: Tensor,  # of `ATTENTION`: (R, D), (R, D, 3D), twice (R, K), (R, D, D)
    ) -> Tensor:  # (R, N, D)
        """Return the residual stream after attention."""
        replicas, tokens, width = x.shape
        length, head = cosine.shape[0], parameters[2].shape[1]
        heads = width // head
        sizes = (replicas, tokens // length, length, heads, head, NORM_EPSILON)
        kept = (
            x.new_empty(replicas, tokens),  # 1 / rms(x)
            x.new_empty(replicas, tokens, 3 * width),  # queries, keys and values
            torch.empty_like(x),  # mixed
            x.new_empty(replicas, tokens, heads),  # normalisers
        )
        after, memory = torch.empty_like(x), room(x, "attention", length, heads, head)
        given = (x, *strided(*parameters), cosine, sine)
        call("attention_forward", *given, *kept, after, memory, *sizes)
        ctx.sizes = sizes
        ctx.save_for_backward(x, cosine, sine, *kept, *parameters)
        return after

    @staticmethod
    def backward(ctx: Any, of_after: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and the parameters."""
        x, cosine, sine, inverse, qkv, mixed, normaliser, *parameters = ctx.saved_tensors
        of_x, of_parameters = torch.empty_like(x), dense(parameters)
        memory = room(x, "attention", *ctx.sizes[2:5])
        given = (x, *strided(*parameters), cosine, sine, inverse, qkv, mixed, normaliser)
        made = (of_x, *of_parameters, memory)
        call("attention_backward", *given, of_after.contiguous(), *made, *ctx.sizes)
        return of_x, None, None, *of_parameters


class FeedForward(Function):
    """x + feedforward(x): norm, gated unit (Shazeer 2020, SwiGLU), output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        *parameters: Tensor,  # of `FEEDFORWARD`: (R, D), (R, D, 2F) side by side, (R, F, D)
    ) -> Tensor:  # (R, N, D)
        """Return the residual stream after the feed-forward part."""
        inner = parameters[2].shape[1]
        inverse = x.new_empty(x.shape[:2])
        gate_up, after = x.new_empty(*x.shape[:2], 2 * inner), torch.empty_like(x)
        made = (inverse, gate_up, after, room(x, "feedforward", x.shape[2], inner))
        sizes = (*x.shape, inner, NORM_EPSILON)
        call("feedforward_forward", x, *strided(*parameters), *made, *sizes)
        ctx.save_for_backward(x, inverse, gate_up, *parameters)
        return after

    @staticmethod
    def backward(ctx: Any, of_after: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of x and the parameters."""
        x, inverse, gate_up, *parameters = ctx.saved_tensors
        inner = parameters[2].shape[1]
        of_x, of_parameters = torch.empty_like(x), dense(parameters)
        given = (x, *strided(*parameters), inverse, gate_up, of_after.contiguous())
        made = (of_x, *of_parameters, room(x, "feedforward", x.shape[2], inner))
        call("feedforward_backward", *given, *made, *x.shape, inner)
        return of_x, *of_parameters


class HeadLosses(Function):
    """Norm, output matrix and cross-entropy, and already on the way there their gradients.

    That takes knowing the weight of every loss in the objective beforehand: all weigh `scale`, so
    that of a token's logits is (p − its target) · `scale`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        norm: Tensor,  # (R, D)
        embedding: Tensor,  # (R, V, D)
        targets: Tensor,  # (R, N)
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of every token (R, N), in nats, and `scale` times their sum.

        Only the sum has a derivative.
        """
        vocabulary = embedding.shape[1]
        losses = x.new_empty(targets.shape)
        of_all = [torch.empty_like(x), *dense((norm, embedding))]
        memory = room(x, "head", x.shape[2], vocabulary)
        given = (x, *strided(norm, embedding), targets.contiguous())
        sizes = (*x.shape, vocabulary, scale, NORM_EPSILON)
        call("head_losses", *given, losses, *of_all, memory, *sizes)
        ctx.save_for_backward(*of_all)
        ctx.mark_non_differentiable(losses)
        return losses, scale * losses.sum()

    @staticmethod
    def backward(ctx: Any, _: Tensor, of_sum: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, norm and embedding."""
        return *(each * of_sum for each in ctx.saved_tensors), None, None


def native_layer(
    x: Tensor,  # (R, N, D)
    part: dict[str, Tensor],
    tables: tuple[Tensor, Tensor],  # of `padded_tables`
) -> Tensor:  # (R, N, D)
    """Return the residual stream after one layer, as `transformer.apply_layer` does."""
    x = Attention.apply(x, *tables, *(part[f"attention.{name}"] for name in ATTENTION))
    after: Tensor = FeedForward.apply(x, *(part[f"feedforward.{name}"] for name in FEEDFORWARD))
    return after


def native_losses(
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T + 1): inputs and shifted targets in one
    shape: Shape,
    scale: float,
    checkpointing: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of every next token (R, B, T), and `scale` times its sum.

    In nats, as `transformer.token_losses` has it; only the sum has a derivative. With
    `checkpointing` a layer keeps its input alone and is computed again for its gradient.
    """
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    assert tokens.amin() >= 0 and tokens.amax() < shape.vocabulary, "the C does not look"
    tables = padded_tables(*rotary(shape, torch.arange(inputs.shape[2])))

    def layer(x: Tensor, part: dict[str, Tensor]) -> Tensor:
        return native_layer(x, part, tables)

    x = residual_stream(layer, parameters, inputs, shape, checkpointing)
    head = (parameters["norm"], parameters["embedding"], targets.flatten(1))
    losses, objective = HeadLosses.apply(x, *head, scale)
    return losses.view(targets.shape), objective
