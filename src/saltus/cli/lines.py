"""Lines of a terminal: tables with columns of even width, numbers, reasons told once."""

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with columns of even width, the first flush left."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, len(line)))]
        ).rstrip()
        for line in lines
    ]


def digits(value: float, num: int = 4) -> str:
    """Return a number with `num` significant digits, its zeros too, so that a row agrees."""
    return "0" if value == 0 else f"{value:#.{num}g}".rstrip(".")


def once(refused: Sequence[tuple[str, str]]) -> list[str]:
    """Return each reason once, behind the names of all that it holds for."""
    names: dict[str, list[str]] = {}
    for name, reason in refused:
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(each)}: {reason}" for reason, each in names.items()]
