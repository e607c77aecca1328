"""Without Snakemake: the same shards, the same checkpoints, and training that stops and goes on."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from workspace import Workspace

from saltus.cli.main import main
from saltus.train.stop import TIME_IS_UP

pytestmark = pytest.mark.workflow


@pytest.fixture
def folder(finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with the studies, the smoke study's shards and tokenizer."""
    shutil.copytree(finished.folder / "studies", tmp_path / "studies")
    for name in ("shards", "tokenizer"):
        shutil.copytree(finished.results / name, tmp_path / "results" / "smoke" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checkpoints(folder: Path, size: str) -> dict[str, bytes]:
    return Workspace(folder).checkpoints(size)


def test_prepare_makes_the_shards_of_the_workflow(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder / "studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "smoke"]) == 0
    for name in ("shards", "tokenizer", "corpus"):
        ours, theirs = (
            {p.relative_to(base): p.read_bytes() for p in base.rglob("*") if p.is_file()}
            for base in (tmp_path / "results" / "smoke" / name, finished.results / name)
        )
        assert ours == theirs, name


def test_training_stops_with_3_and_goes_on_to_the_same_checkpoints(
    finished: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "smoke", "--size", "s1"]
    results = folder / "results" / "smoke" / "train" / "s1" / "block0"
    codes = []
    for limit in ("0", "0", "0.4", "0.4", "0.4"):
        codes.append(main([*command, "--time-limit", limit]))
        if codes[-1] == TIME_IS_UP:
            assert "time is up; saved" in capsys.readouterr().err
            assert not results.exists()
    assert codes[:2] == [TIME_IS_UP, TIME_IS_UP] == [3, 3]
    assert main(command) == 0
    assert checkpoints(folder, "s1") == finished.checkpoints("s1")
    ours, theirs = (
        pd.read_parquet(base / "curve.parquet")
        for base in (results, finished.results / "train" / "s1" / "block0")
    )
    pd.testing.assert_frame_equal(ours, theirs)


def test_horizons_there_from_the_start_equal_those_added_later(
    finished: Workspace, folder: Path
) -> None:
    path = folder / "studies" / "smoke.yaml"
    text = path.read_text()
    new = "horizons: [8192, 16384, 65536, 131072]"
    path.write_text(text.replace("horizons: [16384, 65536]", new))
    assert main(["train", "smoke", "--size", "s2"]) == 0
    found = checkpoints(folder, "s2")
    for name, content in finished.checkpoints("s2").items():
        assert found[name] == content
    assert len(found) == 8


def test_probing_and_training_again_do_nothing_twice(
    finished: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(
        finished.results / "train" / "s1", folder / "results" / "smoke" / "train" / "s1"
    )
    assert main(["probe", "smoke"]) == 0
    assert capsys.readouterr().out.split() == ["results/smoke/probe/s1/block0"]
    ours, theirs = (
        base / "probe" / "s1" / "block0"
        for base in (folder / "results" / "smoke", finished.results)
    )
    for name in ("items", "tokens", "losses"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(ours / f"{name}.parquet"), pd.read_parquet(theirs / f"{name}.parquet")
        )
    before = (ours / "items.parquet").stat().st_mtime_ns
    assert main(["probe", "smoke"]) == 0
    assert (ours / "items.parquet").stat().st_mtime_ns == before


def test_plan_uses_what_was_measured(
    finished: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished.folder)
    assert main(["plan", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "~ estimated" not in said and "total 0.6M tokens" in said
    assert "4 of these 4 jobs were trained" in said


def test_publish_a_finished_study(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.folder)
    assert main(["publish", "smoke"]) == 0
    reference = workspace.folder / "results" / "reference" / "smoke"
    sizes = {path.name: path.stat().st_size for path in reference.rglob("*") if path.is_file()}
    assert {"runs.parquet", "thresholds.parquet", "law-fit.svg", "laws.json"} <= set(sizes)
    assert not {"items.parquet", "tokens.parquet"} & set(sizes)
    assert max(size for name, size in sizes.items() if name.endswith(".parquet")) <= 3_000_000
    assert not list(reference.rglob("*.safetensors"))


def test_two_processes_train_what_one_does(workspace: Workspace) -> None:
    one, two = (workspace.folder / "studies" / f"{name}.yaml" for name in ("one", "two"))
    text = (workspace.folder / "studies" / "smoke.yaml").read_text()
    sizes = "    s1: {width: 8, depth: 2, heads: 1PROCESSES}\n"
    head, rest = text.split("family:")[0], "training:" + text.split("training:")[1]
    for path, processes in ((one, ""), (two, ", processes: 2")):
        family = "family:\n  context: 32\n  blocks: [[0]]\n  sizes:\n" + sizes
        family = family.replace("PROCESSES", processes) + "\n"
        path.write_text((head + family + rest).replace("name: smoke", f"name: {path.stem}"))
    ended = {}
    for name in ("one", "two"):
        target = f"results/{name}/train/s1/block0"
        workspace.snakemake("--cores", "2", "--config", f"study={name}", "--", target)
        shutil.rmtree(workspace.folder / "results" / ".state")
        files = sorted((workspace.folder / target).glob("*.safetensors"))
        ended[name] = {file.name: load_file(file) for file in files}
    assert ended["one"].keys() == ended["two"].keys() and ended["one"]
    same = 0
    for name, tensors in ended["one"].items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(ended["two"][name][key], tensor, rtol=1e-2, atol=1e-3)
            same += int(torch.equal(ended["two"][name][key], tensor))
    assert same < sum(map(len, ended["one"].values())), "two processes add in another order"
