"""The job as data: JSON there and back, and a key that only horizons and names leave unchanged."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saltus.train.job import data_identity
from saltus.train.spec import TrainSpec, state_key

MakeSpec = Callable[..., TrainSpec]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all numbers and strings in plain data."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from leaves(value[index], (*path, index))
    else:
        yield path


def changed(raw: Any, path: tuple[Any, ...]) -> Any:
    """A copy of plain data with one leaf changed."""
    copy = json.loads(json.dumps(raw))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    inner[path[-1]] = f"{old}x" if isinstance(old, str) else old + 1
    return copy


def test_json_there_and_back(make_spec: MakeSpec) -> None:
    spec = make_spec((8, 20))
    again = TrainSpec.from_json(spec.to_json())
    assert again == spec and again.to_json() == spec.to_json()
    assert hash(again.replicas) == hash(spec.replicas)
    reordered = json.dumps(dict(reversed(list(json.loads(spec.to_json()).items()))), indent=1)
    assert TrainSpec.from_json(reordered).to_json() == spec.to_json()


def test_everything_but_horizons_and_the_study_changes_the_key(make_spec: MakeSpec) -> None:
    spec = make_spec()
    raw = json.loads(spec.to_json())
    paths = list(leaves(raw))
    assert len(paths) > 30
    keys = {state_key(spec, code="a")}
    for path in paths:
        key = state_key(TrainSpec.from_json(json.dumps(changed(raw, path))), code="a")
        if path[0] in ("study", "horizons"):
            assert key == state_key(spec, code="a"), path
        else:
            assert key not in keys, path
            keys.add(key)


def test_horizons_of_any_number_share_a_key(make_spec: MakeSpec) -> None:
    assert len({state_key(make_spec(steps)) for steps in [(4,), (4, 8), (8, 16, 99)]}) == 1


def test_replicas_and_their_order_are_part_of_the_key(make_spec: MakeSpec) -> None:
    spec = make_spec()
    fewer = make_spec(replicas=spec.replicas[:1])
    turned = make_spec(replicas=spec.replicas[::-1])
    assert len({state_key(each) for each in (spec, fewer, turned)}) == 3


def test_surroundings_are_part_of_the_key(make_spec: MakeSpec) -> None:
    spec = make_spec()
    found = {
        state_key(spec),
        state_key(spec, code="a"),
        state_key(spec, code="b"),
        state_key(spec, torch="a"),
        state_key(spec, code="a", torch="a"),
    }
    assert len(found) == 5
    assert state_key(spec, code="a", torch="b") == state_key(spec, torch="b", code="a")


def test_the_data_that_is_read_is_part_of_the_key(
    make_spec: MakeSpec, shards: Path, tmp_path: Path
) -> None:
    spec = make_spec()
    manifest = json.loads((shards / "manifest.json").read_text())
    alphabet = (shards / "alphabet.json").read_text()

    def identity(manifest: Any = manifest, alphabet: str = alphabet) -> str:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "alphabet.json").write_text(alphabet)
        return data_identity(spec, tmp_path)

    assert identity() == data_identity(spec, shards)
    domains = ("domains",)
    trained = changed(manifest, (*domains, "markov", "train", "sha256"))
    assert identity(trained) != identity()
    assert identity(alphabet=alphabet + " ") != identity()
    # What only the probe reads may change without training anew.
    for path in (("other", "test", "sha256"), ("markov", "test", "sha256")):
        assert identity(changed(manifest, (*domains, *path))) == identity()


@pytest.mark.parametrize(("name", "number"), [("seed0", 0), ("seed12", 12), ("seed3-rate0.5", 3)])
def test_the_seed_number_is_read_off_the_name(name: str, number: int, make_spec: MakeSpec) -> None:
    replica = dataclasses.replace(make_spec().replicas[0], name=name)
    assert replica.number == number


def test_rows_of_a_batch(make_spec: MakeSpec) -> None:
    spec = make_spec()
    assert spec.rows * spec.shape.context == spec.batch_tokens
