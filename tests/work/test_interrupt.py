"""Ctrl-C: one line, status 130, at once, whatever the process is doing; and no process outlives its parent."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SLEEP = """
import time
from monai_e2e.work.interrupt import end_on_interrupt
end_on_interrupt("do this")
print("ready", flush=True)
while True:
    try:
        time.sleep(1)  # a signal that comes just before it waits for its end
    except BaseException:
        pass
"""
LOADER = """
import time
from torch.utils.data import DataLoader, Dataset
from monai_e2e.work.interrupt import end_on_interrupt
class Slow(Dataset):
    def __len__(self): return 1000
    def __getitem__(self, index):
        time.sleep(0.2)
        return index
end_on_interrupt("do this")
for batch in DataLoader(Slow(), num_workers=2):
    print("ready", flush=True)
"""
WORKERS = """
import time
from monai_e2e.work.streaming import stream_parallel
from monai_e2e.work.interrupt import end_on_interrupt
end_on_interrupt("do this")
{start}
"""
BLOCKED = """
import signal
from monai_e2e.work.streaming import stream_parallel
def blocked(_):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
print(all(result for _, result in stream_parallel(blocked, range(8), 2)))
"""
STREAM = """try:
    for _ in stream_parallel(time.sleep, [0, 60, 60, 60], 2):
        print('ready', flush=True)
except KeyboardInterrupt:
    raise SystemExit(130)
"""
STEPS = """
import sys
from pathlib import Path
from threading import Thread
from monai_e2e.work.interrupt import end_on_interrupt
from monai_e2e.work.steps import Step, run_steps
end_on_interrupt("do this")
made = Path(sys.argv[1])
sys.path.insert(0, str(made.parent))
module = f"import pathlib, subprocess, sys; pathlib.Path({str(made)!r}).touch(); subprocess.run(['sleep', '120'])"
made.with_name("sleeping.py").write_text(module)
def tell():
    while not made.exists():
        pass
    print("ready", flush=True)
Thread(target=tell, daemon=True).start()
run_steps([Step("sleep", ["-m", "sleeping"], Path(sys.argv[1] + ".log"))], 1)
"""


def begun(code, *arguments, **variables):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
        start_new_session=True,  # a group of its own, which gets the signal as that of a terminal does
    )
    assert process.stdout.readline() == "ready\n"
    return process


def gone(processes, seconds=30):
    _, alive = psutil.wait_procs(processes, seconds)
    return [process.cmdline() for process in alive]


@pytest.mark.parametrize("code", [SLEEP, LOADER, WORKERS.format(start=STREAM)], ids=["alone", "loader", "stream"])
def test_an_interrupt_is_one_line_and_ends_all(code, tmp_path):
    process = begun(code, TMPDIR=str(tmp_path))
    children = psutil.Process(process.pid).children(recursive=True)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (130, "interrupted: do this")
    assert time.monotonic() - started < 20
    assert gone(children) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals of POSIX")
def test_no_worker_gets_an_interrupt_not_even_while_it_starts():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"


def test_workers_end_with_a_parent_that_was_killed():
    process = begun(WORKERS.format(start=STREAM))
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    assert gone(children) == []


def test_an_interrupt_of_the_demos_process_alone_ends_the_command_that_it_runs(tmp_path):
    (tmp_path / "tmp").mkdir()
    process = begun(STEPS, str(tmp_path / "made"), TMPDIR=str(tmp_path / "tmp"))
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert gone(children, 10) == []
    assert list((tmp_path / "tmp").iterdir()) == []
