"""The training loss with layers that PyTorch compiles: `transformer.apply_layer` as it stands.

Compiled is the layer and not the whole loss: all layers share one program, a layer can be computed
again for its gradient, and the head makes its logits in pieces as for the written kernels.

Legend: R replica, B sequence, T token, N = B·T, D width, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from saltus.model.kernels import head_losses, residual_stream
from saltus.model.shape import Shape
from saltus.model.transformer import apply_layer, rotary

Tables = tuple[Tensor, Tensor]
CompiledLayer = Callable[[Tensor, dict[str, Tensor], Tables, Shape], Tensor]


def compile_layer() -> CompiledLayer:
    """Return `apply_layer` compiled, and forget what was compiled before.

    A job gets the programs that it would get alone in its process: sizes before it would have made
    widths symbolic, and after eight programs PyTorch goes on without compiling.
    """
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


def compiled_losses(
    layer: CompiledLayer,
    parameters: dict[str, Tensor],
    tokens: Tensor,  # (R, B, T + 1): inputs and shifted targets in one
    shape: Shape,
    dtype: torch.dtype | None = None,
    checkpointing: bool = False,
) -> Tensor:  # (R, B, T)
    """Return the cross-entropy of every next token, in nats; options as of `written_losses`."""
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    low = dtype or parameters["embedding"].dtype
    tables = rotary(shape, torch.arange(inputs.shape[2], device=tokens.device))

    def one(x: Tensor, part: dict[str, Tensor]) -> Tensor:
        return compiled_pass(layer, x, part, tables, shape, low)

    x = residual_stream(one, parameters, inputs, shape, checkpointing)
    return head_losses(x, parameters, targets, low)
