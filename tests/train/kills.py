"""Training that is killed: no code of it runs after the step that comes too late."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from saltus.train import trainer as trainer_module


class KilledError(Exception):
    """Stands for a signal that ends the process."""


@contextmanager
def killed_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let so many steps of the optimizer pass and kill what comes after them."""
    real = trainer_module.optimizer_step

    def killing(*arguments: Any) -> None:
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise KilledError
        real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(trainer_module, "optimizer_step", killing)
        yield
