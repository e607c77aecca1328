"""When a job has to end before its end: at a deadline, or when a signal asks; and when it saves."""

import math
import signal as signals
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import Signals
from types import FrameType

from saltus.errors import Stopped

TIME_IS_UP = 3
"""Exit code when the time limit came; of a signal it is 128 and its number, as a shell's."""
SIGNALS = (Signals.SIGINT, Signals.SIGTERM, Signals.SIGHUP)
AGAIN_SECONDS = 1.0
"""A second request that comes later than this after the first ends at once.

Sooner, it is taken for the same: a key pressed twice, a launcher that passed it on.
"""
LEAST_SECONDS, MOST_SECONDS = 5.0, 600.0
"""From one snapshot to the next."""
SNAPSHOT_SHARE = 0.02
"""Of the time between two snapshots, what the first of them may take."""


@dataclass
class Stop:
    """Asks a job to save and end.

    `deadline` is on the clock of `time.monotonic`; `signal` is what came while signals were heeded.
    """

    deadline: float = math.inf
    signal: Signals | None = field(default=None, init=False)

    def asked(self) -> Stopped | None:
        """Return why the job has to end, None while it may go on."""
        if self.signal is not None:
            return Stopped(f"stopped by {self.signal.name}", 128 + self.signal)
        if time.monotonic() > self.deadline:
            return Stopped("time is up", TIME_IS_UP)
        return None

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and SIGHUP ask, until the end of this; what is ignored stays so.

        For the main thread. A second one ends at once, in its own way.
        """
        asked_at = -math.inf

        def note(number: int, frame: FrameType | None) -> None:
            # Nothing is printed here: stderr may be gone, or in the middle of a line.
            nonlocal asked_at
            if self.signal is None:
                asked_at = time.monotonic()
                self.signal = Signals(number)
            elif time.monotonic() > asked_at + AGAIN_SECONDS:
                signals.signal(number, before[Signals(number)])
                signals.raise_signal(number)

        heeded = [each for each in SIGNALS if signals.getsignal(each) != signals.SIG_IGN]
        before = {each: signals.signal(each, note) for each in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signals.signal(number, handler)


class Rhythm:
    """When a snapshot on the way is due: `LEAST_SECONDS` apart, or more if snapshots take long."""

    def __init__(self) -> None:
        self._due = time.monotonic() + LEAST_SECONDS

    def is_due(self) -> bool:
        """Tell whether it is time."""
        return time.monotonic() > self._due

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time the snapshot that is written within this: the next is due the later, the longer."""
        began = time.monotonic()
        yield
        now = time.monotonic()
        gap = (now - began) / SNAPSHOT_SHARE
        self._due = now + min(max(LEAST_SECONDS, gap), MOST_SECONDS)
