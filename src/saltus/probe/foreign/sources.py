"""Where the text before a foreign model comes from: a file, or what a study asks its own models."""

import hashlib
from collections.abc import Mapping, Sequence
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
from saltus.probe.noise import budget_of, encoded, first_documents, severities
from saltus.probe.spec import ProbeSpec

DOCUMENT_BYTES = 2000
VALIDATION_EVERY = 5
"""Of a file every fifth document, from the first on, is for the temperature alone."""


@dataclass(frozen=True)
class Texts:
    """The pages of every domain: all are tested, the `trained` ones validated and under noise too.

    The test losses of these make the model's own, and the first one's validation its temperature.
    `noise` has their pages at every severity, the least first.
    """

    test: Mapping[str, Pages]
    validation: Mapping[str, Pages]
    noise: Mapping[str, tuple[Pages, ...]]
    trained: tuple[str, ...]


def texts_of_file(path: Path, model: Foreign, probe: ProbeSpec, window: int) -> tuple[Texts, int]:
    """Return the text of a file, about `text_tokens` of it to test, and the documents refused.

    Raises `CorpusError` if it cannot be read or holds fewer than two documents.
    """
    if not path.is_file():
        raise CorpusError(f"--text: '{path}' is no file")
    parts: dict[bool, list[bytes]] = {True: [], False: []}
    lengths: list[int] = []
    refused, seen = 0, 0
    for text in read_file(path, "text", DOCUMENT_BYTES):
        if not isinstance(text, str) or not text.strip() or _is_damaged(text):
            refused += 1
            continue
        is_validation = seen % VALIDATION_EVERY == 0
        parts[is_validation].append(text.encode())
        seen += 1
        if not is_validation:
            lengths.append(len(model.encode(text)))
            if sum(lengths) >= probe.text_tokens:
                break
    if not parts[False]:
        raise CorpusError(
            f"--text: {path} holds {seen} documents, expected two at least "
            f"(in .txt: paragraphs of {DOCUMENT_BYTES} bytes together)"
        )
    name = path.name.partition(".")[0] or path.name
    test, validation = (
        _pages(parts[kind], model, window, probe.text_tokens) for kind in (False, True)
    )
    whole = np.cumsum(lengths) <= budget_of(probe.text_tokens, window)
    noisy = _noisy(parts[False][: max(1, whole.sum())], name, model, probe, window)
    return Texts({name: test}, {name: validation}, {name: noisy}, (name,)), refused


def texts_of_study(
    model: Foreign, probe: ProbeSpec, shards: Path, tokenizer: Path, window: int
) -> Texts:
    """Return the text that the study's models are asked, in the model's own tokens.

    An export of the study reads the very windows. For any other model these are the documents that
    lie wholly in them. Raises `CorpusError` if shards or tokenizer are missing.
    """
    read = {(domain, split): load_shard(shards, domain, split) for domain, split in _asked(probe)}
    ours, is_of_study = TextTokenizer.load(tokenizer), _is_of_study(model, shards)
    pages: dict[Split, dict[str, Pages]] = {"test": {}, "validation": {}}
    noise: dict[str, tuple[Pages, ...]] = {}
    for (domain, split), shard in read.items():
        budget = probe.text_tokens if split == "test" else probe.validation_tokens
        if is_of_study:
            token_bytes = np.array(read_json(shards / "token_bytes.json"))
            pages[split][domain] = pages_of_shard(shard, budget, window, token_bytes)
        else:
            pages[split][domain] = _pages(_whole(shard, budget, ours), model, window, budget)
        if split == "test" and domain in probe.training_domains:
            few = budget_of(budget, window)
            some = (
                first_documents(shard, ours, few + 1) if is_of_study else _whole(shard, few, ours)
            )
            noise[domain] = _noisy(some, domain, model, probe, window)
    return Texts(pages["test"], pages["validation"], noise, probe.training_domains)


def _asked(probe: ProbeSpec) -> list[tuple[str, Split]]:
    """Return the text that is read: all domains to test, those of training to validate."""
    tested: list[tuple[str, Split]] = [(domain, "test") for domain in probe.domains]
    return tested + [(domain, "validation") for domain in probe.training_domains]


def _is_of_study(model: Foreign, shards: Path) -> bool:
    """Tell whether the model has the tokenizer that the shards were made with."""
    if model.saltus is None:
        return False
    digest = hashlib.sha256(model.saltus.to_json().encode()).hexdigest()
    return bool(read_json(shards / MANIFEST_NAME)["sha256_tokenizer"] == digest)


def _whole(shard: Shard, budget: int, tokenizer: TextTokenizer) -> list[bytes]:
    """Return the documents within the first `budget` targets, the first in any case."""
    whole = [
        number
        for number in range(shard.num_documents)
        if not number or shard.offsets[number + 1] <= budget
    ]
    return [tokenizer.decode(shard.document(number)[1:-1]).encode() for number in whole]


def _noisy(
    documents: Sequence[bytes], domain: str, model: Foreign, probe: ProbeSpec, window: int
) -> tuple[Pages, ...]:
    """Return the windows of documents at every severity of byte noise."""
    budget = budget_of(probe.text_tokens, window)
    changed = severities(documents, domain, probe.seed)
    return tuple(_pages(each, model, window, budget) for each in changed)


def _pages(documents: Sequence[bytes], model: Foreign, window: int, budget: int) -> Pages:
    """Return the windows of documents: as the family would cut them for a model of its own.

    Of characters that noise broke, an export reads the bytes, any other tokenizer U+FFFD.
    """
    if model.saltus is None:
        texts = [document.decode("utf-8", "replace") for document in documents]
        return pages_of(texts, model, window)
    shard = encoded(documents, model.saltus)
    return pages_of_shard(shard, budget, window, model.saltus.token_bytes)


def _is_damaged(text: str) -> bool:
    """Tell whether a text holds the lone surrogates that stand for invalid bytes."""
    return any("\ud800" <= character <= "\udfff" for character in text)
