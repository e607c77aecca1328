"""Token files per domain and split, memory-mapped by training and probing.

A file is a run of little-endian `uint16` ids (`uint32` above 65,536 ids): separator, document,
separator, document, ..., separator. `offsets[i]` is where the separator before document i stands,
`offsets[-1]` where the last one does, so `tokens[offsets[i] : offsets[i + 1] + 1]` is document i
between its two separators. A document's split is decided by a cryptographic hash of its text: it
depends on no other document, no order and no domain, and equal texts always fall together.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from saltus.data.tokenizer import TextTokenizer
from saltus.data.writing import RELATIONS, SYMBOLS
from saltus.errors import CorpusError, StudyError, nearest
from saltus.files import read_json, replacing, sha256_of, write_json

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MANIFEST_NAME = "manifest.json"
BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Shares:
    """Expected shares of documents held out; the rest is for training."""

    validation: float = 0.02
    test: float = 0.02

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError(
                f"shares: found validation {self.validation} and test {self.test}, "
                "expected 0 or more and less than 1 together"
            )

    def of(self, split: Split) -> float:
        """Return the share of a split."""
        held_out = {"validation": self.validation, "test": self.test}
        return held_out.get(split, 1 - self.validation - self.test)


def split_of(text: str, shares: Shares) -> Split:
    """Return the split of a document: where SHA-256 of its text falls in [0, 1).

    Test lies below its share and validation next, so raising one share moves no document from
    training to test that was not at the edge.
    """
    digest = hashlib.sha256(b"saltus split\0" + text.encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < shares.test:
        return "test"
    return "validation" if position < shares.test + shares.validation else "train"


def texts_of(texts: Iterable[str], split: Split, shares: Shares) -> Iterator[str]:
    """Yield the documents of one split, in order: the tokenizer learns from those of `train`."""
    return (text for text in texts if split_of(text, shares) == split)


def token_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """Return little-endian `uint16` if every id fits, else `uint32`."""
    return np.dtype("<u2" if vocabulary_size <= 65_536 else "<u4")


@dataclass(frozen=True)
class Shard:
    """The tokens of one domain and split."""

    tokens: NDArray[Any]
    """(num_tokens,) memory-mapped ids, separators included."""
    offsets: NDArray[np.int64]
    """(num_documents + 1,): positions of the separators."""
    documents: NDArray[np.int64]
    """(num_documents,): ids of the documents in the corpus."""
    num_bytes: int
    """UTF-8 bytes of the documents, separators not counted."""
    separator: int

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return len(self.documents)

    def document(self, index: int) -> NDArray[Any]:
        """Return document `index` (0 to num_documents − 1) between its two separators."""
        if not 0 <= index < self.num_documents:
            raise IndexError(f"document {index} of {self.num_documents}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1] + 1]


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield runs of texts of about `BATCH_CHARACTERS`, which bounds the memory of encoding."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_split(
    base: Path, documents: Sequence[tuple[int, str]], tokenizer: TextTokenizer
) -> dict[str, Any]:
    """Write the three files of one shard beside each other; return its part of the manifest."""
    dtype = token_dtype(tokenizer.vocabulary_size)
    separator = tokenizer.separator
    offsets = [0]
    tokens_path = base.with_suffix(".bin")
    with replacing(tokens_path) as temporary, temporary.open("wb") as stream:
        for batch in _batches([text for _, text in documents]):
            for ids in tokenizer.encode_batch(batch):
                stream.write(np.array([separator, *ids], dtype=dtype).tobytes())
                offsets.append(offsets[-1] + len(ids) + 1)
        stream.write(np.array([separator], dtype=dtype).tobytes())
    arrays = {"offsets": offsets, "documents": [number for number, _ in documents]}
    hashes = {}
    for name, values in arrays.items():
        path = base.with_suffix(f".{name}.npy")
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.array(values, dtype=np.int64))
        hashes[f"sha256_{name}"] = sha256_of(path)
    return {
        "file": tokens_path.name,
        "tokens": offsets[-1] + 1,
        "documents": len(documents),
        "bytes": sum(len(text.encode()) for _, text in documents),
        "sha256": sha256_of(tokens_path),
        **hashes,
    }


def build_shards(
    domains: Mapping[str, Sequence[str]],
    tokenizer: TextTokenizer,
    directory: Path,
    shares: Shares,
    held_out_only: Collection[str] = (),
) -> dict[str, Any]:
    """Split, encode and write the documents of every domain; return the manifest written last.

    Beside it: `alphabet.json`, what arithmetic is written with, and `token_bytes.json`, the bytes
    that every id stands for. So training and probing need no tokenizer.

    `domains` maps a domain's name to its documents (as `corpus.read_texts` returns them); a
    document's id is its position. Of the domains in `held_out_only` the training split is left
    empty: nobody reads it. Raises `StudyError` for a domain's name that is no file name, and
    `CorpusError` if a text stands twice in a domain or a split that should have a share is empty.
    """
    manifest: dict[str, Any] = {
        "vocabulary": tokenizer.vocabulary_size,
        "separator": tokenizer.separator,
        "dtype": token_dtype(tokenizer.vocabulary_size).name,
        "sha256_tokenizer": hashlib.sha256(tokenizer.to_json().encode()).hexdigest(),
        "shares": {split: round(shares.of(split), 12) for split in SPLITS},
        "domains": {},
    }
    for domain, texts in domains.items():
        if not domain or set(domain) & set("/\\.\0"):
            raise StudyError(f"domain {domain!r}: expected a name without dots and slashes")
        if len(set(texts)) != len(texts):
            raise CorpusError(f"domain {domain}: a document stands in it twice")
        parts: dict[Split, list[tuple[int, str]]] = {split: [] for split in SPLITS}
        for number, text in enumerate(texts):
            parts[split_of(text, shares)].append((number, text))
        if domain in held_out_only:
            parts["train"] = []
        for split, part in parts.items():
            if split == "train" and domain in held_out_only:
                continue
            if not part and shares.of(split) > 0:
                raise CorpusError(
                    f"domain {domain}: none of {len(texts)} documents fell into {split} "
                    f"(share {shares.of(split):g}); raise the share or bring more documents"
                )
        manifest["domains"][domain] = {
            split: _write_split(Path(directory) / f"{domain}-{split}", parts[split], tokenizer)
            for split in SPLITS
        }
    write_json(Path(directory) / "alphabet.json", alphabet_of(tokenizer))
    write_json(Path(directory) / "token_bytes.json", tokenizer.token_bytes.tolist())
    write_json(Path(directory) / MANIFEST_NAME, manifest)
    return manifest


def alphabet_of(tokenizer: TextTokenizer) -> dict[str, Any]:
    """Return the ids of the symbols of arithmetic, of the arms' relation signs, and the separator.

    An arm whose sign is a special token that the tokenizer lacks is left out: no drill uses it.
    """
    relations = {}
    for arm, sign in RELATIONS.items():
        if not sign.startswith("<|"):
            relations[arm] = tokenizer.encode(sign)[0]
        elif sign in tokenizer.specials:
            relations[arm] = tokenizer.special(sign)
    return {
        "symbols": [tokenizer.encode(symbol)[0] for symbol in SYMBOLS],
        "relations": relations,
        "separator": tokenizer.separator,
    }


def load_shard(directory: Path, domain: str, split: Split, verify: bool = False) -> Shard:
    """Return one shard that `build_shards` wrote, its tokens memory-mapped read-only.

    Raises `CorpusError` if the folder lacks it, a file's size is not that of the manifest or, with
    `verify`, a SHA-256 differs.
    """
    path = Path(directory) / MANIFEST_NAME
    if not path.is_file():
        raise CorpusError(f"{path}: missing; build the shards first")
    manifest = read_json(path)
    if domain not in manifest["domains"]:
        found = ", ".join(manifest["domains"])
        raise CorpusError(
            f"{path}: no domain {domain!r}{nearest(domain, manifest['domains'])}; found {found}"
        )
    entry = manifest["domains"][domain][split]
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    tokens_path = Path(directory) / entry["file"]
    base = tokens_path.with_suffix("")
    paths = {
        "sha256": tokens_path,
        "sha256_offsets": base.with_suffix(".offsets.npy"),
        "sha256_documents": base.with_suffix(".documents.npy"),
    }
    for key, file in paths.items():
        if not file.is_file():
            raise CorpusError(f"{file}: missing; build the shards again")
        if verify and (digest := sha256_of(file)) != entry[key]:
            raise CorpusError(f"{file}: sha256 found {digest}, expected {entry[key]}")
    size, expected = tokens_path.stat().st_size, entry["tokens"] * dtype.itemsize
    if size != expected:
        raise CorpusError(f"{tokens_path}: found {size} bytes, expected {expected}")
    return Shard(
        tokens=np.memmap(tokens_path, dtype=dtype, mode="r"),
        offsets=np.load(paths["sha256_offsets"]),
        documents=np.load(paths["sha256_documents"]),
        num_bytes=entry["bytes"],
        separator=manifest["separator"],
    )
