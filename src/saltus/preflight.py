"""What can be known before anything runs: where the study file is, the platform, the disk."""

import fcntl
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from saltus.data.catalogue import LocalCorpus
from saltus.data.readers import SUFFIXES
from saltus.errors import SaltusError, SpaceError, StudyError, nearest
from saltus.model.count import count_parameters
from saltus.study import Study

FLOAT_BYTES = 4
COPIES_PER_HORIZON = 8
"""Trunk and anneal snapshots (parameters and two moments each), the checkpoint, and slack."""
TABLE_BYTES = 200_000_000
PLATFORMS = (("Linux", "x86_64"), ("Darwin", "arm64"))


def study_path(wanted: str | None, folder: Path) -> Path:
    """Return the file of a study: none means `config.yaml`, a name means `studies/NAME.yaml`.

    Anything that ends in .yaml or .yml is a path. Raises `StudyError` with the nearest name.
    """
    if wanted is None:
        return folder / "config.yaml"
    if str(wanted).endswith((".yaml", ".yml")):
        return Path(str(wanted))
    names = {path.stem: path for path in sorted((folder / "studies").glob("*.yaml"))}
    if wanted not in names:
        raise StudyError(
            f"study: found '{wanted}', expected one of {', '.join(names)}, a path to a .yaml file, "
            f"or nothing for config.yaml{nearest(str(wanted), names)}"
        )
    return names[wanted]


def check_options(names: Iterable[str]) -> None:
    """Raise `StudyError` for a name given to `--config` that no study has."""
    known = ["study", *Study.model_fields]
    for name in names:
        if name not in known:
            raise StudyError(
                f"{name}: unknown key{nearest(name, known)}; expected study=NAME or one of "
                f"{', '.join(sorted(Study.model_fields))}"
            )


def hold_folder(path: Path) -> IO[str]:
    """Return the open lock file `path`, locked for as long as the process lives.

    Snakemake's own lock outlives a killed process, and then refuses the next. Raises `SaltusError`
    if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        raise SaltusError(
            f"snakemake runs in this folder already (process {stream.read().strip()}); wait for it "
            "or end it"
        ) from error
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    return stream


def check_machine(study: Study, results: Path) -> None:
    """Raise `StudyError` on a platform nobody tests, `SpaceError` if the disk is too full."""
    here = (platform.system(), platform.machine())
    if here not in PLATFORMS:
        known = ", ".join(" ".join(pair) for pair in PLATFORMS)
        raise StudyError(f"platform: found {' '.join(here)}, expected one of {known}")
    needed = bytes_needed(study)
    existing = next(path for path in (results, *results.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SpaceError(
            f"{results}: found {free / 1e9:.2f} GB free, expected at least {needed / 1e9:.2f} GB "
            f"for study {study.name} (free some space, or shorten family.sizes or horizons)"
        )


def check_texts(study: Study) -> None:
    """Raise `StudyError` if a file or folder of the user's own is missing, empty or no text.

    Only who makes shards needs them: what comes after reads the shards.
    """
    for name in study.text.domains:
        corpus = study.corpus(name)
        if isinstance(corpus, LocalCorpus):
            _check_local(f"text.domains.{name}.corpus.path", Path(corpus.path).expanduser())


def _check_local(key: str, path: Path) -> None:
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StudyError(
            f"{key}: found no file '{path}'{nearest(path.name, beside)}, expected text of yours"
        )
    if not (any(path.iterdir()) if path.is_dir() else path.stat().st_size):
        raise StudyError(f"{key}: found '{path}' empty, expected text")
    names = [each.name for each in path.rglob("*")] if path.is_dir() else [path.name]
    if not any(name.endswith(SUFFIXES) for name in names):
        expected = ", ".join(SUFFIXES)
        raise StudyError(f"{key}: found '{path}', expected text whose name ends in {expected}")


def bytes_needed(study: Study) -> int:
    """Return an upper estimate of what a study writes, text and tables included."""
    models = 0
    for size in study.family.sizes:
        replicas = sum(map(len, study.blocks(size))) * len(study.training.rate_factors)
        models += count_parameters(study.shape(size)).total * replicas
    horizons = len(study.training.horizons)
    return models * FLOAT_BYTES * COPIES_PER_HORIZON * horizons + TABLE_BYTES
