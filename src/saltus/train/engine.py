"""How a job computes what its spec asks for: decided once, at its first start, and recorded.

Nothing here changes what is trained, but every choice changes the order of sums and so the last
bits: a job that goes on uses what it began with. On a CPU the choices follow from the spec and the
machine's memory alone, never from a clock, so that a repeated run is the same bit for bit.
"""

import dataclasses
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saltus.errors import SaltusError
from saltus.files import read_json, write_json
from saltus.limits import memory_limit_bytes, num_cores
from saltus.model.count import count_parameters, flops_per_token
from saltus.model.native.library import NoCompilerError, library_file
from saltus.train.spec import TrainSpec

if TYPE_CHECKING:
    import torch

STREAM_BYTES = 1 << 20
"""Replicas go through a CPU together while their residual stream is no larger than this."""
NATIVE_CONTEXT = 512
"""Up to here a head's scores in the cache beat the blockwise kernel (docs/log.md)."""
MEMORY_SHARE = 0.7
"""Of the memory that a job may count on."""
COMPILE_SECONDS = 60.0
"""About what the compiler takes for one shape, forward and backward."""
COMPILED_GAIN = 0.3
"""The share of a job's time that compilation saves on a GPU, a guess until one was measured."""
GPU_FLOPS = 5e13
"""What a job may reach on a GPU: for the choice to compile alone."""


@dataclass(frozen=True)
class Engine:
    """The engine of one job.

    `kernels` are `native` (model.native), `written` (model.kernels), `compiled`
    (model.compiled), or `graphed`: the written ones, a step recorded as one CUDA graph
    (train.graphed), which no job takes by itself before a GPU has shown what it is worth. A step
    runs `replicas_at_once` and splits its rows into `micro_batches`; with `checkpointing`, layers
    keep their inputs alone and are computed again for the gradient.
    """

    kernels: str
    replicas_at_once: int
    micro_batches: int = 1
    checkpointing: bool = False

    def smaller(self, rows: int) -> "Engine | None":
        """Return an engine that needs less memory at once, None if there is none.

        First fewer replicas, then fewer rows, then checkpointing.
        """
        if self.replicas_at_once > 1:
            return dataclasses.replace(self, replicas_at_once=(self.replicas_at_once + 1) // 2)
        if self.micro_batches < rows:
            return dataclasses.replace(self, micro_batches=min(rows, 2 * self.micro_batches))
        if not self.checkpointing:
            return dataclasses.replace(self, checkpointing=True)
        return None


def state_bytes(spec: TrainSpec) -> int:
    """Return the bytes of parameters, both moments and the gradient of all replicas."""
    return 4 * 4 * len(spec.replicas) * count_parameters(spec.shape).total


def activation_bytes(spec: TrainSpec, engine: Engine) -> int:
    """Return the bytes that one pass keeps for its gradient, in single precision.

    Per token and layer, written: the stream, two normed copies, twice queries and keys, values,
    the mixed heads (10 widths), gate, up, their product and the opened gate (4 feed-forward
    widths), and the attention weights; native: two streams, queries, keys, values, the mixed heads
    (6), gate and up (2), two inverse norms and a normaliser a head. With checkpointing one layer's,
    and every layer's input. At the head, written: logits and probabilities; native: two streams.
    """
    shape = spec.shape
    rows = -(-spec.rows // engine.micro_batches)
    tokens = engine.replicas_at_once * rows * shape.context
    if engine.kernels == "native":
        layer = 6 * shape.width + 2 * shape.feedforward + shape.heads + 2
        head = 2 * shape.width
    else:
        layer = 10 * shape.width + 4 * shape.feedforward + shape.heads * shape.context
        head = 4 * shape.width + 2 * shape.vocabulary
    layers = shape.depth * shape.width + layer if engine.checkpointing else shape.depth * layer
    return 4 * tokens * (layers + head)


def decide(spec: TrainSpec, device: "torch.device") -> Engine:
    """Return the engine for a job on a device."""
    if device.type == "cuda":
        engine = Engine(_gpu_kernels(spec), len(spec.replicas))
        memory = _gpu_bytes(device)
    else:
        together = STREAM_BYTES // (4 * spec.batch_tokens * spec.shape.width)
        engine = Engine(_cpu_kernels(spec), min(len(spec.replicas), max(1, together)))
        memory = memory_limit_bytes() // num_cores()
    while state_bytes(spec) + activation_bytes(spec, engine) > MEMORY_SHARE * memory:
        smaller = engine.smaller(spec.rows)
        if smaller is None:
            break
        engine = smaller
    return engine


def _gpu_bytes(device: "torch.device") -> int:
    import torch

    return torch.cuda.get_device_properties(device).total_memory


def _cpu_kernels(spec: TrainSpec) -> str:
    """Return `native` where a C compiler is there and the job is of the kind it is faster for."""
    if spec.precision != "fp32" or spec.shape.context > NATIVE_CONTEXT:
        return "written"
    try:
        library_file()
    except NoCompilerError as error:
        print(f"saltus: {error}; training without compiled C, slower", file=sys.stderr)
        return "written"
    return "native"


def _gpu_kernels(spec: TrainSpec) -> str:
    """Return `compiled` if a compiler is there and the job is long enough to repay it."""
    from torch.utils._triton import has_triton

    tokens = len(spec.replicas) * sum(spec.horizons)
    seconds = tokens * flops_per_token(spec.shape) / GPU_FLOPS
    return "compiled" if has_triton() and COMPILED_GAIN * seconds > COMPILE_SECONDS else "written"


def _need_library(spec: TrainSpec) -> None:
    try:
        library_file()
    except NoCompilerError as error:
        job = f"{spec.size} block {spec.block}"
        raise SaltusError(f"{job}: it began with native kernels and needs them; {error}") from error


def engine_file(state: Path) -> Path:
    """Return where a job's engine is recorded."""
    return state / "engine.json"


def record(state: Path, engine: Engine) -> None:
    """Write the engine of a job beside its state."""
    write_json(engine_file(state), asdict(engine))


def recorded_or_decided(state: Path, spec: TrainSpec, device: "torch.device") -> Engine:
    """Return the engine that a job began with; at its first start decide and record it.

    Raises `SaltusError` if the job began with native kernels and they cannot be had here.
    """
    if engine_file(state).exists():
        engine = Engine(**read_json(engine_file(state)))
        if engine.kernels == "native":
            _need_library(spec)
        return engine
    engine = decide(spec, device)
    record(state, engine)
    return engine
