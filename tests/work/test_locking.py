"""Two processes don't write to one folder; a dead one's lock is nobody's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from monai_e2e.errors import UserError
from monai_e2e.work.locking import HeldError, is_held, locked

HOLD = (
    "import sys, time; from monai_e2e.work.locking import hold; "
    "hold(sys.argv[1]); print('held', flush=True); time.sleep(60)"
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


def test_a_lock_leaves_no_file_when_it_ends(tmp_path):
    with locked(tmp_path / "out"):
        with locked(tmp_path / "out"):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["pass", "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"])
def test_a_program_that_ends_or_is_interrupted_leaves_no_lock_file(tmp_path, ending):
    code = (
        "import os, signal, sys, time; from monai_e2e.work.interrupt import end_on_interrupt\n"
        "from monai_e2e.work.locking import hold\n"
        f"end_on_interrupt('again'); hold(sys.argv[1]); {ending}"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True)
    assert (process.returncode, list(tmp_path.iterdir())) == (0 if ending == "pass" else 130, [])


def test_a_lock_that_ends_while_it_is_asked_for_is_no_fault_of_the_place(tmp_path, monkeypatch):
    def released_meanwhile(lock, *args, **kwargs):
        Path(lock.lock_file).unlink()
        raise Timeout(lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", released_meanwhile)
    with pytest.raises(HeldError), locked(tmp_path / "out"):
        pass


def test_of_many_processes_that_want_one_lock_never_two_have_it(tmp_path):
    code = (
        "import os, sys, time; from monai_e2e.errors import UserError; from monai_e2e.work.locking import locked\n"
        "end = time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with locked(sys.argv[1] + '/out'):\n"
        "            os.close(os.open(sys.argv[1] + '/taken', os.O_CREAT | os.O_EXCL))\n"
        "            os.unlink(sys.argv[1] + '/taken')\n"
        "    except UserError:\n"
        "        pass\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]


def test_where_a_folder_is_the_only_place_to_write_the_lock_is_in_it(tmp_path, monkeypatch):
    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with locked(tmp_path / "mount"):
        assert [entry.name for entry in tmp_path.rglob("*")] == ["mount", ".lock"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"), locked(tmp_path / "file" / "out"):
        pass


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_a_file_system_that_takes_no_files_is_not_taken_for_a_locked_folder():
    with pytest.raises(UserError, match="can't be written") as refused, locked("/proc/out"):
        pass
    assert not isinstance(refused.value, HeldError)


def test_a_name_that_is_too_long_is_told(tmp_path):
    for length in (250, 300):
        with (
            pytest.raises(UserError, match=r"can't be written \(File name too long\)"),
            locked(tmp_path / ("a" * length)),
        ):
            pass
