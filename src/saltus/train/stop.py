"""When a job has to end before its end: at a deadline, or when a signal asks; and when it saves."""

import math
import signal as signals
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import Signals
from types import FrameType

from saltus.errors import Stopped

TIME_IS_UP = 3
"""Exit code when the time limit came; of a signal it is 128 and its number, as a shell's."""
SIGNALS = (Signals.SIGINT, Signals.SIGTERM)
AGAIN_SECONDS = 1.0
"""An interrupt that comes later than this after the first ends at once.

Sooner, it is the same one: a launcher passes on what the terminal sent to all.
"""
SNAPSHOT_SECONDS = 5.0
"""From one snapshot to the next, at the least."""
SNAPSHOT_SHARE = 0.02
"""Of a job's time, at the most, goes into snapshots."""


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
        """Let Ctrl-C and SIGTERM ask, until the end of this, where `Stopped` is raised if one did.

        For the main thread.
        """
        asked_at = -math.inf

        def note(number: int, frame: FrameType | None) -> None:
            nonlocal asked_at
            if self.signal is None:
                asked_at = time.monotonic()
                self.signal = Signals(number)
                print("saltus: saving; Ctrl-C again ends at once", file=sys.stderr, flush=True)
            elif number == Signals.SIGINT and time.monotonic() > asked_at + AGAIN_SECONDS:
                raise KeyboardInterrupt

        before = {number: signals.signal(number, note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signals.signal(number, handler)
        stopped = self.asked()
        if stopped and self.signal is not None:
            raise stopped


class Rhythm:
    """When a snapshot is due: `SNAPSHOT_SECONDS` apart, or more if snapshots take long."""

    def __init__(self) -> None:
        self._due = time.monotonic() + SNAPSHOT_SECONDS

    def is_due(self) -> bool:
        """Tell whether it is time."""
        return time.monotonic() > self._due

    def saved(self, began: float) -> None:
        """Hear that a snapshot, begun at this time of `time.monotonic`, is written."""
        now = time.monotonic()
        self._due = now + max(SNAPSHOT_SECONDS, (now - began) / SNAPSHOT_SHARE)
