"""From a catalogue entry to canonical text: `text.jsonl` and `manifest.json`.

Canonical text is valid UTF-8 in Unicode normal form C, lines end in `\\n`, no byte-order mark and
no white space around a document. Documents keep the source's order; the second and later copies of
a document are dropped, so no text can stand in two splits. Whatever is left out is counted by
reason. Equal sources give equal bytes, so the manifest names no path and no time.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from saltus.data import synthetic
from saltus.data.catalogue import (
    Corpus,
    HubCorpus,
    LocalCorpus,
    NpmCorpus,
    SyntheticCorpus,
    WheelCorpus,
)
from saltus.data.fetch import archive_members, fetch_archive, label
from saltus.data.hub import read_hub
from saltus.data.readers import SUFFIXES, read_file, read_member
from saltus.errors import CorpusError, nearest
from saltus.files import replacing, sha256_of, write_json

TEXT_NAME = "text.jsonl"
MANIFEST_NAME = "manifest.json"


def canonical(document: str) -> str:
    """Return the document in normal form C with `\\n` line ends, stripped of outer white space.

    Raises `UnicodeEncodeError` if it holds a lone surrogate, that is, was not valid UTF-8.
    """
    document.encode("utf-8")
    text = document.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text).strip()


@dataclass
class Counts:
    """What became of the documents of a source."""

    read: int
    refused: Counter[str]
    """By reason: `invalid_utf8`, `not_text`."""
    dropped: Counter[str]
    """By reason: `empty`, `duplicate`."""

    @classmethod
    def zero(cls) -> "Counts":
        """Return counts of nothing, with every reason present."""
        return cls(
            0, Counter({"invalid_utf8": 0, "not_text": 0}), Counter({"empty": 0, "duplicate": 0})
        )


def canonical_documents(found: Iterable[Any], counts: Counts) -> Iterator[str]:
    """Yield the canonical documents among what a reader found; add the others to `counts`."""
    seen: set[bytes] = set()
    for document in found:
        counts.read += 1
        if not isinstance(document, str):
            counts.refused["not_text"] += 1
            continue
        try:
            text = canonical(document)
        except UnicodeEncodeError:
            counts.refused["invalid_utf8"] += 1
            continue
        if not text:
            counts.dropped["empty"] += 1
            continue
        digest = hashlib.sha256(text.encode()).digest()[:16]
        if digest in seen:
            counts.dropped["duplicate"] += 1
            continue
        seen.add(digest)
        yield text


def _local_files(corpus: LocalCorpus) -> list[Path]:
    path = Path(corpus.path).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(
            (inner for inner in path.rglob("*") if inner.name.endswith(SUFFIXES)),
            key=lambda inner: inner.relative_to(path).as_posix(),
        )
        if not files:
            raise CorpusError(f"{corpus.path}: no file in it ends in {', '.join(SUFFIXES)}")
        return files
    beside = [inner.name for inner in path.parent.iterdir()] if path.parent.is_dir() else []
    raise CorpusError(f"{corpus.path}: no such file{nearest(path.name, beside)}")


def _local(corpus: LocalCorpus) -> tuple[Iterator[Any], dict[str, Any]]:
    """Return the documents and the source of local files.

    The digest of a folder is that of the lines `<sha256>  <relative path>` of its files in order.
    """
    path = Path(corpus.path).expanduser()
    files = _local_files(corpus)
    if path.is_file():
        digest = sha256_of(path)
    else:
        listing = "".join(
            f"{sha256_of(inner)}  {inner.relative_to(path).as_posix()}\n" for inner in files
        )
        digest = hashlib.sha256(listing.encode()).hexdigest()
    if corpus.sha256 is not None and digest != corpus.sha256:
        raise CorpusError(f"{corpus.path}: sha256 found {digest}, expected {corpus.sha256}")
    found = (
        document
        for inner in files
        for document in read_file(inner, corpus.field, corpus.document_bytes)
    )
    # Only how a file is read may change the text, so the manifest says that and no path.
    source = {"name": path.resolve().name, "files": len(files)}
    source |= {"field": corpus.field, "document_bytes": corpus.document_bytes}
    return found, {"source": source, "version": None, "sha256_archive": digest}


def _archive(corpus: WheelCorpus | NpmCorpus, cache: Path) -> tuple[Iterator[Any], dict[str, Any]]:
    path = fetch_archive(corpus, cache)
    paragraphs: set[str] = set()
    found = (
        document
        for name, content in archive_members(path, corpus.members, label(corpus))
        for document in read_member(
            content, corpus.format, corpus.field, f"{label(corpus)}: {name}", paragraphs
        )
    )
    source = {"package": corpus.package, "members": list(corpus.members)}
    source |= {"format": corpus.format, "field": corpus.field}
    return found, {
        "source": source,
        "version": corpus.version,
        "sha256_archive": corpus.sha256,
    }


def _open_source(corpus: Corpus, cache: Path) -> tuple[Iterator[Any], dict[str, Any]]:
    """Return what the source holds, lazily, and the part of the manifest that names it."""
    if isinstance(corpus, WheelCorpus | NpmCorpus):
        return _archive(corpus, cache)
    if isinstance(corpus, LocalCorpus):
        return _local(corpus)
    if isinstance(corpus, HubCorpus):
        source: dict[str, Any] = {"dataset": corpus.dataset, "config": corpus.config}
        source |= {"split": corpus.split, "field": corpus.field}
        named = {"source": source, "version": corpus.revision, "sha256_archive": None}
        return read_hub(corpus), named
    source = {
        item.name: getattr(corpus, item.name)
        for item in fields(SyntheticCorpus)
        if item.name not in ("kind", "language", "license")
    }
    source["entropy_rate_bits_per_byte"] = round(synthetic.entropy_rate(corpus), 9)
    source["document_bits_per_byte"] = round(synthetic.document_bits_per_byte(corpus), 9)
    return iter(synthetic.documents(corpus)), {
        "source": source,
        "version": None,
        "sha256_archive": None,
    }


def build_corpus(corpus: Corpus, directory: Path, cache: Path) -> dict[str, Any]:
    """Write `text.jsonl` and `manifest.json` into `directory` and return the manifest.

    Each line of the text is `{"id": int, "text": str}`, ids counting from 0. `cache` keeps the
    archives of the registries. `bytes` counts the UTF-8 bytes of the texts alone. Raises
    `CorpusError` in one line if the source is missing, unreachable, damaged, not the pinned one,
    or holds no document.
    """
    found, source = _open_source(corpus, Path(cache))
    counts = Counts.zero()
    num_documents = num_bytes = 0
    target = Path(directory) / TEXT_NAME
    with replacing(target) as temporary:
        with temporary.open("wb") as stream:
            for text in canonical_documents(found, counts):
                record = {"id": num_documents, "text": text}
                stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                num_documents += 1
                num_bytes += len(text.encode())
        if num_documents == 0:
            reasons = counts.refused + counts.dropped
            detail = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            raise CorpusError(
                f"{_name(corpus)}: no document is left of {counts.read} read"
                + (f" ({detail})" if detail else "")
            )
        digest = sha256_of(temporary)
    manifest = {
        "kind": corpus.kind,
        **source,
        "language": corpus.language,
        "license": corpus.license,
        "sha256_text": digest,
        "documents": num_documents,
        "bytes": num_bytes,
        "read": counts.read,
        "refused": dict(counts.refused),
        "dropped": dict(counts.dropped),
    }
    write_json(Path(directory) / MANIFEST_NAME, manifest)
    return manifest


def _name(corpus: Corpus) -> str:
    if isinstance(corpus, WheelCorpus | NpmCorpus):
        return label(corpus)
    if isinstance(corpus, LocalCorpus):
        return corpus.path
    return f"hub {corpus.dataset}" if isinstance(corpus, HubCorpus) else corpus.kind


def read_texts(directory: Path) -> list[str]:
    """Return the texts of a corpus that `build_corpus` wrote, by id; raise `CorpusError`."""
    path = Path(directory) / TEXT_NAME
    if not path.is_file():
        raise CorpusError(f"{path}: missing; build the corpus first")
    with path.open("rb") as stream:
        return [json.loads(line)["text"] for line in stream]
