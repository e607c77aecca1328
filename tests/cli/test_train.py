"""`saltus train`, stopped by the time limit, on two processes, or by a signal, and going on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from saltus.cli.main import main
from saltus.train.state import snapshot_step

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.fixture
def prepared(folder: Path) -> Path:
    """Return the working directory of the tiny study, one seed a block, its shards made."""
    path = folder / "config.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["family"]["blocks"] = [[0]]
    raw["family"]["sizes"]["s2"]["processes"] = 2
    path.write_text(yaml.safe_dump(raw))
    assert main(["prepare"]) == 0
    return folder


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_under_torchrun_the_time_limit_is_no_failure(prepared: Path) -> None:
    done = run(prepared, *TORCHRUN, "saltus", "train", "--size", "s2", "--time-limit", "0")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("time is up; saved, call again to go on") == 1
    assert "Traceback" not in done.stderr
    (saved,) = (prepared / "results" / ".state").glob("*/trunk.safetensors")
    assert saved.stat().st_size > 0
    assert not (prepared / "results" / "tiny" / "train").exists()


def begin(folder: Path, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in backgrounds
    )


def lengthen(folder: Path, processes: int) -> None:
    """Let the second size train for minutes, on so many processes."""
    path = folder / "config.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["family"]["sizes"]["s2"]["processes"] = processes
    raw["training"]["horizons"] = [1 << 22]
    path.write_text(yaml.safe_dump(raw))


def step_of_first_snapshot(states: Path, process: "subprocess.Popen[str]") -> int:
    """Wait for a job's first snapshot; return its step."""
    deadline = time.monotonic() + 90
    while not (found := list(states.glob("*/trunk.safetensors"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return snapshot_step(found[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_saves_what_was_done_and_the_next_call_goes_on(
    number: signal.Signals, prepared: Path
) -> None:
    lengthen(prepared, processes=1)
    states = prepared / "results" / ".state"
    process = begin(prepared, "saltus", "train", "--size", "s2")
    first = step_of_first_snapshot(states, process)
    time.sleep(0.5)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert told.endswith(f"saltus train: stopped by {number.name}; saved, call again to go on\n")
    assert "Traceback" not in told
    (saved,) = states.glob("*/trunk.safetensors")
    before = snapshot_step(saved)
    assert before > first
    assert main(["train", "--size", "s2", "--time-limit", "0"]) == 3
    assert snapshot_step(saved) == before + 1


def test_all_processes_leave_when_one_is_stopped(prepared: Path) -> None:
    lengthen(prepared, processes=2)
    states = prepared / "results" / ".state"
    process = begin(prepared, *TORCHRUN, "saltus", "train", "--size", "s2")
    first = step_of_first_snapshot(states, process)
    time.sleep(0.5)
    os.kill(process_of_rank(1, process.pid), signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in told
    assert told.count("another process was stopped; saved, call again to go on") == 1
    (saved,) = states.glob("*/trunk.safetensors")
    assert snapshot_step(saved) > first


def process_of_rank(rank: int, parent: int) -> int:
    """Return the process that a launcher started as this rank (Linux alone tells)."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            status, environ = path.with_name("status").read_text(), path.read_bytes()
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and f"RANK={rank}".encode() in environ.split(b"\0"):
            return int(path.parent.name)
    pytest.skip("there is no /proc")
