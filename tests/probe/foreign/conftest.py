"""Tiny models of other families with a tokenizer that joins digits, as transformers saves them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

CONTEXT = 96


@pytest.fixture(scope="session")
def transformers_library() -> Any:
    return pytest.importorskip("transformers", reason="the extra saltus[transformers] is missing")


@pytest.fixture(scope="session")
def joining_tokenizer(transformers_library: Any) -> Any:
    """A byte-level BPE without any rule for digits, learned from sums."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    draw = random.Random(0).randrange
    pairs = [(draw(100), draw(100)) for _ in range(1000)]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{a} + {b} = {a + b}\n" for a, b in pairs], trainer)
    return transformers_library.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


@pytest.fixture(scope="session")
def foreign_folder(
    transformers_library: Any, joining_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return the maker of a folder that holds a random model of a kind, each made once."""
    base = tmp_path_factory.mktemp("foreign")

    def folder(kind: str) -> Path:
        path: Path = base / kind
        if not path.exists():
            shape = {
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "max_position_embeddings": CONTEXT,
                "initializer_range": 0.3,
                "vocab_size": len(joining_tokenizer),
                "bos_token_id": 0,
                "eos_token_id": 0,
            }
            if kind != "gpt2":
                shape["intermediate_size"] = 32
            config = transformers_library.AutoConfig.for_model(kind, **shape)
            torch.manual_seed(0)
            model = transformers_library.AutoModelForCausalLM.from_config(config)
            model.save_pretrained(path)
            joining_tokenizer.save_pretrained(path)
        return path

    return folder
