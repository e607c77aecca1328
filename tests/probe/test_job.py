"""A probing job on the checkpoints of a training job, and the table that joins both."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.calibrate.summary import summarise_calibration, summarise_reliability
from saltus.data.shards import load_shard
from saltus.emerge.breakdown import breakdown_table
from saltus.emerge.resolution import agreement_table, probability_table
from saltus.emerge.scores import score_table
from saltus.files import read_json, read_table
from saltus.model.transformer import token_losses, unflatten
from saltus.probe.job import run_probe
from saltus.probe.spec import ProbeSpec
from saltus.tables import runs_table, with_runs
from saltus.train.checkpoint import load_checkpoint
from saltus.train.job import run_job
from saltus.train.spec import TrainSpec

CPU = torch.device("cpu")
PROBE = ProbeSpec(
    items=40,
    text_tokens=400,
    validation_tokens=200,
    sampled_tokens=60,
    seed=0,
    domains=("markov", "other"),
    training_domains=("markov",),
)
HORIZONS = (4, 12)


@dataclass(frozen=True)
class Probed:
    """The folders of a training and a probing job, and the spec of both; the last seed diverged."""

    spec: TrainSpec
    trained: Path
    out: Path

    def table(self, name: str) -> pd.DataFrame:
        return read_table(self.out / f"{name}.parquet")


def tokenizer_of(corpus_folder: Path) -> Path:
    return corpus_folder / "tokenizer" / "tokenizer.json"


@pytest.fixture(scope="module")
def probed(
    make_spec: Callable[..., TrainSpec],
    corpus_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Probed:
    folder = tmp_path_factory.mktemp("probe")
    replicas = make_spec().replicas
    wild = dataclasses.replace(replicas[0], name="seed2", rate=1e30)
    spec = make_spec(HORIZONS, replicas=(*replicas, wild))
    trained, out = folder / "train", folder / "probe"
    shards, tokenizer = corpus_folder / "shards", tokenizer_of(corpus_folder)
    run_job(spec, shards, trained, folder / "states", CPU, "code")
    run_probe(spec, PROBE, shards, tokenizer, trained, out, CPU)
    return Probed(spec, trained, out)


def test_every_run_answers_everything(probed: Probed) -> None:
    runs = {f"s1-seed{seed}-h{steps * 64}" for seed in range(3) for steps in HORIZONS}
    losses, tokens, items = (probed.table(name) for name in ("losses", "tokens", "items"))
    assert set(losses["run"]) == set(tokens["run"]) == set(items["run"]) == runs
    cells = losses.groupby(["run", "domain", "split"]).size()
    # A domain that is only held out is tested; nothing is chosen on it, so nothing validates.
    assert (cells == 1).all() and len(cells) == 6 * 3
    assert set(losses.loc[losses["split"] == "validation", "domain"]) == {"markov"}
    clean = tokens[tokens["shift"].ne("noise").fillna(True)]
    assert (clean.groupby(["run", "domain", "tempered"]).size() == 60).all()
    assert clean.loc[clean["domain"] == "markov", "shift"].isna().all()
    assert (clean.loc[clean["domain"] == "other", "shift"] == "domain").all()
    assert (clean["severity"] == (clean["domain"] == "other")).all()
    # One-digit sums serve training only: of two drills one is asked.
    assert set(items["task"]) == {"chain_2"} and set(items["arm"]) == {"reversed"}
    inside = items[items["in_distribution"]]
    assert (inside.groupby("run").size() == 40).all() and inside["shift"].isna().all()
    assert (losses["tokens"] <= np.where(losses["split"] == "test", 400, 200)).all()


def test_shifted_problems_are_asked_of_the_last_horizon(probed: Probed) -> None:
    items = probed.table("items")
    shifted = items[~items["in_distribution"]]
    assert set(shifted["shift"]) == {"longer", "out_of_range", "phrasing"}
    assert set(shifted["run"]) == {f"s1-seed{seed}-h{HORIZONS[-1] * 64}" for seed in range(3)}
    sizes = shifted.groupby(["run", "shift"]).size().unstack()
    assert (sizes["phrasing"] == 40).all() and (sizes[["longer", "out_of_range"]] == 100).all(
        axis=None
    )
    # Nothing is fitted again: a run has one temperature, that of its validation problems.
    assert (items.groupby("run")["temperature"].nunique(dropna=False) == 1).all()


def test_noise_is_asked_of_the_last_horizon_and_the_training_domains(probed: Probed) -> None:
    tokens = probed.table("tokens")
    noise = tokens[tokens["shift"].eq("noise").fillna(False)]
    assert set(noise["run"]) == {f"s1-seed{seed}-h{HORIZONS[-1] * 64}" for seed in range(3)}
    assert set(noise["domain"]) == {"markov"}
    assert (noise.groupby(["run", "severity", "tempered"]).size() == 60).all()
    assert set(noise["severity"]) == {1, 2, 3, 4, 5}
    # The temperature is that of clean text.
    tempered = tokens[tokens["tempered"]]
    assert (tempered.groupby("run")["temperature"].nunique(dropna=False) == 1).all()


def test_analyses_read_rows_of_the_training_distribution_alone(probed: Probed) -> None:
    status = read_json(probed.trained / "status.json")
    losses, tokens, items = (probed.table(name) for name in ("losses", "tokens", "items"))

    def analysed(tokens: pd.DataFrame, items: pd.DataFrame) -> list[pd.DataFrame]:
        runs = runs_table([status], losses, items, ["markov"])
        healthy = runs[runs["status"] == "ok"]
        tokens, items = (with_runs(table, runs) for table in (tokens, items))
        scores = score_table(items, healthy)
        return [
            runs,
            scores,
            breakdown_table(items, healthy),
            probability_table(items),
            agreement_table(items),
            summarise_calibration(tokens, items, healthy, ["markov"]),
            summarise_reliability(tokens, items, healthy, ["markov"]),
        ]

    inside = tokens[tokens["shift"].isna()], items[items["in_distribution"]]
    assert len(inside[0]) < len(tokens) and len(inside[1]) < len(items)
    for found, expected in zip(analysed(tokens, items), analysed(*inside), strict=True):
        assert len(found)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_losses_are_those_of_the_checkpoints(probed: Probed, shards: Path) -> None:
    losses = probed.table("losses").set_index(["run", "domain", "split"])
    context = probed.spec.shape.context
    for name in ("seed0-h256", "seed1-h768"):
        row, shape = load_checkpoint(probed.trained / f"{name}.safetensors")
        for domain, split, budget in (("markov", "validation", 200), ("other", "test", 400)):
            tokens = np.asarray(load_shard(shards, domain, split).tokens[: budget + 1], dtype=int)
            count = (len(tokens) - 1) // context
            windows = np.stack(
                [tokens[n * context : n * context + context + 1] for n in range(count)]
            )
            expected = token_losses(
                unflatten(row[None], shape), torch.from_numpy(windows)[None], shape
            )
            found = losses.loc[(f"s1-{name}", domain, split)]
            assert found["loss"] == pytest.approx(expected.mean().item(), rel=1e-4)
            assert found["tokens"] == count * context


def test_predictions_of_healthy_runs_are_probabilities(probed: Probed) -> None:
    tokens = probed.table("tokens")
    healthy = tokens[~tokens["run"].str.contains("seed2")]
    assert healthy["confidence"].between(1 / 280, 1).all()
    assert healthy["brier"].between(0, 2).all()
    assert (healthy["nll"] >= -1e-6).all()
    # Answer and text have temperatures of their own; a run has one for all domains.
    assert (healthy[healthy["tempered"]].groupby("run")["temperature"].nunique() == 1).all()
    assert (healthy.loc[~healthy["tempered"], "temperature"] == 1).all()


def test_a_probing_job_repeats(probed: Probed, corpus_folder: Path, tmp_path: Path) -> None:
    run_probe(
        probed.spec,
        PROBE,
        corpus_folder / "shards",
        tokenizer_of(corpus_folder),
        probed.trained,
        tmp_path,
        CPU,
    )
    for name in ("losses", "tokens", "items"):
        pd.testing.assert_frame_equal(
            read_table(tmp_path / f"{name}.parquet"), probed.table(name), check_exact=True
        )


def test_a_study_without_problems_has_no_items(
    probed: Probed, corpus_folder: Path, tmp_path: Path
) -> None:
    drills = tuple(d for d in probed.spec.mixture.drills if d.task == "add_1")
    mixture = dataclasses.replace(probed.spec.mixture, drills=drills)
    spec = dataclasses.replace(probed.spec, mixture=mixture)
    run_probe(
        spec,
        PROBE,
        corpus_folder / "shards",
        tokenizer_of(corpus_folder),
        probed.trained,
        tmp_path,
        CPU,
    )
    assert len(read_table(tmp_path / "items.parquet")) == 0
    losses = read_table(tmp_path / "losses.parquet")
    status = read_json(probed.trained / "status.json")
    runs = runs_table([status], losses, read_table(tmp_path / "items.parquet"), ["markov"])
    assert len(runs) == 6 and "loss_arithmetic" not in runs


def test_the_runs_table_joins_both_jobs(probed: Probed) -> None:
    status = read_json(probed.trained / "status.json")
    losses, items = probed.table("losses"), probed.table("items")
    runs = runs_table([status], losses, items, ["markov"])
    assert len(runs) == 6 and runs["run"].is_unique
    diverged = runs["seed"] == 2
    assert (runs["status"] == np.where(diverged, "diverged", "ok")).all()
    measured = ["loss_text", "loss_validation", "bits_per_byte", "loss_arithmetic"]
    assert runs.loc[diverged, measured].isna().all(axis=None)
    assert np.isfinite(runs.loc[~diverged, measured]).all(axis=None)
    test = losses[(losses["domain"] == "markov") & (losses["split"] == "test")].set_index("run")
    for row in runs[~diverged].itertuples():
        assert row.loss_text == pytest.approx(test.loc[row.run, "loss"])
    assert not with_runs(items, runs)["run"].str.contains("seed2").any()


def test_the_probe_spec_travels_as_json() -> None:
    assert ProbeSpec.from_json(PROBE.to_json()) == PROBE
