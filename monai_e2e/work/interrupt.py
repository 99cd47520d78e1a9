"""Ctrl-C ends a command at once, with one line that says how to go on."""

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

#: Bytes of the longest folder of temporary files in which the path of a socket of multiprocessing has room.
_LONGEST = 75
#: What a shell takes for a process that Ctrl-C has ended.
STATUS = 130
_ERRORS = 2  # file descriptor: Python's own object may be in the middle of a line
_open = 0
_endings: list[Callable[[], object]] = []


def sockets_folder() -> str:
    """Where multiprocessing keeps this process's sockets: below ``/tmp`` where ``TMPDIR`` is too long for their paths.

    Python looks at that itself from 3.14 on.
    """
    before = tempfile.tempdir
    if os.name == "posix" and len(os.fsencode(tempfile.gettempdir())) > _LONGEST:
        tempfile.tempdir = "/tmp"
    try:
        return get_temp_dir()  # which it keeps
    finally:
        tempfile.tempdir = before


def at_end(call: Callable[[], object]) -> None:
    """Have something done when Ctrl-C ends the process, which passes over what :mod:`atexit` has; it must not fail."""
    _endings.append(call)


@contextmanager
def closing_in_order() -> Iterator[None]:
    """In the block Ctrl-C is a KeyboardInterrupt, for what is open there must be closed; a second one is the end."""
    global _open
    _open += 1
    try:
        yield
    finally:
        _open -= 1


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C back for a moment; processes that are started in it never get one, not even before they are ready."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    ensure_running()  # processes need it, and its start lets Ctrl-C through again before Python 3.12
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_on_interrupt(advice: str | None) -> None:
    """Take Ctrl-C from now on for the end of this process, whatever it is doing; to be called by a program alone.

    Python's KeyboardInterrupt would pass through the libraries that are at work, which show it as hundreds of lines and
    now and then swallow it. Nothing needs it: files are whole or absent at any time.

    Args:
        advice: how to go on; None: say nothing, as all processes but the first of a distributed run.
    """
    own, said, folder = os.getpid(), False, sockets_folder()  # before any process is started, so that all have this one

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal said
        if os.getpid() != own:  # a loader's process, which has this from its parent: that one ends it
            return
        if not said:
            said = True
            if advice is not None:
                os.write(_ERRORS, f"\ninterrupted: {advice}\n".encode())
            if _open > 0:
                raise KeyboardInterrupt
        if hasattr(signal, "SIGCHLD"):  # PyTorch's handler raises an error here as soon as a loader's process has gone
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
            shutil.rmtree(folder, ignore_errors=True)  # Python does it in an exit that isn't this one
        os._exit(STATUS)

    signal.signal(signal.SIGINT, end)
