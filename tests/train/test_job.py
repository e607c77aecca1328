"""Whole jobs: killed anywhere and resumed, horizons added, and outputs that are always the same.

Horizons of 8 and 20 steps with a quarter of each for the anneal: the trunk is left at steps 6 and
15, so a whole job takes 6 + 2 + 9 + 5 = 22 steps.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kills import KilledError, killed_after
from safetensors.torch import load_file

from saltus.errors import SaltusError, Stopped
from saltus.files import read_json, read_table
from saltus.train import job as job_module
from saltus.train import state as state_module
from saltus.train import stop as stop_module
from saltus.train import trainer as trainer_module
from saltus.train.checkpoint import load_checkpoint
from saltus.train.job import run_job
from saltus.train.schedule import Branch
from saltus.train.spec import TrainSpec
from saltus.train.state import locked
from saltus.train.stop import Stop

MakeSpec = Callable[..., TrainSpec]
TIMES = ("seconds", "peak_memory_bytes")
ALL_STEPS = 22


Train = Callable[..., Path]


@pytest.fixture
def train(shards: Path, tmp_path: Path) -> Train:
    """Return a function that runs a job, its states under a given name, and returns its outputs."""

    def run(spec: TrainSpec, name: str = "a", stop: Stop | None = None) -> Path:
        out = tmp_path / name / "out"
        states = tmp_path / name / "states"
        run_job(spec, shards, out, states, torch.device("cpu"), "code", stop)
        return out

    return run


@pytest.fixture(scope="module")
def whole(shards: Path, make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the outputs of a job with both horizons that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    device = torch.device("cpu")
    run_job(make_spec((8, 20)), shards, folder / "out", folder / "states", device, "code")
    return folder / "out"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of the steps taken from now on, in order."""
    taken: list[int] = []
    real = trainer_module.optimizer_step

    def counted(state: Any, gradient: Any, losses: Any, rates: Any, step: int, *rest: Any) -> None:
        taken.append(step)
        real(state, gradient, losses, rates, step, *rest)

    monkeypatch.setattr(trainer_module, "optimizer_step", counted)
    return taken


def without_times(status: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in status.items() if key not in TIMES}
    kept["runs"] = [
        {key: value for key, value in run.items() if key not in TIMES} for run in status["runs"]
    ]
    return kept


def assert_same_outputs(first: Path, second: Path) -> None:
    """Checkpoints byte for byte; curve and status but for the time they took; snapshots as well."""
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert any(name.endswith(".safetensors") for name in names)
    for name in names:
        if name.endswith(".safetensors"):
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
    ours, theirs = (read_table(folder / "curve.parquet") for folder in (first, second))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert without_times(read_json(first / "status.json")) == without_times(
        read_json(second / "status.json")
    )
    for path in first.parent.glob("states/*/*.safetensors"):
        (other,) = second.parent.glob(f"states/*/{path.name}")
        tensors, others = load_file(path), load_file(other)
        assert all(
            np.array_equal(tensors[name].numpy(), others[name].numpy(), equal_nan=name == "curve")
            for name in tensors
        )


def test_a_job_repeats_bit_for_bit(
    train: Train, whole: Path, make_spec: MakeSpec, steps: list[int]
) -> None:
    assert_same_outputs(whole, train(make_spec((8, 20))))
    assert steps == [*range(8), *range(6, 20)]


def test_a_finished_job_is_left_as_it_is(
    train: Train, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    spec = make_spec((8, 20))
    out = train(spec)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    monkeypatch.setattr(job_module, "peak_memory_bytes", lambda device: 7)
    train(spec)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()} == before
    assert len(steps) == ALL_STEPS

    # What is missing, or of another study, is written again, with what training took.
    (out / "seed1-h512.safetensors").unlink()
    train(spec)
    assert {path: path.read_bytes() for path in out.iterdir()} == {
        path: content for path, (content, _) in before.items()
    }
    train(dataclasses.replace(spec, study="another"))
    status = read_json(out / "status.json")
    assert status["spec"]["study"] == "another"
    assert status["peak_memory_bytes"] > 7 and len(steps) == ALL_STEPS


def test_outputs_of_two_jobs_never_pass_for_one(
    train: Train, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, other = make_spec(), make_spec(warmup_steps=5)
    out = train(spec)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def killed(*arguments: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(job_module, "write_table", killed)
        train(other)
    train(spec)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_peak_memory_is_the_largest_of_all_that_trained(
    train: Train, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec((8, 20))
    for peak in (500, 900, 700):
        monkeypatch.setattr(job_module, "peak_memory_bytes", lambda device, peak=peak: peak)
        with pytest.raises(Stopped):
            train(spec, stop=Stop(-math.inf))
    monkeypatch.setattr(job_module, "peak_memory_bytes", lambda device: 600)
    assert read_json(train(spec) / "status.json")["peak_memory_bytes"] == 900


def test_who_watches_hears_every_step_and_changes_none(
    shards: Path, whole: Path, make_spec: MakeSpec, tmp_path: Path
) -> None:
    heard: list[tuple[Any, ...]] = []

    class Watcher:
        def begin(self, step: int, branch: Branch) -> None:
            heard.append((step, branch.name))

        def step(self, step: int, branch: Branch, losses: torch.Tensor) -> None:
            assert losses.shape == (2,)
            heard.append((step,))

    def watch(spec: TrainSpec, device: torch.device, processes: int, done: list[int]) -> Watcher:
        heard.append((spec.size, device.type, processes, done))
        return Watcher()

    out, states = tmp_path / "watched" / "out", tmp_path / "watched" / "states"
    cpu = torch.device("cpu")
    run_job(make_spec((8, 20)), shards, out, states, cpu, "code", watch=watch)
    assert_same_outputs(whole, out)
    assert heard[0] == ("s1", "cpu", 1, [])
    assert heard[1:8] == [(0, "trunk"), *((step,) for step in range(1, 7))]
    assert len(heard) == 1 + 4 + ALL_STEPS
    heard.clear()
    run_job(make_spec((8, 20, 40)), shards, out, states, cpu, "code", watch=watch)
    assert heard[0] == ("s1", "cpu", 1, [512, 1280])


def test_a_finished_job_takes_no_step_and_writes_its_outputs_again(
    train: Train, make_spec: MakeSpec, steps: list[int]
) -> None:
    out = train(make_spec((8, 20)))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in out.iterdir():
        path.unlink()
    train(make_spec((8, 20)))
    assert len(steps) == ALL_STEPS
    for name in before:
        if name != "status.json":
            assert (out / name).read_bytes() == before[name]


def test_a_job_that_is_stopped_after_every_step_ends_the_same(
    train: Train, whole: Path, make_spec: MakeSpec, steps: list[int]
) -> None:
    spec = make_spec((8, 20))
    for _ in range(ALL_STEPS):
        with pytest.raises(Stopped):
            train(spec, "stopped", Stop(-math.inf))
    stopped = train(spec, "stopped", Stop(-math.inf))
    assert len(steps) == ALL_STEPS, "no step is taken twice"
    assert_same_outputs(whole, stopped)


def snapshots(monkeypatch: pytest.MonkeyPatch, often: bool) -> None:
    """Let there be a snapshot after every step, or none."""
    monkeypatch.setattr(stop_module, "LEAST_SECONDS", -1.0 if often else math.inf)
    monkeypatch.setattr(stop_module, "MOST_SECONDS", -1.0 if often else math.inf)


@pytest.mark.parametrize("often", [True, False], ids=["snapshots", "no snapshots"])
@pytest.mark.parametrize("kills", [(3,), (7,), (12,), (19,), (1, 5, 2, 9)], ids=str)
def test_a_job_killed_anywhere_ends_the_same(
    kills: tuple[int, ...],
    often: bool,
    train: Train,
    whole: Path,
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec((8, 20))
    snapshots(monkeypatch, often)
    for kill in kills:
        with killed_after(kill, monkeypatch):
            train(spec, "killed")
    assert_same_outputs(whole, train(spec, "killed"))


def test_a_job_of_muon_killed_and_resumed_ends_the_same(
    train: Train, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    adamw = make_spec((8, 20))
    spec = dataclasses.replace(adamw, optimizer=dataclasses.replace(adamw.optimizer, name="muon"))
    whole = train(spec, "whole muon")
    snapshots(monkeypatch, True)
    for kill in (3, 4, 5, 6):  # in the trunk, in an anneal, in the trunk again, in the last anneal
        with killed_after(kill, monkeypatch):
            train(spec, "killed muon")
    assert_same_outputs(whole, train(spec, "killed muon"))
    assert read_json(whole / "status.json")["spec"]["optimizer"]["name"] == "muon"


@pytest.mark.parametrize("writing", range(1, 11))
def test_a_job_killed_while_it_writes_ends_the_same(
    writing: int,
    train: Train,
    whole: Path,
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec((8, 20))
    written = 0

    def torn(real: Callable[..., None]) -> Callable[..., None]:
        def write(path: Path, *arguments: Any, **options: Any) -> None:
            nonlocal written
            written += 1
            if written == writing:
                # What SIGKILL leaves: a part of the file under its temporary name.
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.0123abcd.part").write_bytes(b"part")
                raise KilledError
            real(path, *arguments, **options)

        return write

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        for name in ("save_snapshot", "save_checkpoint", "write_table", "write_json"):
            patch.setattr(job_module, name, torn(getattr(job_module, name)))
        train(spec, "killed")
    out = train(spec, "killed")
    for path in out.glob(".*.part"):
        path.unlink()
    assert_same_outputs(whole, out)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((8,), (8, 20), [*range(6, 20)]),
        ((8,), (20,), [*range(6, 20)]),
        ((20,), (8, 20), [*range(8)]),
        ((8, 20), (8, 12, 20), [*range(6, 12)]),
        ((8, 20), (8, 20, 40), [*range(15, 40)]),
        ((8, 20), (20,), []),
    ],
    ids=str,
)
def test_horizons_come_and_go_without_repeating_the_trunk(
    before: tuple[int, ...],
    after: tuple[int, ...],
    expected: list[int],
    train: Train,
    make_spec: MakeSpec,
    steps: list[int],
    tmp_path: Path,
) -> None:
    out = train(make_spec(before), "grown")
    for path in out.iterdir():
        path.unlink()
    steps.clear()
    train(make_spec(after), "grown")
    assert steps == expected
    at_once = train(make_spec(after), "at once")
    for path in (tmp_path / "grown").glob("states/*/*.safetensors"):
        if not list((tmp_path / "at once").glob(f"states/*/{path.name}")):
            path.unlink()
    assert_same_outputs(out, at_once)


def test_curves_do_not_depend_on_the_order_of_horizons(
    train: Train, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in jobs longer than this: not every step is a point of the curve.
    monkeypatch.setattr("saltus.train.course.CURVE_POINTS", 4)
    out = train(make_spec((20,)), "grown")
    train(make_spec((8, 20)), "grown")
    at_once = train(make_spec((8, 20)), "at once")
    ours, theirs = (read_table(folder / "curve.parquet") for folder in (out, at_once))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize(("stop", "resumed"), [(4, [*range(4, 8)]), (10, [*range(8)])])
def test_a_stop_within_a_longer_trunk_serves_a_shorter_one_only_if_it_came_before(
    stop: int,
    resumed: list[int],
    train: Train,
    whole: Path,
    make_spec: MakeSpec,
    steps: list[int],
) -> None:
    # Stopped in a trunk to step 15; then a horizon is added that leaves it at 6.
    for _ in range(stop):
        with pytest.raises(Stopped):
            train(make_spec((20,)), "grown", Stop(-math.inf))
    assert_same_outputs(whole, train(make_spec((8, 20)), "grown"))
    assert steps == [*range(stop), *resumed, *range(max(stop, 6), 20)]


def test_another_study_with_the_same_job_trains_nothing(
    train: Train, make_spec: MakeSpec, steps: list[int]
) -> None:
    train(make_spec())
    taken = len(steps)
    train(make_spec(study="another"))
    assert len(steps) == taken
    train(make_spec(warmup_steps=4))
    assert len(steps) > taken


def test_a_replica_that_diverges_late_is_well_at_the_earlier_horizon(
    train: Train,
    whole: Path,
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = trainer_module.optimizer_step

    def bad_at_ten(
        state: Any, gradient: Any, losses: Any, rates: Any, step: int, *rest: Any
    ) -> None:
        losses = torch.where(torch.tensor([step == 10, False]), math.nan, losses)
        real(state, gradient, losses, rates, step, *rest)

    monkeypatch.setattr(trainer_module, "optimizer_step", bad_at_ten)
    out = train(make_spec((8, 20)), "diverged")
    found = {run["run"]: run["status"] for run in read_json(out / "status.json")["runs"]}
    assert found == {
        "s1-seed0-h512": "ok",
        "s1-seed1-h512": "ok",
        "s1-seed0-h1280": "diverged",
        "s1-seed1-h1280": "ok",
    }
    assert "s1 seed0: diverged and frozen" in capsys.readouterr().err
    for name in ("seed0-h512", "seed1-h512", "seed1-h1280"):
        same = (whole / f"{name}.safetensors").read_bytes()
        assert (out / f"{name}.safetensors").read_bytes() == same
    curve = read_table(out / "curve.parquet")
    trunk = curve[(curve["branch"] == "trunk") & (curve["replica"] == 0)]
    assert trunk.set_index("step")["alive"].to_dict() == {n: n <= 10 for n in range(1, 16)}


def test_a_rate_beyond_reason_is_reported_not_raised(train: Train, make_spec: MakeSpec) -> None:
    replicas = make_spec().replicas
    wild = dataclasses.replace(replicas[1], rate=1e30)
    out = train(make_spec(replicas=(replicas[0], wild)), "wild")
    tame = train(make_spec(replicas=replicas), "tame")
    status = read_json(out / "status.json")
    assert [run["status"] for run in status["runs"]] == ["ok", "diverged"]
    name = "seed0-h768.safetensors"
    assert (out / name).read_bytes() == (tame / name).read_bytes()


def test_outputs_say_what_was_trained(train: Train, make_spec: MakeSpec) -> None:
    spec = make_spec((8, 20))
    out = train(spec)
    status = read_json(out / "status.json")
    assert TrainSpec.from_json(json.dumps(status["spec"])) == spec
    assert status["code"] == "code" and status["device"] == "cpu"
    assert [run["horizon"] for run in status["runs"]] == [512, 512, 1280, 1280]
    for run in status["runs"]:
        assert run["tokens_text"] + run["tokens_arithmetic"] == run["horizon"]
        assert run["tokens_text"] == pytest.approx(run["horizon"] / 2, abs=3 * 16)
        assert run["tokens_unique"] == run["tokens_text"]
        assert 0 < run["epochs"] < 1
        assert run["seconds"] > 0
        row, shape = load_checkpoint(out / run["checkpoint"])
        assert shape == spec.shape and torch.isfinite(row).all()

    curve = read_table(out / "curve.parquet")
    keys = ["replica", "branch", "step"]
    assert not curve.duplicated(keys).any()
    for replica in (0, 1):
        own = curve[curve["replica"] == replica]
        trunk, anneal = own[own["branch"] == "trunk"], own[own["branch"] == "anneal"]
        assert trunk["step"].tolist() == [*range(1, 16)] and trunk["horizon"].isna().all()
        assert anneal["step"].tolist() == [7, 8, *range(16, 21)]
        assert anneal["horizon"].tolist() == [512] * 2 + [1280] * 5
        rate = spec.replicas[replica].rate
        assert trunk["learning_rate"].tolist()[:4] == pytest.approx(
            [rate / 3, rate * 2 / 3, rate, rate]
        )
        assert (anneal["learning_rate"] < rate).all()
    assert (curve["tokens"] == curve["step"] * 64).all()
    assert np.isfinite(curve["loss"]).all()


def test_a_second_job_on_one_state_is_refused(
    train: Train, make_spec: MakeSpec, tmp_path: Path, steps: list[int]
) -> None:
    spec = make_spec()
    train(spec)
    (state,) = (tmp_path / "a" / "states").iterdir()
    taken = len(steps)
    with locked(state, spec), pytest.raises(SaltusError, match="is training this already"):
        train(spec)
    assert len(steps) == taken


def test_a_state_keeps_what_later_horizons_need_and_no_more(
    train: Train, make_spec: MakeSpec, tmp_path: Path
) -> None:
    train(make_spec((8, 20)))
    (state,) = (tmp_path / "a" / "states").iterdir()
    assert sorted(path.name for path in state.iterdir()) == [
        "anneal-1280.safetensors",
        "anneal-512.safetensors",
        "at-15.safetensors",
        "at-6.safetensors",
        "engine.json",
        "lock",
        "spec.json",
        "trained.json",
    ]
    assert state_module.trunk_steps(state) == [6, 15]
