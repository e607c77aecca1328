"""Counts by their names: parameters and floating-point operations. No torch.

Conventions: Kaplan et al. 2020 counts the blocks alone (non-embedding); Hoffmann et al. 2022
(appendix F) counts every matrix product, attention scores and the head included.
"""

from dataclasses import dataclass

from saltus.model.shape import Shape


@dataclass(frozen=True)
class Parameters:
    """Numbers of scalars. `head` is 0 because the output matrix is the embedding, counted once."""

    total: int
    embedding: int
    head: int
    nonembedding: int


def count_parameters(shape: Shape) -> Parameters:
    """Return every parameter count of a shape."""
    width, feedforward = shape.width, shape.feedforward
    matrices = 4 * width * width + 3 * width * feedforward
    norms = 2 * width + 2 * shape.head_width
    nonembedding = shape.depth * (matrices + norms) + width
    embedding = shape.vocabulary * width
    return Parameters(embedding + nonembedding, embedding, 0, nonembedding)


def flops_per_token(shape: Shape) -> int:
    """Return the exact training FLOPs of one token: matrix products, forward and twice backward.

    Two per multiply-add. Projections and feed-forward: 2·(4D² + 3DF) a layer; scores and mixing
    over the full context, as computed by a kernel that does not skip: 4·T·D a layer; head: 2·D·V.
    """
    width = shape.width
    layer = 2 * (4 * width * width + 3 * width * shape.feedforward) + 4 * shape.context * width
    return 3 * (shape.depth * layer + 2 * width * shape.vocabulary)


def flops_6nd(shape: Shape) -> int:
    """Return 6·N of one token, N the total number of parameters (Hoffmann et al. 2022, §3).

    Kaplan et al. 2020 leave the embedding out of N.
    """
    return 6 * count_parameters(shape).total
