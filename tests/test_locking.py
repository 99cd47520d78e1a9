"""Two processes don't write to one folder; a dead one's lock is nobody's."""

import os
import subprocess
import sys
import time

import pytest

from monai_e2e.errors import UserError
from monai_e2e.locking import is_held, locked

HOLD = (
    "import sys, time; from monai_e2e.locking import hold; hold(sys.argv[1]); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_gets_one_line_that_names_the_first(holder, tmp_path):
    with (
        pytest.raises(UserError, match=rf"out: process {holder.pid} is writing to it; wait") as caught,
        locked(tmp_path / "out"),
    ):
        pass
    assert "\n" not in str(caught.value)
    with locked(tmp_path / "another"):
        pass


def test_whether_another_process_has_a_folder_can_be_asked(holder, tmp_path):
    assert is_held(tmp_path / "out")
    assert not is_held(tmp_path / "another")


def test_the_lock_of_a_process_that_was_killed_is_taken_over(holder, tmp_path):
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with locked(tmp_path / "out"):
        pass
    assert time.monotonic() - started < 5


def test_a_process_may_lock_its_own_folder_again(tmp_path):
    with locked(tmp_path / "out"), locked(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_where_a_folder_is_the_only_place_to_write_the_lock_is_in_it(tmp_path, monkeypatch):
    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with locked(tmp_path / "mount"):
        assert [entry.name for entry in tmp_path.rglob("*")] == ["mount", ".lock"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"), locked(tmp_path / "file" / "out"):
        pass
