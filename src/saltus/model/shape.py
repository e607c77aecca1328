"""The architecture of one size, and where each of its tensors stands in the flat row. No torch."""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Shape:
    """The architecture of one size. Widths are in units, `context` in tokens."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    feedforward: int
    context: int
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        """Return K, the width of one head."""
        return self.width // self.heads


@dataclass(frozen=True)
class Entry:
    """One tensor of a replica: its name, shape, and role (embedding, matrix or norm)."""

    name: str
    shape: tuple[int, ...]
    role: str

    @property
    def size(self) -> int:
        """Return the number of scalars."""
        return prod(self.shape)


NORMS = ("attention.norm", "attention.query_norm", "attention.key_norm", "feedforward.norm")
MATRICES = ("attention.qkv", "attention.output", "feedforward.gate_up", "feedforward.down")


def layer_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a layer.

    Matrices are (in, out): `attention.qkv` holds queries, keys and values side by side,
    `feedforward.gate_up` the gate and the value of SwiGLU.
    """
    width, head, feedforward = shape.width, shape.head_width, shape.feedforward
    return {
        "attention.norm": (width,),
        "attention.query_norm": (head,),
        "attention.key_norm": (head,),
        "feedforward.norm": (width,),
        "attention.qkv": (width, 3 * width),
        "attention.output": (width, width),
        "feedforward.gate_up": (width, 2 * feedforward),
        "feedforward.down": (feedforward, width),
    }


def layout(shape: Shape) -> tuple[Entry, ...]:
    """Return the tensors of one replica in the order of the flat row.

    The embedding and the norms come first, then the matrices, all layers' of one kind together: so
    what decays is one stretch of the row, and what Muon orthogonalises together is one view.
    """
    shapes = layer_shapes(shape)
    layers = range(shape.depth)
    return (
        Entry("embedding", (shape.vocabulary, shape.width), "embedding"),
        Entry("norm", (shape.width,), "norm"),
        *(Entry(f"layers.{n}.{name}", shapes[name], "norm") for n in layers for name in NORMS),
        *(Entry(f"layers.{n}.{name}", shapes[name], "matrix") for name in MATRICES for n in layers),
    )


def num_undecayed(shape: Shape) -> int:
    """Return how many scalars stand before the matrices: the embedding and the norms."""
    return sum(entry.size for entry in layout(shape) if entry.role != "matrix")


def num_parameters(shape: Shape) -> int:
    """Return P, the tied matrix counted once."""
    return sum(entry.size for entry in layout(shape))
