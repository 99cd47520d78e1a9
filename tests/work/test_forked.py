"""Commands in forked processes: they are as if Python had been called for each."""

import os
import subprocess
import sys

import pytest

from monai_e2e.work.forked import READING, TRAINING

#: Fails where an import looks for a GPU, which a fork then couldn't use, or starts a thread, which it wouldn't have.
IMPORTING = """
import importlib, os, sys, threading, torch
def refuse(*_):
    raise RuntimeError("looked for a GPU")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = refuse
for name in sys.argv[1:]:
    importlib.import_module(name)
print(threading.active_count())
"""

SCRIPT = """
import sys
from pathlib import Path
from monai_e2e.work.forked import import_once, run_forked
print(run_forked(["-m", "monai_e2e", "--version"], Path(sys.argv[1]), {}))
"""

COLLECTING = """
import sys
from pathlib import Path
from monai_e2e.work.forked import import_once, run_forked
import_once(["json"], {})
run_forked(["-m", "counting"], Path(sys.argv[1]), {})
"""


def test_a_command_has_its_arguments_variables_and_log(run_code):
    text = """
        import os, sys
        print(__name__, sys.argv[1:], os.environ["MADE"], flush=True)
        os.system("echo from a process of its own >&2")
    """
    assert run_code(text.replace("\n        ", "\n"), "a b", "--c", MADE="here") == (
        0,
        "__main__ ['a b', '--c'] here\nfrom a process of its own\n",
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 imports from the current folder")
def test_a_folder_or_file_in_the_current_folder_is_not_imported_in_place_of_a_module(tmp_path):
    (tmp_path / "statistics.py").write_text("raise SystemExit('a file of the current folder was run')")
    (tmp_path / "script").mkdir()
    (tmp_path / "script/run.py").write_text(SCRIPT.replace("print(", "import_once(['statistics'], {}); print("))
    command = [sys.executable, "script/run.py", "log"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (finished.stdout, finished.stderr) == ("0\n", "")


def test_a_folder_of_temporary_files_may_have_a_long_path(tmp_path):
    folder = tmp_path / ("long" * 25)  # sockets have paths of at most 107 bytes
    folder.mkdir()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "log")]
    finished = subprocess.run(command, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True)
    assert (finished.stdout, finished.stderr) == ("0\n", "")


def test_what_is_imported_once_is_left_out_of_garbage_collections(tmp_path):
    (tmp_path / "script.py").write_text(COLLECTING)
    (tmp_path / "counting.py").write_text("import gc; print(gc.get_freeze_count() * gc.isenabled())")
    subprocess.run([sys.executable, str(tmp_path / "script.py"), str(tmp_path / "log")], check=True)
    assert int((tmp_path / "log").read_text()) > 1000


@pytest.mark.parametrize(
    ("text", "status", "last"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import sys; sys.excepthook = lambda *error: print('one line', file=sys.stderr); 1 / 0", 1, "one line"),
        ("import os; print('begun', flush=True); os.kill(os.getpid(), 9)", -9, "begun"),
    ],
    ids=["status", "message", "error", "error in one line", "killed"],
)
def test_a_command_that_fails_has_the_status_and_the_end_of_its_log(run_code, text, status, last):
    got, log = run_code(text)
    assert (got, log.strip().rpartition("\n")[2]) == (status, last)


def test_what_is_imported_before_the_fork_starts_no_thread_and_looks_for_no_gpu():
    command = [sys.executable, "-c", IMPORTING, *TRAINING, *READING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_a_script_without_a_guard_is_run_once(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert (tmp_path / "log").read_text().startswith("monai-e2e ")
