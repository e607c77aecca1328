"""One replica on several processes under `torchrun`: DDP, and FSDP2 for the largest sizes.

Legend: B row of the whole batch, b row of one process, T token, P parameters.

Process 0 leads: it alone reads and writes the job's state and calls `ShardedTrainer.run`, as a
single process calls `Trainer.run`. The others `follow`: they hear which branch comes, receive the
snapshot, and train their share of every batch. Snapshots are whole and the same as a single
process's, so a job may go on with another number of processes, or alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from saltus.errors import SaltusError, Stopped
from saltus.model.count import count_parameters
from saltus.model.module import Decoder, split_row
from saltus.model.shape import layout, num_parameters
from saltus.say import say
from saltus.train.course import Course
from saltus.train.optimizer import OptimizerState
from saltus.train.schedule import Branch, rate_factor
from saltus.train.spec import TrainSpec
from saltus.train.state import Snapshot
from saltus.train.stop import TIME_IS_UP
from saltus.train.trainer import Trainer

FSDP_PARAMETERS = 1_000_000_000
"""Above this many parameters their state is sharded, not only the batch."""
GO, SAVE, STOP = 0, 1, 2
"""What the words of all processes add up to: process 0 may ask to save, any of them to stop."""


def elsewhere() -> Stopped:
    """Return why a process ends that nobody stopped itself."""
    return Stopped("another process was stopped", TIME_IS_UP)


def check_shardable(spec: TrainSpec, processes: int) -> None:
    """Raise `SaltusError` if a job cannot be trained on so many processes."""
    job = f"{spec.size} block {spec.block}: torchrun with {processes} processes"
    if len(spec.replicas) != 1:
        raise SaltusError(
            f"{job}: found {len(spec.replicas)} replicas, expected 1 (a block for each seed)"
        )
    if spec.optimizer.name != "adamw":
        raise SaltusError(f"{job}: found optimizer {spec.optimizer.name}, expected adamw")
    if spec.rows % processes:
        below = max(n for n in range(1, processes) if spec.rows % n == 0)
        above = [n for n in range(processes, spec.rows + 1) if spec.rows % n == 0]
        choices = " or ".join(str(n) for n in (below, *above[:1]))
        raise SaltusError(f"{job} do not divide the {spec.rows} rows of a batch (try {choices})")


@dataclass(frozen=True)
class Order:
    """What process 0 tells the others before a branch."""

    step: int
    branch: Branch
    alive: bool


@dataclass
class ShardedTrainer(Trainer):
    """Trains branches of a block of one replica, every process its share of the rows.

    `sharding` is `ddp`, `fsdp`, or `auto`: FSDP2 above `FSDP_PARAMETERS`. Of the engine it takes
    the kernels, checkpointing, and `micro_batches` (of a process's own rows); there is no giving
    way when memory does not suffice, since no process can do so alone. Under FSDP2 kernels that
    are not compiled always checkpoint: they keep copies of matrices that would undo the sharding.
    Raises `SaltusError` as `check_shardable` does, on every process.
    """

    sharding: str = "auto"

    def __post_init__(self) -> None:
        """Make this process's part of the model; a collective."""
        spec, self.rank, self.processes = self.spec, dist.get_rank(), dist.get_world_size()
        check_shardable(spec, self.processes)
        if self.sharding not in ("auto", "ddp", "fsdp"):
            raise SaltusError(f"sharding: found {self.sharding}, expected auto, ddp or fsdp")
        large = count_parameters(spec.shape).total > FSDP_PARAMETERS
        fsdp = self.sharding == "fsdp" or (self.sharding == "auto" and large)
        checkpointing = self.engine.checkpointing or (fsdp and self.engine.kernels != "compiled")
        self._described = {
            **super().describe(),
            "checkpointing": checkpointing,
            "processes": self.processes,
            "sharding": "fsdp" if fsdp else "ddp",
        }
        module = Decoder(
            spec.shape,
            torch.device("meta") if fsdp else self.device,
            self.engine.kernels,
            torch.bfloat16 if spec.precision == "bf16" else torch.float32,
            checkpointing,
        )
        self._model: nn.Module = self._fully_sharded(module) if fsdp else self._replicated(module)
        self._parameters = dict(module.named_parameters())
        self._optimizer = self._new_optimizer()
        self._followers_wait = True

    def describe(self) -> dict[str, Any]:
        """Return how this trains, for the tables: what it does, not only what the engine asks."""
        return self._described

    def _replicated(self, module: Decoder) -> nn.Module:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def _fully_sharded(self, module: Decoder) -> nn.Module:
        """Shard layer by layer. Layers travel in the precision of the products, sums in float32.

        The embedding stays in float32, and so does the residual stream that enters a layer.
        """
        mesh = init_device_mesh(self.device.type, (self.processes,))
        low = torch.bfloat16 if self.spec.precision == "bf16" else None
        policy = MixedPrecisionPolicy(low, torch.float32, cast_forward_inputs=False)
        for layer in module.layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(module, mesh=mesh)
        return module.to_empty(device=self.device)

    def _new_optimizer(self) -> torch.optim.AdamW:
        """Return AdamW: matrices decay; norms and the embedding do not."""
        options = self.spec.optimizer
        groups = [
            {
                "params": [
                    self._parameters[entry.name]
                    for entry in layout(self.spec.shape)
                    if (entry.role == "matrix") == decays
                ],
                "weight_decay": options.decay if decays else 0.0,
            }
            for decays in (True, False)
        ]
        betas = (options.beta1, options.beta2)
        return torch.optim.AdamW(groups, betas=betas, eps=options.epsilon, fused=True)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Lead on process 0: the others follow until the end of this."""
        try:
            yield
        finally:
            if self._followers_wait:
                self._announce(None)

    def follow(self) -> None:
        """Take part in what process 0 trains, until it is done.

        Raises `Stopped` when process 0 does, and not before it has saved: when one process ends
        with an error, torchrun ends the others.
        """
        while (order := self._announce(None)) is not None:
            self._receive(order, None)
            for _, _, _, word in self._steps(order, lambda: STOP if self.stop.signal else GO):
                if word != GO:
                    self._gathered()
                if word >= STOP:
                    self._announce(None)
                    raise self.stop.asked() or elsewhere()
            self._gathered()

    def run(
        self,
        snapshot: Snapshot,
        branch: Branch,
        save: Callable[[Snapshot], None],
    ) -> Snapshot:
        """Train from `snapshot` to the end of `branch` and return the state there, on the CPU.

        For process 0, within `leading`. Calls `save` in the rhythm of snapshots, and before it
        raises `Stopped`.
        """
        order = Order(snapshot.step, branch, bool(snapshot.optimizer.alive[0]))
        self._announce(order)
        self._followers_wait = False
        self._receive(order, snapshot.optimizer)
        course = Course(snapshot, branch, self.batches)
        stopped: Stopped | None = None
        alive = order.alive
        if self.watcher is not None:
            self.watcher.begin(order.step, branch)

        def standing(step: int) -> Snapshot:
            parameters, first, second = self._gathered()
            return course.at(step, OptimizerState(parameters, first, second, torch.tensor([alive])))

        def decide() -> int:
            nonlocal stopped
            stopped = self.stop.asked()
            if stopped:
                return STOP
            return SAVE if self.rhythm.is_due() else GO

        for step, row_losses, alive, word in self._steps(order, decide):
            course.note(step, row_losses[None], torch.tensor([alive]))
            if word >= STOP:
                stopped = stopped or elsewhere()
                say(f"saltus: {stopped}; saving")
            if word != GO:
                with self.rhythm.saving():
                    save(standing(step))
            if self.watcher is not None:
                self.watcher.step(step, branch, row_losses.mean())
            if stopped:
                self._followers_wait = True
                raise stopped
        end = standing(branch.end)
        self._followers_wait = True
        return end

    def _announce(self, order: Order | None) -> Order | None:
        """Return what process 0 says next: an order, or None when it is done. A collective."""
        said = [order]
        dist.broadcast_object_list(said, 0, device=self.device)
        return said[0]

    def _steps(
        self, order: Order, decide: Callable[[], int]
    ) -> Iterator[tuple[int, Tensor, bool, int]]:
        """Train; after each step yield its number, all rows' losses (B,), alive, and the word.

        The losses of all rows and the words travel in one sum, so that all processes decide the
        same. A replica whose loss or gradient is not finite is frozen for good.
        """
        spec, alive = self.spec, order.alive
        share = spec.rows // self.processes
        mine = slice(self.rank * share, (self.rank + 1) * share)
        for step in range(order.step, order.branch.end):
            tokens = torch.from_numpy(self.batches.batch(step)[0, mine]).to(self.device)
            shared = torch.zeros(spec.rows + 1, device=self.device)
            shared[mine] = self._passes_of_rows(tokens, alive)
            shared[-1] = decide()
            dist.all_reduce(shared)
            row_losses = shared[:-1]
            if alive:
                rate = spec.replicas[0].rate * rate_factor(step, order.branch, spec.warmup_steps)
                alive = self._update(row_losses.mean(), rate)
            yield step + 1, row_losses, alive, int(shared[-1].item())

    def _passes_of_rows(
        self,
        tokens: Tensor,  # (b, T + 1)
        alive: bool,
    ) -> Tensor:  # (b,)
        """Return the rows' losses; leave the gradient of the whole batch's mean in the parameters.

        The wrappers average gradients over processes. DDP does so in the last pass alone; FSDP2 in
        every pass, since a whole gradient is what it must not hold.
        """
        if not alive:
            with torch.no_grad():
                return torch.cat([self._model(part) for part in self._micro(tokens)])
        losses: list[Tensor] = []
        parts = self._micro(tokens)
        for number, part in enumerate(parts, 1):
            with self._unshared() if number < len(parts) else nullcontext():
                row_losses = self._model(part)
                (row_losses.sum() / len(tokens)).backward()
            losses.append(row_losses.detach())
        return torch.cat(losses)

    def _unshared(self) -> AbstractContextManager[None]:
        """Return what keeps DDP from averaging the gradients of a pass."""
        if isinstance(self._model, DistributedDataParallel):
            return self._model.no_sync()
        return nullcontext()

    def _micro(self, tokens: Tensor) -> tuple[Tensor, ...]:
        return tokens.chunk(self.engine.micro_batches)

    def _update(self, loss: Tensor, rate: float) -> bool:
        """Clip, step, and tell whether the replica is alive; frozen, nothing of it moves.

        It waits for the device, as does the word of process 0.
        """
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        alive = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if alive:
            torch.nn.utils.clip_grads_with_norm_(
                self._parameters.values(), self.spec.optimizer.clip, norm
            )
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
        self._optimizer.zero_grad()
        return alive

    def _receive(self, order: Order, held: OptimizerState | None) -> None:
        """Fill parameters and moments of all processes from process 0's rows. A collective."""
        rows = (None,) * 3 if held is None else (held.parameters, held.first, held.second)
        for parameter in self._parameters.values():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(order.step), device=self.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        for tensors, row in zip(self._tensors(), rows, strict=True):
            pieces = None if row is None else split_row(row[0], self.spec.shape)
            for entry in layout(self.spec.shape):
                piece = torch.empty(entry.shape) if pieces is None else pieces[entry.name]
                self._fill(tensors[entry.name], piece)

    def _fill(self, tensor: Tensor, piece: Tensor) -> None:
        piece = piece.to(self.device)
        dist.broadcast(piece, 0)
        with torch.no_grad():
            if isinstance(tensor, DTensor):
                mesh, placements = tensor.device_mesh, tensor.placements
                piece = distribute_tensor(piece, mesh, placements, src_data_rank=None)
            tensor.copy_(piece)

    def _tensors(self) -> list[Mapping[str, Tensor]]:
        """Return parameters, first and second moments, each by name; shards under FSDP2."""
        states = {name: self._optimizer.state[p] for name, p in self._parameters.items()}
        moments = [
            {name: state[key] for name, state in states.items()}
            for key in ("exp_avg", "exp_avg_sq")
        ]
        return [self._parameters, *moments]

    def _gathered(self) -> list[Tensor]:
        """Return the rows (1, P) of parameters and moments on process 0's CPU. A collective.

        One tensor at a time, so that no device holds a whole row; the other processes' rows are
        empty.
        """
        rows = []
        for tensors in self._tensors():
            row = torch.empty(num_parameters(self.spec.shape) if self.rank == 0 else 0)
            pieces = split_row(row, self.spec.shape) if self.rank == 0 else {}
            for entry in layout(self.spec.shape):
                piece = whole(tensors[entry.name])
                if self.rank == 0:
                    pieces[entry.name].copy_(piece.detach())
            rows.append(row[None])
        return rows


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be sharded; a collective if it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
