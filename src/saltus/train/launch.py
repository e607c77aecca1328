"""The processes of one `torchrun`: how they join, and how one of them leads a job."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from saltus.data.batches import Batches
from saltus.errors import ProcessError
from saltus.train.engine import recorded_or_decided
from saltus.train.sharded import ShardedTrainer, check_shardable
from saltus.train.spec import TrainSpec
from saltus.train.state import finished, locked
from saltus.train.stop import Stop
from saltus.train.trainer import Watch

PATIENCE = timedelta(minutes=30)
"""How long a process waits for another, for instance while process 0 writes a snapshot."""


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes of this launch and yield this one's own device; once for all its jobs.

    gloo on the CPU, NCCL on CUDA, where process n of a machine takes its n-th GPU unless `device`
    names another (`device.gpu_slot`). Left by an error, the group is not taken down: the others
    may be waiting in it, and torchrun ends them. Raises `ProcessError` if there are fewer GPUs.
    """
    if device.type == "cuda":
        index = int(os.environ["LOCAL_RANK"]) if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise ProcessError(
                f"torchrun: found {torch.cuda.device_count()} GPUs, expected one for each of "
                f"{os.environ['LOCAL_WORLD_SIZE']} processes"
            )
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", timeout=PATIENCE, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    yield device
    dist.destroy_process_group()


@contextmanager
def led_or_followed(
    spec: TrainSpec,
    state: Path,
    batches: Batches,
    device: torch.device,
    stop: Stop,
    watch: Watch | None,
) -> Iterator[ShardedTrainer | None]:
    """Yield the trainer on process 0, and None on the others when process 0 is done with it.

    Process 0 holds the job's lock and says which engine the job has; its memory is judged by one
    process's share of the batch. Raises `SaltusError` as `check_shardable` and `locked` do.
    """
    processes = dist.get_world_size()
    check_shardable(spec, processes)
    leads = dist.get_rank() == 0
    with locked(state, spec) if leads else nullcontext():
        share = replace(spec, batch_tokens=spec.batch_tokens // processes)
        engine = [recorded_or_decided(state, share, device) if leads else None]
        dist.broadcast_object_list(engine, 0, device=device)
        assert engine[0] is not None
        trainer = ShardedTrainer(spec, batches, device, engine[0], stop=stop)
        if not leads:
            trainer.follow()
            yield None
            return
        if watch is not None:
            trainer.watcher = watch(spec, device, processes, finished(state, spec))
        with trainer.leading():
            yield trainer
