"""Which device, and the process settings that make small CPU models fast."""

import ctypes
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from saltus.errors import ProcessError, SaltusError

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 1 << 30


def gpu_is_there() -> bool:
    """Tell whether PyTorch could use an NVIDIA GPU, without importing it."""
    if version("torch").endswith("+cpu"):
        return False
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia/gpus").is_dir() or Path("/dev/nvidia0").exists()


def resolve_device(wanted: str) -> "torch.device":
    """Return the device of `auto`, `cpu` or `cuda`.

    `auto` is CUDA where PyTorch sees one, else the CPU. Raises `SaltusError` if a device that was
    named is not there.
    """
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SaltusError(f"device: {wanted} is not there; PyTorch sees no such device")
    return torch.device(wanted)


def use_one_thread() -> None:
    """Set one thread for tensor work, and keep freed memory on Linux.

    glibc returns every large block to the system and zeroes it anew at the next step: page faults
    took a third of a small model's time.
    """
    import torch

    torch.set_num_threads(1)
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
            library.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)


def is_launched_by_torchrun() -> bool:
    """Tell whether this process is one of those that `torchrun` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Tell whether this process speaks for all of its launch; alone it does."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def gpu_slot(device: "torch.device") -> Iterator["torch.device"]:
    """Yield a GPU that no other job of this machine holds; other devices pass through.

    Snakemake counts GPUs but does not say which: a file lock per index does, unless
    CUDA_VISIBLE_DEVICES has chosen. Waits for none: if all are taken, the first is shared, but
    never by processes of one `torchrun`, which would wait for each other on it: those raise
    `ProcessError`.
    """
    import torch

    if device.type != "cuda" or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield device
        return
    for index in range(torch.cuda.device_count()):
        path = Path(tempfile.gettempdir()) / f"saltus-gpu-{index}.lock"
        with path.open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield torch.device("cuda", index)
            return
    if is_launched_by_torchrun():
        raise ProcessError(
            f"torchrun: process {os.environ['LOCAL_RANK']} found every GPU taken, of "
            f"{torch.cuda.device_count()}; expected a free one for each of "
            f"{os.environ['LOCAL_WORLD_SIZE']} processes"
        )
    print("saltus: every GPU is taken; sharing the first", file=sys.stderr)
    yield torch.device("cuda", 0)
