"""Work on files in processes, a few files ahead of the code that uses the results."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from typing import TypeVar

import psutil
from joblib.externals.loky.process_executor import ProcessPoolExecutor

from monai_e2e.work.cluster import stream_cluster
from monai_e2e.work.forked import FORKING, import_once, starting
from monai_e2e.work.interrupt import closing_in_order, interrupts_later
from monai_e2e.work.threads import reader_variables

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Tasks given out ahead, for each worker: running, or finished and not yet fetched.
_AHEAD = 2
#: How often a worker checks whether its parent still runs.
_SECONDS = 0.5


def stream_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int | str
) -> Iterator[tuple[Task, Result | None]]:
    """Apply a function to each task in worker processes; memory doesn't grow with the number of tasks.

    A decoder may crash its process on a damaged file. The result of such a task is None; the others are not affected.

    Args:
        function: picklable; it must not rely on the state of this process.
        tasks: picklable.
        workers: number of processes; 0: this process, which a task may then crash; ``dask://HOST:PORT``: the workers of
            a Dask scheduler, see :mod:`monai_e2e.work.cluster`.

    Returns:
        Each task and its result, in the order of the tasks.
    """
    if isinstance(workers, str):
        yield from stream_cluster(function, tasks, workers)
        return
    if workers < 1:
        yield from ((task, function(task)) for task in tasks)
        return
    with closing_in_order():
        yield from _stream(function, tasks, workers)


def _stream(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[tuple[Task, Result | None]]:
    remaining = iter(tasks)
    pending: deque[tuple[Task, Future[Result]]] = deque()
    if (module := function.__module__) != "__main__":
        import_once([module], reader_variables())
    pool = _start(workers)
    try:
        while True:
            for task in islice(remaining, _AHEAD * workers - len(pending)):
                with interrupts_later():  # so that each task that was given out is in the list
                    pending.append((task, _submit(pool, function, task)))
            if not pending:
                return
            task, future = pending[0]
            try:
                result = future.result()
            except BrokenProcessPool:
                _end(pool)
                yield from _one_by_one(function, pending)
                pending.clear()
                pool = _start(workers)
            else:
                pending.popleft()
                yield task, result
    finally:
        _wait_until_taken(future for _, future in pending)
        _end(pool)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    try:
        with starting(reader_variables()):  # the first task starts the processes
            return pool.submit(function, task)
    except BrokenProcessPool as error:  # noticed before any result was fetched
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _wait_until_taken(futures: Iterable[Future[Result]]) -> None:
    """Wait until loky has taken all tasks from its queue: its thread fails if the processes are killed before."""
    end = time.monotonic() + _SECONDS
    for future in futures:
        while not (future.running() or future.done()) and time.monotonic() < end:
            time.sleep(0.001)


def _one_by_one(
    function: Callable[[Task], Result], pending: Iterable[tuple[Task, Future[Result]]]
) -> Iterator[tuple[Task, Result | None]]:
    """The results of tasks of which one crashed a process. To find it, each now runs alone in a process."""
    pool = _start(1)
    try:
        for task, future in pending:
            finished = future.done() and not future.cancelled() and future.exception() is None
            try:
                result = future.result() if finished else _submit(pool, function, task).result()
            except BrokenProcessPool:
                yield task, None
                pool = _start(1)
            else:
                yield task, result
    finally:
        _end(pool)


def _start(workers: int) -> ProcessPoolExecutor:
    # Workers are not forked from this process, whose threads and CUDA wouldn't survive that, but from one that has only
    # imported, or started from scratch. Neither imports the main module, so this works in notebooks, and in scripts
    # without a main guard.
    return ProcessPoolExecutor(
        workers, context=FORKING, initializer=_prepare_worker, initargs=(os.getpid(),), env=reader_variables()
    )


def _end(pool: ProcessPoolExecutor) -> None:
    queue = pool._call_queue
    pool.shutdown(kill_workers=True)
    # Loky doesn't stop its feeder thread. If the process ends before that has removed the semaphores, Python warns.
    if queue is not None and queue._thread is not None:
        queue._thread.join(_SECONDS)


def _prepare_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it logs a traceback for each damaged file


def _end_with(parent: int) -> None:
    """End this process when its parent has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(parent)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_SECONDS)
    os._exit(1)
