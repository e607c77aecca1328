"""What a study will cost, before it runs: parameters, tokens, FLOPs, seconds, memory. No torch.

Every coefficient stands in one of the four records below; `bench/plan.py` fits those of a CPU anew
and prints their errors. The GPU's are read off data sheets and assumed: nothing was timed there.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from saltus.model.count import count_parameters, flops_per_token
from saltus.model.shape import Shape
from saltus.study import Study
from saltus.train.engine import MEMORY_SHARE, Engine, activation_bytes, decide, state_bytes
from saltus.train.spec import TrainSpec

FLOAT_BYTES = 4
MAX_EPOCHS = 4.0
"""Repeated text counts almost as new up to about here (Muennighoff et al. 2023, §5)."""


@dataclass(frozen=True)
class CpuCosts:
    """Time on one CPU core; all but the start scale with a matrix product timed on the machine.

    A token takes its matrix products at `matrix_efficiency` of `matrix_flops`, elementwise work in
    proportion to depth · width, the softmax over the vocabulary, and its part of the cost of
    calling a layer's kernels, which the tokens of a step share. Fitted by
    `bench/plan.py` to native kernels at nine shapes of 8 to 256 units, one core busy: eight of
    them they give to 13 %, the smallest they take for 19 % faster than it was.
    """

    matrix_flops: float = 69e9
    """FLOP/s of `measured_flops` on the machine the others were fitted on."""
    matrix_efficiency: float = 0.91
    elementwise_seconds: float = 3.7e-8
    """Per token and unit of depth · width."""
    softmax_seconds: float = 3.0e-9
    """Per token and entry of the vocabulary."""
    layer_seconds: float = 1.2e-3
    """Per step and layer, however few the tokens."""
    start_seconds: float = 4.0
    """A process that imports torch."""


@dataclass(frozen=True)
class MemoryCosts:
    """Peak memory of a training job: the process, copies of the parameters, what a pass keeps.

    A copy is R·P floats. A step and a snapshot being written hold `step_copies` of parameters,
    moments, gradient and temporaries; until it writes its outputs, a job holds three copies for
    each annealed end. What a pass keeps is counted in `train.engine.activation_bytes`, for the
    engine that the job would have; `activation_share` says how much of that a CPU shows. On a GPU
    all of it is taken.
    """

    process_bytes: float = 483e6
    step_copies: float = 12.6
    horizon_copies: float = 3.0
    activation_share: float = 0.94
    bf16_share: float = 0.75
    """Of the same in single precision: layers keep half, the logits all. Counted, not fitted."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet has it: dense FLOP/s, bytes a second, bytes of memory."""

    name: str
    bf16_flops: float
    fp32_flops: float
    bandwidth: float
    memory_bytes: float

    def flops(self, precision: str) -> float:
        """Return the peak of a precision; fp32 means without TF32, which is PyTorch's default."""
        return self.bf16_flops if precision == "bf16" else self.fp32_flops


GPUS: Mapping[str, Gpu] = {
    "h200": Gpu("H200", 989e12, 67e12, 4.8e12, 141e9),
    "h100": Gpu("H100", 989e12, 67e12, 3.35e12, 80e9),
    "a100": Gpu("A100", 312e12, 19.5e12, 2.0e12, 80e9),
    "l40": Gpu("L40S", 362e12, 91e12, 0.86e12, 48e9),
    "l4": Gpu("L4", 121e12, 30e12, 0.3e12, 24e9),
    "4090": Gpu("RTX 4090", 165e12, 83e12, 1.0e12, 24e9),
}
"""By a part of the name that `nvidia-smi` prints; SXM where there are several."""


@dataclass(frozen=True)
class GpuCosts:
    """Assumed, not fitted: a step takes the longer of calling kernels and running them.

    Running is matrix products at `matrix_efficiency` of the peak plus memory traffic at
    `bandwidth_efficiency` of the bandwidth. Traffic counts each byte that a pass keeps
    `activation_passes` times and each copy of the parameters `parameter_passes` times.
    """

    matrix_efficiency: float = 0.6
    bandwidth_efficiency: float = 0.7
    activation_passes: float = 4.0
    parameter_passes: float = 20.0
    layer_seconds: float = 1.0e-3
    """Calling a layer's kernels from Python, forward and backward."""
    step_seconds: float = 2.0e-3
    """Calling the rest: embedding, loss, optimizer."""
    batch_seconds: float = 6e-8
    """Making one token of a batch on a CPU core (measured on one: 17M tokens/s)."""
    start_seconds: float = 15.0
    """A process that imports torch and starts CUDA."""
    process_bytes: float = 1e9
    """CUDA's context and libraries on the device."""


CPU_COSTS, MEMORY_COSTS, GPU_COSTS = CpuCosts(), MemoryCosts(), GpuCosts()
Terms = tuple[float, float]


@dataclass(frozen=True)
class Machine:
    """What a study would run on: one CPU core's matrix rate, or a GPU; and its memory."""

    matrix_flops: float
    memory_bytes: float
    gpu: Gpu | None = None


@dataclass(frozen=True)
class PlannedJob:
    """One training job; `tokens` and `flops` are summed over replicas and branches.

    `memory_bytes` is the expected peak of the process, on a GPU of its memory; `disk_bytes` what
    its state and its checkpoints take.
    """

    size: str
    block: int
    replicas: int
    params_total: int
    params_nonembedding: int
    tokens: int
    flops: float
    seconds: float
    measured: bool
    memory_bytes: float = 0.0
    disk_bytes: float = 0.0


def trained_tokens(spec: TrainSpec) -> int:
    """Return the tokens one replica is trained on: the trunk once, and every anneal."""
    trunk = max(spec.anneal_start(horizon) for horizon in spec.horizons)
    anneals = sum(spec.steps(h) - spec.anneal_start(h) for h in spec.horizons)
    return (trunk + anneals) * spec.batch_tokens


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def measured_flops() -> float:
    """Return the single-precision FLOP/s of a matrix product on one core, measured now.

    In a process of its own: a library that has begun with several threads may wait a hundred times
    longer for them than such a product takes.
    """
    command = [sys.executable, "-c", "from saltus.plan import timed_flops; print(timed_flops())"]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    done.check_returncode()
    return float(done.stdout)


def timed_flops(seconds: float = 0.1, width: int = 96) -> float:
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


def cpu_terms(shape: Shape, tokens_per_step: int) -> tuple[float, float, float, float]:
    """Return what a token's time on a CPU is linear in: FLOPs, elements, softmax, calls."""
    return (
        float(flops_per_token(shape)),
        float(shape.depth * shape.width),
        float(shape.vocabulary),
        shape.depth / tokens_per_step,
    )


def seconds_per_token(
    shape: Shape, tokens_per_step: int, matrix_flops: float, costs: CpuCosts = CPU_COSTS
) -> float:
    """Return the modelled training time of one token on one core.

    `tokens_per_step` counts the tokens of all replicas of a step.
    """
    flops, elements, entries, calls = cpu_terms(shape, tokens_per_step)
    slowness = costs.matrix_flops / matrix_flops
    return slowness * (
        flops / (costs.matrix_flops * costs.matrix_efficiency)
        + elements * costs.elementwise_seconds
        + entries * costs.softmax_seconds
        + calls * costs.layer_seconds
    )


def planned_engine(spec: TrainSpec, gpu: Gpu | None) -> Engine:
    """Return the engine that a job would have: here on a CPU, elsewhere by the GPU's memory."""
    if gpu is None:
        return decide(spec, SimpleNamespace(type="cpu"))  # type: ignore[arg-type]
    engine = Engine("written", len(spec.replicas))
    while state_bytes(spec) + activation_bytes(spec, engine) > MEMORY_SHARE * gpu.memory_bytes:
        smaller = engine.smaller(spec.rows)
        if smaller is None:
            break
        engine = smaller
    return engine


def memory_terms(spec: TrainSpec, engine: Engine, costs: MemoryCosts = MEMORY_COSTS) -> Terms:
    """Return what peak memory is linear in: bytes of one copy, bytes that a pass keeps."""
    copy = count_parameters(spec.shape).total * len(spec.replicas) * FLOAT_BYTES
    kept = activation_bytes(spec, engine) * (costs.bf16_share if spec.precision == "bf16" else 1.0)
    return float(copy), kept


def peak_memory(
    spec: TrainSpec, gpu: Gpu | None = None, costs: MemoryCosts = MEMORY_COSTS
) -> float:
    """Return the modelled peak of a job's memory in bytes: of the process, or of the GPU."""
    copy, kept = memory_terms(spec, planned_engine(spec, gpu), costs)
    copies = costs.step_copies + costs.horizon_copies * len(spec.horizons)
    if gpu:
        return GPU_COSTS.process_bytes + copies * copy + kept
    return costs.process_bytes + copies * copy + costs.activation_share * kept


def gpu_seconds_per_step(spec: TrainSpec, gpu: Gpu, costs: GpuCosts = GPU_COSTS) -> float:
    """Return the assumed time of one step of all replicas on a GPU."""
    shape = spec.shape
    tokens = spec.batch_tokens * len(spec.replicas)
    calls = costs.step_seconds + shape.depth * costs.layer_seconds
    copy, kept = memory_terms(spec, Engine("written", len(spec.replicas)))
    traffic = costs.activation_passes * kept + costs.parameter_passes * copy
    products = float(tokens * flops_per_token(shape))
    running = products / (gpu.flops(spec.precision) * costs.matrix_efficiency)
    running += traffic / (gpu.bandwidth * costs.bandwidth_efficiency)
    return max(calls + tokens * costs.batch_seconds, running)


def disk_bytes(spec: TrainSpec) -> float:
    """Return what a finished job leaves: trunk and annealed snapshots of three copies, models."""
    copy = count_parameters(spec.shape).total * len(spec.replicas) * FLOAT_BYTES
    starts = {spec.anneal_start(horizon) for horizon in spec.horizons}
    return float(copy * (3 * len(starts) + (3 + 1) * len(spec.horizons)))


def plan(study: Study, machine: Machine, measured_rates: Mapping[str, float]) -> list[PlannedJob]:
    """Return every training job. `measured_rates` maps a size to tokens/s where it is known."""
    jobs = []
    for spec in study.train_specs():
        counts = count_parameters(spec.shape)
        step = spec.batch_tokens * len(spec.replicas)
        tokens = trained_tokens(spec) * len(spec.replicas)
        rate = measured_rates.get(spec.size)
        if rate:
            per_token = 1 / rate
        elif machine.gpu:
            per_token = gpu_seconds_per_step(spec, machine.gpu) / step
        else:
            per_token = seconds_per_token(spec.shape, step, machine.matrix_flops)
        start = GPU_COSTS.start_seconds if machine.gpu else CPU_COSTS.start_seconds
        jobs.append(
            PlannedJob(
                size=spec.size,
                block=spec.block,
                replicas=len(spec.replicas),
                params_total=counts.total,
                params_nonembedding=counts.nonembedding,
                tokens=tokens,
                flops=float(flops_per_token(spec.shape)) * tokens,
                seconds=start + tokens * per_token,
                measured=rate is not None,
                memory_bytes=peak_memory(spec, machine.gpu),
                disk_bytes=disk_bytes(spec),
            )
        )
    return jobs


def text_epochs(study: Study, training_tokens: Mapping[str, int]) -> dict[int, float]:
    """Return for every horizon the epochs of the domain that is repeated most.

    `training_tokens` is the length of each trained domain's training split.
    """
    return {
        horizon: max(
            horizon * study.text.domains[domain].share / tokens
            for domain, tokens in training_tokens.items()
        )
        for horizon in study.training.horizons
    }


def makespan(jobs: list[PlannedJob], cores: int) -> float:
    """Return the time of all jobs on `cores` cores, the longest started first."""
    busy = [0.0] * cores
    for job in sorted(jobs, key=lambda job: -job.seconds):
        busy[busy.index(min(busy))] += job.seconds
    return max(busy)
