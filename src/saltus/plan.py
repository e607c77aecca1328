"""What a study will cost, before anything runs: parameters, tokens, FLOPs, seconds. No torch.

The time of a token on one CPU core is modelled as matrix products at the machine's measured rate,
plus elementwise work in proportion to depth · width, the softmax over the vocabulary, and the cost
of calling a layer's kernels, shared by the tokens of a step. The coefficients were fitted to the
laptop study on its reference machine, which they give to a fifth for every size, and are scaled by
a matrix product timed here; where a size has been trained already, its own rate is used instead.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from saltus.model.count import count_parameters, flops_per_token
from saltus.model.shape import Shape
from saltus.study import Study
from saltus.train.spec import TrainSpec

REFERENCE_FLOPS = 108e9
"""Single-precision matrix products a second of the machine the coefficients were fitted on."""
MATRIX_EFFICIENCY = 0.44
ELEMENTWISE_SECONDS = 3.5e-8
"""Per token and unit of depth · width."""
SOFTMAX_SECONDS = 7e-9
"""Per token and entry of the vocabulary."""
LAYER_SECONDS = 5e-3
"""Per step and layer, however few the tokens: the calls of its kernels, forward and backward."""
START_SECONDS = 4.0
"""A process that imports torch."""


@dataclass(frozen=True)
class PlannedJob:
    """One training job; `tokens` and `flops` are summed over replicas and branches."""

    size: str
    block: int
    replicas: int
    params_total: int
    params_nonembedding: int
    tokens: int
    flops: float
    seconds: float
    measured: bool


def trained_tokens(spec: TrainSpec) -> int:
    """Return the tokens one replica is trained on: the trunk once, and every anneal."""
    trunk = max(spec.anneal_start(horizon) for horizon in spec.horizons)
    anneals = sum(spec.steps(h) - spec.anneal_start(h) for h in spec.horizons)
    return (trunk + anneals) * spec.batch_tokens


def measured_flops(seconds: float = 0.1, width: int = 96) -> float:
    """Return the single-precision FLOP/s of a matrix product here, the best of a short trial."""
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((2, width, width), dtype=np.float32)
    left @ right
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * width**3 / best


def seconds_per_token(shape: Shape, tokens_per_step: int, matrix_flops: float) -> float:
    """Return the modelled training time of one token on one core.

    `tokens_per_step` counts the tokens of all replicas of a step.
    """
    slowness = REFERENCE_FLOPS / matrix_flops
    products = flops_per_token(shape) / (REFERENCE_FLOPS * MATRIX_EFFICIENCY)
    elementwise = ELEMENTWISE_SECONDS * shape.depth * shape.width
    calls = LAYER_SECONDS * shape.depth / tokens_per_step
    return slowness * (products + elementwise + SOFTMAX_SECONDS * shape.vocabulary + calls)


def plan(
    study: Study, matrix_flops: float, measured_rates: Mapping[str, float]
) -> list[PlannedJob]:
    """Return every training job. `measured_rates` maps a size to tokens/s where it is known."""
    jobs = []
    for spec in study.train_specs():
        counts = count_parameters(spec.shape)
        tokens = trained_tokens(spec) * len(spec.replicas)
        rate = measured_rates.get(spec.size)
        step = spec.batch_tokens * len(spec.replicas)
        per_token = 1 / rate if rate else seconds_per_token(spec.shape, step, matrix_flops)
        jobs.append(
            PlannedJob(
                size=spec.size,
                block=spec.block,
                replicas=len(spec.replicas),
                params_total=counts.total,
                params_nonembedding=counts.nonembedding,
                tokens=tokens,
                flops=float(flops_per_token(spec.shape)) * tokens,
                seconds=START_SECONDS + tokens * per_token,
                measured=rate is not None,
            )
        )
    return jobs


def makespan(jobs: list[PlannedJob], cores: int) -> float:
    """Return the time of all jobs on `cores` cores, the longest started first."""
    busy = [0.0] * cores
    for job in sorted(jobs, key=lambda job: -job.seconds):
        busy[busy.index(min(busy))] += job.seconds
    return max(busy)
