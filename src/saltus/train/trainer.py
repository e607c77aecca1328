"""The training loop: one branch of a replica block, from one snapshot to the next.

Legend: R replica, B row, T token, P parameters.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from saltus.data.batches import ARITHMETIC, Batches
from saltus.errors import SaltusError
from saltus.model.compiled import compile_layer, compiled_losses
from saltus.model.initialise import initial_parameters
from saltus.model.kernels import written_losses
from saltus.model.native.losses import native_losses
from saltus.model.transformer import unflatten
from saltus.train.engine import Engine
from saltus.train.optimizer import OptimizerState, optimizer_step
from saltus.train.schedule import Branch, rate_factor
from saltus.train.spec import TrainSpec
from saltus.train.state import Snapshot

CURVE_POINTS = 200
SNAPSHOT_SECONDS = 60.0


def is_curve_point(step: int, branch: Branch) -> bool:
    """Tell whether the curve has a point after `step` steps.

    On the trunk, which knows no end, `CURVE_POINTS` to `2 · CURVE_POINTS` points stand in every
    doubling of steps; on an anneal they are evenly spaced and its end is one.
    """
    if branch.horizon is None:
        return step % (1 << max(0, (step // CURVE_POINTS).bit_length() - 1)) == 0
    every = max(1, (branch.end - branch.start) // CURVE_POINTS)
    return (step - branch.start) % every == 0 or step == branch.end


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an allocation failed, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class OutOfTime(Exception):  # noqa: N818 - a signal, no error
    """The time limit came; the branch's snapshot is saved and a later call goes on from it."""


def fresh_snapshot(spec: TrainSpec, device: torch.device) -> Snapshot:
    """Return the state before the first step."""
    parameters = initial_parameters(spec.shape, [r.seed for r in spec.replicas]).to(device)
    num_replicas = len(spec.replicas)
    held = OptimizerState(
        parameters,
        torch.zeros_like(parameters),
        torch.zeros_like(parameters),
        torch.ones(num_replicas, dtype=torch.bool, device=device),
    )
    return Snapshot(0, held, torch.zeros(0, 1 + 4 * num_replicas), 0.0)


class Watcher(Protocol):
    """Who is told how training goes: it reads, and changes nothing.

    It is handed in from outside, so that what it prints is no part of the code that trains.
    """

    def begin(self, step: int, branch: Branch) -> None:
        """Hear that a branch begins, or goes on, after `step` steps."""

    def step(self, step: int, branch: Branch, losses: Tensor) -> None:
        """Hear that `step` steps are done; `losses` are the replicas' (R,) or their mean.

        To read them waits for the device.
        """


Watch = Callable[[TrainSpec, torch.device, int, list[int]], Watcher]
"""Makes the watcher of a job: its spec, device, number of processes, and finished horizons."""


@dataclass
class Trainer:
    """Trains branches of one block.

    `deadline` is on the clock of `time.monotonic`; `watcher` is told of every step, and `changed`
    of the engine when memory did not suffice and it had to give way.
    """

    spec: TrainSpec
    batches: Batches
    device: torch.device
    engine: Engine
    deadline: float = float("inf")
    watcher: Watcher | None = None
    changed: Callable[[Engine], None] = field(default=lambda engine: None)

    def __post_init__(self) -> None:
        """Compile what the engine asks for."""
        self._compile()

    def _compile(self) -> None:
        self._compiled = compile_layer() if self.engine.kernels == "compiled" else None

    def run(
        self,
        snapshot: Snapshot,
        branch: Branch,
        save: Callable[[Snapshot], None],
    ) -> Snapshot:
        """Train from `snapshot` to the end of `branch` and return the state there.

        Calls `save` about once a minute, before raising `OutOfTime`, and before `changed`.
        """
        spec, held = self.spec, snapshot.optimizer
        peak_rates = torch.tensor([r.rate for r in spec.replicas], device=self.device)
        points: list[Tensor] = []
        started = saved = time.monotonic()
        if self.watcher is not None:
            self.watcher.begin(snapshot.step, branch)

        def standing(step: int) -> Snapshot:
            curve = torch.cat([snapshot.curve, *(point[None].cpu() for point in points)])
            return Snapshot(step, held, curve, snapshot.seconds + time.monotonic() - started)

        for step in range(snapshot.step, branch.end):
            tokens = torch.from_numpy(self.batches.batch(step)).to(self.device, non_blocking=True)
            began_with = self.engine
            row_losses, gradient = self.gradient(held.parameters, tokens)
            if self.engine != began_with:
                # In this order: who resumes before this step takes all later ones as this run does.
                save(standing(step))
                self.changed(self.engine)
            losses = row_losses.mean(1)
            rates = peak_rates * rate_factor(step, branch, spec.warmup_steps)
            optimizer_step(held, gradient, losses, rates, step, spec.shape, spec.optimizer)
            if is_curve_point(step + 1, branch):
                points.append(self._curve_point(step, row_losses, held.alive))

            if self.watcher is not None:
                self.watcher.step(step + 1, branch, losses)
            now = time.monotonic()
            if now > self.deadline:
                save(standing(step + 1))
                raise OutOfTime
            if now - saved > SNAPSHOT_SECONDS:
                save(standing(step + 1))
                saved = now
        return standing(branch.end)

    def describe(self) -> dict[str, Any]:
        """Return how this trains, for the tables: the engine, processes and sharding."""
        return asdict(self.engine) | {"processes": 1, "sharding": "none"}

    def gradient(
        self,
        parameters: Tensor,  # (R, P)
        tokens: Tensor,  # (R, B, T + 1)
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss of every row (R, B) and the gradient (R, P) of each replica's mean.

        Where memory does not suffice, the engine gives way and the step is made again. Raises
        `SaltusError` when a single row of a single replica does not fit.
        """
        while True:
            try:
                return self._passes(self.engine, parameters, tokens)
            except RuntimeError as error:
                smaller = self.engine.smaller(tokens.shape[1])
                if not is_out_of_memory(error):
                    raise
                if smaller is None:
                    raise SaltusError(
                        f"{self.spec.size} block {self.spec.block}: one row of one replica does "
                        "not fit into memory, expected a smaller size or a shorter context"
                    ) from error
            self.engine = smaller
            self._compile()  # programs as of a job that begins with this engine
            print(f"{self.spec.size}: out of memory; going on with {smaller}", file=sys.stderr)

    def _passes(self, engine: Engine, parameters: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Run the step's passes: some replicas and some rows each, gradients summed over rows."""
        num_rows = tokens.shape[1]
        losses, gradients = [], []
        for few, theirs in zip(
            torch.split(parameters, engine.replicas_at_once),
            torch.split(tokens, engine.replicas_at_once),
            strict=True,
        ):
            leaf = few.detach().requires_grad_()
            of_rows: list[Tensor] = []
            total = torch.zeros(())
            for part in theirs.chunk(engine.micro_batches, dim=1):
                row_losses, objective = self._objective(engine, leaf, part, num_rows)
                (gradient,) = torch.autograd.grad(objective, leaf)
                of_rows.append(row_losses.detach())
                total = gradient if total.ndim == 0 else total.add_(gradient)
            losses.append(torch.cat(of_rows, 1))
            gradients.append(total)
        if len(losses) == 1:
            return losses[0], gradients[0]
        return torch.cat(losses), torch.cat(gradients)

    def _objective(
        self, engine: Engine, parameters: Tensor, tokens: Tensor, num_rows: int
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss of every row (r, b), in nats/token, and their sum / `num_rows`."""
        shape, named = self.spec.shape, unflatten(parameters, self.spec.shape)
        if engine.kernels == "native":
            scale = 1 / (num_rows * shape.context)
            losses, objective = native_losses(named, tokens, shape, scale, engine.checkpointing)
            return losses.mean(2), objective
        options = (torch.bfloat16 if self.spec.precision == "bf16" else None, engine.checkpointing)
        if self._compiled is None:
            row_losses = written_losses(named, tokens, shape, *options).mean(2)
        else:
            row_losses = compiled_losses(self._compiled, named, tokens, shape, *options).mean(2)
        return row_losses, row_losses.sum() / num_rows

    def _curve_point(self, step: int, row_losses: Tensor, alive: Tensor) -> Tensor:
        """Return one row of the curve; see `Snapshot`. A source without rows this step is NaN."""
        sources = torch.from_numpy(self.batches.sources(step)).to(self.device)
        arithmetic = [name == ARITHMETIC for name in self.batches.names]
        is_arithmetic = torch.tensor(arithmetic, device=self.device)[sources]
        by_source = [
            (row_losses * chosen).sum(1) / chosen.sum()
            for chosen in (~is_arithmetic, is_arithmetic)
        ]
        columns = torch.stack([row_losses.mean(1), *by_source, alive.float()], 1).float()
        return torch.cat([torch.tensor([step + 1.0], device=self.device), columns.flatten()])
