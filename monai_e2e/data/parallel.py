"""Work on many files at once: processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from monai_e2e.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

_MAX_WORKERS = 8


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
    results: Iterable[Result] = parallel(delayed(function)(task) for task in tasks)
    try:
        # disable=None: no bar where the output is a log file rather than a terminal.
        return list(tqdm(results, total=len(tasks), desc=description, unit=unit, disable=None))
    except TerminatedWorkerError as error:
        raise UserError(
            f"a worker process was killed, most likely for lack of memory; use fewer workers than {count}"
        ) from error
