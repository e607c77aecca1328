"""Shards hold every document once, in the split that its hash says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltus.data.catalogue import SyntheticCorpus
from saltus.data.shards import (
    SPLITS,
    Shares,
    build_shards,
    load_shard,
    split_of,
    texts_of,
    token_dtype,
)
from saltus.data.synthetic import documents
from saltus.data.tokenizer import SEPARATOR, TextTokenizer, train_tokenizer
from saltus.errors import CorpusError, StudyError

SHARES = Shares(validation=0.1, test=0.2)
TEXTS = [*documents(SyntheticCorpus(documents=400, document_words=30)), f"forged {SEPARATOR} é"]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer(texts_of(TEXTS, "train", SHARES), 320)


@pytest.fixture(scope="module")
def built(
    tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("shards")
    # The second domain shares half of its documents with the first.
    domains = {"first": TEXTS, "second": [*TEXTS[200:], "only here, " * 3, *_extra()]}
    return directory, build_shards(domains, tokenizer, directory, SHARES)


def _extra() -> list[str]:
    return documents(SyntheticCorpus(seed=9, documents=100, document_words=30))


def test_every_document_comes_back_once(
    built: tuple[Path, dict[str, Any]], tokenizer: TextTokenizer
) -> None:
    directory, manifest = built
    seen: dict[int, str] = {}
    for split in SPLITS:
        shard = load_shard(directory, "first", split, verify=True)
        entry = manifest["domains"]["first"][split]
        assert isinstance(shard.tokens, np.memmap)
        assert not shard.tokens.flags.writeable
        assert len(shard.tokens) == entry["tokens"] == shard.offsets[-1] + 1
        assert shard.num_documents == entry["documents"]
        assert np.flatnonzero(shard.tokens == tokenizer.separator).tolist() == list(shard.offsets)
        assert int(tokenizer.token_bytes[shard.tokens].sum()) == shard.num_bytes == entry["bytes"]
        for index, number in enumerate(shard.documents):
            ids = shard.document(index)
            assert ids[0] == ids[-1] == tokenizer.separator
            text = tokenizer.decode(ids[1:-1])
            assert split_of(text, SHARES) == split
            assert number not in seen
            seen[int(number)] = text
    assert [seen[number] for number in range(len(TEXTS))] == TEXTS


def test_no_text_is_in_two_splits_of_any_domains(
    built: tuple[Path, dict[str, Any]], tokenizer: TextTokenizer
) -> None:
    directory, _ = built
    texts: dict[str, set[str]] = {split: set() for split in SPLITS}
    for domain in ("first", "second"):
        for split in SPLITS:
            shard = load_shard(directory, domain, split)
            texts[split] |= {
                tokenizer.decode(shard.document(index)) for index in range(shard.num_documents)
            }
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]


def test_shares_hold_and_do_not_depend_on_order_or_neighbours() -> None:
    texts = [f"document {number}" for number in range(20_000)]
    splits = np.array([split_of(text, SHARES) for text in texts])
    for split in SPLITS:
        share = SHARES.of(split)
        spread = (share * (1 - share) / len(texts)) ** 0.5
        assert abs((splits == split).mean() - share) < 4 * spread
    # A larger test share takes documents, it never gives one back to training.
    larger = Shares(validation=0.1, test=0.3)
    assert all(split_of(text, larger) == "test" for text in texts_of(texts, "test", SHARES))


def test_equal_input_gives_equal_bytes(
    built: tuple[Path, dict[str, Any]], tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    directory, manifest = built
    domains = {"first": TEXTS, "second": [*TEXTS[200:], "only here, " * 3, *_extra()]}
    assert build_shards(domains, tokenizer, tmp_path, SHARES) == manifest
    names = sorted(path.name for path in directory.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((directory / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)
    assert str(tmp_path) not in (tmp_path / "manifest.json").read_text()


def test_batches_do_not_show_in_the_files(
    built: tuple[Path, dict[str, Any]],
    tokenizer: TextTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("saltus.data.shards.BATCH_CHARACTERS", 700)
    manifest = build_shards({"first": TEXTS}, tokenizer, tmp_path, SHARES)
    assert manifest["domains"]["first"] == built[1]["domains"]["first"]


def test_width_of_a_token_follows_the_vocabulary() -> None:
    assert token_dtype(512) == token_dtype(65_536) == np.dtype("<u2")
    assert token_dtype(65_537) == np.dtype("<u4")


def test_what_is_wrong_is_said_in_one_line(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="a document stands in it twice"):
        build_shards({"twice": ["same", "same"]}, tokenizer, tmp_path, SHARES)
    with pytest.raises(CorpusError, match="none of 1 documents fell into"):
        build_shards({"tiny": ["one"]}, tokenizer, tmp_path, SHARES)
    with pytest.raises(StudyError, match="without dots and slashes"):
        build_shards({"../up": TEXTS}, tokenizer, tmp_path, SHARES)
    with pytest.raises(CorpusError, match="missing; build the shards first"):
        load_shard(tmp_path, "first", "train")
    with pytest.raises(ValueError, match="less than 1 together"):
        Shares(validation=0.5, test=0.5)


def test_no_validation_share_is_an_empty_split(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    build_shards({"first": TEXTS}, tokenizer, tmp_path, Shares(validation=0, test=0.2))
    shard = load_shard(tmp_path, "first", "validation", verify=True)
    assert shard.num_documents == shard.num_bytes == 0
    assert shard.tokens.tolist() == [tokenizer.separator]


def test_damage_is_found(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    build_shards({"first": TEXTS}, tokenizer, tmp_path, SHARES)
    with pytest.raises(CorpusError, match="did you mean 'first'"):
        load_shard(tmp_path, "frist", "train")
    path = tmp_path / "first-train.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    with pytest.raises(CorpusError, match=f"found {len(content) - 2} bytes, expected"):
        load_shard(tmp_path, "first", "train")
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(CorpusError, match="sha256 found"):
        load_shard(tmp_path, "first", "train", verify=True)
