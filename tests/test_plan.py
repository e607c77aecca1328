"""The plan: its counts are closed forms, its time adds up, and nothing of it is trained."""

from pathlib import Path
from typing import Any

import pytest

from saltus.model.shape import num_parameters
from saltus.plan import PlannedJob, makespan, measured_flops, plan, seconds_per_token
from saltus.plan import trained_tokens as trained
from saltus.study import Study, load_study, parse_study

ROOT = Path(__file__).parents[1]
WIDTH, DEPTH, HEADS, FEEDFORWARD = 16, 3, 2, 44
VOCABULARY, CONTEXT, BATCH = 320, 32, 512
ANNEAL = 0.25


def study(horizons: list[int], **sizes: dict[str, Any]) -> Study:
    """Return a study of the given sizes, with blocks of three seeds and of one."""
    return parse_study(
        {
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
    )


MIDDLE = {"width": WIDTH, "depth": DEPTH, "heads": HEADS}
HORIZONS = [16384, 65536, 262144]


@pytest.fixture
def jobs() -> list[PlannedJob]:
    return plan(study(HORIZONS, s1=MIDDLE), 80e9, {})


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


def test_counts_agree_with_the_layout_in_every_shipped_study() -> None:
    for path in (ROOT / "config.yaml", *(ROOT / "studies").glob("*.yaml")):
        shipped = load_study(path)
        for job, spec in zip(plan(shipped, 80e9, {}), shipped.train_specs(), strict=True):
            assert job.params_total == num_parameters(spec.shape)
            assert job.params_nonembedding < job.params_total
            assert job.replicas == len(spec.replicas)
            assert job.tokens >= spec.horizons[-1] * job.replicas
            assert job.flops > 0 and job.seconds > 0


def test_measured_rate_replaces_the_model() -> None:
    one = study(HORIZONS, s1=MIDDLE, s2={**MIDDLE, "width": 32})
    first, *_, last = plan(one, 80e9, {"s1": 10_000.0})
    guess = plan(one, 80e9, {})[0]
    assert first.measured and not last.measured and not guess.measured
    start = guess.seconds - guess.tokens * seconds_per_token(one.shape("s1"), 80e9)
    assert first.seconds == pytest.approx(start + first.tokens / 10_000)


def test_time_grows_with_the_model_and_shrinks_with_the_machine() -> None:
    sizes = study(HORIZONS, s1=MIDDLE, s2={**MIDDLE, "width": 32}, s3={**MIDDLE, "depth": 6})
    times = {size: seconds_per_token(sizes.shape(size), 80e9) for size in ("s1", "s2", "s3")}
    assert times["s1"] < times["s2"] and times["s1"] < times["s3"]
    assert seconds_per_token(sizes.shape("s1"), 160e9) == pytest.approx(times["s1"] / 2)


def test_a_matrix_product_is_timed_here() -> None:
    assert 1e8 < measured_flops(seconds=0.01) < 1e14


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
