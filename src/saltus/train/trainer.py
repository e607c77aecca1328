"""The training loop: one branch of a replica block, from one snapshot to the next.

Legend: R replica, B row, T token, P parameters.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from saltus.data.batches import ARITHMETIC, Batches
from saltus.errors import SaltusError
from saltus.model.compiled import compile_parts, compiled_losses
from saltus.model.initialise import initial_parameters
from saltus.model.kernels import written_losses
from saltus.model.native.losses import native_losses
from saltus.model.transformer import unflatten
from saltus.train.engine import Engine
from saltus.train.feed import feed
from saltus.train.graphed import GraphedStep, Step
from saltus.train.optimizer import OptimizerState, optimizer_step
from saltus.train.schedule import Branch, rate_factor
from saltus.train.spec import TrainSpec
from saltus.train.state import Snapshot

CURVE_POINTS = 200
SNAPSHOT_SECONDS = 60.0
STEPS_BEFORE_RECORDING = 3
"""So many steps of a branch run as they stand: libraries make their plans in the first ones."""


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


class Point(NamedTuple):
    """What a point of the curve is made of, on the device: a step's losses, and who lives after."""

    step: int
    row_losses: Tensor  # (R, B)
    alive: Tensor  # (R,) bool


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
        """Compile what the engine asks for; recorded is a step with the state it changes."""
        self._graphed: tuple[OptimizerState, GraphedStep] | None = None
        self._compile()

    def _compile(self) -> None:
        self._compiled = compile_parts() if self.engine.kernels == "compiled" else None

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
        points: list[Point] = []
        started = saved = time.monotonic()
        if self._graphed is not None and self._graphed[0] is not held:
            self._graphed = None
        if self.watcher is not None:
            self.watcher.begin(snapshot.step, branch)

        def standing(step: int) -> Snapshot:
            curve = torch.cat([snapshot.curve, *self._curve_rows(points)])
            return Snapshot(step, held, curve, snapshot.seconds + time.monotonic() - started)

        def recorded(tokens: Tensor, rates: Tensor, step: Tensor) -> Tensor:
            row_losses, gradient = self._passes(self.engine, held.parameters, tokens)
            losses = row_losses.mean(1)
            optimizer_step(held, gradient, losses, rates, step, spec.shape, spec.optimizer)
            return row_losses

        first = snapshot.step
        for step, batch in enumerate(feed(self.batches, self.device, first, branch.end), first):
            rates = peak_rates * rate_factor(step, branch, spec.warmup_steps)
            if self.engine.kernels == "graphed" and step == first + STEPS_BEFORE_RECORDING:
                self._graphed = self._graphed or self._record(held, recorded, batch, rates)
            if self._graphed is None:
                began_with = self.engine
                tokens = batch.to(self.device, non_blocking=True)
                row_losses, gradient = self.gradient(held.parameters, tokens)
                if self.engine != began_with:
                    # In this order: who resumes before this step takes all later ones as this run.
                    save(standing(step))
                    self.changed(self.engine)
                losses = row_losses.mean(1)
                optimizer_step(held, gradient, losses, rates, step, spec.shape, spec.optimizer)
            else:
                number = torch.full((), float(step), device=self.device)
                row_losses = self._graphed[1](batch, rates, number)
                losses = row_losses.mean(1)
            if is_curve_point(step + 1, branch):
                points.append(Point(step, row_losses.clone(), held.alive.clone()))

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
            return row_losses, row_losses.sum() / num_rows
        scale = 1 / (num_rows * shape.context)
        losses, objective = compiled_losses(self._compiled, named, tokens, shape, scale, *options)
        return losses.mean(2), objective

    def _record(
        self, held: OptimizerState, step: Step, batch: Tensor, rates: Tensor
    ) -> tuple[OptimizerState, GraphedStep] | None:
        """Return the step of a state as a graph; None, and no graph, where memory is short."""
        number = torch.zeros((), device=self.device)
        try:
            return held, GraphedStep(step, batch.to(self.device), rates, number)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        print(f"{self.spec.size}: out of memory; going on without a graph", file=sys.stderr)
        return None

    def _curve_rows(self, points: list[Point]) -> list[Tensor]:
        """Return rows (1, 1 + 4R) of the curve; see `Snapshot`. Sources without rows are NaN.

        Made when they are saved, on the CPU: a point waits for no device.
        """
        is_arithmetic = torch.tensor([name == ARITHMETIC for name in self.batches.names])
        rows = []
        for point in points:
            losses = point.row_losses.cpu()
            chosen = is_arithmetic[torch.from_numpy(self.batches.sources(point.step))]
            by_source = [(losses * of).sum(1) / of.sum() for of in (~chosen, chosen)]
            columns = [losses.mean(1), *by_source, point.alive.cpu().float()]
            row = torch.stack(columns, 1).float().flatten()
            rows.append(torch.cat([torch.tensor([point.step + 1.0]), row])[None])
        return rows
