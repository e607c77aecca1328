"""Byte noise: what it changes, how often, and that noisy text is encoded byte for byte."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.data.shards import Shard, load_shard
from saltus.data.tokenizer import TextTokenizer
from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape
from saltus.model.transformer import unflatten
from saltus.probe import noise
from saltus.probe.noise import NOISE, encoded, first_documents, noise_table, noisy, spellings
from saltus.probe.text import prediction_table, score_text

ENTROPY = [0, 1]


@pytest.fixture(scope="module")
def tokenizer(corpus_folder: Path) -> TextTokenizer:
    return TextTokenizer.load(corpus_folder / "tokenizer" / "tokenizer.json")


@pytest.fixture(scope="module")
def shard(shards: Path) -> Shard:
    return load_shard(shards, "markov", "test")


def as_array(documents: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(documents), dtype=np.uint8)


def texts(count: int = 40) -> list[bytes]:
    """Documents of every byte that UTF-8 has, and of some that it has not."""
    generator = np.random.default_rng(5)
    valid = "Ångström é “quoted” 東京 12+3=15 tab\t<|endoftext|>\n".encode()
    wild = [generator.integers(0, 256, 60).astype(np.uint8).tobytes() for _ in range(count)]
    return [valid, b"", valid[1:], *wild]


def test_spellings_are_those_of_the_tokenizer(tokenizer: TextTokenizer) -> None:
    spelt = spellings(tokenizer)
    assert [len(each) for each in spelt] == tokenizer.token_bytes.tolist()
    text = "Ångström “東京” 12+3=15 the other"
    assert b"".join(spelt[index] for index in tokenizer.encode(text)) == text.encode()
    assert {each for each in spelt if len(each) == 1} == {bytes([byte]) for byte in range(256)}


def test_documents_are_encoded_byte_for_byte(tokenizer: TextTokenizer) -> None:
    spelt = spellings(tokenizer)
    documents = texts()
    shard = encoded(documents, tokenizer)
    assert shard.num_documents == len(documents)
    assert shard.num_bytes == sum(map(len, documents))
    for index, document in enumerate(documents):
        first, *inner, last = shard.document(index).tolist()
        assert first == last == tokenizer.separator not in inner
        assert b"".join(spelt[token] for token in inner) == document
    valid = documents[0].decode()
    assert shard.document(0)[1:-1].tolist() == tokenizer.encode(valid)


def test_clean_text_comes_back(shard: Shard, tokenizer: TextTokenizer) -> None:
    whole = first_documents(shard, tokenizer, len(shard.tokens))
    again = encoded(whole, tokenizer)
    assert np.array_equal(again.tokens, shard.tokens)
    assert np.array_equal(again.offsets, shard.offsets)
    part = first_documents(shard, tokenizer, 333)
    cut = encoded(part, tokenizer)
    kept = len(part) - 1
    assert 0 < kept < shard.num_documents
    assert np.array_equal(cut.tokens[: cut.offsets[kept]], shard.tokens[: cut.offsets[kept]])
    inside = shard.tokens[shard.offsets[kept] + 1 : 333].tolist()
    assert part[-1] == b"".join(spellings(tokenizer)[token] for token in inside)


@pytest.mark.parametrize("share", NOISE)
def test_the_share_of_bytes_replaced_is_as_stated(share: float) -> None:
    documents = texts(4000)
    before, after = as_array(documents), as_array(noisy(documents, share, ENTROPY))
    assert before.size == after.size
    changed = before != after
    deviation = np.sqrt(share * (1 - share) / before.size)
    assert changed.mean() == pytest.approx(share, abs=4 * deviation)
    assert ((after[changed] >= 32) & (after[changed] < 127)).all()
    # Every printable character is drawn, and none much more often than another.
    counts = np.bincount(after[changed] - 32, minlength=95)
    assert counts.max() < counts.mean() + 6 * np.sqrt(counts.mean())
    assert counts.min() > 0 or share < 0.04


def test_severities_are_nested_and_repeat() -> None:
    documents = texts()
    clean, *levels = (as_array(noisy(documents, share, ENTROPY)) for share in (0.0, *NOISE))
    assert np.array_equal(clean, as_array(documents))
    for weaker, stronger in pairwise(levels):
        changed = weaker != clean
        assert np.array_equal(stronger[changed], weaker[changed])
        assert (stronger != clean).sum() > changed.sum()
    assert np.array_equal(levels[4], as_array(noisy(documents, NOISE[4], ENTROPY)))
    assert not np.array_equal(levels[4], as_array(noisy(documents, NOISE[4], [0, 2])))


def test_rows_are_of_noisy_text_at_the_temperatures_given(
    shard: Shard, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(tokenizer.vocabulary_size, width=8, depth=2, heads=2, feedforward=12, context=16)
    parameters = unflatten(initial_parameters(shape, [0, 1]), shape)
    runs, temperatures = ["a", "b"], torch.tensor([0.7, 1.6])
    monkeypatch.setattr(noise, "NOISE_TOKENS", 320)
    monkeypatch.setattr(noise, "NOISE_SAMPLED", 50)

    def table(**asked: int) -> pd.DataFrame:
        return noise_table(
            parameters, shard, shape, tokenizer, runs, "markov", temperatures, seed=4, **asked
        )

    found = table(max_tokens=100_000, sampled=70)
    assert (found["shift"] == "noise").all() and set(found["severity"]) == {1, 2, 3, 4, 5}
    # Neither budget of the study is exceeded, nor those of noise.
    assert (found.groupby(["run", "severity", "tempered"]).size() == 50).all()
    assert (table(max_tokens=160, sampled=20).groupby(["run", "severity"]).size() == 40).all()
    for run, temperature in zip(runs, (0.7, 1.6), strict=True):
        rows = found[(found["run"] == run) & found["tempered"]]
        assert rows["temperature"].unique() == pytest.approx([temperature])
    assert (found.loc[~found["tempered"], "temperature"] == 1).all()

    clean = first_documents(shard, tokenizer, 321)
    assert found["document"].between(0, len(clean) - 1).all()
    dirty = encoded(noisy(clean, NOISE[2], [4, *b"markov"]), tokenizer)
    scores = score_text(
        parameters, dirty, shape, tokenizer.token_bytes, max_tokens=320, sampled=50, seed=4
    )
    expected = prediction_table(scores, runs, "markov", temperatures, shift="noise", severity=3)
    third = found[found["severity"] == 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(third, expected, check_exact=True)
