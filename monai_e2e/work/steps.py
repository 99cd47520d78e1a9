"""Steps: commands that depend on each other, each run in a separate process."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from monai_e2e.errors import UserError
from monai_e2e.work.forked import run_forked
from monai_e2e.work.locking import HeldError
from monai_e2e.work.threads import KEEP_MEMORY, thread_variables

logger = logging.getLogger(__name__)

#: Seconds until a step that another process is running is tried again, and between two checks of the progress.
_PAUSE = 5.0
#: Seconds between two lines on the progress: with and without new progress.
_EVERY, _SELDOM = 60.0, 600.0

#: What runs a command: (words, file of its output, variables of its environment) → exit status.
Runner = Callable[[Sequence[str], Path, Mapping[str, str]], int]


@dataclass(eq=False)
class Step:
    """One command.

    Args:
        name: in the log; unique.
        argv: Python's arguments, which begin with ``-m`` and a module.
        log: file of its output.
        after: steps that must have succeeded.
        makes: file that it writes.
        threads: of PyTorch and OpenCV. Steps side by side get 1, since PyTorch's threads spin while they wait for each
            other; None: no limit.
        seconds: how long it took.
        runner: what runs the command.
    """

    name: str
    argv: Sequence[str]
    log: Path
    after: Sequence[Step] = ()
    makes: Path | None = None
    threads: int | None = 1
    seconds: float = 0.0
    runner: Runner = run_forked

    @property
    def command(self) -> str:
        """What a user types."""
        words = ["monai-e2e" if word == "monai_e2e" else word for word in self.argv]
        if words[:2] == ["-m", "monai-e2e"]:
            words = words[1:]
        elif words[:1] == ["-m"]:
            words = ["python", *words]
        return " ".join(f'"{word}"' if "'" in word else shlex.quote(word) for word in words)

    def run(self) -> None:
        """Run the command; raises ``UserError`` with the end of its log when it fails."""
        start = time.monotonic()
        logger.info("        …  %s", self.name)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        status = self.runner(self.argv, self.log, command_variables(self.threads))
        self.seconds = time.monotonic() - start
        if status:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UserError(f"step '{self.name}' failed: {' '.join(tail)} (whole log: {self.log})")
        logger.info("%7.0f s  %s", self.seconds, self.name)


def command_variables(threads: int | None) -> dict[str, str]:
    """Environment of a command that computes with this number of threads; None: with any number."""
    return {**KEEP_MEMORY, **thread_variables(threads)}


def run_steps(
    steps: Sequence[Step],
    lanes: int,
    run: Callable[[Step], None] = Step.run,
    watch: Callable[[], None] = lambda: None,
    keep_going: bool = True,
) -> dict[str, UserError]:
    """Run steps side by side, each as soon as those that it needs have succeeded, in the given order.

    Args:
        steps: the steps, with all that their ``after`` names.
        lanes: how many run at a time.
        run: runs one of them; raises a ``UserError`` when it fails, and a ``HeldError`` when another process is running
            it, which is then waited for.
        watch: called every few seconds.
        keep_going: whether, after one has failed, those that don't need it are still run.

    Returns:
        The errors of those that failed, by name.
    """
    waiting, running, failed = list(steps), dict[Future[None], Step](), dict[str, UserError]()
    succeeded: set[Step] = set()
    held: dict[Step, float] = {}
    with ThreadPoolExecutor(lanes) as pool:
        while waiting or running:
            for step in list(waiting):
                if any(before.name in failed for before in step.after) or (failed and not keep_going):
                    failed[step.name] = UserError(f"step '{step.name}' was not run, since one before it failed")
                    waiting.remove(step)
                elif len(running) == lanes or held.get(step, 0.0) > time.monotonic():
                    continue
                elif set(step.after) <= succeeded:
                    running[pool.submit(run, step)] = step
                    waiting.remove(step)
            if running:
                ended, _ = wait(running, _PAUSE, FIRST_COMPLETED)
            else:
                ended = set()
                time.sleep(_PAUSE if any(step in held for step in waiting) else 0)
            for future in ended:
                step = running.pop(future)
                try:
                    future.result()
                    succeeded.add(step)
                except HeldError as error:
                    if step not in held:
                        logger.info("Waiting: %s", error)
                    held[step] = time.monotonic() + _PAUSE
                    waiting.append(step)
                except UserError as error:
                    failed[step.name] = error
            watch()
    return failed


class Progress:
    """A ``watch`` of :func:`run_steps` that sometimes logs a line: how many commands are done, and the time left.

    Args:
        steps: all of them.
        is_done: tells whether a step is done.
        seconds_left: how long the others will take; None if that isn't known yet.
    """

    def __init__(
        self, steps: Sequence[Step], is_done: Callable[[Step], bool], seconds_left: Callable[[], float | None]
    ) -> None:
        self.steps, self.is_done, self.seconds_left = steps, is_done, seconds_left
        self._last, self._done = time.monotonic(), -1

    def __call__(self) -> None:
        done = sum(map(self.is_done, self.steps))
        pause = 0.0 if done == len(self.steps) != self._done else _EVERY if done != self._done else _SELDOM
        if time.monotonic() - self._last < pause:
            return
        self._last, self._done = time.monotonic(), done
        left = self.seconds_left()
        text = "" if done == len(self.steps) else f", {'time left not known yet' if left is None else _about(left)}"
        logger.info("%d of %d commands done%s", done, len(self.steps), text)


def _about(seconds: float) -> str:
    """``"about 2 h 10 min left"``."""
    minutes = max(1, round(seconds / 60))
    return f"about {f'{minutes // 60} h ' if minutes >= 60 else ''}{minutes % 60} min left"
