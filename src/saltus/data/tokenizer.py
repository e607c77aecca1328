"""Byte-level BPE in which a digit is always one token and a special token is never ordinary text.

Text is cut before any merge: every ASCII digit and each of `+-*=` stands alone, so a problem is
tokenised character by character; what lies between is cut as GPT-2 cuts it (Radford et al. 2019)
and merged by byte-pair encoding (Sennrich et al. 2016). All 256 bytes are in the vocabulary, there
is no normaliser and no added space, so any valid UTF-8 comes back byte for byte.

Special tokens stand in the vocabulary after all merges but not in the list of added tokens, which
loaders search raw text for. No merge can spell `<|name|>`, since GPT-2's cut separates `<|`,
letters and `|>`. So text that spells a special token is encoded as its characters, here and in
whatever loads `tokenizer.json` (`tokenizers`, `transformers.PreTrainedTokenizerFast`), and only a
caller that writes the id itself can produce the token. Which ones are special is read off the file:
they are neither a byte nor the result of a merge.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from saltus.data.writing import SEPARATOR
from saltus.errors import CorpusError, StudyError, nearest
from saltus.files import write_text

ATOMS = "0123456789+-*="
"""Characters that are never merged with anything."""

NUM_BYTES = 256


class TextTokenizer:
    """A trained tokenizer: text to ids and back, with the separator's id and bytes per token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wrap a tokenizer that `train_tokenizer` made; raise `CorpusError` for any other."""
        self._tokenizer = tokenizer
        value = json.loads(tokenizer.to_str())
        if value["added_tokens"] or value["model"].get("type") != "BPE":
            raise CorpusError("tokenizer: found added tokens or no BPE, expected one of saltus")
        vocabulary: dict[str, int] = value["model"]["vocab"]
        merges = {first + second for first, second in value["model"]["merges"]}
        alphabet = set(pre_tokenizers.ByteLevel.alphabet())
        self._specials: dict[str, int] = {
            token: index
            for token, index in sorted(vocabulary.items(), key=lambda item: item[1])
            if token not in merges and token not in alphabet
        }
        if next(iter(self._specials), None) != SEPARATOR:
            raise CorpusError(f"tokenizer: its first special token is not {SEPARATOR}")
        # A character of the byte-level alphabet stands for one byte, hence len().
        self._token_bytes = np.zeros(len(vocabulary), dtype=np.int64)
        for token, index in vocabulary.items():
            self._token_bytes[index] = 0 if token in self._specials else len(token)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self._token_bytes)

    @property
    def separator(self) -> int:
        """Id of `<|endoftext|>`."""
        return self._specials[SEPARATOR]

    @property
    def specials(self) -> dict[str, int]:
        """Special tokens and their ids, in the order of the ids."""
        return dict(self._specials)

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        """(vocabulary,): bytes of text that each token stands for; 0 for a special token."""
        return self._token_bytes.copy()

    def special(self, name: str) -> int:
        """Return the id of a special token; raise `StudyError` with the nearest name."""
        if name not in self._specials:
            raise StudyError(
                f"tokenizer: no special token {name!r}{nearest(name, self._specials)}; "
                f"found {', '.join(self._specials)}"
            )
        return self._specials[name]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; never that of a special token."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; equal to `encode` one by one, but parallel."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_bytes(self, documents: Sequence[bytes]) -> tuple[list[list[int]], int]:
        """Return the ids of the valid UTF-8 documents and the number of those refused."""
        texts = []
        for document in documents:
            try:
                texts.append(document.decode("utf-8"))
            except UnicodeDecodeError:
                continue
        return self.encode_batch(texts), len(documents) - len(texts)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text of `ids`; special tokens are spelt out.

        Ids cut within a character give U+FFFD for its bytes, as in every byte-level tokenizer.
        Raises `ValueError` for an id outside the vocabulary.
        """
        values = [int(index) for index in ids]
        outside = [index for index in values if not 0 <= index < self.vocabulary_size]
        if outside:
            raise ValueError(f"found id {outside[0]}, expected 0 to {self.vocabulary_size - 1}")
        text: str = self._tokenizer.decode(values, skip_special_tokens=False)
        return text

    def to_json(self) -> str:
        """Return the content of `tokenizer.json`."""
        content: str = self._tokenizer.to_str(pretty=True)
        return content

    def save(self, path: Path) -> None:
        """Write `tokenizer.json` atomically."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path) -> "TextTokenizer":
        """Read a `tokenizer.json` of saltus; raise `CorpusError` if it is missing or foreign."""
        if not Path(path).is_file():
            raise CorpusError(f"{path}: missing; train the tokenizer first")
        try:
            # The library raises bare Exception on bad content, so the JSON is checked before.
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise CorpusError(f"{path}: not JSON: {error}") from error
        if not isinstance(value, dict) or not {"model", "added_tokens"} <= value.keys():
            raise CorpusError(f"{path}: not a tokenizer.json")
        return cls(Tokenizer.from_str(json.dumps(value)))


def minimum_vocabulary(specials: Sequence[str]) -> int:
    """Return the smallest vocabulary: every byte, and the special tokens."""
    return NUM_BYTES + len(specials)


def _check(vocabulary: int, specials: Sequence[str]) -> None:
    if not specials or specials[0] != SEPARATOR:
        raise StudyError(f"tokenizer.specials: the first is {SEPARATOR}, found {list(specials)}")
    for special in specials:
        if not re.fullmatch(r"<\|[a-z][a-z0-9_]*\|>", special):
            raise StudyError(f"tokenizer.specials: found {special!r}, expected <|name|>")
    if len(set(specials)) != len(specials):
        raise StudyError(f"tokenizer.specials: a name is repeated in {list(specials)}")
    minimum = minimum_vocabulary(specials)
    if vocabulary < minimum:
        raise StudyError(
            f"tokenizer.vocabulary: found {vocabulary}, expected at least {minimum} "
            f"({NUM_BYTES} bytes and {len(specials)} special tokens)"
        )


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, specials: Sequence[str] = (SEPARATOR,)
) -> TextTokenizer:
    """Return a tokenizer of `vocabulary` ids, learned from `texts` (the training split alone).

    `specials` are spelt `<|name|>`, the separator first; they take the last ids. The result does
    not depend on the order of the texts. Raises `StudyError` if the vocabulary is below
    `minimum_vocabulary`, and `CorpusError` if the texts have too few pairs to fill it.
    """
    _check(vocabulary, specials)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9+\-*=]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(specials),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    learned = tokenizer.get_vocab_size()
    if learned + len(specials) < vocabulary:
        raise CorpusError(
            f"tokenizer.vocabulary: found {vocabulary}, but the training text holds pairs for "
            f"{learned + len(specials)} only; lower it or bring more text"
        )
    value = json.loads(tokenizer.to_str())
    table: dict[str, int] = value["model"]["vocab"]
    for offset, special in enumerate(specials):
        assert special not in table, "the pre-tokenizer separates <|, letters and |>"
        table[special] = learned + offset
    return TextTokenizer(Tokenizer.from_str(json.dumps(value)))
