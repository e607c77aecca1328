"""Every kind of corpus gives canonical text, and every failure is one line."""

import gzip
import hashlib
import io
import json
import lzma
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from saltus.data.catalogue import (
    CATALOGUE,
    Corpus,
    HubCorpus,
    LocalCorpus,
    NpmCorpus,
    SyntheticCorpus,
    WheelCorpus,
)
from saltus.data.corpus import build_corpus, canonical, read_texts
from saltus.data.fetch import select_members
from saltus.data.readers import paragraphs_of_html
from saltus.errors import CorpusError
from saltus.files import sha256_of


def build(corpus: Corpus, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    directory = tmp_path / "out"
    manifest = build_corpus(corpus, directory, tmp_path / "cache")
    assert json.loads((directory / "manifest.json").read_text()) == manifest
    assert str(tmp_path) not in json.dumps(manifest)
    assert sha256_of(directory / "text.jsonl") == manifest["sha256_text"]
    texts = read_texts(directory)
    lines = (directory / "text.jsonl").read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["id"] for line in lines] == list(range(len(texts)))
    assert manifest["documents"] == len(texts) == len(set(texts))
    assert manifest["bytes"] == sum(len(text.encode()) for text in texts)
    left_out = sum(manifest["refused"].values()) + sum(manifest["dropped"].values())
    assert manifest["read"] == len(texts) + left_out
    return manifest, texts


def failure(corpus: Corpus, tmp_path: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        build_corpus(corpus, tmp_path / "out", tmp_path / "cache")
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").glob(".*")) if (tmp_path / "out").exists() else True
    return message


def wheel(folder: Path, members: dict[str, bytes]) -> WheelCorpus:
    """Write a small valid wheel into `folder`; reading it must never import its trap."""
    folder.mkdir(exist_ok=True)
    path = folder / "tinytext-1.0-py3-none-any.whl"
    info = "tinytext-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinytext/__init__.py", "raise SystemExit('executed')")
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinytext\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return WheelCorpus(
        package="tinytext",
        version="1.0",
        sha256=sha256_of(path),
        members=("tinytext/*.json",),
        format="json-mapping",
        field="extract",
        license="MIT",
    )


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes as its only source."""
    folder = tmp_path / "links"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_wheel_through_pip_then_from_the_cache(links: Path, tmp_path: Path) -> None:
    leads = {"b": {"extract": "Second\r\nline"}, "a": {"extract": "First"}, "c": {"extract": None}}
    corpus = wheel(links, {"tinytext/leads.json": json.dumps(leads).encode()})
    manifest, texts = build(corpus, tmp_path)
    assert texts == ["Second\nline", "First"]
    assert manifest["refused"] == {"invalid_utf8": 0, "not_text": 1}
    assert manifest["sha256_archive"] == corpus.sha256
    assert (manifest["version"], manifest["license"]) == ("1.0", "MIT")
    next(links.iterdir()).unlink()
    assert build(corpus, tmp_path)[0] == manifest
    assert "tinytext" not in sys.modules


def test_wheel_failures_are_one_line(links: Path, tmp_path: Path) -> None:
    corpus = wheel(links, {"tinytext/leads.json": b'{"a": {"extract": "x", "title": "y"}}'})
    wrong = replace(corpus, sha256="0" * 64)
    assert f"sha256 found {corpus.sha256}, expected {'0' * 64}" in failure(wrong, tmp_path)
    assert "(from versions: 1.0)" in failure(replace(corpus, version="2.0"), tmp_path)
    message = failure(replace(corpus, package="elsewhere"), tmp_path)
    assert "check the network and the mirror settings" in message
    message = failure(replace(corpus, members=("tinytext/lead.json",)), tmp_path)
    assert "no member 'tinytext/lead.json' (did you mean 'tinytext/leads.json'?)" in message
    message = failure(replace(corpus, field="extracts"), tmp_path)
    assert "no field 'extracts' (did you mean 'extract'?); found extract, title" in message
    assert "expected a json-list" in failure(replace(corpus, format="json-list"), tmp_path)
    kept = tmp_path / "cache" / f"{corpus.sha256}.whl"
    kept.write_bytes(b"damaged")
    assert f"delete {kept}" in failure(corpus, tmp_path)


def tgz(cache: Path, members: dict[str, bytes]) -> NpmCorpus:
    cache.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    (cache / f"{digest}.tgz").write_bytes(buffer.getvalue())
    return NpmCorpus(
        package="@scope/texts",
        version="1.0.0",
        sha256=digest,
        members=("package/*.txt",),
        format="text",
        license="CC0-1.0",
    )


def test_npm_members_come_in_natural_order_and_invalid_ones_are_counted(tmp_path: Path) -> None:
    members = {f"package/chapter_{n}.txt": f"Chapter {n}".encode() for n in (10, 2, 1)}
    members["package/bad.txt"] = b"caf\xe9"
    manifest, texts = build(tgz(tmp_path / "cache", members), tmp_path)
    assert texts == ["Chapter 1", "Chapter 2", "Chapter 10"]
    assert manifest["refused"]["invalid_utf8"] == 1


def test_npm_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "npm is not on the PATH" in failure(CATALOGUE["moby-dick"], tmp_path)


def test_globs_keep_their_order_and_name_the_nearest() -> None:
    names = ["p/b2", "p/b10", "p/a"]
    assert select_members(names, ["p/b*", "p/*"], "x") == ["p/b2", "p/b10", "p/a"]
    with pytest.raises(CorpusError, match=r"x: no member 'p/b3' \(did you mean 'p/b"):
        select_members(names, ["p/b3"], "x")


def test_service_models_give_unique_paragraphs(links: Path, tmp_path: Path) -> None:
    def model(*sources: str) -> bytes:
        return gzip.compress(json.dumps([{"documentation": source} for source in sources]).encode())

    corpus = wheel(
        links,
        {
            "tinytext/a.gz": model(
                "<p>Use the <code>Name</code> of a&lt;b.</p><p>Two words</p>",
                "<ul><li>An <b>item</b> of the\n list.</li></ul>",
            ),
            "tinytext/b.gz": model(
                "<p>Use the Name of a&lt;b.</p><p>Quite another thing here.</p>"
            ),
        },
    )
    corpus = replace(corpus, members=("tinytext/*.gz",), format="service-model")
    assert build(corpus, tmp_path)[1] == [
        "Use the Name of a<b.\nAn item of the list.",
        "Quite another thing here.",
    ]
    assert paragraphs_of_html("a<br/>b <!-- no --> c<p>") == ["a", "b c"]


RECORDS: list[dict[str, Any]] = [
    {"id": 1, "text": "Caf\u0065\u0301"},
    {"text": "Café"},
    {"text": " \n"},
    {"text": "two"},
]


def write_records(path: Path) -> Path:
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".xz":
        path.write_bytes(lzma.compress(lines))
    elif path.suffix == ".zst":
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(lines)
    elif path.suffix == ".parquet":
        texts = [record["text"] for record in RECORDS]
        pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path)
    else:
        path.write_bytes(lines)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.xz", "jsonl.zst", "parquet"])
def test_local_records_of_every_format_are_equal(suffix: str, tmp_path: Path) -> None:
    path = write_records(tmp_path / f"data.{suffix}")
    corpus = LocalCorpus(path=str(path), sha256=sha256_of(path))
    manifest, texts = build(corpus, tmp_path)
    assert texts == ["Café", "two"]
    assert manifest["dropped"] == {"empty": 1, "duplicate": 1}
    assert manifest["source"]["name"] == path.name
    message = failure(replace(corpus, field="texts"), tmp_path / "again")
    assert "'texts' (did you mean 'text'?)" in message
    assert "expected 000" in failure(replace(corpus, sha256="0" * 64), tmp_path / "again")


def test_damaged_local_files_are_one_line(tmp_path: Path) -> None:
    for suffix in ("jsonl.gz", "jsonl.xz", "jsonl.zst", "parquet"):
        path = write_records(tmp_path / f"data.{suffix}")
        path.write_bytes(path.read_bytes()[:-9])
        assert path.name in failure(LocalCorpus(path=str(path)), tmp_path / "again")
        path.write_bytes(b"something else")
        assert path.name in failure(LocalCorpus(path=str(path)), tmp_path / "again")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    message = failure(LocalCorpus(path=str(tmp_path / "bad.jsonl")), tmp_path)
    assert "bad.jsonl, line 2: not JSON" in message


def test_local_text_is_cut_between_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n \r\nthree\n\nfour \xff\n\nfive\n\nsix")
    corpus = LocalCorpus(path=str(path), document_bytes=5)
    manifest, texts = build(corpus, tmp_path)
    assert texts == ["one\ntwo", "three", "five\n\nsix"]
    assert manifest["refused"]["invalid_utf8"] == 1
    path.write_text("one\n\ntwo")
    assert build(replace(corpus, document_bytes=0), tmp_path)[1] == ["one\n\ntwo"]
    assert build(replace(corpus, document_bytes=2000), tmp_path)[1] == ["one\n\ntwo"]


def test_local_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "inner/c.jsonl", "ignored.md"):
        (folder / name).write_text('{"text": "c"}' if "c" in name else name)
    manifest, texts = build(LocalCorpus(path=str(folder)), tmp_path)
    assert texts == ["a.txt", "b.txt", "c"]
    assert manifest["source"]["files"] == 3


def test_local_failures_name_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_bytes(b"\xff\xfe")
    message = failure(LocalCorpus(path=str(tmp_path / "stori.txt")), tmp_path)
    assert "no such file (did you mean 'story.txt'?)" in message
    message = failure(LocalCorpus(path=str(tmp_path / "story.txt")), tmp_path)
    assert "no document is left of 1 read" in message
    assert "invalid_utf8 1" in message
    (tmp_path / "story.md").write_text("x")
    assert "format" in failure(LocalCorpus(path=str(tmp_path / "story.md")), tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    assert "no document" in failure(LocalCorpus(path=str(tmp_path / "empty.jsonl")), tmp_path)
    with pytest.raises(CorpusError, match="build the corpus first"):
        read_texts(tmp_path / "nowhere")


def test_lone_surrogates_are_refused_and_pairs_are_not(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(
        b'{"text": "\\ud800"}\n{"text": "\\ud83d\\ude00"}\n{"text": "a\xffb"}\n"plain"\n'
    )
    manifest, texts = build(LocalCorpus(path=str(path)), tmp_path)
    assert texts == ["😀", "plain"]
    assert manifest["refused"] == {"invalid_utf8": 2, "not_text": 0}


def test_canonical_text_is_a_fixed_point() -> None:
    for text in ("\ufeff a\r\nb\rc\u2028d ", "e\u0301\u212b", "\x00tab\tend\x0b", "한"):
        assert canonical(canonical(text)) == canonical(text)
    assert canonical("\ufeff a\r\nb\rc ") == "a\nb\nc"
    assert canonical("e\u0301") == "é"


def test_synthetic_manifest_carries_the_entropy(tmp_path: Path) -> None:
    manifest, texts = build(SyntheticCorpus(documents=50, document_words=20), tmp_path)
    assert len(texts) == 50
    assert 0 < manifest["source"]["entropy_rate_bits_per_byte"] < 8
    assert set(manifest["source"]) >= {"seed", "documents", "zipf_exponent"}
    assert build(SyntheticCorpus(documents=50, document_words=20), tmp_path)[0] == manifest


def test_hub_reads_rows_and_explains_its_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "repository").mkdir()
    write_records(tmp_path / "repository" / "train.jsonl")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    corpus = HubCorpus(dataset=str(tmp_path / "repository"), revision="0" * 40)
    directory = tmp_path / "out"
    build_corpus(corpus, directory, tmp_path / "cache")
    assert read_texts(directory) == ["Café", "two"]
    message = failure(replace(corpus, field="texts"), tmp_path / "again")
    assert "did you mean 'text'" in message
    assert "hub" in failure(replace(corpus, split="tran"), tmp_path / "again")

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'a/b' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = failure(replace(corpus, dataset="a/b"), tmp_path / "again")
    assert all(word in message for word in ("Couldn't reach", "HF_HOME", "mirror", "kind local"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in failure(corpus, tmp_path / "again")


@pytest.mark.network
def test_default_wheel_through_the_real_registry(tmp_path: Path) -> None:
    manifest, texts = build(CATALOGUE["wikipedia-leads"], tmp_path)
    assert manifest["documents"] == 10_033
    assert manifest["bytes"] == 4_885_535
    digest = "f9b4d53d1a9a80267c5bb410a9baa046b0e3a6e41d67a168939c878059c9afad"
    assert manifest["sha256_text"] == digest
    assert texts[0].startswith("20th-century classical music is Western art music")


@pytest.mark.network
def test_npm_package_through_the_real_registry(tmp_path: Path) -> None:
    manifest, texts = build(CATALOGUE["moby-dick"], tmp_path)
    assert manifest["documents"] == 138
    assert manifest["bytes"] == 1_211_732
    assert texts[2].startswith("Call me Ishmael.")
    speeches = build_corpus(
        CATALOGUE["state-of-the-union"], tmp_path / "speeches", tmp_path / "cache"
    )
    assert (speeches["documents"], speeches["bytes"]) == (233, 10_761_158)
