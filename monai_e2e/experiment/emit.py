"""A script of a plan's runs: a command line for each, after those that it needs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

from monai_e2e.experiment.runs import Expansion, Run
from monai_e2e.work.files import write_text

_SHELL = """#!/bin/sh
# The runs of plan {plan}, one line for each, and then the table. Run it again to continue after a stop.
{lines}
"""
_SLURM = """#!/bin/sh
# Submits the runs of plan {plan}, one task for each, and then the table. A run waits for those that it needs.
# Run it again to continue with what failed or was stopped. Set the resources of each task here:
OPTIONS=${{OPTIONS:-"--gres=gpu:1 --cpus-per-task=8 --mem=32G --time=24:00:00"}}
submit() {{ sbatch --parsable --output={logs}/slurm-%A_%a.log $OPTIONS "$@"; }}
{lines}
echo "The last job, $job, writes {table}"
"""
_TASK = """#!/bin/sh
eval "$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {tasks})"
"""


def write_jobs(kind: str, expansion: Expansion, words: Sequence[str]) -> Path:
    """Write a script of all runs.

    Args:
        kind: ``"shell"``: it runs them one after the other; ``"slurm"``: it submits array jobs.
        expansion: the runs.
        words: the experiment's command line, word by word.

    Returns:
        The script.
    """
    out, plan = expansion.commands.out, expansion.plan.name
    levels = _levels(list(expansion.runs.values()))
    lines = [[shlex.join([*words, "--task", run.folder.name]) for run in runs] for runs in levels]
    lines.append([shlex.join(words)])
    (out / "logs").mkdir(parents=True, exist_ok=True)
    script = out / f"{plan}.{kind}.sh"
    if kind == "shell":
        text = _SHELL.format(plan=plan, lines="\n".join(chain(*lines)))
    else:
        submits = []
        for number, level in enumerate(lines):
            tasks, job = (out / f"{plan}.slurm.{number}.{ending}" for ending in ("txt", "sh"))
            write_text(tasks, "\n".join(level) + "\n")
            write_text(job, _TASK.format(tasks=shlex.quote(str(tasks))))
            after = "--dependency=afterany:$job " if number else ""
            submits.append(f"job=$(submit {after}--array=1-{len(level)} {shlex.quote(str(job))})")
        text = _SLURM.format(
            plan=plan,
            lines="\n".join(submits),
            logs=shlex.quote(str(out / "logs")),
            table=out / plan / "index.html",
        )
    write_text(script, text)
    script.chmod(0o755)
    return script


def _levels(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that need no other, then those that need only these, and so on."""
    owner = {step: run for run in runs for step in run.steps}
    sorter = TopologicalSorter({run: [owner[step] for step in run.steps[0].after] for run in runs})
    sorter.prepare()
    levels: list[list[Run]] = []
    while sorter.is_active():
        levels.append(list(sorter.get_ready()))
        sorter.done(*levels[-1])
    return levels
