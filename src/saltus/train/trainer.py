"""The training loop: one branch of a replica block, from one snapshot to the next.

Legend: R replica, B row, T token, P parameters.
"""

import gc
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from saltus.data.batches import Batches
from saltus.errors import SaltusError
from saltus.model.compiled import compile_parts, compiled_losses
from saltus.model.initialise import initial_parameters
from saltus.model.kernels import written_losses
from saltus.model.native.losses import native_losses
from saltus.model.transformer import unflatten
from saltus.say import say
from saltus.train.course import Course
from saltus.train.engine import Engine
from saltus.train.feed import feed
from saltus.train.graphed import GraphedStep, Step
from saltus.train.optimizer import OptimizerState, optimizer_step
from saltus.train.schedule import Branch, rate_factor
from saltus.train.spec import TrainSpec
from saltus.train.state import Snapshot
from saltus.train.stop import Rhythm, Stop

STEPS_BEFORE_RECORDING = 3
"""So many steps of a branch run as they stand: libraries make their plans in the first ones."""
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What PyTorch on a CPU, CUDA outside of PyTorch's own memory, and cuBLAS say."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an allocation failed, on a GPU or a CPU."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(each in said for each in OUT_OF_MEMORY)


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

    `watcher` is told of every step, and `changed` of the engine when memory did not suffice and it
    had to give way.
    """

    spec: TrainSpec
    batches: Batches
    device: torch.device
    engine: Engine
    stop: Stop = field(default_factory=Stop)
    rhythm: Rhythm = field(default_factory=Rhythm, init=False)
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

        Calls `save` in the rhythm of snapshots, before `changed`, and before it raises `Stopped`.
        """
        spec, held = self.spec, snapshot.optimizer
        peak_rates = torch.tensor([r.rate for r in spec.replicas], device=self.device)
        first = snapshot.step
        course = Course(snapshot, branch, self.batches)
        if self._graphed is not None and self._graphed[0] is not held:
            self._graphed = None
        if self.watcher is not None:
            self.watcher.begin(first, branch)

        def give_way(engine: Engine, step: int) -> None:
            # In this order: who resumes before this step takes all later ones as this run.
            self.engine = engine
            save(course.at(step, held))
            self.changed(engine)

        def taken(tokens: Tensor, rates: Tensor, step: int) -> Tensor:
            began_with = self.engine
            row_losses, gradient = self.gradient(held.parameters, tokens)
            if self.engine != began_with:
                give_way(self.engine, step)
            self._optimise(held, row_losses, gradient, rates, step)
            return row_losses

        def recorded(tokens: Tensor, rates: Tensor, step: Tensor) -> Tensor:
            row_losses, gradient = self._passes(self.engine, held.parameters, tokens)
            self._optimise(held, row_losses, gradient, rates, step)
            return row_losses

        with closing(feed(self.batches, self.device, first, branch.end)) as coming:
            for step, batch in enumerate(coming, first):
                rates = peak_rates * rate_factor(step, branch, spec.warmup_steps)
                if self.engine.kernels == "graphed" and step == first + STEPS_BEFORE_RECORDING:
                    self._graphed = self._graphed or self._record(held, recorded, batch, rates)
                    if self._graphed is None:
                        give_way(replace(self.engine, kernels="written"), step)
                if self._graphed is None:
                    row_losses = taken(batch.to(self.device, non_blocking=True), rates, step)
                else:
                    number = torch.full((), float(step), device=self.device)
                    row_losses = self._graphed[1](batch, rates, number)
                course.note(step + 1, row_losses, held.alive)
                stopped = self.stop.asked()
                if stopped:
                    say(f"saltus: {stopped}; saving")
                if stopped or self.rhythm.is_due():
                    with self.rhythm.saving():
                        save(course.at(step + 1, held))
                if self.watcher is not None:
                    self.watcher.step(step + 1, branch, row_losses.mean(1))
                if stopped:
                    raise stopped
        return course.at(branch.end, held)

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

    def _optimise(
        self,
        held: OptimizerState,
        row_losses: Tensor,  # (R, B)
        gradient: Tensor,  # (R, P)
        rates: Tensor,  # (R,)
        step: int | Tensor,
    ) -> None:
        losses, spec = row_losses.mean(1), self.spec
        optimizer_step(held, gradient, losses, rates, step, spec.shape, spec.optimizer)

    def _record(
        self, held: OptimizerState, step: Step, batch: Tensor, rates: Tensor
    ) -> tuple[OptimizerState, GraphedStep] | None:
        """Return the step of a state as a graph; None, and no graph, where memory is short."""
        number = torch.zeros((), device=self.device)
        try:
            return held, GraphedStep(step, self.device, batch, rates, number)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        gc.collect()  # what the step had made hangs on the error's frames
        torch.cuda.empty_cache()
        print(f"{self.spec.size}: out of memory; going on without a graph", file=sys.stderr)
        return None
