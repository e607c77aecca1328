"""Batches made ahead by threads are the batches."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from saltus.data.batches import Batches
from saltus.train.feed import feed, made_ahead
from saltus.train.job import batches_of
from saltus.train.spec import Replica, TrainSpec

FIVE = tuple(Replica(f"seed{seed}", seed, 0.01) for seed in range(5))


@pytest.mark.parametrize(("start", "end"), [(0, 9), (3, 5), (7, 7), (6, 300)])
def test_made_ahead_they_are_the_same(
    start: int, end: int, make_spec: Callable[..., TrainSpec], shards: Path
) -> None:
    batches = batches_of(make_spec(replicas=FIVE), shards)
    workers = [batches.of_replica(row) for row in range(len(FIVE))]
    found = list(made_ahead(workers, start, end))
    assert len(found) == end - start
    for step, parts in enumerate(found, start):
        assert np.array_equal(np.concatenate(parts), batches.batch(step))


def test_on_a_cpu_they_come_as_they_are(make_spec: Callable[..., TrainSpec], shards: Path) -> None:
    batches = batches_of(make_spec(), shards)
    found = list(feed(batches, torch.device("cpu"), 2, 6))
    assert [each.tolist() for each in found] == [batches.batch(s).tolist() for s in range(2, 6)]


def test_replicas_share_texts_and_pools_and_nothing_that_changes(
    make_spec: Callable[..., TrainSpec], shards: Path
) -> None:
    """A pool of 3-digit problems is tens of megabytes, and seconds to make."""
    batches = batches_of(make_spec(replicas=FIVE), shards)
    before = batches.batch(3)
    one, other = batches.of_replica(0), batches.of_replica(1)
    assert one.arithmetic is other.arithmetic is batches.arithmetic
    assert one.texts["markov"].tokens is batches.texts["markov"].tokens
    other.batch(40)
    assert np.array_equal(one.batch(3)[0], before[0])
    assert np.array_equal(batches.batch(3), before)


def test_who_stops_early_has_no_further_batches_made() -> None:
    made: list[int] = []
    begun, goes_on = threading.Event(), threading.Event()

    class Worker:
        """Makes the first batch at once, the second when it is let."""

        def batch(self, step: int) -> np.ndarray:
            made.append(step)
            if step == 1:
                begun.set()
                assert goes_on.wait(30)
            return np.zeros((1, 1, 1), dtype=np.int64)

    batches = made_ahead(cast(list[Batches], [Worker()]), 0, 1 << 40)
    next(batches)
    assert begun.wait(30)
    threading.Timer(0.2, goes_on.set).start()
    batches.close()  # cancels what is asked for, and waits for the batch that is being made
    assert made == [0, 1]
