"""The peak memory of one job, although several jobs may run in one process."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What `clear_refs` takes for: the peak is the memory that is resident now (proc(5), Linux 4.0)."""


def begin_measuring(device: torch.device) -> None:
    """Begin a job: `peak_memory_bytes` is of what comes from here on.

    What earlier jobs left behind counts as far as it is still resident; freed memory is given back
    first. On a Mac, or where `clear_refs` may not be written, the peak stays that of the process
    so far.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak of device memory on CUDA, else of the process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
