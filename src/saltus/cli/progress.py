"""What a job says of itself while it trains: a live line, and TensorBoard for who asks for it.

Legend: R replica. Nothing here touches training: losses are read, which waits for the device, only
when a line is due.
"""

import math
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.model.count import flops_per_token
from saltus.say import say
from saltus.train.schedule import Branch, rate_factor
from saltus.train.spec import TrainSpec
from saltus.train.trainer import Watch

LINE_SECONDS = 10.0
PEAK_SECONDS = 0.1
"""How long the matrix product is timed; with its first call it stays below .3 s."""
PEAK_WIDTHS = {"cpu": 512, "cuda": 4096}

Losses = Tensor | Callable[[], Tensor | float]
"""Losses of the replicas (R,), their mean, or what returns either."""


def live_line(tensorboard: Path | None = None) -> Watch:
    """Return what makes the progress of a job, its files for TensorBoard under a folder if given.

    The peak of the device is measured here, and counted once for each of the job's processes.
    """

    def watch(
        spec: TrainSpec, device: torch.device, processes: int, finished: list[int]
    ) -> Progress:
        peak = matrix_peak(device, spec.precision) * processes
        return Progress(spec, device, peak, tensorboard, finished=finished)

    return watch


def matrix_peak(device: torch.device, precision: str) -> float:
    """Return the FLOP/s of a square matrix product on `device`, the best of a short trial.

    In the study's precision, with one thread on a CPU.
    """
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    width = PEAK_WIDTHS[device.type]
    left = torch.ones(width, width, dtype=kind, device=device)
    right, product = torch.ones_like(left), torch.empty_like(left)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _wait(device, torch.mm(left, right, out=product))
        best = math.inf
        end = time.perf_counter() + PEAK_SECONDS
        while time.perf_counter() < end:
            start = time.perf_counter()
            _wait(device, torch.mm(left, right, out=product))
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 2 * width**3 / best


def _wait(device: torch.device, _: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Progress:
    """The progress of one job: `begin` before a branch's first step, `step` after every one.

    A line comes at most every `LINE_SECONDS`, at the end of each branch, and when a branch goes on
    from a step that this process has not trained up to. Rates are of the time since the line
    before. `matrix_flops` is the device's peak, measured here if absent; `finished` are the
    horizons whose anneal is complete already; `tensorboard` is a folder. Raises `SaltusError` if
    that is given and the package `tensorboard` is not installed.
    """

    def __init__(
        self,
        spec: TrainSpec,
        device: torch.device,
        matrix_flops: float | None = None,
        tensorboard: Path | None = None,
        stream: TextIO | None = None,
        *,
        finished: Collection[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.matrix_flops = matrix_flops or matrix_peak(device, spec.precision)
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        self.todo = [horizon for horizon in sorted(spec.horizons) if horizon not in finished]
        self.writers: dict[str, Any] = {}
        self.tensorboard = tensorboard
        self._new_writer = None if tensorboard is None else _summary_writer()
        self._trunk = 0
        self._branch: Branch | None = None
        self._told_step, self._told_time = 0, 0.0

    def begin(self, step: int, branch: Branch) -> None:
        """Note that `branch` begins or goes on after `step` steps."""
        known = self._trunk if branch.horizon is None else branch.start
        if step > known:
            done = step * self.spec.batch_tokens
            self._write(f"{self._head(branch)}: continued from step {step:,} ({done:,} tokens)")
        self._branch = branch
        self._told_step, self._told_time = step, self.clock()
        self._reached(step, branch)

    def step(self, step: int, branch: Branch, losses: Losses) -> None:
        """Note that `step` steps of the branch are done; `losses` are read if a line is due."""
        assert branch == self._branch, "begin was not called for this branch"
        now = self.clock()
        if step < branch.end and now - self._told_time < LINE_SECONDS:
            return
        self._reached(step, branch)
        per_second = (step - self._told_step) / max(now - self._told_time, 1e-9)
        values = torch.as_tensor(losses() if callable(losses) else losses).detach().float().cpu()
        self._write(self._line(step, branch, values.reshape(-1), per_second))
        if self.tensorboard is not None:
            self._scalars(step, branch, values.reshape(-1), per_second)
        # Not `now`: reading the losses waited for the device.
        self._told_step, self._told_time = step, self.clock()

    def close(self) -> None:
        """Flush and close TensorBoard's files."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def steps_left(self, step: int, branch: Branch) -> int:
        """Return the steps of the whole job that are still to do, all horizons together.

        Horizons are trained in ascending order: of those below the branch's nothing is left.
        """
        spec = self.spec
        if branch.horizon is None:
            this, later = 0, [h for h in self.todo if spec.anneal_start(h) >= branch.end]
        else:
            this, later = branch.end - step, [h for h in self.todo if h > branch.horizon]
        trunk = max((spec.anneal_start(h) for h in later), default=self._trunk) - self._trunk
        return this + max(0, trunk) + sum(spec.steps(h) - spec.anneal_start(h) for h in later)

    def _reached(self, step: int, branch: Branch) -> None:
        at = step if branch.horizon is None else branch.start
        self._trunk = max(self._trunk, at)

    def _head(self, branch: Branch) -> str:
        return f"{self.spec.size} block {self.spec.block} {branch.name}"

    def _line(self, step: int, branch: Branch, values: Tensor, per_second: float) -> str:
        spec, finite = self.spec, values[torch.isfinite(values)]
        loss = f"loss {finite.mean():.3f}" if len(finite) else "no finite loss"
        if 0 < len(finite) < len(values):
            loss += f" ({len(finite)} of {len(values)} replicas)"
        rate = per_second * spec.batch_tokens * len(spec.replicas)
        share = rate * flops_per_token(spec.shape) / self.matrix_flops
        return (
            f"{self._head(branch)}: {step * spec.batch_tokens:,} tokens, {loss}, "
            f"{rate:,.0f} tokens/s, {share:.0%} of peak, "
            f"{duration((branch.end - step) / per_second)} left on this branch, "
            f"{duration(self.steps_left(step, branch) / per_second)} in all"
        )

    def _write(self, line: str) -> None:
        say(line, self.stream)

    def _scalars(self, step: int, branch: Branch, values: Tensor, per_second: float) -> None:
        """Write the line's numbers for TensorBoard, a run for each branch, tokens on the axis."""
        spec = self.spec
        if branch.name not in self.writers:
            assert self._new_writer is not None and self.tensorboard is not None
            folder = self.tensorboard / spec.size / f"block{spec.block}" / branch.name
            self.writers[branch.name] = self._new_writer(str(folder))
        writer, tokens = self.writers[branch.name], step * spec.batch_tokens
        factor = rate_factor(step - 1, branch, spec.warmup_steps)
        if len(values) == len(spec.replicas):
            for replica, value in zip(spec.replicas, values.tolist(), strict=True):
                writer.add_scalar(f"loss/{replica.name}", value, tokens)
        else:
            writer.add_scalar("loss/mean", float(values.mean()), tokens)
        for replica in spec.replicas:
            writer.add_scalar(f"learning_rate/{replica.name}", replica.rate * factor, tokens)
        rate = per_second * spec.batch_tokens * len(spec.replicas)
        writer.add_scalar("tokens_per_second", rate, tokens)
        writer.flush()


def duration(seconds: float) -> str:
    """Return a duration as a reader would say it: 42 s, 3 min 5 s, 2 h 7 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SaltusError(
            "tensorboard: the package is not installed (pip install saltus[tensorboard])"
        ) from error
    return SummaryWriter
