"""The C of this folder as a shared library, made for the processor at hand at its first use.

No torch. Compiled files are kept in the user's cache folder under a hash of all that decides them,
so that a home which several machines share holds one for each.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from ctypes import CDLL
from functools import lru_cache
from pathlib import Path

from saltus.errors import SaltusError

FOLDER = Path(__file__).parent
FLAGS = ("-O3", "-Wno-psabi", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
"""Nothing that lets a compiler reorder sums, or assume that nothing is infinite."""


class NoCompilerError(SaltusError):
    """There is no C compiler here, or it cannot compile for this processor."""


@lru_cache
def library_file() -> Path:
    """Return the compiled file, made now if it was never needed here.

    Raises `NoCompilerError` with the reason in one line.
    """
    compiler = found_compiler()
    sources = sorted(FOLDER.glob("*.c"))
    command = [compiler, *FLAGS, target_flag(), *map(str, sources), "-lm"]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    texts = [path.read_text(encoding="utf-8") for path in (*sources, *sorted(FOLDER.glob("*.h")))]
    parts = (*texts, *FLAGS, version, processor())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    path = cache_folder() / f"native-{key}.so"
    if path.exists() and _failure(path):
        path.unlink()  # of a machine with another C library
    if not path.exists():
        _compile([*command, "-o"], path)
        if failure := _failure(path):
            raise NoCompilerError(f"{path}: cannot be loaded: {failure} (set XDG_CACHE_HOME)")
    return path


def _failure(path: Path) -> str:
    """Return why a library cannot be loaded, an empty string if it can."""
    try:
        CDLL(str(path))
    except OSError as error:
        return str(error)
    return ""


def _compile(command: list[str], path: Path) -> None:
    """Write what a compiler makes to `path`, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            result = subprocess.run([*command, str(made)], capture_output=True, text=True)
            if result.returncode != 0:
                said = result.stderr.strip().splitlines() or ["without a word"]
                raise NoCompilerError(f"{command[0]} failed: {said[0]}")
            made.replace(path)
    except OSError as error:
        raise NoCompilerError(f"{path.parent}: {error.strerror} (set XDG_CACHE_HOME)") from error


def found_compiler() -> str:
    """Return the C compiler: `$CC` if that is set, else `cc`, `gcc` or `clang`.

    Raises `NoCompilerError` if there is none.
    """
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    for name in names:
        if found := shutil.which(name):
            return found
    raise NoCompilerError(f"no C compiler: found none of {', '.join(names)}")


def target_flag() -> str:
    """Return the flag that asks for all that this processor can do."""
    return "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"


def processor() -> str:
    """Return what tells processors apart as a compiler sees them."""
    if sys.platform != "linux":
        return " ".join((platform.machine(), platform.processor(), platform.release()))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.split(":")[0].strip() in names}))


def cache_folder() -> Path:
    """Return the folder of compiled files, the user's own."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saltus"
