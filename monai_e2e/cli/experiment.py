"""The command ``experiment``."""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import Any

from monai_e2e.cli.options import add_bundles, seed, whole_number
from monai_e2e.errors import UserError


def add_parser(commands: Any) -> None:
    """Add the command to ``monai-e2e``'s subparsers."""
    parser = commands.add_parser(
        "experiment", help="run the trainings of a plan, such as the paper's Table 2, and write its table"
    )
    parser.description = (
        "Run the commands of a plan that are not done yet, and write its table, figures and a page with every command: "
        "RUNS/<plan>/index.html, table.csv, table.md, table.tex. Run the same command again to continue. Plans that "
        "come with the package: table1, table2, table3, appendix2, crossval, seeds. For research, not for diagnosis."
    )
    parser.add_argument("plan", metavar="PLAN", help="a plan's name, or a JSON file")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="[NAME=]FOLDER",
        help="prepared folders, one for each data set of the plan; NAME (cbis-ddsm or inbreast) says which one it "
        "stands for (default: the one that it was prepared from; without --data: phantoms)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUNS", help="folder of all runs; plans may share it"
    )
    parser.add_argument("--recipe", help="recipe of the bundles (default: paper with --data, phantom without)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows of the table (default: the plan's)")
    parser.add_argument(
        "--seeds", nargs="+", type=seed, metavar="N", help="seeds of the trainings (default: the plan's)"
    )
    parser.add_argument("--folds", nargs="+", metavar="all|K", help="folds used for testing (default: the plan's)")
    parser.add_argument(
        "--patients",
        nargs="+",
        type=whole_number(1),
        metavar="N",
        help="numbers of training patients (default: the plan's)",
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys to set in all bundles, such as amp=true"
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1),
        metavar="N",
        help="how many commands run at a time (default: 1; with the recipe phantom one per core, up to 4)",
    )
    parser.add_argument(
        "--workers",
        metavar="dask://HOST:PORT",
        help="a Dask scheduler, whose workers run the commands, one per thread (default: this machine)",
    )
    parser.add_argument("--task", metavar="RUN", help="do only this run and those that it needs, and write no table")
    parser.add_argument(
        "--emit",
        choices=["slurm", "shell"],
        help="run nothing; write a script that does all runs, with slurm in array jobs",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="run nothing; list the commands, and write the table of what is done"
    )
    add_bundles(parser)
    parser.set_defaults(run=_experiment)


def _experiment(arguments: argparse.Namespace) -> int:
    from monai_e2e.experiment import Settings, run_experiment

    changes = {
        "select": arguments.rows,
        "seeds": arguments.seeds,
        "folds": _folds(arguments.folds),
        "patients": arguments.patients,
        "set": _keys(arguments.set),
    }
    names = ("out", "bundles", "recipe", "jobs", "dry_run", "task", "emit", "workers")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    settings = Settings(data=tuple(arguments.data), **given)
    outcome = run_experiment(arguments.plan, settings, {key: value for key, value in changes.items() if value})
    if arguments.dry_run:
        for command, done in outcome.commands:
            print(f"# {'done' if done else 'to do'}\n{command}")
    count = sum(done for _, done in outcome.commands)
    print(f"{count} of {len(outcome.commands)} commands done")
    for error in outcome.failed.values():
        print(f"error: {error}", file=sys.stderr)
    if outcome.written is not None:
        print(f"{'Script' if arguments.emit else 'Table and page'}: {outcome.written}")
    return 1 if outcome.failed else 0


def _folds(words: list[str] | None) -> str | list[int] | None:
    if words is None:
        return None
    if words == ["all"]:
        return "all"
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--folds {' '.join(words)}: give 'all', or numbers from 0 on")
    return [int(word) for word in words]


def _keys(words: list[str]) -> dict[str, Any]:
    """Keys and values; a value is a Python literal or one of JSON's words, else text."""
    keys: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"--set {word}: write KEY=VALUE, such as batch_size=4")
        json_words = {"true": True, "false": False, "null": None}
        try:
            keys[key] = json_words[text] if text in json_words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            keys[key] = text
    return keys
