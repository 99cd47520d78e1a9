"""Work on other machines: the workers of a Dask scheduler, ``dask://HOST:PORT`` in place of a number of processes.

They and the scheduler must have the same version of this package, and the workers the same folders under the same
paths as this machine. If a worker is lost, its task goes to another one; a task at which three workers were lost is
given up.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from monai_e2e.errors import UserError
from monai_e2e.work.interrupt import closing_in_order

if TYPE_CHECKING:
    from distributed import Client, Future

Task = TypeVar("Task")
Result = TypeVar("Result")

#: A number of processes on this machine, or a scheduler's address; None: as many as suit the work.
Workers = int | str | None

_ADDRESS = re.compile(r"dask://([\w.-]+:\d+)")
#: Tasks given out ahead, for each thread of a worker: running, or finished and not yet fetched.
_AHEAD = 2
#: How long to wait for a scheduler's answer, and for its first worker.
_SECONDS = 15.0


@contextmanager
def cluster(address: str) -> Iterator[Client]:
    """A connection to a scheduler that has workers.

    Raises:
        UserError: when this isn't an address, no scheduler answers, it has no worker or is lost later, or Dask isn't
            installed here.
    """
    if not (place := _ADDRESS.fullmatch(address)):
        raise UserError(f"--workers {address}: write dask://HOST:PORT, as the scheduler says when it starts")
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            f'--workers {address} needs a further package: run `pip install "monai-e2e[cluster]"`'
        ) from error
    try:
        client = Client(f"tcp://{place[1]}", timeout=_SECONDS, set_as_default=False)
    except OSError as error:
        raise UserError(f"{address}: no Dask scheduler answers; start one with `dask scheduler`") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
        except TimeoutError as error:
            raise UserError(f"{address}: has no workers; start them with `dask worker {place[1]}`") from error
        try:
            yield client
        except (CancelledError, OSError) as error:
            if client.status == "running":
                raise
            raise UserError(f"{address}: the scheduler is lost; run the same command again to go on") from error


def count_threads(client: Client) -> int:
    """How many tasks the workers can run at a time, at least 1."""
    return max(1, sum(client.nthreads().values()))


def stream_cluster(
    function: Callable[[Task], Result], tasks: Iterable[Task], address: str
) -> Iterator[tuple[Task, Result | None]]:
    """As :func:`~monai_e2e.work.streaming.stream_parallel`, but with the workers of a scheduler.

    Raises:
        UserError: as :func:`cluster`.
    """
    with closing_in_order(), cluster(address) as client:
        from distributed import KilledWorker

        remaining = iter(tasks)
        pending: deque[tuple[Task, Future]] = deque()
        while True:
            room = _AHEAD * count_threads(client) - len(pending)  # workers come and go
            for task in islice(remaining, max(0, room)):
                pending.append((task, client.submit(_work, function, task, pure=False)))
            if not pending:
                return
            task, future = pending.popleft()
            try:
                result = future.result()
            except KilledWorker:
                result = None
            yield task, result


def run_on(client: Client, function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function on one worker, and return its result.

    Raises:
        UserError: when the worker was lost, and those that tried it again too.
    """
    from distributed import KilledWorker

    try:
        return client.submit(function, *arguments, pure=False).result()
    except KilledWorker as error:
        raise UserError(
            "each worker that ran it was lost, most likely for lack of memory: give the workers more, and run it again"
        ) from error


def run_process(argv: Sequence[str], log: Path, variables: Mapping[str, str]) -> int:
    """Run Python in a separate process with its output in a log; returns the exit status.

    It isn't forked as elsewhere, since Dask's workers can't have child processes of :mod:`multiprocessing`.
    """
    with log.open("w", encoding="utf-8") as output:
        environment = {**os.environ, **variables}
        return subprocess.run([sys.executable, *argv], stdout=output, stderr=output, env=environment).returncode


def _work(function: Callable[[Task], Result], task: Task) -> Result:
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it logs a traceback for each damaged file
    return function(task)
