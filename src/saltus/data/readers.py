"""From bytes to documents: the formats of archive members and of local files.

A reader yields a `str` for each document, or what it found in its place (None, a number ...), so
that the caller can count what is not text. Bytes are decoded with `surrogateescape`: an invalid
byte becomes a lone surrogate in its own document, and the caller refuses that document alone.
"""

import gzip
import html
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from saltus.data.catalogue import Format
from saltus.errors import CorpusError, nearest

DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What a truncated or foreign compressed file raises."""

SUFFIXES = (
    *tuple(kind + packing for kind in (".txt", ".jsonl") for packing in ("", ".gz", ".xz", ".zst")),
    ".parquet",
)
"""Endings of local files that can be read."""

_BLOCK = re.compile(
    r"</?(?:p|li|ul|ol|dl|dt|dd|div|h[1-6]|br|hr|tr|td|th|table|note|important|pre"
    r"|fullname|examples?|caution|tip)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)
_BLANK_LINE = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


def decode(content: bytes) -> str:
    """Return text in which every invalid UTF-8 byte stands as one lone surrogate."""
    return content.decode("utf-8", "surrogateescape")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{where}: not JSON: {error}") from error


def _field(record: Any, field: str, where: str) -> Any:
    """Return the record's text; a record that is itself text needs no field."""
    if isinstance(record, str):
        return record
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: found {type(record).__name__}, expected an object or a string")
    if field not in record:
        raise CorpusError(
            f"{where}: no field {field!r}{nearest(field, record)}; found {', '.join(record)}"
        )
    return record[field]


def paragraphs_of_html(source: str) -> list[str]:
    """Return the paragraphs of an HTML fragment as plain text, white space collapsed."""
    plain = _TAG.sub("", _BLOCK.sub("\0", source))
    collapsed = (" ".join(html.unescape(piece).split()) for piece in plain.split("\0"))
    return [paragraph for paragraph in collapsed if paragraph]


def _documentation(value: Any) -> Iterator[str]:
    """Yield every string called `documentation`, in the order of the file."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "documentation" and isinstance(inner, str):
                yield inner
            else:
                yield from _documentation(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _documentation(inner)


def read_member(
    content: bytes,
    format: Format,
    field: str,
    where: str,
    paragraphs: set[str],
) -> Iterator[Any]:
    """Yield the documents of one member of an archive, unpacked first if `where` ends in `.gz`.

    `json-mapping`: an object of objects, one document per value; `json-list`: a list of objects or
    strings; `json-object`: one object, one document; `jsonl`: one object per line; `text`: the
    member is the document; `service-model`: the documentation of one service, HTML stripped,
    paragraphs of at least four words, each at most once over all members (`paragraphs` remembers
    those seen and is extended). Raises `CorpusError`, naming `where`.
    """
    if where.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except DAMAGED as error:
            raise CorpusError(f"{where}: damaged: {error}") from error
    if format == "text":
        yield decode(content)
    elif format == "jsonl":
        yield from _read_lines(io.BytesIO(content), field, where)
    else:
        value = _json(decode(content), where)
        if format == "service-model":
            kept = []
            for source in _documentation(value):
                for paragraph in paragraphs_of_html(source):
                    if paragraph.count(" ") >= 3 and paragraph not in paragraphs:
                        paragraphs.add(paragraph)
                        kept.append(paragraph)
            yield "\n".join(kept)
        elif format == "json-object":
            yield _field(value, field, where)
        elif format == "json-list" and isinstance(value, list):
            for number, record in enumerate(value):
                yield _field(record, field, f"{where}[{number}]")
        elif format == "json-mapping" and isinstance(value, dict):
            for key, record in value.items():
                yield _field(record, field, f"{where}[{key!r}]")
        else:
            raise CorpusError(f"{where}: found a {type(value).__name__}, expected a {format}")


def _read_lines(stream: BinaryIO, field: str, where: str) -> Iterator[Any]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            place = f"{where}, line {number}"
            yield _field(_json(decode(line), place), field, place)


def _read_paragraphs(stream: BinaryIO, document_bytes: int) -> Iterator[str]:
    """Yield runs of paragraphs of at least `document_bytes` bytes (the last may be shorter)."""
    text = decode(stream.read()).replace("\r\n", "\n").replace("\r", "\n")
    if document_bytes == 0:
        yield text
        return
    held: list[str] = []
    held_bytes = 0
    for paragraph in _BLANK_LINE.split(text):
        held.append(paragraph)
        held_bytes += len(paragraph.encode("utf-8", "surrogatepass")) + 2
        if held_bytes - 2 >= document_bytes:
            yield "\n\n".join(held)
            held, held_bytes = [], 0
    if held:
        yield "\n\n".join(held)


def _read_parquet(path: Path, field: str) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            columns = table.schema_arrow.names
            if field not in columns:
                raise CorpusError(
                    f"{path.name}: no column {field!r}{nearest(field, columns)}; "
                    f"found {', '.join(columns)}"
                )
            for batch in table.iter_batches(batch_size=4096, columns=[field]):
                yield from batch.column(0).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise CorpusError(f"{path.name}: not a readable parquet file: {_line(error)}") from error


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast(BinaryIO, lzma.open(path, "rb"))
    if path.suffix == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_file(path: Path, field: str, document_bytes: int) -> Iterator[Any]:
    """Yield the documents of a local file; its name says the format (see `SUFFIXES`).

    A record of `.jsonl` or `.parquet` is a document; in `.txt` so is a run of paragraphs of at
    least `document_bytes` bytes, or the whole file if that is 0. Raises `CorpusError`.
    """
    if not path.name.endswith(SUFFIXES):
        raise CorpusError(
            f"{path.name}: cannot tell the format; expected a name in {', '.join(SUFFIXES)}"
        )
    if path.suffix == ".parquet":
        yield from _read_parquet(path, field)
        return
    try:
        with _open(path) as stream:
            if ".jsonl" in path.suffixes[-2:]:
                yield from _read_lines(stream, field, path.name)
            else:
                yield from _read_paragraphs(stream, document_bytes)
    except DAMAGED as error:
        raise CorpusError(f"{path.name}: cannot be read: {_line(error)}") from error
