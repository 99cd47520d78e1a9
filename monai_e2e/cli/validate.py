"""The command ``validate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_e2e.cli.options import add_aggregate, add_batch_size, add_device, add_resamples, add_workers
from monai_e2e.errors import UserError


def add_parser(commands: Any) -> None:
    """Add the command to ``monai-e2e``'s subparsers."""
    parser = commands.add_parser("validate", help="score models on other data sets than their own, side by side")
    parser.description = (
        "Predict and score every model on every prepared folder, and write one table of them: OUT/validation.csv and "
        "index.html. Run the same command again to continue. For research, not for diagnosis."
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="MODEL … DATASET … OUT",
        help="models (shipped models' names, bundles, checkpoints), prepared folders, folder of the results",
    )
    parts = ["training", "validation", "test"]
    parser.add_argument("--partition", choices=parts, default="test", help="partition to score (default: test)")
    parser.add_argument(
        "--recalibrate",
        choices=parts,
        metavar="PARTITION",
        help="fit probabilities and a threshold on this partition of each data set, such as validation, and score "
        "again; the fit is <model>/<data set>/recalibration.json, for `predict --recalibration`",
    )
    parser.add_argument(
        "--method", choices=["platt", "temperature"], default="platt", help="how to recalibrate (default: platt)"
    )
    parser.add_argument(
        "--source",
        metavar="DATASET",
        help="the data set that the models were trained on (default: the one whose patients are recorded in a model)",
    )
    parser.add_argument(
        "--allow-seen", action="store_true", help="also score patients with ids of a model's training patients"
    )
    add_aggregate(parser)
    parser.add_argument(
        "--weights-only", action="store_true", help="read only checkpoints, run none of the bundles' configs"
    )
    add_device(parser)
    add_batch_size(parser)
    add_workers(parser)
    add_resamples(parser)
    parser.set_defaults(run=_validate)


def _validate(arguments: argparse.Namespace) -> int:
    from monai_e2e.data.prepared.folder import is_prepared
    from monai_e2e.predict import Options
    from monai_e2e.validation import Settings, format_validation, validate

    *named, out = arguments.words
    datasets = [word for word in named if is_prepared(word)]
    models = [word for word in named if word not in datasets]
    if not datasets or not models:
        raise UserError(
            "name models, prepared folders (which have a datalist.json) and last the folder of the results; found "
            f"models: {len(models)}, prepared folders: {len(datasets)}"
        )
    if is_prepared(out):
        raise UserError(f"{out} is a prepared folder: name the folder of the results last")
    names = ("allow_seen", "aggregate", "weights_only", "device", "batch_size", "workers")
    settings = Settings(
        partition=arguments.partition,
        recalibrate=arguments.recalibrate,
        method=arguments.method,
        source=arguments.source,
        resamples=arguments.resamples,
        options=Options(**{name: getattr(arguments, name) for name in names}),
    )
    rows = validate(models, datasets, out, settings)
    print(format_validation(rows))
    print(f"Table and page: {Path(out) / 'validation.csv'}, {Path(out) / 'index.html'}")
    return 1 if any(row["reason"] for row in rows) else 0
