"""Numbers and names as people read them: `148k`, `0.31 [0.28, 0.35]`, `2-digit addition`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

ABSENT = "–"
LONGEST = 1e7
"""From here on a number is printed as a power of ten."""


def finite(value: Any) -> float:
    """Return `value` as a float; None, text and missing values become NaN."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def count(value: Any) -> str:
    """Return a count in two or three figures: 148,224 is `148k`, 2,097,152 is `2.1M`."""
    number = finite(value)
    if math.isnan(number):
        return ABSENT
    if math.isinf(number):
        return "∞"
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * scale:
            scaled = number / scale
            text = f"{scaled:.1f}" if abs(scaled) < 9.95 else f"{scaled:.0f}"
            return text.removesuffix(".0") + letter
    return f"{number:.3g}"


def power(value: Any) -> str:
    """Return a large quantity as `1.2 × 10¹³`."""
    number = finite(value)
    if not math.isfinite(number) or number <= 0:
        return ABSENT
    exponent = math.floor(math.log10(number))
    mantissa = f"{number / 10**exponent:.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    raised = str(exponent).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{mantissa} × 10{raised}"


def plain(value: Any, digits: int = 3) -> str:
    """Return a number with `digits` significant figures and a true minus sign."""
    number = finite(value)
    if math.isnan(number):
        return ABSENT
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if abs(number) >= 1e5 or 0 < abs(number) < 1e-4:
        return f"{number:.{digits - 1}e}".replace("-", "−")
    decimals = digits - 1 - math.floor(math.log10(abs(number))) if number else 1
    return f"{number:,.{max(decimals, 0)}f}".replace("-", "−")


def percent(value: Any, decimals: int = 1, signed: bool = False) -> str:
    """Return a value that is already in percent, as `1.3 %`."""
    number = finite(value)
    if math.isnan(number):
        return ABSENT
    return f"{number:{'+' if signed else ''}.{decimals}f} %".replace("-", "−")


def bracket(bounds: Any, decimals: int) -> str:
    """Return an interval as `[0.28, 0.35]`; an open end is `∞`, no interval an empty string."""
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        return ""
    low, high = finite(bounds[0]), finite(bounds[1])
    if math.isnan(low) and math.isnan(high):
        return ""
    ends = (
        "−∞" if not math.isfinite(low) else _fixed(low, decimals),
        "∞" if not math.isfinite(high) else _fixed(high, decimals),
    )
    return f"[{ends[0]}, {ends[1]}]"


def with_interval(value: Any, bounds: Any) -> str:
    """Return `0.31 [0.28, 0.35]`, with as many decimals as the interval's width supports."""
    number = finite(value)
    if math.isnan(number):
        return ABSENT
    width = math.nan
    if isinstance(bounds, Sequence) and not isinstance(bounds, str) and len(bounds) == 2:
        width = finite(bounds[1]) - finite(bounds[0])
    if not math.isfinite(width) or width <= 0:
        return " ".join(part for part in (plain(number), bracket(bounds, 3)) if part)
    decimals = min(max(1 - math.floor(math.log10(width)), 0), 4)
    return f"{_fixed(number, decimals)} {bracket(bounds, decimals)}"


def on_bound(law: Mapping[str, Any], name: str) -> bool:
    """Return whether the certificate says that the parameter rests on a bound."""
    return name in ((law.get("certificate") or {}).get("bounds_hit") or ())


def bounded(law: Mapping[str, Any]) -> str:
    """Return which exponents of a law rest on a bound: with one of them it has no best size."""
    signs = {"alpha": "α", "beta": "β"}
    return listed([sign for name, sign in signs.items() if on_bound(law, name)])


def allocation(law: Mapping[str, Any]) -> str:
    """Return the exponent of the best size for a budget with its interval, or why it has none."""
    if bound := bounded(law):
        return f"cannot be told: the law's {bound} rests on a bound"
    found = law.get("allocation") or {}
    return with_interval(found.get("a"), found.get("interval"))


def parameter(law: Mapping[str, Any], name: str) -> str:
    """Return a law's parameter with its interval, or that it rests on a bound and has none."""
    value = law["parameters"].get(name)
    if not on_bound(law, name):
        return with_interval(value, (law.get("intervals") or {}).get(name))
    certified = f"(certificate: {law['certificate']['status']})"
    if name in ("alpha", "beta") and finite(value) > 1:
        return f"cannot be told from {plain(value)}, the highest allowed {certified}"
    return f"cannot be told from 0 {certified}"


def quantity(law: Mapping[str, Any], name: str, sign: str, unit: str = "") -> str:
    """Return `α = 0.31 [0.28, 0.35]`, or `α cannot be told from 0 (certificate: boundary)`."""
    told = parameter(law, name)
    return f"{sign} {told}" if on_bound(law, name) else f"{sign} = {told}{unit}"


def task(name: str, arm: str = "plain", always: bool = False) -> str:
    """Return `2-digit addition, reversed` for `add_2` in the arm `reversed`."""
    kind, _, shape = name.partition("_")
    forms = {
        "add": "{}-digit addition",
        "sub": "{}-digit subtraction",
        "mul": "{}-digit product",
        "chain": "{}-step chain",
    }
    title = forms.get(kind, name).format(shape.replace("x", "×")) if shape else name
    return f"{title}, {arm}" if always or arm != "plain" else title


def plural(number: int, noun: str, several: str | None = None) -> str:
    """Return `1 seed`, `5 seeds`; `several` is the plural where it is not noun + s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def remark(value: Any) -> str:
    """Return a text cell of a table; missing values become an empty string."""
    return value if isinstance(value, str) else ""


def width(found: Mapping[str, Any] | None, span: float) -> str:
    """Return a transition's width: `1.2 decades [0, > 2.5]` on a ladder of `span` decades.

    Nothing beyond the ladder is printed as if seen.
    """
    if not found:
        return "no width"
    if found["start"] == found["end"]:
        return "no transition: none betters a constant"

    def capped(value: Any) -> str:
        number = finite(value)
        return f"{number:.2g}" if number <= span else f"> {span:.2g}"

    low, high = capped(found["low"]), capped(found["high"])
    ends = f"[{low}, {high}]" if low != high else f"[{low}]"
    return f"{capped(found['width'])} decades {ends}"


def listed(words: Sequence[str]) -> str:
    """Return `a, b and c`; with a comma inside a name `a; b, reversed; and c`."""
    if len(words) < 2:
        return "".join(words)
    if len(words) > 2 and any(", " in word for word in words):
        return f"{'; '.join(words[:-1])}; and {words[-1]}"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _fixed(number: float, decimals: int) -> str:
    if abs(number) >= LONGEST:
        return ("−" if number < 0 else "") + power(abs(number))
    return f"{number:,.{decimals}f}".replace("-", "−")
