"""The batches of a job on their way to its device.

A GPU is done with a small model's step before one thread has made the next batch. So there, threads
make batches ahead, each those of one replica, and they are put into page-locked memory: a copy from
it waits for nothing. The batches are the same: each is a function of seed and step alone.

Legend: R replica, B row, T token.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from saltus.data.batches import Batches

AHEAD = 4
"""So many steps' batches are made or being made at a time, and so many steps begun and not done."""


def feed(
    batches: Batches, device: torch.device, start: int, end: int
) -> Generator[Tensor, None, None]:
    """Yield the tokens (R, B, T + 1) of the steps from `start` to before `end`.

    On a CPU they are there; for a GPU they are on their way, in page-locked memory, and who asks
    for the next waits until the step `AHEAD` before is done: work does not pile up on the device.
    """
    if device.type != "cuda":
        for step in range(start, end):
            yield torch.from_numpy(batches.batch(step))
        return
    begun: deque[torch.cuda.Event] = deque()
    workers = [batches.of_replica(row) for row in range(len(batches.seeds))]
    for parts in made_ahead(workers, start, end):
        yield torch.from_numpy(np.concatenate(parts)).pin_memory()
        # Who waits for a blocking event leaves its core to the threads.
        end_of_step = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        end_of_step.record(torch.cuda.current_stream(device))
        begun.append(end_of_step)
        if len(begun) > AHEAD:
            begun.popleft().synchronize()


def made_ahead(
    workers: Sequence[Batches], start: int, end: int
) -> Generator[list[np.ndarray], None, None]:
    """Yield every step's batches (1, B, T + 1), one of each worker, made `AHEAD` steps ahead.

    Every worker has a thread of its own, and makes one batch at a time.
    """
    with ExitStack() as stack:
        threads = [ThreadPoolExecutor(1) for _ in workers]
        for each in threads:
            stack.callback(partial(each.shutdown, cancel_futures=True))

        def asked(step: int) -> list[Future[np.ndarray]]:
            pairs = zip(threads, workers, strict=True)
            return [thread.submit(worker.batch, step) for thread, worker in pairs]

        steps = iter(range(start, end))
        waiting = deque(asked(step) for step in islice(steps, AHEAD))
        while waiting:
            parts = [each.result() for each in waiting.popleft()]
            waiting.extend(asked(step) for step in islice(steps, 1))
            yield parts
