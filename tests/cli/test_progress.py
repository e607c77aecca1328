"""The live line: when it comes, what its numbers are; nothing is read before a line is due."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saltus.cli.progress import Progress, duration, matrix_peak
from saltus.errors import SaltusError
from saltus.model.count import flops_per_token
from saltus.train.schedule import Branch, rate_factor
from saltus.train.spec import TrainSpec

MakeSpec = Callable[..., TrainSpec]
CPU = torch.device("cpu")
PEAK = 1e9


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A progress on a fake clock, driven over branches at a number of seconds a step."""

    def __init__(self, spec: TrainSpec, **options: Any) -> None:
        self.clock, self.stream, self.reads = Clock(), io.StringIO(), 0
        self.progress = Progress(spec, CPU, PEAK, stream=self.stream, clock=self.clock, **options)

    def losses(self) -> Tensor:
        self.reads += 1
        return torch.tensor([2.0, 3.0])

    def go(self, branch: Branch, start: int, seconds: float, end: int | None = None) -> None:
        self.progress.begin(start, branch)
        for step in range(start, branch.end if end is None else end):
            self.clock.now += seconds
            self.progress.step(step + 1, branch, self.losses)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def spec(make_spec: MakeSpec) -> TrainSpec:
    """Return a job of horizons 40 and 80 steps: anneals from 30 and from 60."""
    return make_spec((40, 80))


TRUNK, FIRST, SECOND = Branch(None, 0, 30), Branch(40 * 64, 30, 40), Branch(80 * 64, 60, 80)


def test_a_line_every_ten_seconds_and_at_the_end(spec: TrainSpec) -> None:
    run = Run(spec)
    run.go(TRUNK, 0, 4.0)
    steps = [int(re.findall(r": ([\d,]+) tokens", line)[0].replace(",", "")) for line in run.lines]
    assert [each // 64 for each in steps] == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]


def test_a_short_branch_has_one_line_and_one_read(spec: TrainSpec) -> None:
    run = Run(spec)
    run.go(TRUNK, 0, 0.01)
    assert len(run.lines) == run.reads == 1
    run.go(FIRST, 30, 0.01)
    assert len(run.lines) == run.reads == 2
    assert run.lines[1].startswith("s1 block 0 anneal-2560: 2,560 tokens, loss 2.500, ")


def test_rate_is_of_the_last_interval_and_of_all_replicas(spec: TrainSpec) -> None:
    run = Run(spec)
    run.go(TRUNK, 0, 4.0, end=3)
    run.progress.begin(3, TRUNK)
    for step in range(3, 24):
        run.clock.now += 0.5
        run.progress.step(step + 1, TRUNK, run.losses)
    rates = [re.findall(r"([\d,]+) tokens/s", line)[0] for line in run.lines]
    assert rates == ["32", "256"]


def test_share_of_the_peak(spec: TrainSpec) -> None:
    run = Run(spec)
    run.go(TRUNK, 0, 0.01)
    rate = 64 * 2 / 0.01
    share = rate * flops_per_token(spec.shape) / PEAK
    assert 0.1 < share < 1 and f", {share:.0%} of peak, " in run.lines[0]


def test_time_left_of_branch_and_job(spec: TrainSpec) -> None:
    run = Run(spec)
    run.go(TRUNK, 0, 10.0, end=1)
    # Trunk to 60 and anneals of 10 and 20 steps: 90 in all, 30 on this stretch of the trunk.
    assert run.lines[-1].endswith("4 min 50 s left on this branch, 14 min 50 s in all")
    run.go(FIRST, 30, 10.0, end=31)
    assert run.lines[-1].endswith("1 min 30 s left on this branch, 9 min 50 s in all")
    run.go(SECOND, 60, 10.0)
    assert run.lines[-1].endswith("0 s left on this branch, 0 s in all")


def test_steps_left_count_down_by_one_over_the_whole_job(make_spec: MakeSpec) -> None:
    spec = make_spec((8, 40, 80, 400))
    progress = Progress(spec, CPU, PEAK, stream=io.StringIO())
    left, at = [], 0
    for horizon in spec.horizons:
        start, end = spec.anneal_start(horizon), spec.steps(horizon)
        for branch in (Branch(None, 0, start), Branch(horizon, start, end)):
            begin = at if branch.horizon is None else start
            progress.begin(begin, branch)
            for step in range(begin, branch.end):
                progress._reached(step + 1, branch)
                left.append(progress.steps_left(step + 1, branch))
        at = start
    assert left == list(range(len(left) - 1, -1, -1))


def test_finished_horizons_are_not_to_do(spec: TrainSpec) -> None:
    progress = Progress(spec, CPU, PEAK, stream=io.StringIO(), finished=[80 * 64])
    progress.begin(0, TRUNK)
    assert progress.steps_left(0, TRUNK) == 30 + 10


def test_continued_only_when_this_process_was_not_there(spec: TrainSpec) -> None:
    run = Run(spec)
    run.go(TRUNK, 12, 0.01)
    run.go(FIRST, 30, 0.01)
    run.go(Branch(None, 0, 60), 30, 0.01)
    run.go(SECOND, 65, 0.01)
    told = [line for line in run.lines if "continued" in line]
    assert told == [
        "s1 block 0 trunk: continued from step 12 (768 tokens)",
        "s1 block 0 anneal-5120: continued from step 65 (4,160 tokens)",
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([2.0, 4.0], "loss 3.000,"),
        ([2.0, float("nan")], "loss 2.000 (1 of 2 replicas),"),
        ([float("inf"), float("nan")], "no finite loss,"),
    ],
)
def test_a_diverged_replica_does_not_hide_the_others(
    spec: TrainSpec, values: list[float], said: str
) -> None:
    run = Run(spec)
    run.progress.begin(29, TRUNK)
    run.clock.now += 1
    run.progress.step(30, TRUNK, torch.tensor(values))
    assert said in run.lines[-1]


def test_a_plain_mean_will_do(spec: TrainSpec) -> None:
    run = Run(spec)
    run.progress.begin(0, TRUNK)
    run.clock.now += 1
    run.progress.step(30, TRUNK, lambda: 1.25)
    assert "loss 1.250," in run.lines[-1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_peak_is_that_of_a_matrix_product(precision: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert 1e8 < matrix_peak(CPU, precision) < 1e14
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_missing_package_names_the_extra(
    spec: TrainSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SaltusError, match=r"pip install saltus\[tensorboard\]") as caught:
        Run(spec, tensorboard=tmp_path)
    assert "\n" not in str(caught.value)


def test_scalars_of_every_replica(
    spec: TrainSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: dict[tuple[str, str], list[tuple[int, float]]] = {}

    class Writer:
        def __init__(self, folder: str) -> None:
            self.folder = Path(folder).relative_to(tmp_path).as_posix()

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written.setdefault((self.folder, tag), []).append((step, value))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            written[self.folder, "closed"] = []

    monkeypatch.setattr("saltus.cli.progress._summary_writer", lambda: Writer)
    run = Run(spec, tensorboard=tmp_path)
    run.go(TRUNK, 0, 5.0)
    run.go(FIRST, 30, 0.01)
    run.progress.close()
    trunk, anneal = "s1/block0/trunk", "s1/block0/anneal-2560"
    assert {folder for folder, _ in written} == {trunk, anneal}
    assert written[trunk, "loss/seed1"] == [(step * 64, 3.0) for step in range(2, 31, 2)]
    factor = rate_factor(39, FIRST, spec.warmup_steps)
    ((tokens, rate),) = written[anneal, "learning_rate/seed1"]
    assert tokens == 40 * 64 and rate == pytest.approx(0.02 * factor)
    assert written[trunk, "tokens_per_second"][0] == (128, pytest.approx(64 * 2 / 5))
    assert (trunk, "closed") in written and (anneal, "closed") in written


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7620, "2 h 7 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
