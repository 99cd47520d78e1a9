"""Commands in processes of their own that are forked from one which has imported MONAI: its import takes ten seconds.

Where forking isn't safe, on anything but Linux, each process starts and imports by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType

#: What trainings, evaluations and predictions import. None of it starts a thread or looks for a GPU, which would not
#: survive the fork.
_IMPORTS = (
    "fire",
    "monai.bundle",
    "torch._dynamo",  # on the first step of an optimizer
    "torch.utils.tensorboard",
    "monai_e2e.bundle",
    "monai_e2e.handlers",
    "monai_e2e.forest.run",
)

_context = (
    multiprocessing.get_context("forkserver") if sys.platform == "linux" else multiprocessing.get_context("spawn")
)
#: ``multiprocessing`` isn't made for threads: as it starts a process, it looks which others have ended.
_lock = threading.Lock()


def import_once() -> None:
    """From the next process on fork all from one that has imported MONAI; without this, from one that has nothing."""
    _context.set_forkserver_preload(list(_IMPORTS))


def run_forked(argv: Sequence[str], log: Path, variables: Mapping[str, str]) -> int:
    """Run a command in a process of its own, and wait for it.

    Args:
        argv: ``-m``, the module and its arguments, as ``python`` is called with them.
        log: file of its output.
        variables: of its environment. Libraries look at some as they are imported, for which those of the first
            command hold: they should be the same for all.

    Returns:
        Its exit status, 0 if it succeeded.
    """
    process = _context.Process(target=_run, args=(list(argv), log, dict(variables)))
    with _lock, _environment(variables), _no_main_module():
        process.start()
    wait([process.sentinel])
    with _lock:
        process.join()
    return int(process.exitcode or 0)


def _run(argv: list[str], log: Path, variables: dict[str, str]) -> None:
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.environ.update(variables)
    _, module, *sys.argv[1:] = argv
    runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """The process that is started imports the main module, which a script without a guard would run once more."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
