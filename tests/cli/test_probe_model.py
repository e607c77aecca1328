"""`saltus probe --model`: its tables and line, and what it refuses in one line."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from saltus.cli.main import main
from saltus.files import read_table

STUDY = Path(__file__).parents[2] / "studies" / "smoke.yaml"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with a byte-level tokenizer."""
    library: Any = pytest.importorskip("transformers", reason="saltus[transformers] is missing")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    path = tmp_path_factory.mktemp("saved") / "small"
    tokenizer = Tokenizer(
        models.BPE({c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    library.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)
    sizes = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 96}
    ends = {"bos_token_id": None, "eos_token_id": None}
    torch.manual_seed(0)
    config = library.GPT2Config(vocab_size=256, **sizes, **ends)
    library.GPT2LMHeadModel(config).save_pretrained(path)
    return path


@pytest.fixture
def place(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a copy of the model and a text."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "small")
    lines = [json.dumps({"text": f"Line {n}: nature leaps not."}) for n in range(10)]
    (tmp_path / "text.jsonl").write_text("\n".join([*lines, json.dumps({"text": ""})]))
    return tmp_path


def probe(*arguments: str) -> int:
    return main(["probe", str(STUDY), "--device", "cpu", *arguments])


def test_a_model_and_a_text_give_tables_and_a_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe("--model", "small", "--text", "text.jsonl", "--shots", "1") == 0
    printed = capsys.readouterr()
    folder = place / "results" / "smoke" / "models" / "small"
    tables = {path.stem: read_table(path) for path in folder.iterdir()}
    assert set(tables) == {"items", "tokens", "losses", "runs"}
    (row,) = tables["runs"].to_dict("records")
    line, where = printed.out.splitlines()
    assert where == "results/smoke/models/small"
    items = tables["items"]
    accuracy = items.loc[items["in_distribution"], "exact"].mean()
    assert line == (
        f"small (gpt2, {row['params_total']:,} parameters): n 200, accuracy {accuracy:.3f}, "
        f"loss {row['loss_text']:.3f} nats/token, {row['bits_per_byte']:.3f} bits/byte"
    )
    losses = tables["losses"].set_index("split")
    # Nothing stands before the first byte of a document: this tokenizer has no separator.
    assert (
        losses.loc["test", "bytes"]
        == losses.loc["test", "tokens"]
        == 8 * len("Line 0: nature leaps not.") - 8
    )
    assert "1 document of text.jsonl refused" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere"], "no config.json"),
        (["--model", "small"], "build the shards first"),
        (["--shots", "2"], "without --model"),
        (["--model", "small", "--text", "none.txt"], "is no file"),
        (["--model", "small", "--text", "text.jsonl", "--window", "97"], "1 to the model's 96"),
        (["--model", "small", "--text", "text.jsonl", "--shots", "9"], "--shots: found 9"),
        (["--model", "small", "--text", "text.jsonl", "--shots", "-1"], "0 or more"),
        (["--model", "small", "--out", "text.jsonl"], "a file"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(
    arguments: list[str], words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(*arguments) == 2
    (line,) = (
        capsys.readouterr()
        .err.replace("saltus probe: 1 document of text.jsonl refused\n", "")
        .splitlines()
    )
    assert words in line
    assert not (place / "results").exists()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("no tokenizer", "holds no tokenizer"),
        ("no weights", "cannot be loaded"),
        ("some weights", "lacks 12 of its weights"),
        ("not causal", "sees the tokens after"),
        ("no transformers", "saltus[transformers]"),
        ("joined", "joins the end of"),
    ],
)
def test_a_folder_that_is_no_model_is_told_in_one_line(
    problem: str,
    words: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = place / "small"
    config = folder / "config.json"
    if problem == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif problem == "no weights":
        (folder / "model.safetensors").write_text("{}")
    elif problem == "some weights":
        config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": 3'))
    elif problem == "not causal":
        import transformers

        sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        bert = transformers.BertConfig(vocab_size=256, hidden_size=8, **sizes)
        transformers.BertLMHeadModel(bert).save_pretrained(folder)
    elif problem == "no transformers":
        monkeypatch.setitem(sys.modules, "transformers", None)
    else:
        raw = json.loads((folder / "tokenizer.json").read_text())
        raw["model"]["merges"] = [["=", "Ġ"]]
        raw["model"]["vocab"]["=Ġ"] = raw["model"]["vocab"].pop("ÿ")
        raw["pre_tokenizer"]["use_regex"] = False
        (folder / "tokenizer.json").write_text(json.dumps(raw))
    assert probe("--model", "small", "--text", "text.jsonl") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (place / "results").exists()


def test_a_model_probed_is_drawn_beside_a_family(
    place: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe("--model", "small", "--text", "text.jsonl", "--shots", "1") == 0
    folder = Path("results") / "smoke" / "models" / "small"
    given = ["figures", str(finished), "--only", "law-fit", "--out", "drawn", "--models"]
    assert main([*given, str(folder)]) == 0
    assert (place / "drawn" / "other-models.svg").read_text().startswith("<?xml")
    alone = [*given[:3], "other-models", "--out", "alone", "--models", str(folder)]
    assert main(alone) == 0
    assert {path.stem for path in (place / "alone").iterdir()} == {"other-models"}
    capsys.readouterr()
    assert main([*given, "small"]) == 2
    said = capsys.readouterr().err
    assert "no runs.parquet" in said and said.count("\n") == 1
