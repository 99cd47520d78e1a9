"""Commands that say how good scores are and what a model is: ``score``, ``card``."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_e2e.cli.options import add_aggregate, add_resamples, add_seed
from monai_e2e.errors import UserError


def add_score(parser: argparse.ArgumentParser) -> None:
    """The command ``score``."""
    parser.set_defaults(run=_score)
    parser.description = (
        "AUC with intervals, operating points, calibration and subgroups, per image, breast and exam: score.json, "
        "report.html, and roc, pr, calibration and decision as PNG and CSV. For research, not for diagnosis."
    )
    parser.add_argument(
        "predictions",
        type=Path,
        nargs="*",
        metavar="PREDICTIONS",
        help="predictions.csv, or a CSV with image_index,malignant_pred,malignant_label, as the NYU meta-repository "
        "writes it; of several tables, folds of one seed are pooled, and seeds or models are shown side by side",
    )
    parser.add_argument(
        "--name",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=TABLE",
        help="instead of PREDICTIONS, to compare several models on the same images in pairs: A=a.csv B=b.csv; tables "
        "of one name are folds",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV|PREPARED",
        help="labels, where the predictions have none: image,label[,patient_id,exam_id,laterality,view,density,"
        "lesion_type], or a prepared folder",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        default=[],
        metavar="OTHER.csv",
        help="predictions of other models on the same images, for DeLong's paired test",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the results (default: the folder of the table)"
    )
    add_aggregate(parser)
    add_threshold(parser)
    parser.add_argument(
        "--recalibrate",
        metavar="METHOD|FILE",
        help="score recalibrated probabilities. METHOD: temperature, platt or isotonic, fitted on --recalibrate-from "
        "and written to recalibration.json; FILE: a recalibration.json",
    )
    parser.add_argument(
        "--recalibrate-from",
        type=Path,
        metavar="VALIDATION.csv",
        help="labelled predictions of other patients (default: those of --threshold-from)",
    )
    parser.add_argument(
        "--prevalence",
        type=float,
        metavar="P",
        help="share of positives where the model will be used, such as 0.006 in screening, for predictive values, net "
        "benefit and recall rates (default: the share in these images)",
    )
    parser.add_argument(
        "--localisation",
        type=Path,
        metavar="PREPARED",
        help="for results of `predict PREPARED … --heatmap`: whether the heatmaps point at the lesions (pointing game, "
        "FROC)",
    )
    parser.add_argument(
        "--checklist",
        choices=["claim2024", "tripod-ai"],
        help="also write a reporting checklist, filled in as far as the records of model, data and predictions allow",
    )
    parser.add_argument("--drop-unlabelled", action="store_true", help="leave out images without a label")
    add_seed(parser, "seed of the bootstrap")
    add_resamples(parser)


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """The options that set the threshold, for every command that evaluates scores."""
    parser.add_argument("--threshold", type=float, metavar="P", help="lowest probability that counts as positive")
    parser.add_argument(
        "--threshold-from",
        type=Path,
        metavar="VALIDATION.csv",
        help="choose the threshold on these labelled predictions of other patients, by Youden's index (default: the "
        "model's own, in the predictions' column threshold)",
    )


def _score(arguments: argparse.Namespace) -> int:
    named = _named(arguments.name)
    _refuse_contradictions(arguments, named)
    gc.disable()  # a million rows hold no cycles, and each look for some takes longer than the one before
    try:
        return _score_models(arguments, named) if named else _score_tables(arguments)
    finally:
        gc.enable()


def _refuse_contradictions(arguments: argparse.Namespace, named: Mapping[str, Sequence[Path]]) -> None:
    tables = arguments.predictions
    if bool(tables) == bool(named):
        raise UserError("give either PREDICTIONS, or all tables by --name NAME=TABLE")
    for option in ("checklist", "localisation"):
        if len(tables) > 1 and getattr(arguments, option):
            raise UserError(f"--{option} takes a single table: score that table by itself")
    for option in ("compare", "threshold_from", "recalibrate", "checklist", "localisation"):
        if named and getattr(arguments, option):
            name = option.replace("_", "-")
            raise UserError(f"--{name} belongs to one model: leave it out, or score that model by itself")
    if (named or len(tables) > 1) and arguments.out is None:
        raise UserError("several tables: name the folder of the results, --out DIR")


def _score_models(arguments: argparse.Namespace, named: Mapping[str, Sequence[Path]]) -> int:
    from monai_e2e.metrics.side_by_side import format_models, score_models

    print(format_models(score_models(named, arguments.out, **_settings(arguments))))
    print(f"Report: {arguments.out / 'report.html'}, of each model: {arguments.out}/*/report.html")
    return 0


def _score_tables(arguments: argparse.Namespace) -> int:
    from monai_e2e.metrics import format_summary, score_file, score_files

    tables, out, settings = arguments.predictions, arguments.out, _settings(arguments)
    if arguments.localisation:
        from monai_e2e.predict.localisation import localisation_of

        settings["localisation"] = localisation_of(tables[0].parent, arguments.localisation)
    alone = len(tables) == 1
    scored = score_file(tables[0], out=out, **settings) if alone else score_files(tables, out, **settings)
    if "groups" in scored:
        print(format_summary(scored))
        print(f"Report: {out / 'report.html'}, of each: {out}/*/report.html")
        return 0
    if arguments.checklist:
        _write_checklist(arguments, scored, out or tables[0].parent)
    return show_score(scored, out or tables[0].parent)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ["labels", "compare", "threshold", "threshold_from", "drop_unlabelled", "seed", "resamples"]
    names += ["prevalence", "recalibrate", "recalibrate_from"]
    return {"how": arguments.aggregate, **{name: getattr(arguments, name) for name in names}}


def _write_checklist(arguments: argparse.Namespace, scored: dict[str, Any], out: Path) -> None:
    from monai_e2e.cards.checklist import write_checklist
    from monai_e2e.cards.records import records_of_predictions

    records = records_of_predictions(arguments.predictions[0], scored, out, arguments.labels)
    page, filled, total = write_checklist(arguments.checklist, records, out)
    print(f"Checklist: {page}, {filled} of {total} items filled in from the records")


def add_card(parser: argparse.ArgumentParser) -> None:
    """The command ``card``."""
    parser.description = (
        "Write a model's card from its checkpoint, its bundle's metadata and the records of its training, evaluation "
        "and data: README.md with the header that Hugging Face reads, and card.json with MONAI's fields. The name in "
        "card.json is what `predict` calls the model."
    )
    parser.add_argument("model", metavar="MODEL", help="a shipped model's name, a trained bundle, or a checkpoint")
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="folder (default: that of the checkpoint)")
    parser.add_argument("--name", help="name of the model (default: from its card or folder)")
    parser.set_defaults(run=_card)


def _card(arguments: argparse.Namespace) -> int:
    from monai_e2e.cards.model_card import write_card

    print(f"Card: {write_card(arguments.model, arguments.out, arguments.name)}")
    return 0


def _named(given: Sequence[str]) -> dict[str, list[Path]]:
    """Tables by name."""
    named: dict[str, list[Path]] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not name or not sign or not path:
            raise UserError(f"--name {text}: write NAME=TABLE, as VGG=results/vgg/predictions.csv")
        named.setdefault(name, []).append(Path(path))
    return named


def show_score(scored: dict[str, Any], folder: Path) -> int:
    """Print a score, and where its report is."""
    from monai_e2e.metrics import format_scores

    print(format_scores(scored))
    print(f"Report: {folder / 'report.html'}")
    return 0
