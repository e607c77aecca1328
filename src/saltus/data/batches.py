"""The training stream: which row comes from which source, and the tokens of every step.

Legend: R replica, B row of a batch, T token.

A batch is a pure function of (seed of the replica, step): nothing is stored, any step can be made
first, and nothing depends on the horizons, on other sizes or on the other replicas of a block.
Rows hold one source each. Text rows run through every window of the shard once per epoch, in an
order of that epoch's own; arithmetic rows begin with a separator and hold whole problems.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from saltus.data.arithmetic import Sampler
from saltus.data.writing import BLANK, Alphabet, squeeze, write

ARITHMETIC = "arithmetic"
GOLDEN = (5**0.5 - 1) / 2
CHUNK_ROWS = 1024
TOGETHER_ROWS = 256
"""About how many rows of a replica are made at once."""


@dataclass(frozen=True)
class Drill:
    """One task in one arm, and its weight among the arithmetic rows' problems."""

    task: str
    arm: str
    weight: float


@dataclass(frozen=True)
class Mixture:
    """What the rows of a study are made of.

    `shares` maps a source (a text domain, or `ARITHMETIC`) to its share of rows; they sum to one.
    """

    shares: Mapping[str, float]
    drills: tuple[Drill, ...]
    held_out_share: float
    salt: str

    def sources(self, rows: np.ndarray) -> np.ndarray:
        """Return the index of the source of each global row number, by a golden-ratio sequence.

        The counts of any run of n rows stay within a few rows of their shares.
        """
        edges = np.cumsum(list(self.shares.values()))
        edges[-1] = 1.0
        return np.searchsorted(edges, (rows + 0.5) * GOLDEN % 1.0, side="right")


class ArithmeticRows:
    """Writes rows of problems, every row reproducible from (seed, row) alone in chunks."""

    def __init__(self, mixture: Mixture, alphabet: Alphabet, length: int) -> None:
        self.alphabet, self.length = alphabet, length
        self.drills = mixture.drills
        weights = np.array([drill.weight for drill in mixture.drills], dtype=float)
        self.weights = weights / weights.sum()
        self.samplers = [
            Sampler(drill.task, mixture.held_out_share, mixture.salt, held_out=False)
            for drill in mixture.drills
        ]
        self.problems_per_row = length // 4 + 1

    def chunk(self, seed: int, chunk: int) -> np.ndarray:
        """Return rows `chunk` · `CHUNK_ROWS` … as token ids (CHUNK_ROWS, length)."""
        generator = np.random.default_rng([seed, 1, chunk])
        count = CHUNK_ROWS * self.problems_per_row
        which = generator.choice(len(self.drills), size=count, p=self.weights)
        lines = []
        for index, (drill, sampler) in enumerate(zip(self.drills, self.samplers, strict=True)):
            chosen = int(np.count_nonzero(which == index))
            written = write(sampler.draw(generator, chosen), drill.task, drill.arm, self.alphabet)
            lines.append(np.concatenate([written.prompt, written.answer], 1))
        width = 1 + max(line.shape[1] for line in lines)
        problems = np.full((count, width), BLANK)
        problems[:, 0] = self.alphabet.separator
        for index, line in enumerate(lines):
            problems[which == index, 1 : 1 + line.shape[1]] = line
        (rows,) = squeeze(problems.reshape(CHUNK_ROWS, -1))
        return rows[:, : self.length]


class TextRows:
    """Cuts windows from a shard; every window once per epoch, shuffled anew in each."""

    def __init__(self, tokens: np.ndarray, length: int) -> None:
        self.tokens, self.length = tokens, length
        self.stride = length - 1
        self.windows = (len(tokens) - length) // self.stride
        self._epochs: dict[tuple[int, int], tuple[int, int, np.ndarray]] = {}
        if self.windows < 1:
            raise ValueError(f"{len(tokens)} tokens are fewer than two windows of {length}")

    def rows(self, seed: int, source: int, index: np.ndarray) -> np.ndarray:
        """Return the windows number `index` (n,) of the endless stream: (n, length)."""
        starts = np.empty(len(index), dtype=np.int64)
        for epoch in np.unique(index // self.windows):
            offset, order = self._epoch(seed, source, int(epoch))
            now = index // self.windows == epoch
            starts[now] = order[index[now] % self.windows] * self.stride + offset
        windows: np.ndarray = self.tokens[starts[:, None] + np.arange(self.length)]
        return windows

    def _epoch(self, seed: int, source: int, epoch: int) -> tuple[int, np.ndarray]:
        """Return the offset and the order of the windows in an epoch; the last one is kept."""
        kept = self._epochs.get((seed, source))
        if kept is None or kept[0] != epoch:
            generator = np.random.default_rng([seed, 2, source, epoch])
            offset = int(generator.integers(self.stride))
            kept = (epoch, offset, generator.permutation(self.windows))
            self._epochs[seed, source] = kept
        return kept[1], kept[2]


class Batches:
    """The batches of one replica block: `batch(step)` gives (R, B, T + 1) token ids."""

    def __init__(
        self,
        mixture: Mixture,
        texts: Mapping[str, np.ndarray],
        alphabet: Alphabet,
        *,
        seeds: tuple[int, ...],
        rows: int,
        context: int,
    ) -> None:
        self.mixture, self.seeds, self.num_rows = mixture, seeds, rows
        self.names = list(mixture.shares)
        length = context + 1
        self.texts = {name: TextRows(tokens, length) for name, tokens in texts.items()}
        self.arithmetic = (
            ArithmeticRows(mixture, alphabet, length) if ARITHMETIC in self.names else None
        )
        self.length = length
        self._forget()

    def of_replica(self, row: int) -> "Batches":
        """Return the batches of one replica, with working memory of their own.

        Texts and pools of problems are shared: threads may make the batches of different replicas.
        """
        own = copy.copy(self)
        own.seeds = (self.seeds[row],)
        own._forget()
        return own

    def _forget(self) -> None:
        """Begin with empty working memory."""
        self._chunks: dict[tuple[int, int], np.ndarray] = {}
        self._made: tuple[int, np.ndarray] | None = None
        self._counted = (0, np.zeros(len(self.names), dtype=np.int64))

    def sources(self, step: int) -> np.ndarray:
        """Return the source index of each of the B rows of `step`."""
        return self.mixture.sources(np.arange(step * self.num_rows, (step + 1) * self.num_rows))

    def rows_before(self, step: int) -> np.ndarray:
        """Return how many rows of each source all steps before `step` held."""
        at, counts = self._counted
        if at > step:
            at, counts = 0, np.zeros(len(self.names), dtype=np.int64)
        if at < step:
            rows = np.arange(at * self.num_rows, step * self.num_rows)
            counts = counts + np.bincount(self.mixture.sources(rows), minlength=len(self.names))
        self._counted = (step, counts)
        return counts

    def batch(self, step: int) -> np.ndarray:
        """Return the tokens of `step`, inputs and shifted targets in one: (R, B, T + 1).

        Several steps are made together and the last ones kept: with few rows a step, looking up
        where each lies costs more than copying it.
        """
        steps = max(1, TOGETHER_ROWS // self.num_rows)
        first = step // steps * steps
        if self._made is None or self._made[0] != first:
            self._made = first, self._rows(first, steps)
        start = (step - first) * self.num_rows
        return self._made[1][:, start : start + self.num_rows].copy()

    def _rows(self, step: int, steps: int) -> np.ndarray:
        """Return the rows of `steps` steps from `step` on: (R, rows, T + 1)."""
        sources = self.mixture.sources(
            np.arange(step * self.num_rows, (step + steps) * self.num_rows)
        )
        before = self.rows_before(step)
        tokens = np.empty((len(self.seeds), len(sources), self.length), dtype=np.int64)
        for source, name in enumerate(self.names):
            rows = np.flatnonzero(sources == source)
            index = before[source] + np.arange(len(rows))
            for replica, seed in enumerate(self.seeds):
                if name == ARITHMETIC:
                    tokens[replica, rows] = self._arithmetic(seed, index)
                else:
                    tokens[replica, rows] = self.texts[name].rows(seed, source, index)
        return tokens

    def _arithmetic(self, seed: int, index: np.ndarray) -> np.ndarray:
        assert self.arithmetic is not None
        rows = np.empty((len(index), self.length), dtype=np.int64)
        for chunk in np.unique(index // CHUNK_ROWS):
            key = (seed, int(chunk))
            if key not in self._chunks:
                for old in [old for old in self._chunks if old[0] == seed]:
                    del self._chunks[old]
                self._chunks[key] = self.arithmetic.chunk(seed, int(chunk))
            now = index // CHUNK_ROWS == chunk
            rows[now] = self._chunks[key][index[now] % CHUNK_ROWS]
        return rows
