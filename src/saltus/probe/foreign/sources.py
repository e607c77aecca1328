"""Where the text before a foreign model comes from: a file, or what a study asks its own models."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saltus.data.readers import read_file
from saltus.data.shards import MANIFEST_NAME, Shard, Split, load_shard
from saltus.data.tokenizer import TextTokenizer
from saltus.errors import CorpusError
from saltus.files import read_json
from saltus.probe.foreign.model import Foreign
from saltus.probe.foreign.text import Pages, pages_of, pages_of_shard
from saltus.probe.spec import ProbeSpec

DOCUMENT_BYTES = 2000
VALIDATION_EVERY = 5
"""Of a file every fifth document, from the first on, is for the temperature alone."""


@dataclass(frozen=True)
class Texts:
    """The pages of every domain: all are tested, the `trained` ones validated too.

    The test losses of these make the model's own, and the first one's validation its temperature.
    """

    test: Mapping[str, Pages]
    validation: Mapping[str, Pages]
    trained: tuple[str, ...]


def texts_of_file(path: Path, model: Foreign, window: int, budget: int) -> tuple[Texts, int]:
    """Return the text of a file, of about `budget` tokens to test, and the documents refused.

    Raises `CorpusError` if it cannot be read or holds fewer than two documents.
    """
    if not path.is_file():
        raise CorpusError(f"--text: '{path}' is no file")
    parts: dict[bool, list[str]] = {True: [], False: []}
    refused, seen, tested = 0, 0, 0
    for text in read_file(path, "text", DOCUMENT_BYTES):
        if not isinstance(text, str) or not text.strip() or _is_damaged(text):
            refused += 1
            continue
        is_validation = seen % VALIDATION_EVERY == 0
        parts[is_validation].append(text)
        seen += 1
        if not is_validation:
            tested += len(model.encode(text))
            if tested >= budget:
                break
    if not parts[False]:
        raise CorpusError(
            f"--text: {path} holds {seen} documents, expected two at least "
            f"(in .txt: paragraphs of {DOCUMENT_BYTES} bytes together)"
        )
    name = path.name.partition(".")[0] or path.name
    test, validation = (_pages(parts[kind], model, window, budget) for kind in (False, True))
    return Texts({name: test}, {name: validation}, (name,)), refused


def texts_of_study(
    model: Foreign, probe: ProbeSpec, shards: Path, tokenizer: Path, window: int
) -> Texts:
    """Return the text that the study's models are asked, in the model's own tokens.

    An export of the study reads the very windows. For any other model these are the documents that
    lie wholly in them. Raises `CorpusError` if shards or tokenizer are missing.
    """
    pages: dict[Split, dict[str, Pages]] = {"test": {}, "validation": {}}
    for domain in probe.domains:
        budgets: dict[Split, int] = {"test": probe.text_tokens}
        if domain in probe.training_domains:
            budgets["validation"] = probe.validation_tokens
        for split, budget in budgets.items():
            shard = load_shard(shards, domain, split)
            if _is_of_study(model, shards):
                token_bytes = np.array(read_json(shards / "token_bytes.json"))
                made = pages_of_shard(shard, budget, window, token_bytes)
            else:
                documents = list(_whole_documents(shard, budget, TextTokenizer.load(tokenizer)))
                made = _pages(documents, model, window, budget)
            pages[split][domain] = made
    return Texts(pages["test"], pages["validation"], probe.training_domains)


def _is_of_study(model: Foreign, shards: Path) -> bool:
    """Tell whether the model has the tokenizer that the shards were made with."""
    if model.saltus is None:
        return False
    digest = hashlib.sha256(model.saltus.to_json().encode()).hexdigest()
    return bool(read_json(shards / MANIFEST_NAME)["sha256_tokenizer"] == digest)


def _whole_documents(shard: Shard, budget: int, tokenizer: TextTokenizer) -> Iterator[str]:
    """Yield the texts of the documents within the first `budget` targets, the first in any case."""
    for number in range(shard.num_documents):
        if number and shard.offsets[number + 1] > budget:
            return
        yield tokenizer.decode(shard.document(number)[1:-1])


def _pages(documents: list[str], model: Foreign, window: int, budget: int) -> Pages:
    """Return the windows of documents: as the family would cut them for a model of its own."""
    if model.saltus is None:
        return pages_of(documents, model, window)
    separator = model.saltus.separator
    offsets, tokens = [0], [separator]
    for text in documents:
        tokens += [*model.encode(text), separator]
        offsets.append(len(tokens) - 1)
    shard = Shard(
        np.array(tokens),
        np.array(offsets),
        np.arange(len(documents)),
        sum(len(text.encode()) for text in documents),
        separator,
    )
    return pages_of_shard(shard, budget, window, model.saltus.token_bytes)


def _is_damaged(text: str) -> bool:
    """Tell whether a text holds the lone surrogates that stand for invalid bytes."""
    return any("\ud800" <= character <= "\udfff" for character in text)
