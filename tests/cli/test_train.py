"""`saltus train` of a size on two processes: stopped by the time limit, and going on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from saltus.cli.main import main


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
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "saltus"]
    done = run(prepared, *torchrun, "train", "--size", "s2", "--time-limit", "0")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("time is up; saved, call again to go on") == 1
    assert "Traceback" not in done.stderr
    (saved,) = (prepared / "results" / ".state").glob("*/trunk.safetensors")
    assert saved.stat().st_size > 0
    assert not (prepared / "results" / "tiny" / "train").exists()
