"""How counts and thresholds are printed: `41k`, `41k [31k, 56k]`, `> 148k [90k, > 148k]`."""

import math
from collections.abc import Callable


def format_count(count: float) -> str:
    """Print a count of parameters, tokens or FLOPs with two to three figures.

    600 → `600`, 6_700 → `6.7k`, 41_000 → `41k`, 148_032 → `148k`, 1_200_000 → `1.2M`,
    4.4e9 → `4.4B`, 3.2e17 → `3.2e17`, and a fraction .052 → `0.052`. Raises
    ValueError for a count that is negative or not finite.
    """
    if not math.isfinite(count) or count < 0:
        raise ValueError(f"count: found {count}, expected a finite number that is not negative")
    if 0 < count < 0.95:
        return f"{count:.2g}"
    if count >= 9.995e14:
        return f"{count:.1e}".replace("e+", "e")
    for letter in ("", "k", "M", "B"):
        if count < 999.5:
            return _figures(count) + letter
        count /= 1000
    return _figures(count) + "T"


def _figures(number: float) -> str:
    """One decimal below ten (a trailing `.0` is dropped), none from there on."""
    if round(number, 1) < 10:
        return f"{number:.1f}".removesuffix(".0")
    return f"{number:.0f}"


def format_interval(
    estimate: float | None,
    low: float | None,
    high: float | None,
    smallest: float,
    largest: float,
    text: Callable[[float], str] = format_count,
) -> str:
    """Print an estimate with its interval; an open end is printed against the range tried.

    `41k [31k, 56k]`; `120k [70k, > 148k]` if `high` is None; `9k [< 600, 20k]` if `low` is None;
    without an estimate only the bracket.
    """
    low_text = f"< {text(smallest)}" if low is None else text(low)
    high_text = f"> {text(largest)}" if high is None else text(high)
    bracket = f"[{low_text}, {high_text}]"
    return bracket if estimate is None else f"{text(estimate)} {bracket}"


def format_beyond(
    above: bool,
    limit: float | None,
    smallest: float,
    largest: float,
    text: Callable[[float], str] = format_count,
) -> str:
    """Print what lies beyond the range tried, with its limit where that is within the range.

    Above `> 148k` or `> 148k [90k, > 148k]`, else `< 600` or `< 600 [< 600, 2k]`. A limit beyond
    the other end of the range leaves all of it possible: `> 148k [< 600, > 148k]`.
    """
    told = f"> {text(largest)}" if above else f"< {text(smallest)}"
    if limit is None or text(limit) == text(largest if above else smallest):
        return told
    within = limit if smallest <= limit <= largest else None
    low, high = (within, None) if above else (None, within)
    return f"{told} {format_interval(None, low, high, smallest, largest, text)}"
