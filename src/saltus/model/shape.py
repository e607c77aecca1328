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


def layout(shape: Shape) -> tuple[Entry, ...]:
    """Return the tensors of one replica in the order of the flat row.

    Matrices are (in, out): `attention.qkv` holds queries, keys and values side by side,
    `feedforward.gate_up` the gate and the value of SwiGLU.
    """
    width, head = shape.width, shape.head_width
    entries = [Entry("embedding", (shape.vocabulary, width), "embedding")]
    for layer in range(shape.depth):
        name = f"layers.{layer}."
        entries += [
            Entry(name + "attention.norm", (width,), "norm"),
            Entry(name + "attention.qkv", (width, 3 * width), "matrix"),
            Entry(name + "attention.query_norm", (head,), "norm"),
            Entry(name + "attention.key_norm", (head,), "norm"),
            Entry(name + "attention.output", (width, width), "matrix"),
            Entry(name + "feedforward.norm", (width,), "norm"),
            Entry(name + "feedforward.gate_up", (width, 2 * shape.feedforward), "matrix"),
            Entry(name + "feedforward.down", (shape.feedforward, width), "matrix"),
        ]
    return (*entries, Entry("norm", (width,), "norm"))


def num_parameters(shape: Shape) -> int:
    """Return P, the tied matrix counted once."""
    return sum(entry.size for entry in layout(shape))
