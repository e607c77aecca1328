"""The machine that a study's tables were joined on, and the jobs' own records of theirs."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine_of(statuses: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the tables were joined on, and the jobs' own records of theirs."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": ", ".join(sorted({status["device"] for status in statuses})),
        "python": platform.python_version(),
        "torch": ", ".join(sorted({status["torch"] for status in statuses})),
        "training_jobs": len(statuses),
        "training_core_seconds": round(sum(status["seconds"] for status in statuses), 1),
        "peak_memory_bytes": max(status["peak_memory_bytes"] for status in statuses),
    }


def processor() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
