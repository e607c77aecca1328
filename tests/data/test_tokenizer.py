"""Round trips, digits, and special tokens that no text can forge."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from saltus.data.catalogue import SyntheticCorpus
from saltus.data.synthetic import documents
from saltus.data.tokenizer import (
    ATOMS,
    SEPARATOR,
    TextTokenizer,
    minimum_vocabulary,
    train_tokenizer,
)
from saltus.errors import CorpusError, StudyError

SPECIALS = (SEPARATOR, "<|reversed|>", "<|padded|>")
FORGED = [
    SEPARATOR,
    f"a{SEPARATOR}b",
    f"{SEPARATOR}{SEPARATOR}",
    f" {SEPARATOR}\n",
    "<|reversed|>12+34=46<|padded|>",
    "<|endoftext",
    "|>",
]


def training_texts() -> list[str]:
    texts = documents(SyntheticCorpus(documents=200))
    # Text that teaches merges which could be dangerous: special tokens, digits, signs.
    return [*texts, *[f"{SEPARATOR}<|reversed|> 2023-11-22 1000 == 1000 ---- ++++ ****"] * 50]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer(training_texts(), 400, SPECIALS)


def random_texts(count: int) -> list[str]:
    """Strings over all of Unicode but surrogates, with many control and white-space characters."""
    generator = np.random.default_rng(11)
    spaces = [chr(code) for code in range(0x3100) if unicodedata.category(chr(code))[0] in "ZC"]
    common = [chr(code) for code in range(128)] + [
        "é",
        "e\u0301",
        "👩‍👩‍👧",
        "🇪🇸",
        "漢",
        "\ufeff",
        "٣",
        "²",
    ]
    texts = []
    for _ in range(count):
        pieces = []
        for kind in generator.integers(4, size=generator.integers(0, 60)):
            if kind == 0:
                code = int(generator.integers(0x110000))
                pieces.append("" if 0xD800 <= code < 0xE000 else chr(code))
            elif kind == 1:
                pieces.append(spaces[generator.integers(len(spaces))])
            elif kind == 2:
                pieces.append(common[generator.integers(len(common))])
            else:
                pieces.append(FORGED[generator.integers(len(FORGED))])
        texts.append("".join(pieces))
    return texts


def test_any_valid_text_round_trips_without_a_special_token(tokenizer: TextTokenizer) -> None:
    texts = random_texts(1500) + FORGED + [chr(code) for code in range(0x3000)] + ["", " ", "\r\n"]
    special = set(tokenizer.specials.values())
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.decode(ids) == text
        assert not special & set(ids)
        assert int(tokenizer.token_bytes[ids].sum()) == len(text.encode())
        assert ids == tokenizer.encode(text)


def test_saved_file_behaves_the_same_in_tokenizers_and_transformers(
    tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    plain = Tokenizer.from_file(str(path))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    again = TextTokenizer.load(path)
    assert again.specials == tokenizer.specials
    assert len(fast) == plain.get_vocab_size() == tokenizer.vocabulary_size
    assert fast.convert_tokens_to_ids(SEPARATOR) == tokenizer.separator
    for text in [*random_texts(200), *FORGED, "a , b . c ' s"]:
        expected = tokenizer.encode(text)
        assert again.encode(text) == expected
        assert plain.encode(text).ids == expected
        assert fast.encode(text) == expected
        assert plain.decode(expected, skip_special_tokens=False) == text
        assert fast.decode(expected) == text


def test_digits_and_signs_stand_alone(tokenizer: TextTokenizer) -> None:
    vocabulary = json.loads(tokenizer.to_json())["model"]["vocab"]
    for token in vocabulary:
        assert len(token) == 1 or not set(token) & set(ATOMS), token
    for problem in ("12+34=46", "1000-999=1", "12*3=36", "3+5-2=6", "007"):
        ids = tokenizer.encode(problem)
        assert ids == [vocabulary[character] for character in problem]
    assert len(tokenizer.encode("1000")) == 4


def test_special_tokens_take_the_last_ids_and_are_spelt_out(tokenizer: TextTokenizer) -> None:
    assert list(tokenizer.specials.items()) == list(zip(SPECIALS, (397, 398, 399), strict=True))
    assert tokenizer.separator == tokenizer.special(SEPARATOR) == 397
    assert tokenizer.decode([398, *tokenizer.encode("12"), 397]) == f"<|reversed|>12{SEPARATOR}"
    assert (tokenizer.token_bytes[:397] > 0).all()
    assert (tokenizer.token_bytes[397:] == 0).all()
    with pytest.raises(StudyError, match=r"did you mean '<\|padded\|>'"):
        tokenizer.special("<|paded|>")
    with pytest.raises(ValueError, match="found id 400, expected 0 to 399"):
        tokenizer.decode([400])


def test_training_does_not_depend_on_order(tokenizer: TextTokenizer) -> None:
    shuffled = training_texts()
    np.random.default_rng(2).shuffle(shuffled)
    assert train_tokenizer(shuffled, 400, SPECIALS).to_json() == tokenizer.to_json()


def test_merges_shorten_the_text_and_the_size_is_exact(tokenizer: TextTokenizer) -> None:
    text = training_texts()[0]
    assert tokenizer.vocabulary_size == 400
    assert len(tokenizer.encode(text)) < 0.6 * len(text)


def test_invalid_bytes_are_refused_and_counted(tokenizer: TextTokenizer) -> None:
    ids, refused = tokenizer.encode_bytes([b"ok", b"\xff", b"caf\xc3\xa9", b"\xed\xa0\x80", b""])
    assert refused == 2
    assert [tokenizer.decode(each) for each in ids] == ["ok", "café", ""]


def test_the_smallest_vocabulary_is_bytes_and_specials() -> None:
    assert minimum_vocabulary(SPECIALS) == 259
    smallest = train_tokenizer(["anything at all"], 259, SPECIALS)
    assert smallest.vocabulary_size == 259
    assert smallest.decode(smallest.encode("ñ 12")) == "ñ 12"
    assert len(smallest.encode("ñ 12")) == 5
    with pytest.raises(StudyError, match="found 258, expected at least 259"):
        train_tokenizer(["anything"], 258, SPECIALS)


@pytest.mark.parametrize(
    "specials", [(), ("<|padded|>",), (SEPARATOR, "padded"), (SEPARATOR, "<|a|>", "<|a|>")]
)
def test_impossible_special_tokens_are_refused(specials: tuple[str, ...]) -> None:
    with pytest.raises(StudyError, match=r"tokenizer\.specials"):
        train_tokenizer(["anything"], 400, specials)


def test_too_little_text_is_one_clear_error() -> None:
    with pytest.raises(CorpusError, match=r"found 4000, but the training text holds pairs for"):
        train_tokenizer(["a short text"] * 3, 4000)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="missing"):
        TextTokenizer.load(tmp_path / "none.json")
    for content in ("{", "[]", "{}"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(CorpusError, match=r"bad\.json"):
            TextTokenizer.load(tmp_path / "bad.json")
