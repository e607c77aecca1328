"""Lines to a terminal, a file or a pipe: work that is under way never ends because nobody reads."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a line to `stream`, stderr if none is named; if nobody reads it, no more goes there."""
    stream = sys.stderr if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except OSError:
        with suppress(OSError):  # a stream without a file raises UnsupportedOperation, an OSError
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
