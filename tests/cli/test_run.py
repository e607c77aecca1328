"""A study as a plain loop: stopped and called again, it ends as if it had never been stopped."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from saltus.cli.main import main
from saltus.cli.run import has_shards
from saltus.study import load_study
from saltus.train.stop import TIME_IS_UP
from saltus.workflow import Jobs

ROOT = Path(__file__).parents[2]
TIMED = ["seconds", "tokens_per_second", "peak_memory_bytes"]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the smoke study cut to two sizes, a seed a block and two short horizons."""
    raw = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    raw["text"]["domains"]["markov"]["corpus"]["documents"] = 300
    raw["family"]["sizes"] = {name: raw["family"]["sizes"][name] for name in ("s1", "s2")}
    raw["family"]["blocks"] = [[0], [1]]
    raw["training"]["horizons"] = [4096, 8192]
    raw["training"]["device"] = "cpu"
    raw["probe"] = {
        "items": 20,
        "text_tokens": 512,
        "validation_tokens": 512,
        "sampled_tokens": 50,
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    return path


def probed(folder: Path) -> dict[str, pd.DataFrame]:
    found = sorted(folder.glob("results/smoke/probe/*/*/*.parquet"))
    return {path.relative_to(folder).as_posix(): pd.read_parquet(path) for path in found}


def written(folder: Path) -> dict[str, int]:
    """Return when each probe table was written."""
    return {
        path.as_posix(): path.stat().st_mtime_ns
        for path in folder.glob("results/smoke/probe/*/*/*.parquet")
    }


def test_stopped_and_called_again_gives_the_same_tables(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["run", study.name, "--only-tables"]
    assert main([*command, "--time-limit", "0"]) == TIME_IS_UP == 3
    assert "time is up" in capsys.readouterr().err
    assert has_shards(Jobs(load_study(study)), tmp_path / "results" / "smoke")
    assert not probed(tmp_path)
    assert main(command) == 0
    stopped = probed(tmp_path)

    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert main(["run", str(study), "--only-tables"]) == 0
    assert not (other / "results" / "smoke" / "tables").exists()
    straight = probed(other)
    assert stopped.keys() == straight.keys() and len(stopped) == 2 * 2 * 3
    for name, table in straight.items():
        pd.testing.assert_frame_equal(stopped[name], table)


def test_longest_first_and_nothing_twice(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", study.name]
    assert main([*command, "--only-tables"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "/train/" in line]
    assert said[0].endswith("s2/block0") and said[-1].endswith("s1/block1")
    before = written(tmp_path)

    assert main(command) == 0
    results = tmp_path / "results" / "smoke"
    runs = pd.read_parquet(results / "tables" / "runs.parquet")
    assert len(runs) == 2 * 2 * 2 and (runs["status"] == "ok").all()
    report = (results / "report.html").stat().st_mtime_ns
    assert main(command) == 0
    assert (results / "report.html").stat().st_mtime_ns == report
    assert written(tmp_path) == before

    # Another horizon: each block goes on from its state, is probed and analysed anew.
    raw = yaml.safe_load(study.read_text())
    raw["training"]["horizons"] = [4096, 8192, 12288]
    study.write_text(yaml.safe_dump(raw))
    assert main(command) == 0
    longer = pd.read_parquet(results / "tables" / "runs.parquet")
    assert set(longer["horizon"]) == {4096, 8192, 12288}
    kept = longer[longer["horizon"] < 12288].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept.drop(columns=TIMED).sort_values("run", ignore_index=True),
        runs.drop(columns=TIMED).sort_values("run", ignore_index=True),
    )


def test_another_rate_is_probed_anew(study: Path, tmp_path: Path) -> None:
    """The names of runs stay; what they are does not."""
    command = ["run", study.name, "--only-tables"]
    assert main(command) == 0
    before, times = probed(tmp_path), written(tmp_path)
    text = study.read_text()
    assert "coefficient: 0.01" in text
    study.write_text(text.replace("coefficient: 0.01", "coefficient: 0.002"))
    assert main(command) == 0
    after = probed(tmp_path)
    assert all(written(tmp_path)[name] > time for name, time in times.items())
    losses = [name for name in before if name.endswith("losses.parquet")]
    assert len(losses) == 4
    for name in losses:
        assert list(before[name]["run"]) == list(after[name]["run"])
        assert not before[name]["loss"].equals(after[name]["loss"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("vocabulary", 300), ("domains", {}), ("shares", {"validation": 0.2, "test": 0.1})],
)
def test_shards_of_another_study_do_not_count(
    study: Path, tmp_path: Path, key: str, value: object
) -> None:
    root = tmp_path / "results" / "smoke"
    found = {
        "vocabulary": 320,
        "domains": {"markov": {}},
        "shares": {"validation": 0.1, "test": 0.1},
    }
    assert not has_shards(Jobs(load_study(study)), root)
    (root / "shards").mkdir(parents=True)
    manifest = root / "shards" / "manifest.json"
    manifest.write_text(json.dumps(found))
    assert has_shards(Jobs(load_study(study)), root)
    manifest.write_text(json.dumps(found | {key: value}))
    assert not has_shards(Jobs(load_study(study)), root)


def test_another_text_or_another_arm_makes_new_shards(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "results" / "smoke"
    assert main(["prepare", study.name]) == 0
    before = study.read_text()
    assert has_shards(Jobs(load_study(study)), root)
    text, arm = yaml.safe_load(before), yaml.safe_load(before)
    text["text"]["domains"]["markov"]["corpus"]["documents"] = 301
    arm["arithmetic"]["drills"].append({"task": "add_2", "arm": "reversed", "weight": 1})
    for other in (text, arm):
        study.write_text(yaml.safe_dump(other))
        assert not has_shards(Jobs(load_study(study)), root)
    study.write_text(before)
    assert has_shards(Jobs(load_study(study)), root)


def test_a_size_of_several_processes_is_refused(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = yaml.safe_load(study.read_text())
    raw["family"]["sizes"]["s1"]["processes"] = 2
    study.write_text(yaml.safe_dump(raw))
    assert main(["run", study.name]) == 2
    assert "processes: found 2, expected 1 for saltus run" in capsys.readouterr().err
