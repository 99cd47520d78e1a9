"""Only one process at a time may write to a folder of results: two would mix their results."""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, Timeout

from monai_e2e.errors import UserError
from monai_e2e.work.interrupt import at_end

#: Name of the lock's file, if it must be in the folder because nothing can be written beside it.
INSIDE = ".lock"
#: The loader's processes of a killed process may live on for some seconds, and keep its lock.
_SECONDS_OF_ORPHANS = 30


class HeldError(UserError):
    """Another process writes to the folder."""


_held: list[BaseFileLock] = []  # a lock that nothing refers to is released


def _release_held() -> None:
    while _held:
        _release(_held.pop())


atexit.register(_release_held)
at_end(_release_held)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other processes out of a folder during this block. The folder need not exist.

    The lock is one of the operating system, so it ends with the process, however that ends. Its file is
    ``.<name>.lock`` beside the folder or, if only the folder can be written to, as in a container, ``.lock`` in it. The
    file is removed at the end; if the process is killed, it stays, and the next process uses it. A process may lock a
    folder that it has locked already.

    Raises:
        HeldError: when another process has locked it.
        UserError: when nothing can be written there.
    """
    lock = _acquire(folder)
    _held.append(lock)
    try:
        yield
    finally:
        _held.remove(lock)
        _release(lock)


def is_held(folder: str | Path) -> bool:
    """Whether another process has locked a folder at this moment."""
    try:
        with locked(folder):
            return False
    except HeldError:
        return True


def hold(folder: str | Path) -> None:
    """As :func:`locked`, until the process ends."""
    _held.append(_acquire(folder))


def _release(lock: BaseFileLock) -> None:
    """Release a lock, and remove its file if this process doesn't hold the lock elsewhere.

    The file is removed while the lock is held. If another process has opened it before, it gets a lock on a removed
    file, which filelock notices and drops.
    """
    if lock.lock_counter == 1:
        with suppress(OSError):  # Windows can't remove an open file
            Path(lock.lock_file).unlink()
    lock.release()


def _acquire(folder: str | Path) -> BaseFileLock:
    try:
        file = _file_of(Path(folder).resolve())
        lock = FileLock(file, timeout=0, thread_local=False, is_singleton=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()  # where that fails, filelock would wait, as for a file that is being removed
        try:
            lock.acquire()
        except Timeout:
            owner = _owner(file)
            if owner is None or psutil.pid_exists(owner):
                raise
            lock.acquire(timeout=_SECONDS_OF_ORPHANS)
    except Timeout as error:
        who = "another process" if (owner := _owner(file)) is None else f"process {owner}"
        raise HeldError(f"{folder}: {who} is writing to it; wait until it has ended, or name another folder") from error
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror}); choose another folder") from error
    with suppress(OSError):  # on Windows a locked file can't be written to
        file.write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
    return lock


def _file_of(folder: Path) -> Path:
    if folder.is_dir() and not os.access(folder.parent, os.W_OK):
        return folder / INSIDE
    return folder.with_name(f".{folder.name}.lock")


def _owner(file: Path) -> int | None:
    """Process that has, or had, the lock; None if it isn't known or on another machine."""
    try:
        number, host = file.read_text(encoding="utf-8").split()
        return int(number) if host == socket.gethostname() else None
    except (OSError, ValueError):
        return None
