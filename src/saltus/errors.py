"""Errors meant for a user: one line each, and exit code 2."""

import difflib
from collections.abc import Iterable


class SaltusError(Exception):
    """What the user must change, in one line; the command line prints it and exits with 2."""


class ProcessError(SaltusError):
    """What one of several processes has met and the others may not: each says it itself."""


class StudyError(SaltusError):
    """A study file is misspelt or impossible."""


class CorpusError(SaltusError):
    """A corpus is missing, empty, or not the one that was pinned."""


class TableError(SaltusError):
    """A table lacks a column or holds a value that no statistic can use."""


class SpaceError(SaltusError):
    """The disk is full."""


class Stopped(Exception):  # noqa: N818 - a signal, no error
    """Training had to end before its end: what was done is saved, and a later call goes on.

    `code` is the exit code of the command line.
    """

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest of `choices`, or an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
