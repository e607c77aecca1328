"""What every process runs for test_sharded.py: one case after another, process 0 saves the ends.

Arguments: a folder with `cases.json` and snapshots to begin from, and the folder of shards.
"""

import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from saltus.errors import SaltusError, Stopped
from saltus.train import stop
from saltus.train.engine import Engine
from saltus.train.job import batches_of
from saltus.train.launch import process_group
from saltus.train.schedule import Branch
from saltus.train.sharded import ShardedTrainer
from saltus.train.spec import TrainSpec
from saltus.train.state import Snapshot, load_snapshot, save_snapshot
from saltus.train.stop import Stop


def run_case(case: dict, folder: Path, shards: Path, device: torch.device) -> None:
    """Train the branches of a case from its snapshot and save where each ended."""
    stop.LEAST_SECONDS = stop.MOST_SECONDS = case.get("snapshot_seconds", math.inf)
    spec = TrainSpec.from_json(case["spec"])
    engine = Engine(case.get("kernels", "written"), 1, case.get("micro_batches", 1))
    trainer = ShardedTrainer(
        spec, batches_of(spec, shards), device, engine, sharding=case["sharding"]
    )
    if case.get("out_of_time"):
        trainer = dataclasses.replace(trainer, stop=Stop(-math.inf))
    if dist.get_rank() > 0:
        trainer.follow()
        return
    path = folder / case["start"]

    def save(snapshot: Snapshot) -> None:
        if case.get("out_of_time"):
            time.sleep(0.5)  # a large snapshot
        save_snapshot(folder / f"{case['name']}-saved.safetensors", snapshot)

    with trainer.leading():
        for number, branch in enumerate(case["branches"]):
            ended = trainer.run(load_snapshot(path, device), Branch(*branch), save)
            path = folder / f"{case['name']}-{number}.safetensors"
            save_snapshot(path, ended)


def main() -> None:
    """Run all cases; what one raises goes into a file of its name, one for each process."""
    folder, shards = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    wanted = torch.device(sys.argv[3] if len(sys.argv) > 3 else "cpu")
    with process_group(wanted) as device:
        for case in json.loads((folder / "cases.json").read_text()):
            try:
                run_case(case, folder, shards, device)
            except (SaltusError, Stopped) as error:
                told = folder / f"{case['name']}-{dist.get_rank()}.txt"
                saved = (folder / f"{case['name']}-saved.safetensors").exists()
                after = " after it was saved" if saved else ""
                told.write_text(f"{type(error).__name__}: {error}{after}\n")


if __name__ == "__main__":
    main()
