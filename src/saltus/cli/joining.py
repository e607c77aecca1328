"""What the folders of training and probing hold, joined: runs, tables, and the machine's record."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saltus.files import read_json, read_table
from saltus.tables import runs_table


def joined(folders: Sequence[Path], name: str) -> pd.DataFrame:
    """Return the rows of the table `name` in all folders."""
    found = [read_table(folder / name) for folder in folders]
    return pd.concat([table for table in found if len(table)] or found[:1], ignore_index=True)


def runs_of(
    folders: Sequence[Path], domains: Sequence[str]
) -> tuple[pd.DataFrame, list[dict[str, Any]], pd.DataFrame, pd.DataFrame]:
    """Return the runs of training folders, then probing folders; statuses, losses and items."""
    half = len(folders) // 2
    statuses = [read_json(folder / "status.json") for folder in folders[:half]]
    losses, items = (joined(folders[half:], f"{name}.parquet") for name in ("losses", "items"))
    return runs_table(statuses, losses, items, domains), statuses, losses, items


def machine(statuses: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the tables were joined on, and the jobs' own records of theirs."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": ", ".join(sorted({status["device"] for status in statuses})),
        "python": platform.python_version(),
        "torch": ", ".join(sorted({status["torch"] for status in statuses})),
        "training_jobs": len(statuses),
        "training_core_seconds": round(sum(status["seconds"] for status in statuses), 1),
        "peak_memory_bytes": max(status["peak_memory_bytes"] for status in statuses),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
