"""What ends a job before its end: a deadline, a signal; and how often it saves."""

import math
import os
import signal
import time

import pytest

from saltus.errors import Stopped
from saltus.train import stop as module
from saltus.train.stop import Rhythm, Stop


class Clock:
    """Stands for `time.monotonic`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_deadline_asks_once_it_has_passed(clock: Clock) -> None:
    stop = Stop(1010.0)
    clock.now = 1010.0
    assert stop.asked() is None
    clock.now = 1010.1
    asked = stop.asked()
    assert str(asked) == "time is up" and asked is not None and asked.code == 3


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_asks_and_the_end_of_heeding_raises(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in module.SIGNALS]
    stop, done = Stop(), False
    heeded, told = stop.heeding_signals(), f"stopped by {number.name}"
    with pytest.raises(Stopped, match=told) as raised, heeded:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        asked = stop.asked()
        done = True
    assert done and asked is not None and asked.code == raised.value.code == code
    assert capsys.readouterr().err == "saltus: saving; Ctrl-C again ends at once\n"
    assert [signal.getsignal(each) for each in module.SIGNALS] == before


def test_only_a_later_interrupt_ends_at_once(clock: Clock) -> None:
    stop, reached = Stop(), []
    with pytest.raises(KeyboardInterrupt), stop.heeding_signals():
        for number, later in [
            (signal.SIGINT, 0.0),  # asks
            (signal.SIGINT, 0.5),  # the same, passed on by a launcher
            (signal.SIGTERM, 9.0),  # asks for what is on its way
            (signal.SIGINT, 9.0),
        ]:
            clock.now += later
            os.kill(os.getpid(), number)
            for _ in range(1000):  # handlers run between two instructions
                pass
            reached.append(number)
    assert len(reached) == 3


def test_snapshots_are_seconds_apart_and_take_a_small_share(clock: Clock) -> None:
    rhythm = Rhythm()
    clock.now += 4.9
    assert not rhythm.is_due()
    clock.now += 0.2
    assert rhythm.is_due()
    clock.now += 0.01  # what the snapshot took
    rhythm.saved(clock.now - 0.01)
    clock.now += 4.9
    assert not rhythm.is_due()
    clock.now += 0.2
    assert rhythm.is_due()
    clock.now += 2.0
    rhythm.saved(clock.now - 2.0)
    clock.now += 99.0
    assert not rhythm.is_due(), "two seconds in a hundred"
    clock.now += 2.0
    assert rhythm.is_due()


def test_nothing_asks_by_itself() -> None:
    assert Stop().deadline == math.inf and Stop().asked() is None
