"""What an edit reruns: only what it changes. What a kill loses: nothing."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from workspace import SMOKE, Workspace, jobs_of

pytestmark = pytest.mark.workflow

STUDY = "studies/smoke.yaml"
FOLLOWING = ("tables", "laws", "thresholds", "calibration", "figures", "report_html", "all")
AFTER_PROBING = dict.fromkeys(FOLLOWING, 1)
LAST_SIZE = "    s4: {width: 24, depth: 2, heads: 2}\n"
HORIZONS = "horizons: [16384, 65536]"


def modified(folder: Path) -> dict[str, int]:
    """Return the times of modification of the snapshots in a state folder."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


def test_a_new_size_runs_that_size_and_what_follows(workspace: Workspace) -> None:
    new = "    s5: {width: 32, depth: 2, heads: 2}\n"
    workspace.replace(STUDY, LAST_SIZE, LAST_SIZE + new)
    changed = {"train_s5": 1, "probe": 1, "prediction": 1}
    assert workspace.planned(*SMOKE) == {**changed, **AFTER_PROBING}


def test_a_new_block_of_one_size_runs_that_block_and_what_follows(workspace: Workspace) -> None:
    """The prediction stays: the block is of the largest size, which it has not read."""
    new = LAST_SIZE.replace("heads: 2}", "heads: 2, blocks: [[0, 1], [2]]}")
    workspace.replace(STUDY, LAST_SIZE, new)
    assert workspace.planned(*SMOKE) == {"train_s4": 1, "probe": 1, **AFTER_PROBING}


def test_a_caption_and_a_figure_retrain_nothing(workspace: Workspace) -> None:
    with (workspace.folder / "workflow" / "report" / "law-fit.rst").open("a") as stream:
        stream.write("\nAnother sentence.\n")
    with (workspace.folder / "src" / "saltus" / "figure" / "law_fit.py").open("a") as stream:
        stream.write("\nANOTHER_COLOUR = 'red'\n")
    with (workspace.folder / "src" / "saltus" / "train" / "job.py").open("a") as stream:
        stream.write("\n# a comment is not code\n")
    assert workspace.planned(*SMOKE) == {"figures": 1, "report_html": 1, "all": 1}


def test_code_of_the_laws_trains_and_probes_nothing(workspace: Workspace) -> None:
    with (workspace.folder / "src" / "saltus" / "law" / "choice.py").open("a") as stream:
        stream.write("\nANOTHER = 1\n")
    assert workspace.planned(*SMOKE) == {"prediction": 1, **AFTER_PROBING}


def test_the_prediction_reads_nothing_of_the_largest_size_and_tables_wait_for_it(
    fresh: Workspace,
) -> None:
    output = fresh.snakemake("--dry-run", "--forceall", *SMOKE)
    blocks = re.split(r"^(?:local)?rule ", output, flags=re.M)[1:]
    inputs = {
        block.split(":", 1)[0]: re.findall(r"^ +input: (.*)$", block, re.M)[0].split(", ")
        for block in blocks
        if "input: " in block
    }
    sizes = {re.sub(r".*/(s\d)/.*", r"\1", name) for name in inputs["prediction"]}
    assert sizes == {"s1", "s2", "s3"}
    assert len(inputs["prediction"]) == 3 * (1 + 2)
    assert "results/smoke/prediction.json" in inputs["tables"]
    assert "results/smoke/prediction.json" in inputs["laws"]
    command = re.findall(r"saltus stage prediction .*", fresh.snakemake(
        "--dry-run", "--forceall", "--printshellcmds", *SMOKE))  # fmt: skip
    assert len(command) == 1 and "/s3/" in command[0] and "/s4/" not in command[0]


def test_other_code_and_other_words_rerun_their_readers_alone(workspace: Workspace) -> None:
    with (workspace.folder / "src" / "saltus" / "emerge" / "threshold.py").open("a") as stream:
        stream.write("\nANOTHER = 1\n")
    workspace.replace(STUDY, "description: Four", "description: Some")
    planned = workspace.planned(*SMOKE)
    assert not [rule for rule in planned if rule.startswith(("train", "probe", "corpus"))]
    assert {"tables", "thresholds", "figures"} <= set(planned)


def test_a_new_horizon_continues_the_trunk(workspace: Workspace) -> None:
    state = workspace.states()["s2"]
    before, old = modified(state), workspace.checkpoints("s2")
    assert {"at-24.safetensors", "at-96.safetensors"} <= set(before)
    workspace.replace(STUDY, HORIZONS, "horizons: [8192, 16384, 65536, 131072]")

    output = workspace.snakemake("results/smoke/train/s2/block0", "--cores", "1", *SMOKE)
    assert jobs_of(output) == {"train_s2": 1}
    assert workspace.states()["s2"] == state
    after, new = modified(state), workspace.checkpoints("s2")
    assert {name: after[name] for name in before} == before, "nothing was computed again"
    added = {"at-12", "at-192", "anneal-8192", "anneal-131072"}
    assert set(after) - set(before) == {f"{name}.safetensors" for name in added}
    assert {name: new[name] for name in old} == old
    assert set(new) - set(old) == {
        f"seed{s}-h{h}.safetensors" for s in (0, 1) for h in (8192, 131072)
    }


def test_a_horizon_less_trains_nothing_anew(workspace: Workspace) -> None:
    state = workspace.states()["s1"]
    before, old = modified(state), workspace.checkpoints("s1")
    shutil.rmtree(workspace.results / "train" / "s1")
    workspace.replace(STUDY, HORIZONS, "horizons: [16384]")
    done = workspace.run("saltus", "train", "smoke", "--size", "s1")
    assert done.returncode == 0, done.stdout
    assert modified(state) == before
    assert workspace.checkpoints("s1") == {
        name: content for name, content in old.items() if name.endswith("-h16384.safetensors")
    }


def test_killed_in_the_middle_it_goes_on_to_the_same_results(
    workspace: Workspace, finished: Workspace
) -> None:
    """SIGKILL to Snakemake and its job once a trunk snapshot is there; then the same command."""
    states = workspace.folder / "results" / ".state"
    shutil.rmtree(states)
    shutil.rmtree(workspace.results / "train" / "s4")
    command = ["snakemake", "results/smoke/train/s4/block0", "--cores", "1", *SMOKE]
    process = subprocess.Popen(
        command,
        cwd=workspace.folder,
        env=workspace.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (found := list(states.glob("*/at-*.safetensors"))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not workspace.checkpoints("s4")
    before = {path: path.stat().st_mtime_ns for path in found}

    output = workspace.snakemake(*command[1:])
    assert jobs_of(output) == {"train_s4": 1}
    assert {path: path.stat().st_mtime_ns for path in found} == before, "it began anew"
    assert workspace.checkpoints("s4") == finished.checkpoints("s4")
    assert set(modified(workspace.states()["s4"])) == set(modified(finished.states()["s4"]))


def test_default_study_is_eight_jobs_and_no_rule_touches_the_reference(fresh: Workspace) -> None:
    output = fresh.snakemake("--dry-run", "--forceall")
    planned = jobs_of(output)
    training = {rule: count for rule, count in planned.items() if rule.startswith("train_")}
    assert training == {f"train_s{number}": 1 for number in range(1, 9)}
    assert planned["probe"] == 8
    named = re.findall(r"^ +(?:input|output|log|benchmark): (.*)$", output, re.M)
    assert len(named) > 60
    assert not [line for line in named if "reference" in line]
    assert not [word for line in named for word in line.split(", ") if "results/.state" in word]
