"""What ends a job before its end: a deadline, a signal; and how often it saves."""

import math
import signal
from collections.abc import Iterator

import pytest

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


@pytest.fixture
def heard() -> Iterator[None]:
    """Ignore none of the signals, as a launcher of the tests in the background may."""
    before = {each: signal.signal(each, signal.SIG_DFL) for each in module.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", module.SIGNALS, ids=lambda each: each.name)
def test_a_signal_asks_and_interrupts_nothing(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in module.SIGNALS]
    stop = Stop()
    with stop.heeding_signals():
        signal.raise_signal(number)
        asked = stop.asked()
    assert str(asked) == f"stopped by {number.name}"
    assert asked is not None and asked.code == 128 + number
    assert [signal.getsignal(each) for each in module.SIGNALS] == before
    assert stop.signal is number, "the next job is not begun"


def test_what_is_ignored_stays_so() -> None:
    """As in a job that a shell has put into the background, or under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.heeding_signals():
            signal.raise_signal(signal.SIGHUP)
        assert stop.asked() is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", module.SIGNALS, ids=lambda each: each.name)
def test_only_a_later_one_ends_at_once(number: signal.Signals, clock: Clock) -> None:
    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, end)
    try:
        stop, reached = Stop(), []
        with pytest.raises(KeyboardInterrupt), stop.heeding_signals():
            for later in (0.0, 0.5, 9.0):
                clock.now += later
                signal.raise_signal(number)
                reached.append(later)
        assert reached == [0.0, 0.5]
    finally:
        signal.signal(number, before)


def test_snapshots_are_seconds_apart_and_take_a_small_share(clock: Clock) -> None:
    rhythm = Rhythm()
    clock.now += 4.9
    assert not rhythm.is_due()
    clock.now += 0.2
    assert rhythm.is_due()
    with rhythm.saving():
        clock.now += 0.01
    clock.now += 4.9
    assert not rhythm.is_due()
    clock.now += 0.2
    assert rhythm.is_due()
    with rhythm.saving():
        clock.now += 2.0
    clock.now += 99.0
    assert not rhythm.is_due(), "two seconds in a hundred"
    clock.now += 2.0
    assert rhythm.is_due()
    with rhythm.saving():
        clock.now += 60.0
    clock.now += 601.0
    assert rhythm.is_due(), "ten minutes at most"


def test_nothing_asks_by_itself() -> None:
    assert Stop().deadline == math.inf and Stop().asked() is None
