"""One replica as an `nn.Module`, a submodule per layer: what DDP and FSDP2 wrap.

Legend: B row, T token, N = B·T, D width, V vocabulary, P parameters.

The mathematics is that of `transformer`, `kernels` and `native`; here are only the places where the
tensors live. Their names are those of `layout`; the replica axis is absent from their own shape and
put back as a leading axis of one where the shared code is called.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from saltus.model.compiled import CompiledLayer, compile_layer, compiled_pass
from saltus.model.kernels import HeadLosses, written_layer
from saltus.model.native.losses import native_layer, padded_tables
from saltus.model.shape import NORMS, Shape, layer_shapes, layout
from saltus.model.transformer import embed, rotary


class Layer(nn.Module):
    """One layer's tensors, under the names that they have within a layer."""

    def __init__(
        self,
        shape: Shape,
        device: torch.device,
        kernels: str,
        compiled: CompiledLayer | None,
        dtype: torch.dtype,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.shape, self.dtype, self.checkpointing = shape, dtype, checkpointing
        self.kernels, self.compiled = kernels, compiled
        for name, size in layer_shapes(shape).items():
            part, own = name.split(".")
            if part not in self._modules:
                self.add_module(part, nn.Module())
            tensor = nn.Parameter(torch.empty(size, device=device))
            self.get_submodule(part).register_parameter(own, tensor)

    def forward(
        self,
        x: Tensor,  # (1, N, D)
        tables: tuple[Tensor, Tensor],  # of `rotary`
    ) -> Tensor:  # (1, N, D)
        """Return the residual stream after this layer."""
        if not self.checkpointing:
            return self._pass(x, tables)
        after: Tensor = checkpoint(self._pass, x, tables, use_reentrant=False)
        return after

    def _pass(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        part = {name: tensor[None] for name, tensor in self.named_parameters()}
        # FSDP2 brings a layer in low precision; gains work in that of the residual stream.
        part |= {name: part[name].to(x.dtype) for name in NORMS}
        if self.kernels == "native":
            return native_layer(x, part, padded_tables(*tables))
        if self.compiled is None:
            return written_layer(x, part, torch.complex(*tables), self.shape, self.dtype)
        return compiled_pass(self.compiled, x, part, tables, self.shape, self.dtype)


class Decoder(nn.Module):
    """One replica; its tensors hold nothing until they are filled.

    `kernels` (`native`, `written` or `compiled`) and `checkpointing` are those of `train.engine`;
    `dtype` is that of the matrix products, the residual stream is always float32.
    """

    def __init__(
        self,
        shape: Shape,
        device: torch.device,
        kernels: str = "written",
        dtype: torch.dtype = torch.float32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.embedding = nn.Parameter(torch.empty(shape.vocabulary, shape.width, device=device))
        self.norm = nn.Parameter(torch.empty(shape.width, device=device))
        compiled = compile_layer() if kernels == "compiled" else None
        self.layers = nn.ModuleList(
            Layer(shape, device, kernels, compiled, dtype, checkpointing)
            for _ in range(shape.depth)
        )

    def forward(
        self,
        tokens: Tensor,  # (B, T + 1): inputs and shifted targets in one
    ) -> Tensor:  # (B,)
        """Return the mean loss of every row, in nats/token."""
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        tables = rotary(self.shape, torch.arange(inputs.shape[1], device=tokens.device))
        x = embed(self.embedding[None], inputs.reshape(1, -1))
        for layer in self.layers:
            x = layer(x, tables)
        folded = (self.embedding * self.norm).T[None]
        losses: Tensor = HeadLosses.apply(x, folded, targets.reshape(1, -1), self.dtype)
        return losses.view(targets.shape).mean(1)


def split_row(row: Tensor, shape: Shape) -> dict[str, Tensor]:
    """Return the named views of one replica's flat row (P,), without a replica axis.

    Writing to the views writes the row: so this is the way in both directions.
    """
    entries = layout(shape)
    pieces = torch.split(row, [entry.size for entry in entries])
    return {
        entry.name: piece.view(entry.shape) for entry, piece in zip(entries, pieces, strict=True)
    }
