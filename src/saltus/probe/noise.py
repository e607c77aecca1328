"""Text under byte noise: the test text with bytes replaced, encoded anew and scored.

The document is the byte string that its tokens spell. A severity replaces each of its bytes with a
fixed probability by another printable ASCII character, drawn uniformly; what one severity replaces,
the next replaces too, by the same. Context and target are both of the noisy text.

Legend: R replica, n byte.
"""

import json
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from saltus.data.shards import Shard
from saltus.data.tokenizer import NUM_BYTES, TextTokenizer
from saltus.model.shape import Shape
from saltus.probe.text import prediction_table, score_text

NOISE = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Share of bytes that severities 1 to 5 replace."""
NOISE_TOKENS = 4096
"""Tokens of text scored per domain and severity, at most; a window where that is more."""
NOISE_SAMPLED = 1000
"""Predictions sampled per domain and severity, at most."""
PRINTABLE = (32, 95)
"""First printable ASCII character, and how many there are."""


def noise_table(
    parameters: dict[str, Tensor],
    shard: Shard,
    shape: Shape,
    tokenizer: TextTokenizer,
    runs: list[str],
    domain: str,
    temperatures: Tensor,  # (R,)
    *,
    max_tokens: int,
    sampled: int,
    seed: int,
) -> pd.DataFrame:
    """Return the `tokens` rows of one domain's text at every severity.

    So many of its first `max_tokens` tokens are scored as `budget_of` says, and at most
    `NOISE_SAMPLED` of `sampled` predictions kept. `temperatures` are those of clean text.
    """
    max_tokens = budget_of(max_tokens, shape.context)
    sampled = min(sampled, NOISE_SAMPLED)
    texts = first_documents(shard, tokenizer, max_tokens + 1)
    return pd.concat(
        [
            prediction_table(
                score_text(
                    parameters,
                    encoded(changed, tokenizer),
                    shape,
                    tokenizer.token_bytes,
                    max_tokens=max_tokens,
                    sampled=sampled,
                    seed=seed,
                ),
                runs,
                domain,
                temperatures,
                shift="noise",
                severity=severity,
            )
            for severity, changed in enumerate(severities(texts, domain, seed), 1)
        ],
        ignore_index=True,
    )


def budget_of(max_tokens: int, context: int) -> int:
    """Return how many of `max_tokens` are scored under noise: `NOISE_TOKENS`, or one window."""
    return min(max_tokens, max(NOISE_TOKENS, context))


def severities(documents: Sequence[bytes], domain: str, seed: int) -> list[list[bytes]]:
    """Return the documents at every severity, the least first."""
    return [noisy(documents, share, [seed, *domain.encode()]) for share in NOISE]


def first_documents(shard: Shard, tokenizer: TextTokenizer, count: int) -> list[bytes]:
    """Return the bytes of the first `count` tokens of a shard, or of all, document by document."""
    spelt = spellings(tokenizer)
    documents = []
    for start, end in zip(shard.offsets[:-1], shard.offsets[1:], strict=True):
        if start >= count:
            break
        tokens = shard.tokens[start + 1 : min(end, count)]
        documents.append(b"".join(spelt[token] for token in tokens.tolist()))
    return documents


def noisy(documents: Sequence[bytes], share: float, entropy: list[int]) -> list[bytes]:
    """Return the documents with an expected `share` of bytes replaced by other printable ones.

    `entropy` seeds the draws, which are the same for every share.
    """
    generator = np.random.default_rng(entropy)
    first, count = PRINTABLE
    changed = []
    for document in documents:
        original = np.frombuffer(document, dtype=np.uint8).astype(np.int64)
        level = generator.random(original.size)
        # One to 94 places further round the circle of printable characters: never the same one.
        moved = original - first + generator.integers(1, count, size=original.size)
        new = np.where(level < share, first + moved % count, original)
        changed.append(new.astype(np.uint8).tobytes())
    return changed


def encoded(documents: Sequence[bytes], tokenizer: TextTokenizer) -> Shard:
    """Return the documents as a shard in memory, numbered from 0; bytes need not be valid UTF-8."""
    offsets, tokens = [0], [tokenizer.separator]
    byte_ids = {spelt: index for index, spelt in enumerate(spellings(tokenizer)) if len(spelt) == 1}
    for document in documents:
        # A byte that begins or ends no character becomes a surrogate and is a token of its own.
        for part in re.split("([\udc80-\udcff])", document.decode("utf-8", "surrogateescape")):
            if re.fullmatch("[\udc80-\udcff]", part):
                tokens.append(byte_ids[part.encode("utf-8", "surrogateescape")])
            else:
                tokens += tokenizer.encode(part)
        offsets.append(len(tokens))
        tokens.append(tokenizer.separator)
    return Shard(
        tokens=np.array(tokens),
        offsets=np.array(offsets),
        documents=np.arange(len(documents)),
        num_bytes=sum(map(len, documents)),
        separator=tokenizer.separator,
    )


def spellings(tokenizer: TextTokenizer) -> list[bytes]:
    """Return the bytes that every token spells; none for special tokens.

    A byte-level vocabulary shows a byte that prints as itself, the others, in order, as the
    characters from U+0100 on (Radford et al. 2019).
    """
    shown = [*range(33, 127), *range(161, 173), *range(174, NUM_BYTES)]
    others = [byte for byte in range(NUM_BYTES) if byte not in set(shown)]
    byte_of = {chr(byte): byte for byte in shown}
    byte_of |= {chr(NUM_BYTES + index): byte for index, byte in enumerate(others)}
    vocabulary: dict[str, int] = json.loads(tokenizer.to_json())["model"]["vocab"]
    spelt = [b""] * tokenizer.vocabulary_size
    for token, index in vocabulary.items():
        if token not in tokenizer.specials:
            spelt[index] = bytes(byte_of[character] for character in token)
    return spelt
