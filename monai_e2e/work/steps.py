"""Commands as users type them, each a process of its own: what the demo and the experiments are made of."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError
from monai_e2e.shipped.bundles import BUNDLES
from monai_e2e.work.forked import run_forked
from monai_e2e.work.locking import HeldError
from monai_e2e.work.threads import thread_variables

logger = logging.getLogger(__name__)

#: Seconds until a step that another process is at is looked at again, and between two looks at the progress.
_PAUSE = 5.0
#: Seconds between two lines on the progress, where there is some and where there is none.
_EVERY, _SELDOM = 60.0, 600.0
#: By itself glibc gives large blocks back as they are freed, and the system clears them for the next step: a sixth
#: of a training step of phantoms.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


#: What runs a command: of its words, the file of its output and variables of its environment it makes the exit status.
Runner = Callable[[Sequence[str], Path, Mapping[str, str]], int]


@dataclass(eq=False)
class Step:
    """One command.

    Args:
        name: in the log, unlike that of any other step.
        argv: what Python is called with, ``-m`` and a module first.
        log: file of its output.
        after: steps that must have succeeded.
        makes: file that it leaves behind.
        threads: PyTorch's, which wait for each other by spinning, and OpenCV's: steps side by side get 1; None: no
            limit.
        seconds: that it took.
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
    """Environment of a command that computes with so many threads; None: with any number."""
    return {**_KEEP_MEMORY, **thread_variables(threads)}


def run_steps(
    steps: Sequence[Step],
    lanes: int,
    run: Callable[[Step], None] = Step.run,
    watch: Callable[[], None] = lambda: None,
    keep_going: bool = True,
) -> dict[str, UserError]:
    """Run steps side by side, each as soon as those before it have succeeded; of several that can be, the first.

    Args:
        steps: with all that are named in their ``after``.
        lanes: how many at a time.
        run: runs one of them; raises a ``UserError`` when it fails and a ``HeldError`` when another process is at it,
            which is then waited for.
        watch: called every few seconds.
        keep_going: whether, when one fails, those that don't need it are run all the same.

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
                time.sleep(_PAUSE if waiting else 0)
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
    """A line now and then, for :func:`run_steps` to watch: how many commands are done, and the time that is left.

    Args:
        steps: all of them.
        is_done: whether one is.
        seconds_left: what the others will take; None where that isn't known yet.
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


@dataclass
class Commands:
    """Makes the steps of one folder of results.

    Args:
        out: the folder.
        bundles: folder of the three bundles.
        recipe: of all bundles.
        data: data set → prepared folder; of a set that isn't named it is where :meth:`prepare` puts it.
        threads: of all steps, see :class:`Step`.
        runner: likewise.

    Raises:
        UserError: when ``bundles`` lacks one.
    """

    out: Path
    bundles: Path
    recipe: str = "phantom"
    data: Mapping[str, Path] = field(default_factory=dict)
    threads: int | None = 1
    runner: Runner = run_forked

    def __post_init__(self) -> None:
        for bundle in BUNDLES:
            if not (self.bundles / bundle / "configs" / "train.json").is_file():
                where = self.bundles / bundle
                raise UserError(f"no bundle at {where}: name another folder with --bundles, or leave it out")

    def prepared(self, dataset: str) -> Path:
        return self.data.get(dataset) or self.out / "data" / dataset / "prepared"

    def draw(self, dataset: str, patients: int | None = None) -> Step:
        from monai_e2e.data.phantom import rows_for

        bundle = "inbreast_transfer" if dataset == "inbreast" else "ddsm_whole"
        patients = patients or train_config(self.bundles / bundle)["phantom"]["patients"]
        options = ("--patients", patients, "--rows", rows_for(self._image_size()))
        return self.cli(f"draw {dataset}", "phantom", dataset, self._download(dataset), *options)

    def prepare(self, dataset: str, *options: str) -> Step:
        size = "x".join(map(str, self._image_size()))
        folders = (self._download(dataset), self.prepared(dataset))
        return self.cli(f"prepare {dataset}", "prepare", dataset, *folders, "--image-size", size, *options)

    def bundle(self, name: str, action: str, bundle: str, configs: Sequence[str], run: str, **keys: object) -> Step:
        """``python -m monai.bundle run``; ``configs`` are files of the bundle's ``configs``, without their ending."""
        files = [str(self.bundles / bundle / "configs" / f"{config}.json") for config in configs]
        places = {"output_dir": self.out / run, "model_dir": self.out / run}
        keys = {"dataset_dir": self.prepared(dataset_of(bundle)), "recipe": self.recipe, **places, **keys}
        arguments = [word for key, value in keys.items() for word in (f"--{key}", _text(value))]
        config = files[0] if len(files) == 1 else str(files).replace(" ", "")
        argv = ["-m", "monai.bundle", "run", action, "--config_file", config, *arguments]
        return self._step(name, argv)

    def train(self, bundle: str, run: str, seed: int, configs: Sequence[str] = (), **keys: object) -> Step:
        return self.bundle(f"train {run}", "training", bundle, ["train", *configs], run, seed=seed, **keys)

    def evaluate(self, bundle: str, run: str, configs: Sequence[str] = (), **keys: object) -> Step:
        return self.bundle(f"evaluate {run}", "evaluating", bundle, ["train", *configs, "evaluate"], run, **keys)

    def predict(self, run: str, *models: Path, dataset: str = "cbis-ddsm", options: Sequence[str] = ()) -> Step:
        folders = (self.prepared(dataset), self.out / run)
        alone = () if self.threads is None else ("--workers", 0)  # side by side no one needs more processes
        return self.cli(f"predict {run}", "predict", *models, *folders, *options, *alone)

    def score(self, run: str, *tables: Path) -> Step:
        """Score tables into the run's folder, by default its own."""
        into = ("--out", self.out / run) if tables else ()
        return self.cli(f"score {run}", "score", *(tables or (self.out / run / "predictions.csv",)), *into)

    def forest(self, run: str, patch_model: Path, *options: object) -> Step:
        folders = (self.prepared("cbis-ddsm"), self.out / run)
        return self.cli(f"{run} on heatmaps", "forest", patch_model, *folders, *options)

    def cli(self, name: str, *arguments: object) -> Step:
        return self._step(name, ["-m", "monai_e2e", *map(str, arguments)])

    def _step(self, name: str, argv: Sequence[str]) -> Step:
        log = self.out / "logs" / f"{name.replace(' ', '-').replace('/', '-')}.log"
        return Step(name, argv, log, threads=self.threads, runner=self.runner)

    def _image_size(self) -> list[int]:
        return recipe_of(self.bundles / "ddsm_whole", self.recipe)["image_size"]

    def _download(self, dataset: str) -> Path:
        return self.out / "data" / dataset / "download"


def dataset_of(bundle: str) -> str:
    """The data set that a bundle is made for, as the command ``prepare`` calls it."""
    return "inbreast" if bundle == "inbreast_transfer" else "cbis-ddsm"


def train_config(bundle: Path) -> dict:
    """A bundle's ``train.json``."""
    return json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))


def recipe_of(bundle: Path, recipe: str = "phantom") -> dict:
    """A recipe of a bundle's ``train.json``."""
    return train_config(bundle)["recipes"][recipe]


def _about(seconds: float) -> str:
    """``"about 2 h 10 min left"``."""
    minutes = max(1, round(seconds / 60))
    return f"about {f'{minutes // 60} h ' if minutes >= 60 else ''}{minutes % 60} min left"


def _text(value: Any) -> str:
    """A value as MONAI's command line takes it: JSON's words at the top, Python's literals within."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
