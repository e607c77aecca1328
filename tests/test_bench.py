"""The benches: both sides train the same amount, and a run of a few steps writes its table."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the modules of the folder, which is no package."""
    monkeypatch.syspath_prepend(str(BENCH))
    import common
    import grid
    import law
    import plan
    import precision
    import rate
    from peers import chinchilla, nanogpt

    return SimpleNamespace(
        common=common,
        grid=grid,
        law=law,
        plan=plan,
        precision=precision,
        rate=rate,
        chinchilla=chinchilla,
        nanogpt=nanogpt,
    )


def test_a_table_is_written_whole_and_says_what_made_it(
    modules: SimpleNamespace, tmp_path: Path
) -> None:
    script, table = tmp_path / "bench.py", tmp_path / "table.csv"
    script.write_text("draws = 1\n")
    marks = modules.common.provenance(str(script), "saltus.law.forms")
    assert list(marks) == ["code", "python", "numpy", "scipy", "date"]
    assert modules.common.provenance(str(script), "saltus.law.solve")["code"] != marks["code"]
    script.write_text("draws = 2\n")
    assert modules.common.provenance(str(script), "saltus.law.forms")["code"] != marks["code"]

    modules.common.write_csv(table, [{"share": 0.123456, **marks}])
    before = table.read_bytes()
    assert before.startswith(b"share,code,python,numpy,scipy,date\n0.12346,")
    with pytest.raises(ValueError, match="fields not in"):
        modules.common.write_csv(table, [{"share": 1.0}, {"other": 2.0}])
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.py", "table.csv"]


def test_the_peer_has_as_many_parameters_as_it_says(modules: SimpleNamespace) -> None:
    nanogpt: ModuleType = modules.nanogpt
    options = nanogpt.Options(width=24, depth=2, heads=2, steps=10)
    found = sum(parameter.numel() for parameter in nanogpt.Model(options).parameters())
    embeddings = (options.vocabulary + options.context) * options.width
    assert found == nanogpt.num_parameters(options) + embeddings


def test_both_sides_are_of_one_size_and_see_as_many_tokens(modules: SimpleNamespace) -> None:
    from saltus.model.count import count_parameters, flops_per_token

    for size in modules.rate.SIZES:
        spec = modules.rate.spec_of(size, "fp32")
        options = modules.rate.options_of(size, "fp32", "eager")
        assert (options.batch, options.context) == (spec.batch_tokens, spec.shape.context)
        assert options.heads == spec.shape.heads
        ours = count_parameters(spec.shape).nonembedding
        assert modules.nanogpt.num_parameters(options) == pytest.approx(ours, rel=0.02)
        flops = modules.nanogpt.flops_per_token(options)
        assert flops == pytest.approx(flops_per_token(spec.shape), rel=0.02)


def test_the_peer_batches_rows_of_the_file_and_learns(
    modules: SimpleNamespace, tmp_path: Path
) -> None:
    nanogpt: ModuleType = modules.nanogpt
    path, length = tmp_path / "rows.bin", 17
    rows = (np.arange(length) + np.arange(300)[:, None]) % 50  # each token follows the one before
    rows.astype("<u2").tofile(path)
    options = nanogpt.Options(
        16, 1, 2, 150, vocabulary=50, context=16, batch=128, rate=1e-2, warmup=5, stride=length
    )
    inputs, targets = nanogpt.make_batch(path, options)
    assert inputs.shape == targets.shape == (8, 16)
    torch.testing.assert_close(targets, (inputs + 1) % 50)
    before = nanogpt.held_out_loss(nanogpt.make_step(path, options)[0], path, 16)
    assert before == pytest.approx(np.log(50), abs=0.1)
    assert nanogpt.held_out_loss(nanogpt.train(path, options), path, 16) < 0.5 * before


def test_the_peers_rate_warms_up_and_ends_at_a_tenth(modules: SimpleNamespace) -> None:
    options = modules.nanogpt.Options(8, 1, 1, 100, rate=2.0, warmup=9)
    rates = [modules.nanogpt.rate_at(step, options) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2.0)
    assert rates[100] == pytest.approx(0.2) and np.all(np.diff(rates[9:]) <= 0)


def test_a_comparison_finds_a_known_ratio(modules: SimpleNamespace) -> None:
    noise = np.random.default_rng(0).normal(1, 0.02, (2, 41))
    found = modules.common.compare(3 * noise[0], 2 * noise[1])
    assert found["ratio"] == pytest.approx(1.5, rel=0.02)
    assert found["ratio_min"] < found["ratio_low"] < 1.5 < found["ratio_high"] < found["ratio_max"]


def test_every_point_of_a_grid_is_one_run_of_the_peer(
    modules: SimpleNamespace, make_spec, tmp_path: Path
) -> None:
    from saltus.study import load_study

    study = load_study(BENCH.parent / "studies" / "smoke.yaml")
    points = modules.grid.points(study, list(study.family.sizes), None)
    assert len(points) == 4 * 2 * 2
    assert len(modules.grid.points(study, ["s1", "s2"], 1)) == 2 * 1 * 2
    for spec in points:
        options = modules.grid.nanogpt_options(spec, compiled=False)
        assert options.steps * options.batch == spec.horizons[0]
        assert options.rate == spec.replicas[0].rate


def test_the_makespan_is_that_of_the_longest_first(
    modules: SimpleNamespace, make_spec, tmp_path: Path
) -> None:
    tasks = []
    for index, seconds in enumerate((1.0, 2.0, 3.0)):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "record.json").write_text(f'{{"seconds": {seconds}}}')
        tasks.append(modules.grid.Task(str(index), make_spec(), seconds, (), folder))
    assert modules.grid.makespan(tasks, 2) == 3.0
    assert modules.grid.makespan(tasks, 1) == 6.0
    assert modules.grid.makespan(tasks, 1, copies=5) == 30.0


def test_two_precisions_differ_in_nothing_else(modules: SimpleNamespace) -> None:
    given = SimpleNamespace(seeds=3, tokens=15_360)
    full, low = (
        modules.precision.study_of("n15k", side, given).train_spec("n15k", 0)
        for side in modules.precision.PRECISIONS
    )
    assert low.precision == "bf16" and len(low.replicas) == 3 and low.horizons == (15_360,)
    assert dataclasses.replace(low, precision="fp32") == full


SEEDS = (3.0, 3.1, 3.2, 2.9, 2.8)


def test_the_difference_of_seeds_is_a_paired_t_test(modules: SimpleNamespace) -> None:
    other = np.add(SEEDS, (0.01, 0.02, -0.01, 0.0, 0.03))
    found = modules.precision.judge_losses(SEEDS, other)
    test = stats.ttest_rel(other, SEEDS)
    low, high = test.confidence_interval(0.95)
    assert found["difference"] == pytest.approx(0.01)
    assert found["difference"] / found["difference_error"] == pytest.approx(test.statistic)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((low, high))
    assert found["fp32_loss_std"] == pytest.approx(np.std(SEEDS, ddof=1))
    assert found["difference_in_spreads"] == pytest.approx(0.01 / np.std(SEEDS, ddof=1))


@pytest.mark.parametrize(
    ("shift", "noise", "equal"),
    [
        (0.0, 0.0, True),
        (0.1, 0.01, True),
        (-0.1, 0.01, True),
        (0.15, 0.01, False),  # the mean is within the spread of .158, its interval is not
        (-0.15, 0.01, False),
        (0.3, 0.0, False),
        (0.0, 0.2, False),  # too uncertain to be called equal
    ],
)
def test_losses_are_equal_if_the_whole_interval_is_within_the_spread(
    modules: SimpleNamespace, shift: float, noise: float, equal: bool
) -> None:
    other = np.add(SEEDS, shift + noise * np.array([1, -1, 1, -1, 0]))
    assert modules.precision.judge_losses(SEEDS, other)["equal_within_seed_spread"] is equal


def test_a_seed_that_diverged_is_counted_and_no_pair(modules: SimpleNamespace) -> None:
    judge = modules.precision.judge_losses
    without = (*SEEDS[:4], np.nan)
    both, low_alone, full_alone = (
        judge(*sides) for sides in ((without, without), (SEEDS, without), (without, SEEDS))
    )
    assert [found["pairs"] for found in (both, low_alone, full_alone)] == [4, 4, 4]
    assert (low_alone["fp32_diverged"], low_alone["bf16_diverged"]) == (0, 1)
    assert both["equal_within_seed_spread"] and full_alone["equal_within_seed_spread"]
    assert not low_alone["equal_within_seed_spread"]
    nothing = judge([3.0, np.nan], [3.0, 3.0])
    assert nothing["pairs"] == 1 and np.isnan(nothing["difference"])
    assert not nothing["equal_within_seed_spread"]


def test_bf16_pays_if_the_whole_ratio_is_above_one(modules: SimpleNamespace) -> None:
    pays, compare = modules.precision.pays, modules.common.compare
    noise = np.random.default_rng(0).normal(1, 0.02, (2, 11))
    assert pays(compare(1.5 * noise[0], noise[1]))
    assert not pays(compare(noise[0], noise[0]))
    assert not pays(compare(0.2 * noise[0], noise[1]))


def test_a_short_run_of_the_rate_writes_its_table(tmp_path: Path) -> None:
    command = [sys.executable, BENCH / "rate.py", "--sizes", "n15k", "--modes", "eager"]
    command += ["--rounds", "2", "--turn-seconds", "0.02", "--warm-up", "1"]
    command += ["--work", tmp_path / "work", "--out", tmp_path / "rate.csv"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    with (tmp_path / "rate.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["ours_tokens_per_second"]) > 0 and row["rounds"] == "2"
    assert 0 < float(row["ours_peak_share"]) < 1 and 0 < float(row["peer_peak_share"]) < 1
    assert float(row["ratio_min"]) <= float(row["ratio_max"])


def test_a_grid_leaves_the_rows_of_other_peers(modules: SimpleNamespace, tmp_path: Path) -> None:
    path, write = tmp_path / "grid.csv", modules.grid.write_beside
    write(path, [{"study": "a", "peer": "nanogpt", "loss": 1.0}])
    write(
        path,
        [{"study": "a", "peer": "ours", "loss": 2.0}, {"study": "a", "peer": "ours", "loss": 3.0}],
    )
    write(path, [{"study": "a", "peer": "nanogpt", "loss": 4.0}])
    found = [(row["peer"], float(row["loss"])) for row in modules.common.read_csv(path)]
    assert found == [("ours", 2.0), ("ours", 3.0), ("nanogpt", 4.0)]


def test_the_usual_grid_has_4500_starts_and_its_objective_is_ours(modules: SimpleNamespace) -> None:
    law, chinchilla = modules.law, modules.chinchilla
    starts = chinchilla.starts()
    assert starts.shape == (chinchilla.NUM_STARTS, 5) and len(np.unique(starts, axis=0)) == 4500
    table = law.simulate(50, "tail", 3)
    fitted = law.ours_fit(table)
    theirs = chinchilla.objective(fitted.theta[law.PEER_ORDER], *chinchilla.logs(table))
    assert theirs == pytest.approx(fitted.objective, rel=1e-10)


def test_a_worse_objective_is_told_from_rounding(modules: SimpleNamespace) -> None:
    judge = modules.law.judge
    assert judge(1e-3 * (1 + 1e-8), 1e-3, 50) == (pytest.approx(1e-8), True)
    assert judge(1e-3 * (1 + 1e-10), 1e-3, 50)[1] is False
    assert judge(1e-3 * (1 - 1e-3), 1e-3, 50) == (pytest.approx(-1e-3), False)
    assert judge(4e-14, 0.0, 50)[1] is False and judge(6e-14, 0.0, 50)[1] is True


def test_a_short_run_of_the_law_writes_its_table(tmp_path: Path) -> None:
    command = [sys.executable, BENCH / "law.py", "--quick"]
    command += ["--work", tmp_path / "work", "--out", tmp_path / "law.csv"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    with (tmp_path / "law.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    against = [row for row in rows if row["part"] == "against"]
    assert {(row["rows"], row["noise"]) for row in against} == {
        (rows, noise) for rows in ("50", "240") for noise in ("none", "normal")
    }
    assert all(float(row["ours_cpu_seconds"]) > 0 for row in rows)
    assert all(row["worse"] == "False" and "extrapolated" in row["label"] for row in against)
    drawn = [row for row in rows if row["part"] == "bootstraps"]
    assert len(drawn) == 4 and all(row["bootstraps"] == "100" for row in drawn)
    assert all(int(row["audited"]) > 0 and float(row["peer_cpu_seconds"]) > 0 for row in drawn)
    grown = [row for row in rows if row["part"].startswith("linearity")]
    assert len(grown) == 4 and all(float(row["slope"]) for row in grown)
    before = [row for row in rows if "bootstraps" not in row["part"]]
    again = [str(part) for part in [*command, "--only", "bootstraps", "--rows", "50"]]
    subprocess.run(again, check=True, capture_output=True)
    with (tmp_path / "law.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row for row in rows if "bootstraps" not in row["part"]] == before
    assert all(row["code"] for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_bench_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "gpu.py"), "--out", str(tmp_path / "gpu.csv")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.strip().count("\n") == 0 and "needs CUDA" in ended.stderr


def test_a_shape_of_the_plan_is_timed(
    modules: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = modules.plan.build_shards(tmp_path)
    modules.plan.child(0, 1.0, shards)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rate"] > 1000 and found["peak"] > 1e8


def test_the_rates_of_a_studys_sizes(modules: SimpleNamespace, tmp_path: Path) -> None:
    sizes = {"s": {"width": 8, "depth": 1, "heads": 1, "blocks": [[0, 1]]}}
    study = modules.common.bench_study(sizes, batch_tokens=256)
    modules.common.prepare(study, tmp_path)
    command = [sys.executable, str(BENCH / "sizes.py"), str(tmp_path / "bench.yaml")]
    command += ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "sizes.csv")]
    command += ["--turn-seconds", "0.1", "--rounds", "3", "--kernels", "eager", "--profile", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "aten::bmm" in ended.stdout and "1.00 times written" in ended.stdout
    for wrong, said in (
        (["--sizes", "t"], "bench: --sizes: no size 't'\n"),
        (["--warm-up", "3"], "bench: --warm-up: found 3, expected more than 3"),
        (["--results", str(tmp_path / "none")], "missing; run saltus prepare"),
    ):
        refused = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and said in refused.stderr
        assert refused.stderr.count("\n") == 1
    with (tmp_path / "sizes.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["size"], row["kernels"], row["replicas"]) == ("s", "written", "2")
    least, median, most = (float(row[f"step_ms{end}"]) for end in ("_min", "", "_max"))
    assert 0 < least <= median <= most
    assert float(row["tokens_per_second"]) == pytest.approx(2 * 256 / median * 1000, rel=1e-3)
