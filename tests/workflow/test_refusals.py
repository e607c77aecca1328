"""`snakemake` on a wrong study: one line, exit code 2, nothing begun."""

from pathlib import Path

import pytest
from workspace import SMOKE, Workspace, copy_of_repository

pytestmark = pytest.mark.workflow

STUDY = "studies/smoke.yaml"


def refused(workspace: Workspace, *arguments: str) -> str:
    """Return the line that a real run (not a dry one) says before it exits with 2."""
    done = workspace.run("snakemake", "--cores", "1", *arguments)
    assert done.returncode == 2, done.stdout[-2000:]
    assert "Traceback" not in done.stdout and "job" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Using workflow")]
    assert len(lines) == 1 and lines[0].startswith("saltus: "), lines
    assert not (workspace.folder / "results").exists()
    return lines[0].removeprefix("saltus: ")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a copy of the repository in which nothing has been run."""
    return copy_of_repository(tmp_path)


def test_misspelt_key(workspace: Workspace) -> None:
    workspace.replace(STUDY, "  anneal: 0.25", "  aneal: 0.25")
    line = refused(workspace, *SMOKE)
    assert line.startswith("training.aneal: unknown key (did you mean 'anneal'?); expected one of")


def test_impossible_heads(workspace: Workspace) -> None:
    workspace.replace(STUDY, "{width: 24, depth: 2, heads: 2}", "{width: 24, depth: 2, heads: 5}")
    line = refused(workspace, *SMOKE)
    assert line.startswith("family.sizes.s4.heads: 5 does not divide width 24 (try ")


def test_missing_local_corpus(workspace: Workspace) -> None:
    old = "{kind: synthetic, documents: 1500, document_words: 96, vocabulary_words: 128}"
    workspace.replace(STUDY, old, "{kind: local, path: my/speeches.txt}")
    line = refused(workspace, *SMOKE)
    assert line.startswith("text.domains.markov.corpus.path: ") and "my/speeches.txt" in line


def test_misspelt_study(workspace: Workspace) -> None:
    line = refused(workspace, "--config", "study=smokee")
    assert line.startswith("study: found 'smokee'") and "did you mean 'smoke'?" in line


@pytest.mark.parametrize("option", ["stdy=smoke", "sudy=smoke"])
def test_misspelt_option(option: str, workspace: Workspace) -> None:
    line = refused(workspace, "--config", option)
    word = option.partition("=")[0]
    assert line.startswith(f"{word}: unknown key (did you mean 'study'?)")
