"""A causal language model that `transformers` loads from a folder, refused if it is none.

Nothing is downloaded and no code of the folder is run. `transformers` is imported here alone, when
a model is loaded.

Legend: B prompt, T token, V logits of a position.
"""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from saltus.data.tokenizer import TextTokenizer
from saltus.data.writing import SEPARATOR
from saltus.errors import SaltusError

CONFIG_NAME = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
UNREADABLE = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)
"""What `transformers` raises at a folder that it cannot load."""


@dataclass(frozen=True)
class Foreign:
    """A loaded model in float32, and its tokenizer.

    `saltus` is set instead of `tokenizer` if the model is an export of the family. `separator` is
    what stands before a text: the token that begins texts, else the one that ends them, else none.
    """

    name: str
    model: Any
    tokenizer: Any
    saltus: TextTokenizer | None
    context: int | None
    vocabulary: int
    separator: int | None
    end: int | None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:  # (B, T) in, (B, T, V) out
        """Return the next-token logits; what stands right of a token does not matter to it."""
        scores: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return scores.float()

    @torch.no_grad()
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Return the logits after `tokens` (B, T), (B, V), and the cache for one token more.

        Without a cache all tokens are read, with one the last; a model that keeps none gives None.
        """
        if cache is None:
            read = self.model(input_ids=tokens, use_cache=True)
        else:
            read = self.model(input_ids=tokens[:, -1:], past_key_values=cache, use_cache=True)
        return read.logits[:, -1].float(), getattr(read, "past_key_values", None)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, nothing added in front or behind."""
        if self.saltus is not None:
            return self.saltus.encode(text)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`, special tokens left out."""
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def parameters(self) -> dict[str, int]:
        """Return `params_total`, each matrix once, and its three parts.

        Embeddings are all tables that are looked up, learned positions included; the head is the
        output matrix unless it is the embedding.
        """
        sizes = {id(p): p.numel() for p in self.model.parameters()}
        tables = {
            id(module.weight): module.weight.numel()
            for module in self.model.modules()
            if isinstance(module, nn.Embedding)
        }
        output = self.model.get_output_embeddings()
        heads = {} if output is None else {id(p): p.numel() for p in output.parameters()}
        total, embedding = sum(sizes.values()), sum(tables.values())
        head = sum(size for key, size in heads.items() if key not in tables)
        return {
            "params_total": total,
            "params_embedding": embedding,
            "params_head": head,
            "params_nonembedding": total - embedding - head,
        }


def load_foreign(folder: Path, device: torch.device) -> Foreign:
    """Return the model and the tokenizer in `folder`.

    Raises `SaltusError` without `transformers`, and for a folder that holds no causal language
    model, not all of its weights, or no tokenizer.
    """
    if not (folder / CONFIG_NAME).is_file():
        raise SaltusError(
            f"--model: '{folder}' holds no {CONFIG_NAME}; expected a folder in the format of "
            "Hugging Face, as saltus export writes it"
        )
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise SaltusError(
            "--model needs transformers: python -m pip install 'saltus[transformers]'"
        ) from error
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise SaltusError(
            f"--model: '{folder}' holds no tokenizer; expected one of {', '.join(TOKENIZER_FILES)} "
            "(saltus export writes it if given --tokenizer)"
        )
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    here = {"local_files_only": True, "trust_remote_code": False}
    saltus = _tokenizer_of_saltus(folder / "tokenizer.json")
    try:
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder, **here, output_loading_info=True
        )
        tokenizer = (
            transformers.AutoTokenizer.from_pretrained(folder, **here) if saltus is None else None
        )
    except UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SaltusError(f"--model: '{folder}' cannot be loaded: {reason[0]}") from error
    if missing := sorted(found["missing_keys"]):
        raise SaltusError(
            f"--model: '{folder}' lacks {len(missing)} of its weights, as {missing[0]}"
        )
    model = model.float().eval().to(device)
    config = model.config.get_text_config()
    start = [getattr(config, "bos_token_id", None), getattr(config, "eos_token_id", None)]
    if tokenizer is not None:
        start = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    begin, end = [each if isinstance(each, int) else None for each in start]
    if saltus is not None:
        begin = end = saltus.separator
    context = getattr(config, "max_position_embeddings", None)
    loaded = Foreign(
        name=folder.resolve().name,
        model=model,
        tokenizer=tokenizer,
        saltus=saltus,
        context=context if isinstance(context, int) else None,
        vocabulary=int(config.vocab_size),
        separator=end if begin is None else begin,
        end=end,
    )
    _check(loaded, folder)
    return loaded


def _tokenizer_of_saltus(path: Path) -> TextTokenizer | None:
    """Return the tokenizer of an export of saltus: it alone has a separator that no text spells."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        ours = (
            value["model"]["type"] == "BPE"
            and not value["added_tokens"]
            and SEPARATOR in value["model"]["vocab"]
        )
    except (ValueError, KeyError, TypeError):  # the loader of transformers says what is wrong
        return None
    return TextTokenizer.load(path) if ours else None


def _check(loaded: Foreign, folder: Path) -> None:
    """Raise `SaltusError` unless ids fit the model, and no logits depend on later tokens."""
    ids = [*loaded.encode("0123456789"), loaded.separator or 0]
    if max(ids) >= loaded.vocabulary:
        raise SaltusError(
            f"--model: the tokenizer in '{folder}' gives id {max(ids)}, expected below the "
            f"model's {loaded.vocabulary}"
        )
    tokens = torch.from_numpy(np.arange(8) % loaded.vocabulary).to(loaded.device)
    other = tokens.clone()
    other[-1] = loaded.vocabulary - 1
    first, second = loaded.logits(torch.stack([tokens, other]))[:, :-1]
    if (first - second).abs().max() > 1e-5 * first.abs().max():
        raise SaltusError(
            f"--model: '{folder}' sees the tokens after a position; expected a causal model"
        )
