"""The synthetic language has the entropy that its closed form says."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from saltus.data.catalogue import SyntheticCorpus
from saltus.data.synthetic import (
    document_bits_per_byte,
    documents,
    entropy_rate,
    language,
    sample_words,
)

SPEC = SyntheticCorpus(seed=3, documents=400, document_words=200, vocabulary_words=64)


def test_the_chain_is_a_chain() -> None:
    chain = language(SPEC)
    assert len(set(chain.words)) == SPEC.vocabulary_words
    assert (chain.transitions > 0).all()
    np.testing.assert_allclose(chain.transitions.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(chain.stationary @ chain.transitions, chain.stationary, atol=1e-12)
    power = np.linalg.matrix_power(chain.transitions, 4096)
    np.testing.assert_allclose(power[0], chain.stationary, atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_closed_form_is_the_mean_surprise_of_sampled_text(seed: int) -> None:
    spec = replace(SPEC, seed=seed)
    chain = language(spec)
    index = {word: position for position, word in enumerate(chain.words)}
    texts = documents(spec)
    nats, sizes = [], []
    for text in texts:
        states = np.array([index[word] for word in text.split(" ")])
        first = -math.log(chain.stationary[states[0]])
        nats.append(first - np.log(chain.transitions[states[:-1], states[1:]]).sum())
        sizes.append(len(text.encode()))
    nats_array, sizes_array = np.array(nats), np.array(sizes)
    estimate = nats_array.sum() / sizes_array.sum() / math.log(2)
    # Standard error of a ratio, documents being independent.
    residual = nats_array / math.log(2) - estimate * sizes_array
    error = residual.std(ddof=1) / math.sqrt(len(texts)) / sizes_array.mean()
    assert error < 0.005
    assert abs(estimate - document_bits_per_byte(spec)) < 4 * error


def test_closed_form_is_the_plug_in_estimate_of_long_text() -> None:
    spec = replace(SPEC, vocabulary_words=8, concentration=4.0)
    chain = language(spec)
    sampled = sample_words(chain, 500, 2000, np.random.default_rng(5))
    pairs = np.bincount((sampled[:, :-1] * 8 + sampled[:, 1:]).ravel(), minlength=64).reshape(8, 8)
    joint = pairs / pairs.sum()
    np.testing.assert_allclose(
        pairs / pairs.sum(axis=1, keepdims=True), chain.transitions, atol=0.01
    )
    conditional = -np.sum(
        np.where(joint > 0, joint, 0)
        * np.log2(np.where(joint > 0, joint / joint.sum(axis=1, keepdims=True), 1))
    )
    mean_bytes = joint.sum(axis=1) @ np.array([len(word) + 1 for word in chain.words])
    assert conditional / mean_bytes == pytest.approx(entropy_rate(spec), rel=0.005)


def test_two_words_by_hand() -> None:
    spec = SyntheticCorpus(vocabulary_words=2)
    chain = language(spec)
    a, b = chain.transitions[0, 1], chain.transitions[1, 0]
    share = np.array([b, a]) / (a + b)
    entropy = [-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in (a, b)]
    mean_bytes = share @ [len(word) + 1 for word in chain.words]
    assert entropy_rate(spec) == pytest.approx(float(share @ entropy / mean_bytes), rel=1e-10)


def test_long_documents_approach_the_rate() -> None:
    gaps = [
        document_bits_per_byte(replace(SPEC, document_words=words)) - entropy_rate(SPEC)
        for words in (10, 100, 1000)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.005


def test_independent_words_have_the_base_entropy() -> None:
    spec = replace(SPEC, uniformity=1.0)
    base = 1 / (np.arange(1, 65) + 2.7)
    base /= base.sum()
    lengths = np.array([len(word) + 1 for word in language(spec).words])
    expected = -(base @ np.log2(base)) / (base @ lengths)
    assert entropy_rate(spec) == pytest.approx(float(expected), rel=1e-10)


def test_the_seed_determines_the_text_and_two_megabytes_are_quick() -> None:
    started = time.process_time()
    texts = documents(SyntheticCorpus(seed=1, documents=3000))
    assert time.process_time() - started < 2
    assert sum(map(len, texts)) > 2_000_000
    assert documents(SPEC) == documents(SPEC)
    assert documents(SPEC) != documents(replace(SPEC, seed=4))
