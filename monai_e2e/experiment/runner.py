"""Run a plan: what isn't done yet, and the rest of what was stopped; or write it as jobs of a cluster.

A command that has succeeded has ``logs/<name>.json``, and isn't run again. The same experiment may run several times at
once, also on machines that share the folder: if another process is running a command, this one waits for it.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from monai_e2e.data.prepared.datalist import PARTITIONS, read_datalist
from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.experiment.commands import Commands
from monai_e2e.experiment.emit import write_jobs
from monai_e2e.experiment.plan import Plan, read_plan
from monai_e2e.experiment.records import Records
from monai_e2e.experiment.runs import Expansion, Run
from monai_e2e.experiment.table import read_epochs, write_results
from monai_e2e.shipped.bundles import BUNDLES, bundles_folder
from monai_e2e.work.cluster import cluster, count_threads, run_on, run_process
from monai_e2e.work.forked import TRAINING, import_once, run_forked
from monai_e2e.work.steps import Progress, Runner, Step, command_variables, run_steps

logger = logging.getLogger(__name__)

DATASETS = ("cbis-ddsm", "inbreast")
#: Number of folds of phantoms.
_FOLDS = 5


@dataclass(frozen=True)
class Settings:
    """How a plan is run.

    Args:
        out: folder of all runs and of the table; plans that have rows in common may share it.
        data: prepared folders, ``NAME=FOLDER``, or ``FOLDER`` if its data list has the name; none: phantoms.
        bundles: folder of the bundles; by default those that come with the package.
        recipe: of the bundles; None: ``paper`` with data and ``phantom`` without.
        jobs: commands at a time; None: one, or with the recipe ``phantom`` one per core, at most 4.
        dry_run: run nothing; write the table of the finished rows.
        task: name of the only run to do, with those that it needs; no table is written.
        emit: ``"slurm"`` or ``"shell"``: write a script of all runs, and run nothing.
        workers: Dask scheduler whose workers run the commands, ``dask://HOST:PORT``, see
            :mod:`monai_e2e.work.cluster`; ``jobs`` is then by default their number of threads. None: this machine.
    """

    out: Path
    data: tuple[str, ...] = ()
    bundles: Path = field(default_factory=bundles_folder)
    recipe: str | None = None
    jobs: int | None = None
    dry_run: bool = False
    task: str | None = None
    emit: str | None = None
    workers: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment.

    Args:
        commands: each command, and whether it is done.
        failed: command → error.
        written: the table's page, or the script; None for a single task.
    """

    commands: Sequence[tuple[str, bool]]
    failed: Mapping[str, UserError]
    written: Path | None


def run_experiment(name: str, settings: Settings, changes: Mapping[str, Any] | None = None) -> Outcome:
    """Run a plan.

    Args:
        name: a shipped plan's name or a file.
        settings: how it is run.
        changes: keys that replace the plan's.

    Raises:
        UserError: when plan, data or bundles are missing or don't fit together, or the folder has other runs with the
            same names. Commands that fail are in the outcome.
    """
    if settings.workers is None or settings.dry_run or settings.emit is not None:
        return _run(name, settings, changes)
    with cluster(settings.workers) as client:
        jobs = settings.jobs or count_threads(client)
        return _run(name, replace(settings, jobs=jobs), changes, partial(run_on, client, run_process))


def _run(
    name: str,
    settings: Settings,
    changes: Mapping[str, Any] | None = None,
    runner: Runner | None = None,
) -> Outcome:
    """As :func:`run_experiment`; ``runner`` runs the commands if they don't run on this machine."""
    data = _find_data(settings.data)
    recipe = settings.recipe or ("paper" if data else "phantom")
    plan = read_plan(name, recipe, changes)
    missing = [dataset for dataset in plan.datasets if dataset not in data]
    if missing and (data or recipe != "phantom"):
        raise UserError(f"plan {plan.name} needs {missing[0]}: name its prepared folder, --data {missing[0]}=FOLDER")
    jobs = settings.jobs or (max(1, min(4, os.cpu_count() or 1)) if recipe == "phantom" else 1)
    commands = Commands(
        settings.out.resolve(),
        settings.bundles.resolve(),
        recipe,
        data,
        # The folder of results may have phantoms without folds, of other plans.
        folder="prepared" if plan.folds is None else "folds",
        # With a runner each command has a worker and its threads to itself.
        threads=1 if jobs > 1 and runner is None else None,
        runner=runner or run_forked,
    )
    record = Records(commands, plan.datasets)
    if runner is None and not settings.dry_run and settings.emit is None:
        import_once(TRAINING, command_variables(commands.threads))
    if missing and not settings.dry_run:
        _prepare_phantoms(plan, commands, missing, record, jobs)
    folds = {dataset: _folds(plan, commands, dataset, dataset in missing) for dataset in plan.datasets}
    expansion = Expansion(plan, commands, folds)
    steps = _of_task(expansion, settings.task) if settings.task else expansion.steps
    for step in steps:
        record.check(step)
    failed: Mapping[str, UserError] = {}
    if settings.emit is None and not settings.dry_run:
        left = _TimeLeft(steps, list(expansion.runs.values()), record, jobs)
        watch = Progress(steps, lambda step: record.seconds(step) is not None, left)
        failed = run_steps(steps, jobs, record.run, watch)
    written = None
    if settings.emit is not None:
        written = write_jobs(settings.emit, expansion, _words(name, settings, changes or {}))
    elif not settings.task:
        seconds = {step.name: record.seconds(step) for step in expansion.steps}
        written = write_results(commands.out / plan.name, expansion, seconds, _describe_data(commands, plan.datasets))
    return Outcome([(step.command, record.seconds(step) is not None) for step in steps], failed, written)


class _TimeLeft:
    """Estimates the seconds of the commands that are left, from those that were measured; None without any."""

    def __init__(self, steps: Sequence[Step], runs: Sequence[Run], record: Records, jobs: int) -> None:
        self.steps, self.record, self.jobs = steps, record, jobs
        self.runs = {run.steps[0]: run for run in runs if run.epochs}

    def __call__(self) -> float | None:
        measured, waiting = defaultdict[str, list[float]](list), list[tuple[str, int]]()
        for step in self.steps:
            took, run = self.record.seconds(step), self.runs.get(step)
            lines = [] if run is None else read_epochs(run.folder)
            kind = step.name.split()[0] if run is None else str(run.row.bundle)
            epochs = [line["seconds"] for line in lines]
            if took is None:
                measured[kind] += epochs
            else:  # includes the start; of a resumed training only the rest was timed
                measured[kind].append(max(took, sum(epochs)) / max(1, len(epochs)))
            if took is None:
                waiting.append((kind, 1 if run is None else max(0, run.epochs - len(lines))))
        known = {kind: mean(values) for kind, values in measured.items() if values}
        if any(kind in BUNDLES and kind not in known for kind, _ in waiting):
            return None
        return sum(known.get(kind, 0.0) * count for kind, count in waiting) / self.jobs


def _find_data(named: Sequence[str]) -> dict[str, Path]:
    """Prepared folders by data set."""
    found: dict[str, Path] = {}
    for text in named:
        name, equals, folder = text.partition("=")
        if not equals:
            name, folder = str(read_datalist(text).get("name")), text
        if name not in DATASETS:
            raise UserError(
                f"--data {text}: say which data set of the plan it stands for, {' or '.join(DATASETS)}, such as "
                f"--data {DATASETS[0]}={folder}"
            )
        read_datalist(folder)
        found[name] = Path(folder).resolve()
    return found


def _prepare_phantoms(plan: Plan, commands: Commands, datasets: Sequence[str], record: Records, jobs: int) -> None:
    """Draw and prepare phantoms; raises the ``UserError`` of the first command that fails."""
    steps = []
    for dataset in datasets:
        draw = commands.draw(dataset, plan.phantom_patients.get(dataset))
        protocol = ["official"] if dataset == "cbis-ddsm" else ["paper"]
        if plan.folds is not None:
            protocol = ["kfold", "--folds", str(_folds_of_phantoms(plan))]
        prepare = commands.prepare(dataset, "--protocol", *protocol)
        prepare.after, prepare.makes = [draw], commands.prepared(dataset) / "datalist.json"
        steps += [draw, prepare]
    for step in steps:
        record.check(step)
    failed = run_steps(steps, jobs, record.run)
    if failed:
        raise next(iter(failed.values()))


def _folds_of_phantoms(plan: Plan) -> int:
    return max(_FOLDS, *(fold + 1 for fold in plan.folds)) if isinstance(plan.folds, tuple) else _FOLDS


def _folds(plan: Plan, commands: Commands, dataset: str, drawn: bool) -> Sequence[int | None]:
    """The folds of a data set used for testing; ``drawn``: it is of phantoms, which may not be drawn yet."""
    if plan.folds is None:
        return [None]
    count = _folds_of_phantoms(plan) if drawn else read_datalist(commands.prepared(dataset)).get("folds")
    if count is None:
        raise UserError(
            f"{commands.prepared(dataset)}: not split into folds, which plan {plan.name} needs: prepare it with "
            "--protocol kfold"
        )
    return range(count) if plan.folds == "all" else [int(fold) for fold in plan.folds]


def _describe_data(commands: Commands, datasets: Sequence[str]) -> list[str]:
    """What the page must say about the data: which they are, and how they were split."""
    sentences = []
    for dataset in datasets:
        if dataset not in commands.data and not commands.prepared(dataset).is_dir():
            sentences.append(f"{dataset}: PHANTOMS, not drawn yet.")
            continue
        listed = read_datalist(commands.prepared(dataset))
        drawn = "" if dataset in commands.data else ", PHANTOMS: drawn by a program, they say nothing about patients"
        counts = ", ".join(f"{len(listed[name])} images for {name}" for name in PARTITIONS)
        sentences.append(f"{dataset}: {listed.get('name')}, protocol {listed.get('protocol')}, {counts}{drawn}.")
    return sentences


def _of_task(expansion: Expansion, task: str) -> list[Step]:
    """The steps of one run, and all steps that they need."""
    named = {run.folder.name: run.steps for run in expansion.runs.values()}
    if task not in named:
        raise UserError(f"--task {task}: {did_you_mean(task, named)}")
    steps = list(named[task])
    for step in steps:
        steps += [before for before in step.after if before not in steps]
    return steps


def _words(name: str, settings: Settings, changes: Mapping[str, Any]) -> list[str]:
    """The command line of this experiment, which works in any folder."""
    words = ["monai-e2e", "experiment", str(Path(name).resolve()) if name.endswith(".json") else name]
    data = [f"{dataset}={folder}" for dataset, folder in _find_data(settings.data).items()]
    words += ["--data", *data] if data else []
    words += ["--out", str(settings.out.resolve()), "--bundles", str(settings.bundles.resolve())]
    words += ["--recipe", settings.recipe] if settings.recipe else []
    for key, value in changes.items():
        option = "--rows" if key == "select" else f"--{key}"
        values = [f"{k}={v}" for k, v in value.items()] if isinstance(value, Mapping) else value
        words += [option, *map(str, values if isinstance(values, (list, tuple)) else [values])]
    return words
