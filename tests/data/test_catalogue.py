"""The catalogue resolves names, and its dataclasses validate as a union tagged by `kind`."""

import json
from dataclasses import asdict
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from saltus.data.catalogue import (
    CATALOGUE,
    Corpus,
    LocalCorpus,
    SyntheticCorpus,
    WheelCorpus,
    from_mapping,
    resolve,
)
from saltus.errors import CorpusError

UNION: TypeAdapter[Corpus] = TypeAdapter(Annotated[Corpus, Field(discriminator="kind")])


def test_every_name_resolves_to_its_entry() -> None:
    for name, corpus in CATALOGUE.items():
        assert resolve(name) is corpus


def test_a_misspelt_name_names_the_nearest() -> None:
    with pytest.raises(CorpusError, match=r"did you mean 'wikipedia-leads'") as caught:
        resolve("wikipedia-lead")
    assert "\n" not in str(caught.value)


def test_every_entry_survives_pydantic_and_json() -> None:
    for corpus in CATALOGUE.values():
        assert UNION.validate_json(UNION.dump_json(corpus)) == corpus


def test_every_entry_survives_a_job_s_json() -> None:
    for corpus in CATALOGUE.values():
        assert from_mapping(json.loads(UNION.dump_json(corpus))) == corpus
        assert from_mapping(json.loads(json.dumps(asdict(corpus)))) == corpus


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "locl"}, r"did you mean 'local'"),
        ({"kind": "local", "pth": "a"}, r"corpus\.pth: .*did you mean 'path'"),
        ({"kind": "local"}, "path"),
        ({"kind": "synthetic", "seed": -1}, "seed: found -1, expected 0 or more"),
        ({}, "expected one of wheel, npm, hub, local, synthetic"),
    ],
)
def test_a_mapping_that_is_no_corpus_is_one_line(value: dict[str, object], message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        from_mapping(value)
    assert "\n" not in str(caught.value)


def test_numbers_spelt_as_text_are_coerced() -> None:
    found = UNION.validate_python({"kind": "synthetic", "seed": "7", "concentration": "2.5"})
    assert found == SyntheticCorpus(seed=7, concentration=2.5)
    assert UNION.validate_python({"kind": "local", "path": "a.txt"}) == LocalCorpus(path="a.txt")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "locall", "path": "a.txt"}, "locall"),
        ({"kind": "local", "path": "a.txt", "feild": "x"}, "feild"),
        ({"kind": "local"}, "path"),
        ({"kind": "synthetic", "documents": 0}, "documents: found 0, expected 1 or more"),
        ({"kind": "hub", "dataset": "a/b", "revision": "main"}, "40 hexadecimal digits"),
        (
            {
                "kind": "wheel",
                "package": "a",
                "version": "1",
                "sha256": "12",
                "members": ["x"],
                "format": "text",
                "license": "MIT",
            },
            "64 lower-case hexadecimal digits",
        ),
    ],
)
def test_impossible_values_are_refused(value: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UNION.validate_python(value)


def test_a_package_name_cannot_smuggle_an_option() -> None:
    with pytest.raises(ValueError, match="package"):
        WheelCorpus(
            package="--index-url=x",
            version="1",
            sha256="0" * 64,
            members=("x",),
            format="text",
            license="",
        )
