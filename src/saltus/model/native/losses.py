"""The training loss in compiled passes: what `transformer.token_losses` computes, on a CPU.

Matrix products are PyTorch's; what lies between them is C, which reads and writes every tensor
once. A block of the residual stream is one function with a derivative written by hand, so that
autograd keeps no more than the derivative needs: attention keeps queries, keys and values and one
normaliser a token and head, and computes its weights again (Dao et al. 2022, algorithm 4). Single
precision alone.

Legend: R replica, B sequence, T token, N = B·T, D width, H head, K head width,
F feed-forward width, V vocabulary.
"""

from ctypes import CDLL, c_float, c_long, c_void_p
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from saltus.model.kernels import output_matrix, residual_stream
from saltus.model.native.library import library_file
from saltus.model.shape import Shape
from saltus.model.transformer import NORM_EPSILON, rotary

LANES = 8
"""How many floats the C takes at once."""
PIECE_LOGITS, PIECE_TOKENS = 1 << 16, 128
"""So many logits at once lie in a core's cache; of so many tokens at least, for the products."""


@lru_cache
def library() -> CDLL:
    """Return the compiled functions. Raises `NoCompilerError` where they cannot be had."""
    loaded = CDLL(str(library_file()))
    loaded.attention_room.restype = c_long
    return loaded


def call(name: str, *given: Tensor | int | float | None) -> None:
    """Call a function of this folder's C with tensors in order, then sizes and numbers."""
    arguments: list[c_void_p | c_long | c_float] = []
    for each in given:
        if each is None:
            arguments.append(c_void_p(None))
        elif isinstance(each, Tensor):
            assert each.is_contiguous() and each.dtype in (torch.float32, torch.int64)
            arguments.append(c_void_p(each.data_ptr()))
        else:
            arguments.append(c_long(each) if isinstance(each, int) else c_float(each))
    getattr(library(), name)(*arguments)


def normed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return u = x / rms(x) over the last axis, and 1 / rms(x) without that axis."""
    unit, inverse = torch.empty_like(x), x.new_empty(x.shape[:-1])
    call("norm_forward", x, unit, inverse, inverse.numel(), x.shape[-1], NORM_EPSILON)
    return unit, inverse


def normed_back(
    of_unit: Tensor, unit: Tensor, inverse: Tensor, of_stream: Tensor | None = None
) -> Tensor:
    """Return the gradient of x, which went into `normed` and, if that is given, on in the stream.

    See `kernels.norm_gradient`.
    """
    of_x = torch.empty_like(unit)
    sizes = (inverse.numel(), unit.shape[-1])
    call("norm_backward", of_unit, unit, inverse, of_stream, of_x, *sizes)
    return of_x


def room(like: Tensor, length: int, head: int) -> Tensor:
    """Return memory for attention over `length` tokens in heads of width `head`."""
    return like.new_empty(library().attention_room(c_long(length), c_long(head)))


def query_scale(like: Tensor, head: int) -> Tensor:
    """Return 1 / √K for the gains of queries and 1 for those of keys: (2, 1, 1)."""
    return like.new_tensor([head**-0.5, 1.0]).view(2, 1, 1)


def padded_tables(
    cosine: Tensor,  # (T, K / 2)
    sine: Tensor,  # (T, K / 2)
) -> tuple[Tensor, Tensor]:  # each (T, K padded)
    """Return the tables of `rotary` as the C takes them, padded to a multiple of its lanes."""
    signed = torch.stack([-sine, sine], -1).flatten(1)
    return padded(cosine.repeat_interleave(2, 1)), padded(signed)


def padded(x: Tensor) -> Tensor:
    """Return a tensor (…, K) padded with zeros to a multiple of the C's lanes."""
    return F.pad(x, (0, -x.shape[-1] % LANES))


class Attention(Function):
    """x + attention(x): norm, queries, keys and values, their norms and rotations, mixing."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        weight: Tensor,  # (R, D, 3D), the norm's gain folded in
        gains: Tensor,  # (2, R, K) of queries and keys
        output: Tensor,  # (R, D, D)
        cosine: Tensor,  # (T, K padded)
        sine: Tensor,  # (T, K padded)
    ) -> Tensor:  # (R, N, D)
        """Return the residual stream after attention."""
        unit, inverse = normed(x)
        qkv = torch.bmm(unit, weight)
        replicas, tokens, width = x.shape
        length, head = cosine.shape[0], gains.shape[2]
        heads, batch = width // head, tokens // length
        mixed = torch.empty_like(x)
        normaliser = x.new_empty(replicas, batch, heads, length)
        tables = (padded(gains * query_scale(gains, head)), cosine, sine)
        sizes = (replicas, batch, length, heads, head, NORM_EPSILON)
        call("attention_forward", qkv, *tables, mixed, normaliser, room(x, length, head), *sizes)
        ctx.sizes = sizes
        kept = (unit, inverse, weight, qkv, *tables, mixed, normaliser, output)
        ctx.save_for_backward(*kept)
        return torch.baddbmm(x, mixed, output)

    @staticmethod
    def backward(ctx: Any, of_stream: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight, gains and output."""
        unit, inverse, weight, qkv, gains, cosine, sine, mixed, normaliser, output = (
            ctx.saved_tensors
        )
        of_output = torch.bmm(mixed.transpose(1, 2), of_stream)
        of_mixed = torch.bmm(of_stream, output.transpose(1, 2))
        of_qkv, of_gains = torch.empty_like(qkv), torch.empty_like(gains)
        _, _, length, _, head, _ = ctx.sizes
        given = (qkv, gains, cosine, sine, normaliser, of_mixed)
        call("attention_backward", *given, of_qkv, of_gains, room(qkv, length, head), *ctx.sizes)
        of_gains = of_gains[..., :head] * query_scale(of_gains, head)
        of_weight = torch.bmm(unit.transpose(1, 2), of_qkv)
        of_unit = torch.bmm(of_qkv, weight.transpose(1, 2))
        of_x = normed_back(of_unit, unit, inverse, of_stream)
        return of_x, of_weight, of_gains, of_output, None, None


class FeedForward(Function):
    """x + feedforward(x): norm, gated unit (Shazeer 2020, SwiGLU), output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        weight: Tensor,  # (R, D, 2F): gate and up side by side, the norm's gain folded in
        output: Tensor,  # (R, F, D)
    ) -> Tensor:  # (R, N, D)
        """Return the residual stream after the feed-forward part."""
        unit, inverse = normed(x)
        gate_up = torch.bmm(unit, weight)
        hidden = x.new_empty(*x.shape[:2], output.shape[1])
        call("gate_forward", gate_up, hidden, inverse.numel(), output.shape[1])
        ctx.save_for_backward(unit, inverse, weight, gate_up, hidden, output)
        return torch.baddbmm(x, hidden, output)

    @staticmethod
    def backward(ctx: Any, of_stream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of x, weight and output."""
        unit, inverse, weight, gate_up, hidden, output = ctx.saved_tensors
        of_output = torch.bmm(hidden.transpose(1, 2), of_stream)
        of_hidden = torch.bmm(of_stream, output.transpose(1, 2))
        of_gate_up = torch.empty_like(gate_up)
        sizes = (inverse.numel(), output.shape[1])
        call("gate_backward", gate_up, of_hidden, of_gate_up, *sizes)
        of_weight = torch.bmm(unit.transpose(1, 2), of_gate_up)
        of_unit = torch.bmm(of_gate_up, weight.transpose(1, 2))
        return normed_back(of_unit, unit, inverse, of_stream), of_weight, of_output


class HeadLosses(Function):
    """Norm, output matrix and cross-entropy, and already on the way there their gradients.

    A piece of logits becomes losses and gradients while it lies in the cache and is then dropped,
    which takes knowing the weight of every loss in the objective beforehand: all weigh `scale`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (R, N, D)
        weight: Tensor,  # (R, D, V), the norm's gain folded in
        targets: Tensor,  # (R, N)
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of every token (R, N), in nats, and `scale` times their sum.

        Only the sum has a derivative.
        """
        unit, inverse = normed(x)
        weight = weight.contiguous()
        replicas, tokens, vocabulary = *targets.shape, weight.shape[2]
        piece = max(PIECE_TOKENS, PIECE_LOGITS // vocabulary)
        losses, room = unit.new_empty(targets.shape), unit.new_empty(piece, vocabulary)
        of_unit, of_weight = torch.empty_like(unit), torch.zeros_like(weight)
        for replica in range(replicas):
            matrix, targets_of_one = weight[replica], targets[replica].contiguous()
            for start in range(0, tokens, piece):
                these = slice(start, start + piece)
                given = unit[replica, these]
                logits = torch.mm(given, matrix, out=room[: len(given)])
                into = losses[replica, these]
                call("losses", logits, targets_of_one[these], into, *logits.shape, scale)
                of_weight[replica].addmm_(given.T, logits)
                torch.mm(logits, matrix.T, out=of_unit[replica, these])
        ctx.save_for_backward(normed_back(of_unit, unit, inverse), of_weight)
        ctx.mark_non_differentiable(losses)
        return losses, scale * losses.sum()

    @staticmethod
    def backward(ctx: Any, _: Tensor, of_sum: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of x and weight; a token's is (p − its target) · `scale`."""
        of_x, of_weight = ctx.saved_tensors
        return of_x * of_sum, of_weight * of_sum, None, None


def native_layer(
    x: Tensor,  # (R, N, D)
    part: dict[str, Tensor],
    tables: tuple[Tensor, Tensor],  # of `padded_tables`
) -> Tensor:  # (R, N, D)
    """Return the residual stream after one layer, as `transformer.apply_layer` does."""
    gains = torch.stack([part["attention.query_norm"], part["attention.key_norm"]])
    folded = part["attention.qkv"] * part["attention.norm"][:, :, None]
    x = Attention.apply(x, folded, gains, part["attention.output"], *tables)
    folded = part["feedforward.gate_up"] * part["feedforward.norm"][:, :, None]
    after: Tensor = FeedForward.apply(x, folded, part["feedforward.down"])
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
    tables = padded_tables(*rotary(shape, torch.arange(inputs.shape[2])))

    def layer(x: Tensor, part: dict[str, Tensor]) -> Tensor:
        return native_layer(x, part, tables)

    x = residual_stream(layer, parameters, inputs, shape, checkpointing)
    losses, objective = HeadLosses.apply(x, output_matrix(parameters), targets.flatten(1), scale)
    return losses.view(targets.shape), objective
