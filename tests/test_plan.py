"""The jobs a study becomes, and the plan: counts in closed form, times that add up."""

import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from saltus.cli.main import main
from saltus.model.count import count_parameters, flops_per_token
from saltus.model.shape import num_parameters
from saltus.plan import (
    GPUS,
    Machine,
    PlannedJob,
    disk_bytes,
    gpu_seconds_per_step,
    makespan,
    measured_flops,
    peak_memory,
    plan,
    planned_engine,
    seconds_per_token,
    text_epochs,
)
from saltus.plan import trained_tokens as trained
from saltus.study import Study, load_study, parse_study
from saltus.train.spec import TrainSpec

ROOT = Path(__file__).parents[1]
WIDTH, DEPTH, HEADS, FEEDFORWARD = 16, 3, 2, 44
VOCABULARY, CONTEXT, BATCH = 320, 32, 512
ANNEAL = 0.25


def raw_study(horizons: list[int], **sizes: dict[str, Any]) -> dict[str, Any]:
    """Return a study of the given sizes, with blocks of three seeds and of one."""
    return {
        "name": "planned",
        "text": {"domains": {"markov": {"corpus": "synthetic", "share": 0.5}}},
        "tokenizer": {"vocabulary": VOCABULARY},
        "arithmetic": {"share": 0.5, "drills": [{"task": "add_2"}]},
        "family": {"context": CONTEXT, "blocks": [[0, 1, 2], [3]], "sizes": sizes},
        "training": {
            "batch_tokens": BATCH,
            "horizons": horizons,
            "anneal": ANNEAL,
            "warmup": {"tokens_per_parameter": 0, "floor_steps": 1},
            "rate": {"coefficient": 0.01, "reference": 2000, "exponent": -0.2},
        },
    }


def study(horizons: list[int], **sizes: dict[str, Any]) -> Study:
    return parse_study(raw_study(horizons, **sizes))


MIDDLE = {"width": WIDTH, "depth": DEPTH, "heads": HEADS}
HORIZONS = [16384, 65536, 262144]
SMALL = {"width": 4, "depth": 2, "heads": 1}
HERE = Machine(matrix_flops=80e9, memory_bytes=16e9)


def changed(path: str, value: Any) -> Study:
    """Return the study of sizes s1 and s2 with one value replaced."""
    raw = copy.deepcopy(raw_study(HORIZONS, s1=SMALL, s2=MIDDLE))
    *parents, last = path.split("/")
    node: Any = raw
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    return parse_study(raw)


class TestSpecs:
    study = changed("seed", 0)

    def test_one_job_for_each_size_and_block(self) -> None:
        jobs = [(spec.size, spec.block) for spec in self.study.train_specs()]
        assert jobs == [("s1", 0), ("s1", 1), ("s2", 0), ("s2", 1)]

    def test_a_size_may_have_blocks_of_its_own(self) -> None:
        study = changed("family/sizes/s2/blocks", [[7]])
        assert study.blocks("s1") == ((0, 1, 2), (3,)) and study.blocks("s2") == ((7,),)

    def test_seeds_are_never_paired_across_sizes(self) -> None:
        seeds = [r.seed for spec in self.study.train_specs() for r in spec.replicas]
        assert len(seeds) == len(set(seeds)) == 8

    def test_horizons_do_not_enter_the_identity(self) -> None:
        other = changed("training/horizons", [16384, 32768, 131072])
        for one, two in zip(self.study.train_specs(), other.train_specs(), strict=True):
            assert one.to_json() != two.to_json()
            assert one.identity() == two.identity()

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("family/sizes/s3", {"width": 24, "depth": 2, "heads": 2}),
            ("family/sizes/s2/width", 32),
            ("family/sizes/s2/blocks", [[7]]),
            ("probe/items", 50),
            ("law/delta", 0.01),
            ("description", "other words"),
            ("training/device", "cpu"),
        ],
    )
    def test_other_parts_leave_a_job_as_it_is(self, path: str, value: Any) -> None:
        other = changed(path, value)
        assert other.train_spec("s1", 0).to_json() == self.study.train_spec("s1", 0).to_json()

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("seed", 1),
            ("training/anneal", 0.5),
            ("training/rate/coefficient", 0.005),
            ("training/optimizer/decay", 0.0),
            ("arithmetic/held_out", 0.2),
            ("arithmetic/drills/0/weight", 3),
            ("tokenizer/vocabulary", 400),
        ],
    )
    def test_what_training_reads_changes_the_identity(self, path: str, value: Any) -> None:
        other = changed(path, value)
        assert other.train_spec("s1", 0).identity() != self.study.train_spec("s1", 0).identity()

    def test_json_round_trip(self) -> None:
        for spec in self.study.train_specs():
            assert type(spec).from_json(spec.to_json()) == spec
            assert " " not in spec.to_json().replace("held-out ", "").replace("saltus ", "")

    def test_rate_rule_and_its_ceiling(self) -> None:
        for name in ("s1", "s2"):
            nonembedding = count_parameters(self.study.shape(name)).nonembedding
            rate = self.study.train_spec(name, 0).replicas[0].rate
            assert rate == pytest.approx(0.01 * (nonembedding / 2000) ** -0.2, rel=1e-5)
        capped = changed("training/rate/ceiling", 0.005)
        assert capped.train_spec("s1", 0).replicas[0].rate == 0.005

    def test_warmup_scales_with_the_size_and_has_a_floor(self) -> None:
        study = changed("training/warmup/tokens_per_parameter", 1)
        nonembedding = count_parameters(study.shape("s2")).nonembedding
        assert study.warmup_steps("s1") == 1
        assert study.warmup_steps("s2") == round(nonembedding / 512) > 10

    def test_a_sweep_names_and_scales_its_replicas(self) -> None:
        study = changed("training/rate_factors", [0.5, 1, 2])
        spec, plain = study.train_spec("s1", 0), self.study.train_spec("s1", 0)
        names = [replica.name for replica in spec.replicas]
        assert names[:3] == ["seed0-rate0.5", "seed0-rate1", "seed0-rate2"]
        assert {replica.seed for replica in spec.replicas[:3]} == {plain.replicas[0].seed}
        rates = [replica.rate / plain.replicas[0].rate for replica in spec.replicas[:3]]
        assert rates == pytest.approx([0.5, 1, 2])

    def test_a_domain_of_share_zero_is_not_trained_on(self) -> None:
        held_out = {"corpus": "synthetic", "share": 0}
        study = changed("text/domains/other", held_out)
        assert set(study.mixture().shares) == {"arithmetic", "markov"}
        assert sum(study.mixture().shares.values()) == pytest.approx(1)


@pytest.fixture
def jobs() -> list[PlannedJob]:
    return plan(study(HORIZONS, s1=MIDDLE), HERE, {})


def test_one_job_for_each_block(jobs: list[PlannedJob]) -> None:
    assert [(job.size, job.block, job.replicas) for job in jobs] == [("s1", 0, 3), ("s1", 1, 1)]


def test_parameters_are_the_closed_form(jobs: list[PlannedJob]) -> None:
    attention = 4 * WIDTH**2 + 2 * (WIDTH // HEADS)
    layer = attention + 3 * WIDTH * FEEDFORWARD + 2 * WIDTH
    nonembedding = DEPTH * layer + WIDTH
    for job in jobs:
        assert job.params_nonembedding == nonembedding
        assert job.params_total == nonembedding + VOCABULARY * WIDTH


def test_tokens_are_one_trunk_and_every_anneal(jobs: list[PlannedJob]) -> None:
    trunk = (1 - ANNEAL) * max(HORIZONS)
    anneals = ANNEAL * sum(HORIZONS)
    assert trained(study(HORIZONS, s1=MIDDLE).train_spec("s1", 0)) == trunk + anneals
    assert [job.tokens for job in jobs] == [3 * (trunk + anneals), trunk + anneals]


@pytest.mark.parametrize(
    ("horizons", "steps"),
    [([512 * 4], 4), ([512 * 4, 512 * 8], 9), ([512 * 4, 512 * 8, 512 * 32], 35)],
)
def test_a_further_horizon_costs_its_anneal_and_the_longer_trunk(
    horizons: list[int], steps: int
) -> None:
    assert trained(study(horizons, s1=MIDDLE).train_spec("s1", 0)) == steps * BATCH


def test_sharing_a_trunk_is_cheaper_than_training_each_horizon(jobs: list[PlannedJob]) -> None:
    assert max(HORIZONS) < jobs[1].tokens < sum(HORIZONS)


def test_flops_are_the_closed_form(jobs: list[PlannedJob]) -> None:
    projections = 2 * (4 * WIDTH**2 + 3 * WIDTH * FEEDFORWARD)
    scores_and_mixing = 4 * CONTEXT * WIDTH
    head = 2 * WIDTH * VOCABULARY
    token = 3 * (DEPTH * (projections + scores_and_mixing) + head)
    for job in jobs:
        assert job.flops == token * job.tokens


def test_counts_agree_with_the_layout_in_every_shipped_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A study of the user's own text wants its file to be there.
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "prose.jsonl.xz").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for path in (ROOT / "config.yaml", *(ROOT / "studies").glob("*.yaml")):
        shipped = load_study(path)
        for job, spec in zip(plan(shipped, HERE, {}), shipped.train_specs(), strict=True):
            assert job.params_total == num_parameters(spec.shape)
            assert job.params_nonembedding < job.params_total
            assert job.replicas == len(spec.replicas)
            assert job.tokens >= spec.horizons[-1] * job.replicas
            assert job.flops > 0 and job.seconds > 0


def test_measured_rate_replaces_the_model() -> None:
    one = study(HORIZONS, s1=MIDDLE, s2={**MIDDLE, "width": 32})
    first, *_, last = plan(one, HERE, {"s1": 10_000.0})
    guess = plan(one, HERE, {})[0]
    assert first.measured and not last.measured and not guess.measured
    start = guess.seconds - guess.tokens * seconds_per_token(
        one.shape("s1"), one.training.batch_tokens * guess.replicas, 80e9
    )
    assert first.seconds == pytest.approx(start + first.tokens / 10_000)


def test_time_grows_with_the_model_and_shrinks_with_the_machine() -> None:
    sizes = study(HORIZONS, s1=MIDDLE, s2={**MIDDLE, "width": 32}, s3={**MIDDLE, "depth": 6})
    times = {size: seconds_per_token(sizes.shape(size), 1024, 80e9) for size in ("s1", "s2", "s3")}
    assert times["s1"] < times["s2"] and times["s1"] < times["s3"]
    assert seconds_per_token(sizes.shape("s1"), 2048, 80e9) < times["s1"]
    assert seconds_per_token(sizes.shape("s1"), 1024, 160e9) == pytest.approx(times["s1"] / 2)


def test_a_matrix_product_is_timed_here() -> None:
    assert 1e8 < measured_flops() < 1e14


def test_memory_grows_with_seeds_and_horizons_by_whole_copies() -> None:
    short, long = study(HORIZONS[:2], s1=MIDDLE), study(HORIZONS, s1=MIDDLE)
    copy = 4 * count_parameters(long.shape("s1")).total
    three, one = long.train_spec("s1", 0), long.train_spec("s1", 1)
    assert peak_memory(three) - peak_memory(short.train_spec("s1", 0)) == pytest.approx(9 * copy)
    assert peak_memory(three) > peak_memory(one)
    assert disk_bytes(three) == 3 * disk_bytes(one) == 3 * copy * 7 * len(HORIZONS)


def test_memory_is_what_the_laptop_study_took() -> None:
    """Held against a reference run, whose largest size took 40 % more than its smallest."""
    runs = pd.read_parquet(ROOT / "results" / "reference" / "laptop" / "tables" / "runs.parquet")
    measured = runs.groupby("size")["peak_memory_bytes"].first()
    for spec in load_study(ROOT / "config.yaml").train_specs():
        assert peak_memory(spec) == pytest.approx(measured[spec.size], rel=0.2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
class TestGpu:
    def spec(self, precision: str, **changes: Any) -> TrainSpec:
        raw = raw_study(HORIZONS, s1={"width": 256, "depth": 4, "heads": 8, **changes})
        raw["training"] |= {"precision": precision, "batch_tokens": 16384, "horizons": [1 << 20]}
        return parse_study(raw).train_spec("s1", 0)

    def test_never_faster_than_its_peak(self, precision: str) -> None:
        for gpu in GPUS.values():
            for width in (64, 1024, 4096):
                spec = self.spec(precision, width=width)
                flops = flops_per_token(spec.shape) * spec.batch_tokens * len(spec.replicas)
                assert gpu_seconds_per_step(spec, gpu) > flops / gpu.flops(precision)

    def test_small_models_wait_for_the_host_and_large_ones_for_the_gpu(
        self, precision: str
    ) -> None:
        small, large = self.spec(precision, width=16), self.spec(precision, width=2048)
        slow, fast = GPUS["a100"], GPUS["h200"]
        same = gpu_seconds_per_step(small, slow) / gpu_seconds_per_step(small, fast)
        assert same == 1
        assert gpu_seconds_per_step(large, slow) > 1.5 * gpu_seconds_per_step(large, fast)

    def test_a_block_too_large_for_the_gpu_is_split(self, precision: str) -> None:
        spec = self.spec(precision, width=1024, depth=8)
        assert planned_engine(spec, GPUS["h200"]).replicas_at_once == len(spec.replicas)
        less = planned_engine(spec, GPUS["l4"])
        assert less.replicas_at_once < len(spec.replicas)


def test_epochs_are_of_the_domain_repeated_most() -> None:
    raw = copy.deepcopy(raw_study(HORIZONS, s1=SMALL))
    raw["text"]["domains"] = {
        "markov": {"corpus": "synthetic", "share": 0.3},
        "other": {"corpus": "synthetic", "share": 0.2},
    }
    two = parse_study(raw)
    epochs = text_epochs(two, {"markov": 60_000, "other": 20_000})
    assert epochs == {horizon: pytest.approx(horizon * 0.2 / 20_000) for horizon in HORIZONS}


class TestCommand:
    """What `saltus plan` prints."""

    def said(
        self, raw: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str
    ) -> str:
        path = tmp_path / "planned.yaml"
        path.write_text(yaml.safe_dump(raw))
        assert main(["plan", str(path), *more]) == 0
        return capsys.readouterr().out

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_a_job_that_does_not_fit_is_marked(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        huge = {"width": 16384, "depth": 64, "heads": 128}
        raw = raw_study(HORIZONS, s1=SMALL, s2=huge)
        raw["training"]["device"] = "cpu"
        lines = self.said(raw, tmp_path, capsys).splitlines()
        rows = {line.split()[0]: line for line in lines if line.startswith(("s1", "s2"))}
        assert rows["s2"].endswith(" !") and not rows["s1"].endswith(" !")
        assert any(line.startswith("! does not fit") for line in lines)

    @pytest.mark.parametrize(("tokens", "warned"), [(32768, False), (32000, True)])
    def test_more_than_four_epochs_are_warned_of(
        self, tokens: int, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        raw = raw_study(HORIZONS, s1=SMALL)
        assert "not known before" in self.said(raw, tmp_path, capsys)
        shards = tmp_path / "results" / "planned" / "shards"
        shards.mkdir(parents=True)
        manifest = {"domains": {"markov": {"train": {"tokens": tokens}}}}
        (shards / "manifest.json").write_text(json.dumps(manifest))
        said = self.said(raw, tmp_path, capsys)
        assert ("warning: text is seen" in said) == warned
        assert "262,144 tokens 4" in said

    def test_a_gpu_that_is_elsewhere(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        raw = raw_study(HORIZONS, s1=SMALL)
        said = self.said(raw, tmp_path, capsys, "--gpu", "a100")
        assert "on one A100" in said and "no GPU has been timed" in said
        assert main(["plan", "planned.yaml", "--gpu", "h10"]) == 2
        error = capsys.readouterr().err
        assert "--gpu: found 'h10'" in error and error.count("\n") == 1

    @pytest.mark.parametrize(
        ("said", "expected"),
        [("NVIDIA H200\n", "H200"), ("NVIDIA A100-SXM4-80GB\n", "A100"), ("NVIDIA L4\n", "L4")],
    )
    def test_the_gpu_that_is_here(
        self,
        said: str,
        expected: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\nprintf '{said}'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setattr("saltus.cli.plan.gpu_is_there", lambda: True)
        assert f"on one {expected}," in self.said(raw_study(HORIZONS, s1=SMALL), tmp_path, capsys)
        tool.write_text("#!/bin/sh\necho Voodoo 2\n")
        assert main(["plan", "planned.yaml"]) == 2
        assert "found 'Voodoo 2'" in capsys.readouterr().err


class TestMakespan:
    def of(self, seconds: list[float]) -> list[PlannedJob]:
        return [
            PlannedJob(f"s{index}", 0, 1, 1, 1, 1, 1.0, each, False)
            for index, each in enumerate(seconds)
        ]

    def test_one_core_takes_the_sum(self) -> None:
        assert makespan(self.of([3, 1, 2]), 1) == 6

    def test_longest_first_fills_the_gaps(self) -> None:
        # In the given order two cores would take 6: the longest would start last.
        assert makespan(self.of([2, 2, 4]), 2) == 4

    @pytest.mark.parametrize("cores", [1, 2, 3, 8])
    def test_bounds(self, cores: int) -> None:
        seconds = [7.0, 5.5, 4.0, 3.0, 3.0, 1.0, 0.5]
        low = max(max(seconds), sum(seconds) / cores)
        assert low <= makespan(self.of(seconds), cores) <= sum(seconds) / cores + max(seconds)

    def test_more_cores_than_jobs(self) -> None:
        assert makespan(self.of([7, 5]), 16) == 7
