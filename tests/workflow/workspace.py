"""A copy of the repository in which tests run Snakemake and the command line.

The package is copied along and put first on the path, so that a test may edit a module, and so that
an edit of the repository during the tests changes nothing.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import saltus

ROOT = Path(__file__).parents[2]
SMOKE = ("--config", "study=smoke")
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Workspace:
    """A folder with everything that `snakemake` and `saltus` read."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of a process that runs in here, with this interpreter's commands."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "src"),
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; standard error is part of the output."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake, which must succeed, and return its output."""
        done = self.run("snakemake", *arguments)
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a run would do, from a dry run's own table."""
        output = self.snakemake("--dry-run", *arguments)
        return jobs_of(output)

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace the one occurrence of a text in a file of the folder."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name}: {old!r} stands {text.count(old)} times"
        path.write_text(text.replace(old, new))

    @property
    def results(self) -> Path:
        """Return the results of the smoke study."""
        return self.folder / "results" / "smoke"

    def states(self) -> dict[str, Path]:
        """Return the state folder of each size, found by the specs in them."""
        return {
            json.loads(path.read_text())["size"]: path.parent
            for path in (self.folder / "results" / ".state").glob("*/spec.json")
        }

    def checkpoints(self, size: str) -> dict[str, bytes]:
        """Return the content of a size's checkpoints by name."""
        folder = self.results / "train" / size / "block0"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def jobs_of(output: str) -> dict[str, int]:
    """Return the numbers in Snakemake's table of jobs; {} when nothing is to be done."""
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def copy_of_repository(folder: Path) -> Workspace:
    """Return a folder with the workflow, the studies and the package."""
    for name in ("Snakefile", "config.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    for name in ("workflow", "profiles", "studies"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(
        Path(saltus.__file__).parent,
        folder / "src" / "saltus",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return Workspace(folder)
