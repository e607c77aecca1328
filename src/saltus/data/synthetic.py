"""A generated language whose entropy rate is known, to hold a fitted irreducible loss against.

Words follow each other as a stationary Markov chain with transition matrix P. Row i is

    P_i = (1 − u)·d_i + u·q,    d_i ~ Dirichlet(c·q),    q_j ∝ 1 / (j + 2.7)^s,

with u = `uniformity`, c = `concentration`, s = `zipf_exponent`. As u > 0 every word can follow
every word, so the stationary distribution π (π P = π) is unique. The entropy rate of the chain is
h = −Σ_i π_i Σ_j P_ij ln P_ij nats/word (Cover & Thomas, Elements of Information Theory, th. 4.2.4).
Words are distinct and separated by one space, so text and word sequence determine each other: the
text has h / (Σ_i π_i (len_i + 1)) nats/byte.

Legend: `W` words of the vocabulary, `N` documents, `L` words of a document.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.data.catalogue import SyntheticCorpus

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")


@dataclass(frozen=True)
class Language:
    """The chain behind a synthetic corpus."""

    words: tuple[str, ...]
    """(W,) distinct words of lower-case ASCII letters, the likelier ones shorter."""
    transitions: NDArray[np.float64]
    """(W, W): probability of the column's word after the row's."""
    stationary: NDArray[np.float64]
    """(W,): long-run share of each word; documents start from it."""


def _lexicon(num_words: int, generator: np.random.Generator) -> tuple[str, ...]:
    """Return distinct words of two syllables or more, longer towards the end."""
    syllables = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]
    words: dict[str, None] = {}
    while len(words) < num_words:
        length = 1 + math.ceil(math.log(2 * (len(words) + 1)) / math.log(len(syllables)))
        picks = generator.integers(len(syllables), size=length)
        words["".join(syllables[pick] for pick in picks)] = None
    return tuple(words)


def language(spec: SyntheticCorpus) -> Language:
    """Return the chain that `spec` and its seed determine."""
    generator = np.random.default_rng([spec.seed, 0])
    num_words = spec.vocabulary_words
    base = 1.0 / (np.arange(1, num_words + 1) + 2.7) ** spec.zipf_exponent
    base /= base.sum()
    transitions = generator.dirichlet(spec.concentration * base, size=num_words)
    transitions = (1 - spec.uniformity) * transitions + spec.uniformity * base
    transitions /= transitions.sum(axis=1, keepdims=True)
    # π (P − I) = 0 with Σ π = 1: one of the W equations is redundant and gives way to the sum.
    system = transitions.T - np.eye(num_words)
    system[-1] = 1.0
    right = np.zeros(num_words)
    right[-1] = 1.0
    stationary = np.linalg.solve(system, right)
    return Language(_lexicon(num_words, generator), transitions, stationary / stationary.sum())


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy along the last axis, in nats, with 0·ln 0 = 0."""
    positive = np.where(probabilities > 0, probabilities, 1.0)
    entropy: NDArray[np.float64] = -np.sum(probabilities * np.log(positive), axis=-1)
    return entropy


def _mean_word_bytes(chain: Language) -> float:
    return float(chain.stationary @ np.array([len(word) for word in chain.words]))


def entropy_rate(spec: SyntheticCorpus) -> float:
    """Return the entropy rate of the unending text in bits/byte, the space after a word included.

    A model's loss per byte cannot fall below it; for documents of finite length see
    `document_bits_per_byte`.
    """
    chain = language(spec)
    nats_per_word = float(chain.stationary @ _entropy(chain.transitions))
    return nats_per_word / math.log(2) / (_mean_word_bytes(chain) + 1)


def document_bits_per_byte(spec: SyntheticCorpus) -> float:
    """Return the entropy of a whole document over its mean number of bytes, in bits/byte.

    (H(π) + (L − 1)·h) / (L·(mean length + 1) − 1): the first word has no predecessor and no space
    follows the last. The end of the document costs nothing, since its length is fixed.
    """
    chain = language(spec)
    nats_per_word = float(chain.stationary @ _entropy(chain.transitions))
    nats = float(_entropy(chain.stationary)) + (spec.document_words - 1) * nats_per_word
    num_bytes = spec.document_words * (_mean_word_bytes(chain) + 1) - 1
    return nats / math.log(2) / num_bytes


def sample_words(
    chain: Language, documents: int, document_words: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return (N, L) word indices: stationary first words, then the chain, all documents at once.

    Each next word inverts the cumulative row; row i is shifted by i so that one sorted array
    serves all rows.
    """
    num_words = len(chain.words)
    uniform = generator.random((document_words, documents))
    cumulative = np.minimum(np.cumsum(chain.transitions, axis=1), 1.0)
    cumulative[:, -1] = 1.0
    shifted = (cumulative + np.arange(num_words)[:, None]).ravel()
    sampled = np.empty((documents, document_words), dtype=np.int64)
    state = np.searchsorted(np.cumsum(chain.stationary), uniform[0], side="right")
    state = np.minimum(state, num_words - 1)
    sampled[:, 0] = state
    for position in range(1, document_words):
        found = np.searchsorted(shifted, state + uniform[position], side="right")
        state = np.clip(found - state * num_words, 0, num_words - 1)
        sampled[:, position] = state
    return sampled


def documents(spec: SyntheticCorpus) -> list[str]:
    """Return the texts of `spec`: `document_words` words each, one space between them."""
    chain = language(spec)
    generator = np.random.default_rng([spec.seed, 1])
    sampled = sample_words(chain, spec.documents, spec.document_words, generator)
    words = np.array(chain.words, dtype=object)
    return [" ".join(row) for row in words[sampled].tolist()]
