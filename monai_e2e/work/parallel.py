"""Work on many files at once in processes, with a progress bar or, without a terminal, a line from time to time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from joblib import cpu_count
from tqdm import tqdm

from monai_e2e.errors import UserError
from monai_e2e.work.cluster import Workers
from monai_e2e.work.streaming import stream_parallel

Task = TypeVar("Task")
Result = TypeVar("Result")

_MAX_WORKERS = 8
#: Seconds between two lines on progress.
_INTERVAL = 15.0

logger = logging.getLogger(__name__)


def run_parallel(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: Workers,
    description: str,
    unit: str = "image",
) -> list[Result]:
    """Apply a function to each task in worker processes and show the progress; results in task order.

    Args:
        function: picklable; it must not rely on the state of this process, and not return None.
        tasks: picklable.
        workers: processes; None: one for each core, at most 8; 1 or less: this process; or a Dask scheduler, see
            :mod:`monai_e2e.work.cluster`.
        description: of the progress bar.
        unit: what the bar counts.

    Raises:
        UserError: when the process that worked on a task was killed. Other errors are raised as they are.
    """
    if not isinstance(workers, str):
        workers = min(workers if workers is not None else min(cpu_count(), _MAX_WORKERS), len(tasks))
        workers = workers if workers > 1 else 0
    streamed = stream_parallel(function, tasks, workers)
    results: list[Result] = []
    # disable=None: no bar where the output is a log file rather than a terminal.
    bar = tqdm(streamed, total=len(tasks), desc=description, unit=unit, disable=None)
    told = time.monotonic()
    for _, result in bar:
        if result is None:
            raise UserError(
                f"{description}: the process that worked on {unit} {len(results) + 1} of {len(tasks)} was killed, most "
                f"likely for lack of memory; use fewer workers than {workers}, or check that {unit}"
            )
        results.append(result)
        if bar.disable and time.monotonic() - told >= _INTERVAL:
            told = time.monotonic()
            logger.info("%s: %d of %d", description, len(results), len(tasks))
    return results
