"""Checkpoints: one annealed model of one replica as safetensors, tensors by name."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from saltus.files import write_bytes
from saltus.model.shape import Shape, layout


def save_checkpoint(path: Path, row: Tensor, shape: Shape) -> None:
    """Write one replica's flat parameters (P,) as named tensors, the shape in the metadata."""
    entries = layout(shape)
    pieces = torch.split(row.detach().cpu(), [entry.size for entry in entries])
    tensors = {
        entry.name: piece.reshape(entry.shape).clone()
        for entry, piece in zip(entries, pieces, strict=True)
    }
    # Not `save_file`: of a full disk it makes an error without a number.
    write_bytes(path, save(tensors, metadata={"shape": json.dumps(asdict(shape))}))


def load_checkpoint(path: Path) -> tuple[Tensor, Shape]:
    """Return the flat parameters (P,) and the shape that `save_checkpoint` wrote."""
    with safe_open(path, framework="pt") as stored:
        shape = Shape(**json.loads(stored.metadata()["shape"]))
        row = torch.cat([stored.get_tensor(entry.name).flatten() for entry in layout(shape)])
    return row, shape


def load_stacked(paths: Sequence[Path]) -> tuple[Tensor, Shape]:
    """Return the parameters of several checkpoints of one shape as (R, P), in order."""
    rows, shapes = zip(*(load_checkpoint(path) for path in paths), strict=True)
    assert len(set(shapes)) == 1, "checkpoints of several shapes cannot be stacked"
    return torch.stack(rows), shapes[0]
