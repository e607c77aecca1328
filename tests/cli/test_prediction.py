"""The stage `prediction`: written from the smaller sizes alone, then held to the largest."""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from saltus.cli import analyse, stages
from saltus.cli.options import add_study
from saltus.errors import TableError
from saltus.files import sha256_of
from saltus.law.forms import Chinchilla, Kaplan
from saltus.model.count import count_parameters
from saltus.study import load_study
from saltus.train.engine import Engine
from saltus.workflow import Jobs

HORIZONS = [512, 1024, 2048, 4096, 8192]
LAW = {"N_c": 1e12, "D_c": 3e7, "alpha_N": 0.08, "alpha_D": 0.16}


def write_job(jobs: Jobs, root: Path, size: str, block: int, noise: np.random.Generator) -> None:
    """Write what training and probing of one job leave, its losses drawn from a law."""
    spec = jobs.study.train_spec(size, block)
    runs = [
        {
            "run": f"{size}-{replica.name}-h{horizon}",
            "replica": row,
            "name": replica.name,
            "horizon": horizon,
            "status": "ok",
            "seconds": 1.0,
            "tokens_text": horizon // 2,
            "tokens_arithmetic": horizon // 2,
            "tokens_unique": horizon // 2,
            "epochs": 1.0,
        }
        for row, replica in enumerate(spec.replicas)
        for horizon in HORIZONS
    ]
    status = {
        "spec": json.loads(spec.to_json()), "state": "key", "code": "0123", "torch": "2",
        "device": "cpu", "peak_memory_bytes": 1, "seconds": 1.0, "runs": runs,
        "engine": dataclasses.asdict(Engine("written", 2)) | {"processes": 1, "sharding": "none"},
    }  # fmt: skip
    n = np.full(len(runs), float(count_parameters(spec.shape).total))
    d = np.array([run["horizon"] for run in runs], dtype=float)
    loss = Kaplan().predict(LAW, {"N": n, "D": d}) * np.exp(noise.normal(0, 0.004, len(runs)))
    names = [run["run"] for run in runs]
    losses = pd.DataFrame(
        {"run": names, "domain": "markov", "tokens": 100, "bytes": 300, "loss": loss,
         "bits_per_byte": loss / 2}
    )  # fmt: skip
    losses = pd.concat([losses.assign(split=split) for split in ("test", "validation")])
    items = pd.DataFrame(
        {"run": names, "target_nll": 1.0, "target_tokens": 2, "in_distribution": True}
    )
    trained, probed = (root / kind / size / f"block{block}" for kind in ("train", "probe"))
    for folder in (trained, probed):
        folder.mkdir(parents=True)
    (trained / "status.json").write_text(json.dumps(status))
    pd.DataFrame({"run": names}).to_parquet(trained / "curve.parquet")
    items.to_parquet(probed / "items.parquet")
    losses.to_parquet(probed / "losses.parquet")
    pd.DataFrame({"run": names}).to_parquet(probed / "tokens.parquet")


def ladder(folder: Path, widths: tuple[int, ...]) -> Path:
    """Write the tiny study with sizes of these widths, in this order; return its file."""
    path = folder / "config.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["family"]["sizes"] = {f"w{w}": {"width": w, "depth": 2, "heads": 1} for w in widths}
    raw["family"]["blocks"] = [[0], [1]]
    raw["training"]["horizons"] = HORIZONS
    raw["law"] = {"minimum_tokens": 1024}
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture
def jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Return the jobs of a study of six sizes, the largest not the last, all trained and probed.

    Two forms stand for all: the others take longer and change nothing here.
    """
    monkeypatch.setattr("saltus.law.choice.CANDIDATES", (Chinchilla(), Kaplan()))
    jobs = Jobs(load_study(ladder(folder, (4, 8, 12, 64, 24, 40))))
    noise = np.random.default_rng(0)
    for size, block in jobs.blocks():
        write_job(jobs, folder / "results" / "tiny", size, block, noise)
    return jobs


def known(jobs: Jobs, root: Path) -> list[Path]:
    return [
        Path(each)
        for kind in ("train", "probe")
        for each in jobs.folders(str(root / kind), below_largest=True)
    ]


def predict(jobs: Jobs, root: Path) -> dict[str, Any]:
    out = root / "prediction.json"
    stages.call(stages.prediction, out, jobs.prediction(), input=known(jobs, root), code="abc")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_no_folder_of_the_largest_size_is_named(jobs: Jobs) -> None:
    assert jobs.largest == "w64"
    below = jobs.folders("probe", below_largest=True)
    assert len(below) == 5 * 2 and len(jobs.folders("probe")) == 6 * 2
    files = jobs.files("probe", ["items", "losses"], below_largest=True)
    assert len(files) == 5 * 2 * 2
    assert not [name for name in below + files if "w64" in name]


def test_it_is_the_same_without_anything_of_the_largest_size(jobs: Jobs, folder: Path) -> None:
    root = folder / "results" / "tiny"
    first = predict(jobs, root)
    written = (root / "prediction.json").read_bytes()
    path = root / "probe" / "w64" / "block0" / "losses.parquet"
    losses = pd.read_parquet(path)
    losses.assign(loss=losses["loss"] * 7).to_parquet(path)
    predict(jobs, root)
    assert (root / "prediction.json").read_bytes() == written
    for kind in ("train", "probe"):
        shutil.rmtree(root / kind / "w64")
    predict(jobs, root)
    assert (root / "prediction.json").read_bytes() == written

    assert first["status"] == "predicted" and first["form"] == first["comparison"]["chosen"]
    assert first["size"] == "w64" and first["sizes"] == ["w4", "w8", "w12", "w24", "w40"]
    assert first["rows"] == 5 * 2 * 4 and first["dropped"]["below 1024 tokens"] == 10
    assert [row["tokens"] for row in first["losses"]] == HORIZONS
    assert [row["scored"] for row in first["losses"]] == [False, True, True, True, True]
    for row in first["losses"]:
        assert row["low"] < row["predicted"] < row["high"]
    assert first["code"] == "abc" and len(first["rows_sha256"]) == 64


def test_a_smaller_size_changes_it(jobs: Jobs, folder: Path) -> None:
    root = folder / "results" / "tiny"
    first = predict(jobs, root)
    path = root / "probe" / "w40" / "block0" / "losses.parquet"
    losses = pd.read_parquet(path)
    losses.assign(loss=losses["loss"] * 1.01).to_parquet(path)
    second = predict(jobs, root)
    assert second["rows_sha256"] != first["rows_sha256"]
    assert second["losses"] != first["losses"]


def test_laws_hold_the_prediction_to_the_largest_size(jobs: Jobs, folder: Path) -> None:
    root = folder / "results" / "tiny"
    told = predict(jobs, root)
    folders = [Path(f) for kind in ("train", "probe") for f in jobs.folders(str(root / kind))]
    stages.call(stages.tables, root / "tables", jobs.tables(), input=folders)
    runs, prediction = root / "tables" / "runs.parquet", root / "prediction.json"
    stages.call(stages.laws, root, jobs.laws(), input=[runs, prediction])
    held = json.loads((root / "laws.json").read_text())["heldout"]
    assert held["status"] == "fitted" and held["form"] == told["form"]
    assert held["prediction_sha256"] == sha256_of(prediction)
    assert held["comparison"] == told["comparison"]
    assert len(held["rows"]) == 2 * 4
    by_tokens = {row["tokens"]: row for row in told["losses"]}
    actual = pd.read_parquet(runs).query("size == 'w64' and tokens >= 1024")
    assert sorted(row["actual"] for row in held["rows"]) == sorted(actual["loss_text"])
    for row in held["rows"]:
        assert row["predicted"] == by_tokens[row["tokens"]]["predicted"]
        assert row["inside"] == (row["low"] <= row["actual"] <= row["high"])
    assert held["mean_absolute_error_percent"] < held["baseline_error_percent"]
    assert held["baseline"] == "mean loss of w40 at the same tokens"

    table = pd.read_parquet(runs)
    lost = table["size"] == "w64"
    table.loc[lost, ["status", "loss_text"]] = ["diverged", np.nan]
    table.to_parquet(runs)
    stages.call(stages.laws, root, jobs.laws(), input=[runs, prediction])
    held = json.loads((root / "laws.json").read_text())["heldout"]
    assert held["status"] == "no runs" and held["rows"] == [] and held["size"] == "w64"
    table.loc[0, "loss_text"] *= 1.1
    table.loc[table["size"] == "w8", "loss_text"] *= 1.1
    table.to_parquet(runs)
    with pytest.raises(TableError, match="made from other runs"):
        stages.call(stages.laws, root, jobs.laws(), input=[runs, prediction])


@pytest.mark.parametrize("widths", [(8,), (4, 8), (4, 8, 16)])
def test_too_few_sizes_are_an_answer(folder: Path, widths: tuple[int, ...]) -> None:
    jobs, root = Jobs(load_study(ladder(folder, widths))), folder / "results" / "tiny"
    noise = np.random.default_rng(0)
    for size, block in jobs.blocks():
        write_job(jobs, root, size, block, noise)
    found = predict(jobs, root)
    assert found["status"] == "too few sizes" and found["losses"] == [] and found["form"] is None
    assert found["reason"].startswith(f"{len(widths) - 1} sizes below the largest")
    folders = [Path(f) for kind in ("train", "probe") for f in jobs.folders(str(root / kind))]
    stages.call(stages.tables, root / "tables", jobs.tables(), input=folders)
    inputs = [root / "tables" / "runs.parquet", root / "prediction.json"]
    stages.call(stages.laws, root, jobs.laws(), input=inputs)
    held = json.loads((root / "laws.json").read_text())["heldout"]
    assert held["status"] == "too few sizes" and held["rows"] == []


def test_the_plain_loop_predicts_before_it_reads(
    jobs: Jobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`saltus analyse` calls the same stage, first, with the same folders as the rule."""
    done: list[tuple[str, bool]] = []
    seen: list[Path] = []
    out = folder / "results" / "tiny" / "prediction.json"
    whole = stages.prediction

    def watched(options: Any) -> None:
        seen.extend(options.input)
        whole(options)

    monkeypatch.setattr(stages, "prediction", watched)
    for name in ("tables", "laws", "thresholds", "calibration", "figures", "report"):
        monkeypatch.setattr(
            stages, name, lambda options, name=name: done.append((name, out.exists()))
        )
    parser = argparse.ArgumentParser()
    add_study(parser)
    analyse.run(parser.parse_args([]))
    assert done[0] == ("tables", True) and [name for name, _ in done][1] == "laws"
    assert [path.as_posix() for path in seen] == [
        path.as_posix() for path in known(jobs, Path("results/tiny"))
    ]
    assert json.loads(out.read_text())["code"]
