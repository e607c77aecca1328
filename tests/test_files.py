"""Files are whole or absent, whatever fails while they are written."""

import errno
import hashlib
import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltus.errors import SaltusError, SpaceError
from saltus.files import (
    read_json,
    read_table,
    replacing,
    sha256_of,
    write_bytes,
    write_json,
    write_table,
    write_text,
)


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename across disks is no rename"
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EIO, "x"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there_and_nothing_else(
    before: str | None, error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(type(error)) as raised, replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert raised.value is error
    assert [each.read_text() for each in tmp_path.iterdir()] == ([] if before is None else [before])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_one_line(number: int, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(SpaceError) as raised, replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, "full")
    assert isinstance(raised.value, SaltusError)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_when_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors import SafetensorError

    from saltus.model.initialise import initial_parameters
    from saltus.model.shape import Shape
    from saltus.train import checkpoint, state
    from saltus.train.optimizer import OptimizerState

    def full(tensors: Any, path: Path, metadata: Any = None) -> None:
        # What safetensors makes of it when it writes the file itself: no OSError, no number.
        Path(path).unlink(missing_ok=True)
        Path(path).write_bytes(b"half")
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    shape = Shape(8, 4, 1, 1, 4, 4)
    row = initial_parameters(shape, [0])
    snapshot = state.Snapshot(
        1,
        OptimizerState(row, row.clone(), row.clone(), torch.ones(1, dtype=torch.bool)),
        torch.zeros(0, 5),
        0.0,
    )
    monkeypatch.setattr("saltus.files.uuid.uuid4", lambda: uuid.UUID(int=0))
    for module in (checkpoint, state):
        monkeypatch.setattr(module, "save_file", full, raising=False)
    for name in ("a", "b"):
        (tmp_path / f".{name}.00000000.part").symlink_to("/dev/full")
    with pytest.raises(SpaceError):
        checkpoint.save_checkpoint(tmp_path / "a", row[0], shape)
    with pytest.raises(SpaceError):
        state.save_snapshot(tmp_path / "b", snapshot)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_system_are_not_disguised(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no")


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert (tmp_path / "a").read_text() == "old"


def test_two_writers_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first", "the last to finish wins"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_bytes(tmp_path / "b", bytes(range(256)))
    assert (tmp_path / "b").read_bytes() == bytes(range(256))
    write_text(tmp_path / "t", "é漢\r\n\n")
    assert (tmp_path / "t").read_bytes() == "é漢\r\n\n".encode()
    value = {"name": "é", "list": [1, 2.5, None, True], "nested": {"x": 1e-300}}
    write_json(tmp_path / "j", value)
    assert read_json(tmp_path / "j") == value
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8")) == value
    table = pd.DataFrame(
        {
            "text": ["a", None],
            "number": [1.5, np.nan],
            "count": pd.array([3, None], dtype="Int64"),
            "list": [np.array([1.0, 2.0], dtype=np.float32), np.array([], dtype=np.float32)],
        },
        index=[7, 3],
    )
    write_table(tmp_path / "p.parquet", table)
    again = read_table(tmp_path / "p.parquet")
    assert again.index.tolist() == [0, 1]
    pd.testing.assert_frame_equal(
        again.drop(columns="list"), table.drop(columns="list").reset_index(drop=True),
        check_dtype=False,
    )  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(again["list"], table["list"], strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, object()])
def test_what_json_cannot_say_is_refused_and_leaves_nothing(value: Any, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", {"x": [value]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_hashes_equal_hashlib(size: int, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(size)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
