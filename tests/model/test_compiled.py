"""Compiled layers: what the definition computes, less kept with checkpointing, logits in pieces."""

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saltus.model import compiled
from saltus.model.compiled import Parts, compile_parts, compiled_losses
from saltus.model.initialise import initial_parameters
from saltus.model.module import Decoder, split_row
from saltus.model.shape import Shape
from saltus.model.transformer import token_losses, unflatten

# The compiler's own; the second it hides itself where warnings are no errors.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning"
)
SHAPE = Shape(31, width=8, depth=3, heads=2, feedforward=12, context=9)
COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on a CPU",
)
PLAIN = Parts()
"""The parts as they stand, not compiled."""


def start() -> Tensor:
    row = initial_parameters(SHAPE, [1, 2])
    return row + 0.05 * torch.randn(row.shape, generator=torch.Generator().manual_seed(4))


def tokens_of(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(SHAPE.vocabulary, (2, rows, SHAPE.context + 1), generator=generator)


def defined(named: dict[str, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of the definition, and half their sum."""
    losses = token_losses(named, tokens, SHAPE)
    return losses, 0.5 * losses.sum()


def gradient_of(
    losses_of: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor, int]:
    """Return losses, the gradient of thrice the objective, and the bytes autograd kept for it."""
    flat = start().requires_grad_()
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses, objective = losses_of(unflatten(flat, SHAPE))
    (gradient,) = torch.autograd.grad(3 * objective, flat)
    return losses.detach(), gradient, sum(kept.values())


@pytest.fixture(params=["as it stands", pytest.param("compiled", marks=COMPILER)])
def parts(request: pytest.FixtureRequest) -> Parts:
    """Return the parts, compiled or not: what is around them is the same."""
    return compile_parts() if request.param == "compiled" else PLAIN


def test_losses_and_gradients_are_the_definitions_with_and_without_checkpointing(
    parts: Parts,
) -> None:
    tokens = tokens_of(16)
    expected, slope, _ = gradient_of(lambda named: defined(named, tokens))
    kept = []
    for checkpointing in (False, True):
        found, ours, size = gradient_of(
            lambda named, on=checkpointing: compiled_losses(
                parts, named, tokens, SHAPE, 0.5, checkpointing=on
            )
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours, slope, rtol=1e-3, atol=1e-4)
        kept.append(size)
    # Layers' inputs instead of all that is in them; the head keeps what it did.
    assert kept[1] < 0.6 * kept[0]


def test_logits_are_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokens_of(16)
    whole = gradient_of(lambda named: compiled_losses(PLAIN, named, tokens, SHAPE, 0.5))
    monkeypatch.setattr(compiled, "PIECE_BYTES", 4 * 2 * SHAPE.vocabulary * 20)
    pieces = gradient_of(lambda named: compiled_losses(PLAIN, named, tokens, SHAPE, 0.5))
    torch.testing.assert_close(pieces[0], whole[0])
    torch.testing.assert_close(pieces[1], whole[1])
    assert pieces[2] == whole[2], "logits are never kept"


@pytest.mark.parametrize(
    ("tokens", "most", "piece"), [(32, 10, 8), (32, 64, 32), (30, 10, 10), (31, 10, 10), (7, 1, 1)]
)
def test_pieces_are_of_one_size_where_that_is_no_small_one(
    tokens: int, most: int, piece: int
) -> None:
    assert compiled.even_piece(tokens, most) == piece


def test_products_are_in_the_precision_that_is_asked_for() -> None:
    tokens = tokens_of(4)
    full, slope, _ = gradient_of(lambda named: compiled_losses(PLAIN, named, tokens, SHAPE, 0.5))
    low, ours, _ = gradient_of(
        lambda named: compiled_losses(PLAIN, named, tokens, SHAPE, 0.5, torch.bfloat16)
    )
    assert low.dtype == ours.dtype == torch.float32 and not torch.equal(low, full)
    torch.testing.assert_close(low, full, rtol=0.05, atol=0.05)
    assert torch.linalg.vector_norm(ours - slope) < 0.05 * torch.linalg.vector_norm(slope)


def test_the_module_calls_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.torch, "compile", lambda layer, **options: layer)
    tokens = tokens_of(3)
    for checkpointing in (False, True):
        module = Decoder(SHAPE, torch.device("cpu"), "compiled", checkpointing=checkpointing)
        module.load_state_dict(split_row(start()[0], SHAPE))
        named = unflatten(start(), SHAPE)
        expected = compiled_losses(PLAIN, named, tokens, SHAPE, 0.5)[0][0].mean(1)
        torch.testing.assert_close(module(tokens[0]), expected)


@COMPILER
def test_a_job_compiles_as_if_it_were_alone() -> None:
    """A layer of other widths before would make them symbolic, and the program another one."""
    from torch._dynamo.utils import counters

    tokens = tokens_of(4)
    for _ in range(2):
        parts = compile_parts()
        counters.clear()
        with torch.no_grad():
            compiled_losses(parts, unflatten(start(), SHAPE), tokens, SHAPE, 1)
            compiled_losses(parts, unflatten(start(), SHAPE), tokens, SHAPE, 1)
        assert counters["stats"]["unique_graphs"] == 3
