"""Command-line arguments whose every mistake is one line: the option, found, expected, nearest."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from saltus.errors import SaltusError, nearest

KINDS = {"int": "a whole number", "float": "a number", "loads": "JSON"}
"""What a conversion's name means to a user."""


class Parser(argparse.ArgumentParser):
    """`argparse` that raises `SaltusError` in one line; options are spelt out, never shortened."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"saltus {command}",
            description=description,
            allow_abbrev=False,
            exit_on_error=False,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options; raises `SaltusError` for the first mistake."""
        try:
            options, unknown = self.parse_known_args(arguments)
        except argparse.ArgumentError as error:
            raise SaltusError(self._told(error)) from error
        for word in unknown:
            if not word.startswith("-") or word == "--":
                continue
            name = word.partition("=")[0]
            known = self._option_strings()
            begun = [f" (did you mean '{each}'?)" for each in known if each.startswith(name)]
            hint = begun[0] if len(begun) == 1 else nearest(name, known)
            raise SaltusError(f"{name}: unknown option{hint}")
        if unknown:
            raise SaltusError(f"found '{unknown[0]}', expected no further argument")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise `SaltusError` for what argparse finds at the end: an argument that is missing."""
        missing = re.fullmatch(r"the following arguments are required: (.*)", message)
        if missing is None:
            raise SaltusError(message)
        raise SaltusError(
            f"{missing[1]}: found nothing, expected a value ({self.prog} --help tells more)"
        )

    def _option_strings(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]

    def _told(self, error: argparse.ArgumentError) -> str:
        name, message = error.argument_name or "", error.message
        wrong = re.match(r"invalid (\w+)(?: value)?: '(.*?)'(?: \(choose from .*)?$", message, re.S)
        if wrong is None:
            message = re.sub(r"^expected", "found nothing, expected", message)
            return f"{name}: {message}"
        kind, found = wrong.groups()
        if kind != "choice":
            return f"{name}: found '{found}', expected {KINDS.get(kind, 'another value')}"
        choices = next(
            [str(choice) for choice in action.choices]
            for action in self._actions
            if action.choices and name in ("/".join(action.option_strings), action.dest)
        )
        expected = ", ".join(choices)
        return f"{name}: found '{found}', expected one of {expected}{nearest(found, choices)}"


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the conversion of an option's text to a whole number of [`least`, `most`]."""
    expected = f"a whole number from {least:,} " + ("on" if most is None else f"to {most:,}")

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"found '{text}', expected {expected}")
        return value

    return convert


def number(least: float, most: float) -> Callable[[str], float]:
    """Return the conversion of an option's text to a number of [`least`, `most`]."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"found '{text}', expected a number from {least:g} to {most:g}"
            )
        return value

    return convert
