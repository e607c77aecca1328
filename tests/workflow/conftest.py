"""The smoke study, run once by Snakemake in a copy of the repository; tests copy the result."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from workspace import SMOKE, Workspace, copy_of_repository


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy of the repository in which nothing may be run to the end."""
    return copy_of_repository(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy of the repository in which the smoke study was run; tests do not write here."""
    workspace = copy_of_repository(tmp_path_factory.mktemp("finished"))
    workspace.snakemake("--cores", "2", *SMOKE)
    return workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    """Return a copy of the finished folder, times included, that a test may change."""
    folder = tmp_path / "workspace"
    shutil.copytree(finished.folder, folder)
    return Workspace(folder)
