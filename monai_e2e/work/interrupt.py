"""Ctrl-C ends a command at once, with one line that says how to continue."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.resource_tracker import ensure_running
from multiprocessing.util import get_temp_dir
from types import FrameType

import psutil

#: Most bytes that the path of the temporary folder may have, so that the system accepts sockets in it.
_LONGEST = 75
#: Exit status by which a shell knows that Ctrl-C ended the process.
STATUS = 130
_ERRORS = 2  # file descriptor of stderr: sys.stderr may be in the middle of a line
_open = 0
_endings: list[Callable[[], object]] = []


def sockets_folder() -> str:
    """Folder of multiprocessing's sockets: below ``/tmp`` if ``TMPDIR`` is too long for their paths.

    From Python 3.14 on, Python does this itself.
    """
    before = tempfile.tempdir
    if os.name == "posix" and len(os.fsencode(tempfile.gettempdir())) > _LONGEST:
        tempfile.tempdir = "/tmp"
    try:
        return get_temp_dir()  # multiprocessing remembers it
    finally:
        tempfile.tempdir = before


def at_end(call: Callable[[], object]) -> None:
    """Call something when Ctrl-C ends the process, which doesn't run :mod:`atexit`. The call must not fail."""
    _endings.append(call)


@contextmanager
def closing_in_order() -> Iterator[None]:
    """In this block Ctrl-C raises a KeyboardInterrupt, to close what is open. A second one ends the process."""
    global _open
    _open += 1
    try:
        yield
    finally:
        _open -= 1


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold back Ctrl-C in this block. Processes that are started in it get none, not even before they are ready."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    ensure_running()  # before the block: up to Python 3.11 its start lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_on_interrupt(advice: str | None) -> None:
    """From now on Ctrl-C ends this process, whatever it is doing. Only for programs, not for libraries.

    Python's KeyboardInterrupt would pass through other libraries, which print hundreds of lines for it, or sometimes
    swallow it. It isn't needed: at any time each file is complete or absent.

    Args:
        advice: how to continue; None: print nothing, as in all but the first process of a distributed training.
    """
    own, said = os.getpid(), False
    folder = sockets_folder()  # before any process is started, so that all use this folder

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal said
        if os.getpid() != own:  # a loader's process, which inherited this handler: its parent ends it
            return
        if not said:
            said = True
            if advice is not None:
                os.write(_ERRORS, f"\ninterrupted: {advice}\n".encode())
            if _open > 0:
                raise KeyboardInterrupt
        if hasattr(signal, "SIGCHLD"):  # else PyTorch's handler raises an error as soon as a loader's process has ended
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in multiprocessing.active_children():
            with suppress(psutil.Error):
                process = psutil.Process(child.pid)
                for started in [process, *process.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        started.kill()
        for call in _endings:
            call()
        if multiprocessing.parent_process() is None:
            shutil.rmtree(folder, ignore_errors=True)  # which Python would do in a normal exit
        os._exit(STATUS)

    signal.signal(signal.SIGINT, end)
