"""The loss in C: what the definition computes, and what happens where nothing can be compiled."""

import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.model.initialise import initial_parameters
from saltus.model.native import library, losses
from saltus.model.native.library import NoCompilerError, found_compiler, library_file
from saltus.model.native.losses import native_losses
from saltus.model.shape import Shape
from saltus.model.transformer import token_losses, unflatten

pytestmark = pytest.mark.usefixtures("c_compiler")

SHAPES = {
    "odd": Shape(23, width=6, depth=1, heads=1, feedforward=5, context=7),
    "narrow heads": Shape(40, width=24, depth=3, heads=6, feedforward=36, context=16),
    "one token": Shape(5, width=8, depth=2, heads=2, feedforward=12, context=1),
    "half lanes": Shape(301, width=36, depth=2, heads=3, feedforward=92, context=64),
    "whole lanes": Shape(512, width=64, depth=3, heads=4, feedforward=168, context=64),
    "long": Shape(17, width=8, depth=2, heads=2, feedforward=12, context=137),
    "many pieces": Shape(700, width=88, depth=1, heads=2, feedforward=300, context=24),
}
"""The last goes through layers in pieces of two sequences, the last of one, and adds its deepest
products in two parts."""
REPLICAS, ROWS = 3, 5


def example(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return parameters (R, P) a little away from their start, and tokens (R, B, T + 1)."""
    generator = torch.Generator().manual_seed(4)
    flat = initial_parameters(shape, range(REPLICAS))
    flat = flat + 0.1 * torch.randn(flat.shape, generator=generator)
    size = (REPLICAS, ROWS, shape.context + 1)
    return flat, torch.randint(shape.vocabulary, size, generator=generator)


def native(
    flat: Tensor, tokens: Tensor, shape: Shape, scale: float = 0.3, **options: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses, their scaled sum and its gradient."""
    leaf = flat.detach().requires_grad_()
    found, objective = native_losses(unflatten(leaf, shape), tokens, shape, scale, **options)
    (gradient,) = torch.autograd.grad(objective, leaf)
    return found, objective.detach(), gradient


def defined(
    flat: Tensor, tokens: Tensor, shape: Shape, scale: float = 0.3
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same of the definition."""
    leaf = flat.detach().requires_grad_()
    found = token_losses(unflatten(leaf, shape), tokens, shape)
    objective = scale * found.sum()
    (gradient,) = torch.autograd.grad(objective, leaf)
    return found.detach(), objective.detach(), gradient


@pytest.mark.parametrize("name", SHAPES)
def test_losses_and_gradients_are_as_near_the_truth_as_the_definition(name: str) -> None:
    shape = SHAPES[name]
    flat, tokens = example(shape)
    truth, total, slope = defined(flat.double(), tokens, shape)
    found, objective, ours = native(flat, tokens, shape)
    _, _, theirs = defined(flat, tokens, shape)
    torch.testing.assert_close(found.double(), truth, rtol=0, atol=1e-5)
    torch.testing.assert_close(objective.double(), total, rtol=1e-6, atol=0)
    error = (ours.double() - slope).norm() / slope.norm()
    assert error < 3 * (theirs.double() - slope).norm() / slope.norm()
    assert error < 1e-5


@pytest.mark.parametrize("name", ["odd", "half lanes", "many pieces"])
def test_checkpointing_and_company_change_nothing(name: str) -> None:
    shape = SHAPES[name]
    flat, tokens = example(shape)
    whole = native(flat, tokens, shape)
    for found, expected in zip(native(flat, tokens, shape, checkpointing=True), whole, strict=True):
        assert torch.equal(found, expected)
    losses, _, gradient = whole
    for row in range(REPLICAS):
        one = slice(row, row + 1)
        alone, _, its_gradient = native(flat[one], tokens[one], shape)
        assert torch.equal(alone, losses[one])
        assert torch.equal(its_gradient, gradient[one])


def test_a_run_repeats_bit_for_bit_and_a_broken_replica_spoils_no_other() -> None:
    shape = SHAPES["half lanes"]
    flat, tokens = example(shape)
    first = native(flat, tokens, shape)
    for broken in (float("nan"), float("inf")):
        spoiled = flat.clone()
        spoiled[1, 7] = broken
        found, objective, gradient = native(spoiled, tokens, shape)
        assert not torch.isfinite(objective)
        assert not torch.isfinite(found[1]).all()
        for row in (0, 2):
            assert torch.equal(found[row], first[0][row])
            assert torch.equal(gradient[row], first[2][row])


def test_a_wrong_answer_held_for_certain_has_a_finite_loss() -> None:
    x = torch.eye(2)[None]
    embedding = torch.tensor([[[900.0, 0.0], [-900.0, 0.0], [0.0, 0.0]]])
    targets = torch.tensor([[1, 2]])
    found, _ = losses.HeadLosses.apply(x, torch.ones(1, 2), embedding, targets, 1.0)
    assert found[0, 0].item() == pytest.approx(1800 * 2**0.5, rel=1e-3)
    assert found[0, 1].item() == pytest.approx(torch.tensor(3.0).log().item())


def test_no_token_sees_a_later_one() -> None:
    shape = SHAPES["whole lanes"]
    flat, tokens = example(shape)
    before, _, _ = native(flat, tokens, shape)
    tokens[..., 41:] = (tokens[..., 41:] + 1) % shape.vocabulary
    after, _, _ = native(flat, tokens, shape)
    assert torch.equal(after[..., :40], before[..., :40])
    assert not torch.equal(after[..., 41:], before[..., 41:])


def test_wide_and_narrow_registers_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiles of AVX-512 can be compiled for any processor: two registers stand for one."""
    cases = [(*example(SHAPES[name]), SHAPES[name]) for name in ("half lanes", "many pieces")]
    found = []
    for width in ("-U__AVX512F__", "-D__AVX512F__=1"):
        made = tmp_path / f"{width}.so"
        sources = map(str, sorted(library.FOLDER.glob("*.c")))
        command = [found_compiler(), *library.FLAGS, library.target_flag(), width, *sources]
        subprocess.run([*command, "-lm", "-o", str(made)], check=True)
        monkeypatch.setattr(losses, "library_file", lambda made=made: made)
        losses.library.cache_clear()
        found.append([each for case in cases for each in native(*case)])
    losses.library.cache_clear()
    for narrow, wide in zip(*found, strict=True):
        assert torch.equal(narrow, wide)


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder where compiled files will lie, nothing being known yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    library_file.cache_clear()
    yield tmp_path
    library_file.cache_clear()


def test_a_library_is_made_once_and_again_when_its_source_changes(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library_file()
    assert first.parent == cold / "saltus" and list(first.parent.iterdir()) == [first]
    made = first.stat().st_mtime_ns
    library_file.cache_clear()
    assert library_file() == first and first.stat().st_mtime_ns == made
    library_file.cache_clear()
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-DOTHER"))
    assert library_file() != first


def test_a_missing_or_failing_compiler_is_one_line(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(SaltusError, match=r"^no C compiler: found none of no-such-compiler$"):
        found_compiler()
    monkeypatch.setenv("CC", "false")
    with pytest.raises(NoCompilerError, match="false failed: without a word"):
        library_file()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cold / "file"))
    (cold / "file").write_text("no folder")
    with pytest.raises(NoCompilerError, match="set XDG_CACHE_HOME"):
        library_file()


def test_a_file_that_cannot_be_loaded_is_one_line(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the cache folder is mounted noexec."""
    compiler = cold / "cc"
    script = ["#!/bin/sh", "for last; do :; done", '[ "$last" = --version ] || echo no > "$last"']
    compiler.write_text("\n".join(script))
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    for _ in range(2):
        with pytest.raises(NoCompilerError, match=r"cannot be loaded: .* \(set XDG_CACHE_HOME\)"):
            library_file()


def test_a_file_of_another_machine_is_made_anew(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, name = library_file().read_bytes(), library_file().name
    damaged = cold / "other" / "saltus" / name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"of another machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cold / "other"))
    library_file.cache_clear()
    assert library_file() == damaged and len(damaged.read_bytes()) == len(content)


def test_tokens_beyond_the_vocabulary_are_refused() -> None:
    shape = SHAPES["odd"]
    flat, tokens = example(shape)
    tokens[0, 0, -1] = shape.vocabulary
    with pytest.raises(AssertionError, match="the C does not look"):
        native_losses(unflatten(flat, shape), tokens, shape, 1.0)


def test_the_sources_compile_without_a_warning(tmp_path: Path) -> None:
    for source in sorted(library.FOLDER.glob("*.c")):
        flags = [each for each in library.FLAGS if each != "-shared"]
        strict = ["-Wall", "-Wextra", "-Werror", "-c", str(source), "-o", str(tmp_path / "out.o")]
        command = [found_compiler(), *flags, *strict]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
