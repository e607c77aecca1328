"""`saltus export CHECKPOINT OUT_DIR`: a folder that transformers loads as a Qwen3."""

import argparse
import sys
from pathlib import Path

from saltus.errors import SaltusError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint that training wrote")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="the folder to write")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="the study's tokenizer.json (default: that of the results the checkpoint lies in)",
    )


def run(options: argparse.Namespace) -> None:
    """Write `config.json`, `model.safetensors` and, where one is found, the tokenizer.

    Raises `SaltusError` if the checkpoint is none of saltus, or the tokenizer is not its own.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save

    from saltus.data.tokenizer import TextTokenizer
    from saltus.files import write_bytes, write_json
    from saltus.model.export import qwen3_config, qwen3_tensors
    from saltus.train.checkpoint import load_checkpoint

    if not options.checkpoint.is_file():
        raise SaltusError(f"{options.checkpoint}: no such checkpoint")
    if options.out.exists() and not options.out.is_dir():
        raise SaltusError(f"{options.out}: a file stands where the folder should be")
    try:
        row, shape = load_checkpoint(options.checkpoint)
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise SaltusError(f"{options.checkpoint}: not a checkpoint of saltus") from error

    tokenizer, path = None, options.tokenizer or tokenizer_beside(options.checkpoint)
    if path is None:
        print(
            f"saltus export: no tokenizer beside {options.checkpoint}; the folder will hold the "
            "model alone, or name one with --tokenizer",
            file=sys.stderr,
        )
    else:
        tokenizer = TextTokenizer.load(path)
        if tokenizer.vocabulary_size != shape.vocabulary:
            raise SaltusError(
                f"{path}: found {tokenizer.vocabulary_size} ids, "
                f"expected the checkpoint's {shape.vocabulary}"
            )

    separator = tokenizer.separator if tokenizer is not None else None
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "config.json", qwen3_config(shape, separator))
    content = save(qwen3_tensors(row, shape), metadata={"format": "pt"})
    write_bytes(options.out / "model.safetensors", content)
    if tokenizer is not None:
        tokenizer.save(options.out / "tokenizer.json")
        # Naming the separator as a special token here would make loaders search raw text for it.
        write_json(
            options.out / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": shape.context,
                "clean_up_tokenization_spaces": False,
            },
        )


def tokenizer_beside(checkpoint: Path) -> Path | None:
    """Return the tokenizer of the results that `train/SIZE/BLOCK/NAME` lies in; None without."""
    parents = checkpoint.absolute().parents
    if len(parents) < 4 or parents[2].name != "train":
        return None
    path = parents[3] / "tokenizer" / "tokenizer.json"
    return path if path.is_file() else None
