"""What is said to nobody ends no work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saltus.say import say

SAYS = """
import sys
from saltus.say import say
for number in range(3):
    say(f"{number}", sys.stdout)
    say(f"{number}")
open(sys.argv[1], "w").write("done")
"""


def test_a_pipe_that_is_closed_ends_nothing(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-c", SAYS, str(tmp_path / "end")], stdout=write, stderr=write, check=False
    )
    os.close(write)
    assert ended.returncode == 0 and (tmp_path / "end").read_text() == "done"


def test_who_reads_hears_all(capsys: pytest.CaptureFixture[str]) -> None:
    say("one", sys.stdout)
    say("two")
    assert capsys.readouterr() == ("one\n", "two\n")
