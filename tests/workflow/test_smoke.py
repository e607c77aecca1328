"""The smoke study from nothing to its report: every output, every column, and nothing twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workspace import SMOKE, Workspace, jobs_of

from saltus.figure.names import drawn_names
from saltus.study import load_study

pytestmark = pytest.mark.workflow

FIGURES = drawn_names(swept=False)
COLUMNS = {
    "runs": """
        run architecture size replica seed horizon block width depth heads params_total
        params_embedding params_head params_nonembedding tokens tokens_text tokens_arithmetic
        tokens_unique epochs precision flops_exact flops_6nd loss_text loss_validation
        bits_per_byte loss_arithmetic learning_rate rate_factor batch_tokens status seconds
        tokens_per_second peak_memory_bytes device code config_hash""",
    "items": """
        run task arm item prompt target prediction exact digits_correct digits edit_distance
        target_nll token_nll target_tokens confidence confidence_tempered in_distribution shift
        guess_rate carries neighbour_exact sampled sampled_exact""",
    "tokens": "run domain document temperature confidence correct nll brier shift severity",
    "losses": "run domain split tokens bytes loss bits_per_byte",
    "curves": """
        size block replica seed branch horizon step tokens loss loss_text learning_rate""",
    "scores": """
        run size seed horizon params_nonembedding params_total tokens flops_exact loss_text task
        arm items successes exact_match exact_match_low exact_match_high expected_exact_match
        digit_accuracy edit_distance target_nll confidence brier guess_rate neighbour_accuracy
        distinct_items""",
    "thresholds": """
        task arm axis size level status estimate low high label censored first_crossing_low
        first_crossing_high sustained_crossing_low sustained_crossing_high n50 n50_low n50_high
        width_decades width_low width_high overdispersion heterogeneity fit_p_value fit_status
        largest smallest num_replicas num_items guess_rate reason""",
    "calibration": """
        run size seed horizon params_nonembedding params_total loss_text level tempered
        temperature n accuracy confidence ece ece_equal_mass l2_squared_debiased brier nll
        overconfidence floor_ece overconfidence_low overconfidence_high brier_low brier_high""",
    "reliability": """
        size params_nonembedding level tempered bin confidence_low confidence_high confidence
        accuracy n accuracy_low accuracy_high share""",
}

WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTorch())
from saltus.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def table(workspace: Workspace, name: str) -> pd.DataFrame:
    return pd.read_parquet(workspace.results / "tables" / f"{name}.parquet")


def test_every_output_is_there(finished: Workspace) -> None:
    results = finished.results
    expected = [f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    expected += [f"tables/{name}.parquet" for name in COLUMNS]
    expected += [
        "report.html",
        "laws.json",
        "prediction.json",
        "emergence.json",
        "study.json",
        "machine.json",
    ]
    expected += ["tokenizer/tokenizer.json", "shards/manifest.json", "corpus/markov/text.jsonl"]
    for size in ("s1", "s2", "s3", "s4"):
        train, probe = f"train/{size}/block0", f"probe/{size}/block0"
        expected += [f"{train}/seed{s}-h{h}.safetensors" for s in (0, 1) for h in (16384, 65536)]
        expected += [f"{train}/{name}" for name in ("curve.parquet", "status.json")]
        expected += [f"{probe}/{name}.parquet" for name in ("items", "tokens", "losses")]
    missing = [name for name in expected if not (results / name).stat().st_size]
    assert not missing


def test_nothing_half_written_is_left(finished: Workspace) -> None:
    left = [path for path in (finished.folder / "results").rglob("*") if ".part" in path.name]
    assert not left
    assert {path.name for path in (finished.folder / "results").iterdir()} <= {
        "smoke", ".state", ".cache"
    }  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_have_their_columns(name: str, finished: Workspace) -> None:
    found = table(finished, name)
    assert len(found) > 0
    assert set(COLUMNS[name].split()) <= set(found.columns)


def test_runs_has_one_row_per_size_seed_and_horizon(finished: Workspace) -> None:
    runs = table(finished, "runs")
    study = load_study(finished.folder / "studies" / "smoke.yaml")
    key = ["architecture", "size", "seed", "horizon"]
    assert len(runs) == 4 * 2 * 2 and not runs.duplicated(key).any()
    assert not runs.duplicated("run").any()
    assert (runs["status"] == "ok").all()
    assert (runs["tokens"] == runs["horizon"]).all()
    assert (runs["tokens_text"] + runs["tokens_arithmetic"] == runs["tokens"]).all()
    shares = runs["tokens_arithmetic"] / runs["tokens"]
    assert np.allclose(shares, study.arithmetic.share, atol=0.02)
    embedding = runs["params_total"] - runs["params_nonembedding"]
    assert (embedding == runs["params_embedding"]).all() and (runs["params_head"] == 0).all()
    assert runs["params_nonembedding"].is_monotonic_increasing
    uniform = np.log(study.tokenizer.vocabulary)
    assert runs["loss_text"].between(0.1, uniform).all()
    measured = runs[["bits_per_byte", "loss_validation", "loss_arithmetic"]]
    assert np.isfinite(measured.to_numpy()).all()


def test_training_lowers_the_loss(finished: Workspace) -> None:
    runs = table(finished, "runs")
    losses = runs.groupby(["size", "horizon"])["loss_text"].mean().unstack()
    assert (losses[65536] < losses[16384]).all()


def test_rows_of_all_tables_belong_to_runs(finished: Workspace) -> None:
    known = set(table(finished, "runs")["run"])
    for name in ("items", "tokens", "losses", "scores", "calibration"):
        assert set(table(finished, name)["run"]) == known, name


def test_items_are_consistent(finished: Workspace) -> None:
    items = table(finished, "items")
    assert (items["exact"] == (items["prediction"] == items["target"])).all()
    assert items["confidence"].between(0, 1).all() and (items["confidence"] > 0).all()
    sums = items["token_nll"].map(np.sum)
    assert np.allclose(sums, items["target_nll"], rtol=1e-4)
    assert (items["token_nll"].map(len) == items["target_tokens"]).all()
    assert (items["task"] != "add_1").all(), "one-digit sums serve training only"


def test_curves_hold_the_trunk_once_and_every_anneal(finished: Workspace) -> None:
    curves = table(finished, "curves")
    trunk = curves[curves["branch"] == "trunk"]
    assert trunk["horizon"].isna().all()
    assert not trunk.duplicated(["size", "block", "replica", "step"]).any()
    assert trunk["tokens"].max() == 0.75 * 65536
    anneals = curves[curves["branch"] == "anneal"].groupby("horizon")["tokens"]
    assert dict(anneals.max()) == {16384: 16384, 65536: 65536}
    assert (anneals.min() > 0.75 * anneals.max()).all()


def test_documents_say_what_was_run(finished: Workspace) -> None:
    study = json.loads((finished.results / "study.json").read_text())
    machine = json.loads((finished.results / "machine.json").read_text())
    assert study["name"] == "smoke" and list(study["sizes"]) == ["s1", "s2", "s3", "s4"]
    assert machine["device"] == "cpu" and machine["training_jobs"] == 4
    assert {"machine", "cores", "python", "torch"} <= set(machine)


def test_report_needs_nothing_else(finished: Workspace) -> None:
    report = (finished.results / "report.html").read_text()
    assert "<html" in report and "smoke" in report
    assert 'src="http' not in report and 'href="http' not in report.split("<body", 1)[0]


def test_second_run_does_nothing(finished: Workspace) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.results.rglob("*")}
    output = finished.snakemake("all", "figures", "--cores", "2", *SMOKE)
    assert "Nothing to be done" in output and jobs_of(output) == {}
    assert {path: path.stat().st_mtime_ns for path in finished.results.rglob("*")} == before


def test_figures_are_redrawn_from_tables_alone(finished: Workspace, tmp_path: Path) -> None:
    """A copy of tables and documents, where torch cannot be imported, gives the same figures."""
    study = tmp_path / "copied"
    shutil.copytree(finished.results / "tables", study / "tables")
    for name in ("laws", "emergence", "calibration", "study", "machine"):
        shutil.copy2(finished.results / f"{name}.json", study)
    for name in ("items", "tokens"):
        (study / "tables" / f"{name}.parquet").unlink()
    done = finished.run("python", "-c", WITHOUT_TORCH, "figures", str(study))
    assert done.returncode == 0, done.stdout
    drawn = sorted(path.name for path in (study / "figures").iterdir())
    assert drawn == sorted(f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png"))
    for name in FIGURES:
        ours, theirs = (folder / "figures" / f"{name}.svg" for folder in (study, finished.results))
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert (study / "report.html").stat().st_size > 10_000
