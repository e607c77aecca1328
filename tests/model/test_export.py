"""What is exported is what transformers computes with, through the command line and back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saltus.cli.main import main
from saltus.data.tokenizer import TextTokenizer
from saltus.model.count import count_parameters
from saltus.model.export import qwen3_config, qwen3_tensors
from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape
from saltus.model.transformer import logits, unflatten
from saltus.train.checkpoint import save_checkpoint

SHAPE = Shape(280, width=24, depth=3, heads=3, feedforward=40, context=32, rope_base=500.0)


def random_row(shape: Shape) -> torch.Tensor:
    """Parameters of one replica far from their initial values, norm gains included: (P,)."""
    row = initial_parameters(shape, [4])[0]
    return row + 0.3 * torch.randn(row.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def exported(
    corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, torch.Tensor]:
    folder = tmp_path_factory.mktemp("export")
    row = random_row(SHAPE)
    save_checkpoint(folder / "model.safetensors", row, SHAPE)
    tokenizer = corpus_folder / "tokenizer" / "tokenizer.json"
    arguments = [folder / "model.safetensors", folder / "out", "--tokenizer", tokenizer]
    assert main(["export", *map(str, arguments)]) == 0
    return folder / "out", row


def test_transformers_computes_the_same_logits(
    exported: tuple[Path, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers: Any = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, row = exported
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert sum(p.numel() for p in model.parameters()) == count_parameters(SHAPE).total
    tokens = torch.randint(280, (4, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = model(tokens).logits
    ours = logits(unflatten(row[None], SHAPE), tokens[None], SHAPE).view(4, 32, 280)
    assert ours.abs().max() > 1
    assert (ours - theirs).abs().max() < 1e-4


def test_transformers_reads_the_tokenizer(
    exported: tuple[Path, torch.Tensor], corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers: Any = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, _ = exported
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = TextTokenizer.load(corpus_folder / "tokenizer" / "tokenizer.json")
    for text in ("bade 12+34=46", " x  é 漢\n", "<|endoftext|>"):
        assert theirs(text)["input_ids"] == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    config = json.loads((folder / "config.json").read_text())
    assert config["eos_token_id"] == config["bos_token_id"] == ours.separator


def test_matrices_are_split_and_transposed() -> None:
    row = random_row(SHAPE)
    ours = {name: tensor[0] for name, tensor in unflatten(row[None], SHAPE).items()}
    theirs = qwen3_tensors(row, SHAPE)
    # Tied: no lm_head. Everything is there once, contiguous and in float32.
    assert sum(tensor.numel() for tensor in theirs.values()) == row.numel()
    assert all(t.is_contiguous() and t.dtype == torch.float32 for t in theirs.values())
    prefix = "model.layers.2."
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(2))
    stacked = x @ ours["layers.2.attention.qkv"]
    parts = [x @ theirs[f"{prefix}self_attn.{part}_proj.weight"].T for part in "qkv"]
    # Rotary pairs stand side by side in ours, in two halves of each head in theirs.
    pairs = torch.arange(SHAPE.head_width).view(-1, 2).T.flatten()
    halves = [stacked[:, :48].view(5, 2, SHAPE.heads, -1)[..., pairs].reshape(5, -1)]
    torch.testing.assert_close(torch.cat(parts, 1), torch.cat([*halves, stacked[:, 48:]], 1))
    both = [x @ theirs[f"{prefix}mlp.{part}_proj.weight"].T for part in ("gate", "up")]
    torch.testing.assert_close(torch.cat(both, 1), x @ ours["layers.2.feedforward.gate_up"])
    assert theirs[prefix + "mlp.down_proj.weight"].shape == (24, 40)
    assert torch.equal(theirs["model.embed_tokens.weight"], ours["embedding"])


def test_a_row_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        qwen3_tensors(random_row(SHAPE)[:-1], SHAPE)


def test_without_a_tokenizer_the_model_alone_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "a.safetensors", random_row(SHAPE), SHAPE)
    assert main(["export", str(tmp_path / "a.safetensors"), str(tmp_path / "b" / "out")]) == 0
    written = {path.name for path in (tmp_path / "b" / "out").iterdir()}
    assert written == {"config.json", "model.safetensors"}
    assert "no tokenizer beside" in capsys.readouterr().err
    config = json.loads((tmp_path / "b" / "out" / "config.json").read_text())
    assert config == json.loads(json.dumps(qwen3_config(SHAPE, None)))
    assert len(load_file(tmp_path / "b" / "out" / "model.safetensors")) == 2 + 11 * SHAPE.depth


def test_the_tokenizer_of_the_results_goes_with_a_checkpoint(
    exported: tuple[Path, torch.Tensor], corpus_folder: Path, tmp_path: Path
) -> None:
    folder, _ = exported
    block = tmp_path / "results" / "train" / "s1" / "block0"
    block.mkdir(parents=True)
    shutil.copy(folder.parent / "model.safetensors", block / "seed0-h64.safetensors")
    shutil.copytree(corpus_folder / "tokenizer", tmp_path / "results" / "tokenizer")
    arguments = [str(block / "seed0-h64.safetensors"), str(tmp_path / "out")]
    assert main(["export", *arguments]) == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("problem", ["missing", "not safetensors", "foreign", "tokenizer", "out"])
def test_what_cannot_be_exported_is_told_in_one_line(
    problem: str, tmp_path: Path, corpus_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = tmp_path / "model.safetensors", tmp_path / "out"
    options = []
    if problem == "not safetensors":
        checkpoint.write_text("{}")
    elif problem == "foreign":
        save_file({"weight": torch.zeros(3)}, checkpoint)
    elif problem == "tokenizer":
        other = Shape(999, 8, 1, 1, 8, 8)
        save_checkpoint(checkpoint, initial_parameters(other, [0])[0], other)
        options = ["--tokenizer", str(corpus_folder / "tokenizer" / "tokenizer.json")]
    elif problem == "out":
        save_checkpoint(checkpoint, random_row(SHAPE), SHAPE)
        out.write_text("in the way")
    assert main(["export", str(checkpoint), str(out), *options]) == 2
    error = [
        line for line in capsys.readouterr().err.splitlines() if "no tokenizer beside" not in line
    ]
    assert len(error) == 1
    assert str(tmp_path) in error[0] or "tokenizer.json" in error[0]
    assert not out.is_dir()
