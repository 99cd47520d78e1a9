"""Processes that are forked from one that has only imported MONAI, since importing it takes up to ten seconds.

Forking is only safe on Linux. Elsewhere each process starts and imports by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType

from monai_e2e.work.interrupt import interrupts_later, sockets_folder

#: What trainings, evaluations and predictions import. None of these modules starts a thread or uses a GPU: neither
#: would survive the fork.
TRAINING = (
    "fire",
    "monai.bundle",
    "torch._dynamo",  # on the first step of an optimizer
    "torch.utils.tensorboard",
    "monai_e2e.bundle",
    "monai_e2e.handlers",
    "monai_e2e.forest.run",
)
#: What the processes that read images for a prediction import.
READING = ("monai_e2e.predict.reading",)

#: How processes are forked; None where that isn't safe.
FORKING = multiprocessing.get_context("forkserver") if sys.platform == "linux" else None
#: ``multiprocessing`` isn't safe with threads: when it starts a process, it also collects those that have ended.
_lock = threading.Lock()


def import_once(modules: Sequence[str], variables: Mapping[str, str]) -> None:
    """From now on, fork all processes from one that has imported ``modules``. It starts now, in the background.

    Only the first call has an effect.

    Args:
        modules: such as :data:`TRAINING`.
        variables: of the environment. Libraries read some of them when they are imported, so all processes have these.
    """
    if FORKING is not None:
        from multiprocessing.forkserver import ensure_running

        FORKING.set_forkserver_preload(["monai_e2e.work.settling", *modules, "monai_e2e.work.settled"])
        with starting(variables):
            ensure_running()


def run_forked(argv: Sequence[str], log: Path, variables: Mapping[str, str]) -> int:
    """Run a command in a separate process, and wait for it.

    Args:
        argv: ``-m``, a module and its arguments, as for ``python``.
        log: file of its output.
        variables: of its environment.

    Returns:
        Its exit status, 0 if it succeeded.
    """
    context = FORKING or multiprocessing.get_context("spawn")
    process = context.Process(target=_run, args=(list(argv), log, dict(variables)))
    with starting(variables):
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
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _, module, *sys.argv[1:] = argv
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:  # noqa: BLE001 # as Python ends; multiprocessing has a way of its own, without excepthook
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


@contextmanager
def starting(variables: Mapping[str, str]) -> Iterator[None]:
    """Start processes in this block: with ``variables`` in their environment, and at first without Ctrl-C.

    They don't import the main module, since a script without a main guard would run again. Until they have the parent's
    path, they don't import from the current folder either: a folder of data may have the name of a module.
    """
    sockets_folder()
    variables = {"PYTHONSAFEPATH": "1", **variables}  # unknown to Python 3.10
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in variables}
    with _lock, interrupts_later():
        sys.modules["__main__"] = ModuleType("__main__")
        os.environ.update(variables)
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
