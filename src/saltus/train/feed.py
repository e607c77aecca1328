"""The batches of a job on their way to its device.

A GPU is done with a small model's step before one thread has made the next batch. So there, threads
make batches ahead, each those of one replica at a time, and they are put into page-locked memory: a
copy from it waits for nothing. The batches are the same: each is a function of seed and step alone.

Legend: R replica, B row, T token.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from saltus.data.batches import Batches
from saltus.limits import num_cores

AHEAD = 4
"""Steps made ahead."""


def feed(batches: Batches, device: torch.device, start: int, end: int) -> Iterator[Tensor]:
    """Yield the tokens (R, B, T + 1) of the steps from `start` to before `end`.

    On a CPU they are there; for a GPU they are on their way, in page-locked memory.
    """
    if device.type != "cuda":
        for step in range(start, end):
            yield torch.from_numpy(batches.batch(step))
        return
    workers = [batches.of_replica(row) for row in range(len(batches.seeds))]
    with ThreadPoolExecutor(min(len(workers), num_cores())) as pool:
        for parts in made_ahead(pool, workers, start, end):
            yield torch.from_numpy(np.concatenate(parts)).pin_memory()


def made_ahead(
    pool: ThreadPoolExecutor, workers: list[Batches], start: int, end: int
) -> Iterator[list[np.ndarray]]:
    """Yield every step's batches (1, B, T + 1), one of each worker, `AHEAD` steps ahead.

    A worker makes one batch at a time: the next is asked for when the one before is done.
    """

    def made(worker: Batches, step: int, before: Future[np.ndarray] | None) -> np.ndarray:
        if before is not None:
            before.result()
        return worker.batch(step)

    last: list[Future[np.ndarray] | None] = [None] * len(workers)
    waiting: deque[list[Future[np.ndarray]]] = deque()
    try:
        for step in range(start, end):
            now = [
                pool.submit(made, worker, step, before)
                for worker, before in zip(workers, last, strict=True)
            ]
            last = list(now)
            waiting.append(now)
            if len(waiting) > AHEAD:
                yield [each.result() for each in waiting.popleft()]
        while waiting:
            yield [each.result() for each in waiting.popleft()]
    finally:
        for futures in waiting:
            for each in futures:
                each.cancel()
