"""Work on many files at once: processes, with a progress bar."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from monai_e2e.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

_MAX_WORKERS = 8
#: From one look at the parent to the next.
_SECONDS = 0.5


def run_parallel(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int | None,
    description: str,
    unit: str = "image",
) -> list[Result]:
    """Apply a function to each task in worker processes, with a progress bar; results in task order.

    Args:
        function: picklable; it must not rely on the state of this process.
        tasks: picklable.
        workers: processes; None: one for each core, at most 8; 1 or less: this process.
        description: of the progress bar.
        unit: what the bar counts.

    Raises:
        UserError: when the system killed a worker.
    """
    count = min(workers if workers is not None else min(cpu_count(), _MAX_WORKERS), len(tasks))
    # Joblib's workers start afresh rather than as forks, which a caller with torch's threads would not survive, and
    # don't import the caller's main module, so this works in notebooks and in scripts without a main guard.
    parallel = Parallel(n_jobs=max(count, 1), return_as="generator")
    results: Iterable[Result] = parallel(delayed(_in_worker)(os.getpid(), function, task) for task in tasks)
    try:
        # disable=None: no bar where the output is a log file rather than a terminal.
        return list(tqdm(results, total=len(tasks), desc=description, unit=unit, disable=None))
    except TerminatedWorkerError as error:
        raise UserError(
            f"a worker process was killed, most likely for lack of memory; use fewer workers than {count}"
        ) from error


@cache
def begin_worker(parent: int) -> None:
    """What a worker process does first: from now on it ends with its parent, and leaves Ctrl-C to it.

    Args:
        parent: the parent's process number. A process whose parent was killed gets another, except on Windows.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os._exit(1)


def _in_worker(parent: int, function: Callable[[Task], Result], task: Task) -> Result:
    if os.getpid() != parent:
        begin_worker(parent)
    return function(task)
