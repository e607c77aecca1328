"""How a job was trained: kept beside its state, so that who finds it finished can still say it.

`<state>/trained.json` holds the engine and the device that trained last, and the largest peak
memory of all processes that trained. A process that takes no step writes nothing into it.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from saltus.files import read_json, write_json


@dataclass(frozen=True)
class Session:
    """One process's training of a job; `engine` as `Trainer.describe` has it."""

    engine: dict[str, Any]
    device: str
    peak_memory_bytes: int


def session_file(state: Path) -> Path:
    """Return where it is kept."""
    return state / "trained.json"


def note_session(state: Path, session: Session) -> Session:
    """Keep what trains now, its peak no smaller than that of those before, and return that."""
    path = session_file(state)
    if path.exists():
        before = Session(**read_json(path)).peak_memory_bytes
        session = replace(session, peak_memory_bytes=max(before, session.peak_memory_bytes))
    write_json(path, asdict(session))
    return session


def noted_session(state: Path) -> Session:
    """Return what `note_session` kept last."""
    return Session(**read_json(session_file(state)))
