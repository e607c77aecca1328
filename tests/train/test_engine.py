"""The engine: fewer at once where memory is short, recorded at the first start, kept after."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saltus.errors import SaltusError
from saltus.model.native.library import NoCompilerError
from saltus.train import engine as module
from saltus.train.engine import (
    Engine,
    activation_bytes,
    decide,
    engine_file,
    record,
    recorded_or_decided,
)
from saltus.train.spec import TrainSpec

MakeSpec = Callable[..., TrainSpec]
CPU = torch.device("cpu")


@pytest.fixture(params=["native", "written"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a CPU job takes on a machine with a C compiler and on one without."""

    def library_file() -> Path:
        if request.param == "written":
            raise NoCompilerError("no C compiler")
        return Path("native.so")

    monkeypatch.setattr(module, "library_file", library_file)
    return str(request.param)


def test_a_small_size_goes_whole(
    make_spec: MakeSpec, kernels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec()
    assert decide(spec, CPU) == Engine(kernels, len(spec.replicas))
    said = capsys.readouterr().err
    assert ("no C compiler; training without compiled C" in said) == (kernels == "written")


def test_compiled_passes_are_for_single_precision_and_short_contexts(
    make_spec: MakeSpec, kernels: str
) -> None:
    spec = make_spec(precision="bf16")
    assert decide(spec, CPU).kernels == "written"
    shape = replace(make_spec().shape, context=module.NATIVE_CONTEXT + 1)
    spec = replace(make_spec(), shape=shape, batch_tokens=8 * shape.context)
    assert decide(spec, CPU).kernels == "written"


def test_less_memory_means_less_at_once_and_never_more(
    make_spec: MakeSpec, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    seen = []
    for memory in (1 << 34, 1 << 22, 3 << 19, 1 << 20, 1 << 19, 1 << 10):
        monkeypatch.setattr(module, "memory_limit_bytes", lambda memory=memory: memory)
        monkeypatch.setattr(module, "num_cores", lambda: 1)
        seen.append(decide(spec, CPU))
    needed = [activation_bytes(spec, engine) for engine in seen]
    assert needed == sorted(needed, reverse=True) and needed[0] > needed[-1]
    assert seen[0] == Engine(kernels, 2)
    assert seen[-1] == Engine(kernels, 1, spec.rows, checkpointing=True)


def test_the_way_down_ends() -> None:
    engine: Engine | None = Engine("compiled", 5)
    steps = 0
    while engine is not None:
        last, engine, steps = engine, engine.smaller(6), steps + 1
        assert steps < 20
    assert last == Engine("compiled", 1, 6, checkpointing=True)


def test_the_stream_bounds_how_many_replicas_go_together(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    one = 4 * spec.batch_tokens * spec.shape.width
    for stream, expected in ((one - 1, 1), (one, 1), (2 * one, 2), (9 * one, 2)):
        monkeypatch.setattr(module, "STREAM_BYTES", stream)
        assert decide(spec, CPU).replicas_at_once == expected


def test_a_job_keeps_the_engine_that_it_began_with(
    make_spec: MakeSpec, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    first = recorded_or_decided(tmp_path, spec, CPU)
    assert json.loads(engine_file(tmp_path).read_text())["kernels"] == kernels

    def gone() -> Path:
        raise NoCompilerError("no C compiler")

    with monkeypatch.context() as without:
        without.setattr(module, "library_file", gone)
        if kernels == "native":
            with pytest.raises(SaltusError, match="block 0: it began with native kernels"):
                recorded_or_decided(tmp_path, spec, CPU)
        else:
            assert recorded_or_decided(tmp_path, spec, CPU) == first
    given_way = first.smaller(spec.rows)
    assert given_way is not None and given_way != first
    record(tmp_path, given_way)
    assert recorded_or_decided(tmp_path, spec, CPU) == given_way
