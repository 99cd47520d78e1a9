"""Commands that turn models and images into results: ``models``, ``predict``, ``gallery``, ``forest``."""

from __future__ import annotations

import argparse
import json
import logging
import textwrap
from dataclasses import asdict, fields
from pathlib import Path
from shlex import quote
from typing import Any

from monai_e2e import NOTICE
from monai_e2e.cli.options import add_aggregate, add_batch_size, add_device, add_seed, add_workers, whole_number
from monai_e2e.cli.score import add_card, add_score, add_threshold, show_score
from monai_e2e.errors import UserError
from monai_e2e.work.forked import READING, import_once
from monai_e2e.work.threads import reader_variables

#: Names of models have hyphens, which are no place to break a line.
_WRAPPER = textwrap.TextWrapper(110, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False)


def add_parsers(commands: Any) -> None:
    """Add the commands to ``monai-e2e``'s subparsers."""
    _add_models(commands.add_parser("models", help="list the trained models that come with the package"))
    _add_predict(commands.add_parser("predict", help="classify mammograms with one model or the mean of several"))
    add_score(commands.add_parser("score", help="evaluate predictions: AUC with intervals, curves and a report"))
    add_card(
        commands.add_parser("card", help="write a model's card: README.md with Hugging Face's header, and card.json")
    )
    _add_gallery(commands.add_parser("gallery", help="make a page of the images that a model got right and wrong"))
    _add_forest(
        commands.add_parser(
            "forest", help="fit a random forest to heatmaps, to compare with the networks (paper, Appendix 1)"
        )
    )


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the trained models that come with the package. Their names can be used wherever a checkpoint can: "
        "`monai-e2e predict NAME IMAGES OUT`, `--patch_checkpoint NAME`, `--whole_checkpoint NAME`. "
        "For research, not for diagnosis."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_models)


def _models(arguments: argparse.Namespace) -> int:
    from monai_e2e.shipped.models import shipped_models

    models = shipped_models()
    if arguments.json:
        print(json.dumps([asdict(model) for model in models], indent=1))
        return 0
    for model in models:
        print(f"{model.name}: {model.kind}")
        for title, text in (
            ("result", model.result),
            ("trained on", model.data),
            ("training", model.training),
            ("never shown", model.never_shown),
            ("threshold", model.threshold),
            ("use", model.use),
            ("licence", model.licence),
            ("SHA-256", model.sha256),
        ):
            if text:
                print(_WRAPPER.fill(f"{title}: {text}"))
    print(NOTICE)
    return 0


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Classify mammograms with one trained model, or with the mean of several models' probabilities. Images are "
        "prepared as each model needs them. Run the same command again to continue a run that was stopped. A bundle "
        "can run code, from its configs/inference.json; a checkpoint cannot. If a bundle comes from somewhere else, "
        "name its checkpoint, or add --weights-only. For research, not for diagnosis."
    )
    parser.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="a shipped model's name (see `monai-e2e models`), a trained bundle's folder, or a checkpoint (model.pt)",
    )
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of DICOM, PNG, TIFF or JPEG, or prepared folder")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder of the results: new, empty, or of a run to continue"
    )
    parser.add_argument(
        "--partition",
        choices=["training", "validation", "test"],
        default="test",
        help="partition of a prepared folder (default: test)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="facts about your own images: image,patient_id[,exam_id,laterality,view,label,density,age,…]; image is "
        "the path in SRC",
    )
    parser.add_argument(
        "--weights-only",
        action="store_true",
        help="read only the checkpoints of bundles, and run none of their configs",
    )
    parser.add_argument("--tta", choices=["flips"], help="average over the four flips of each image, as in the paper")
    parser.add_argument(
        "--heatmap",
        action="store_true",
        help="write heatmaps of the patch classes, and overlays. They need a patch classifier: one among the models, "
        "else the shipped model's own, else the bundle ddsm_patch beside the first model",
    )
    parser.add_argument(
        "--heatmap-format", choices=["npy", "nifti"], default="npy", help="format of the heatmaps (default: npy)"
    )
    parser.add_argument(
        "--any-modality",
        action="store_true",
        help="also score DICOM files whose header doesn't say that they are mammograms; they are flagged",
    )
    parser.add_argument(
        "--dicom", action="store_true", help="write a Secondary Capture and a Structured Report for each DICOM image"
    )
    parser.add_argument(
        "--keep-identity", action="store_true", help="with --dicom: copy patient and study from the image, for a PACS"
    )
    add_aggregate(parser)
    parser.add_argument(
        "--recalibration",
        type=Path,
        metavar="JSON",
        help="recalibration.json of `monai-e2e validate --recalibrate`: adjusts probabilities and threshold to a site",
    )
    add_device(parser)
    parser.add_argument(
        "--engine",
        choices=["auto", "torch", "openvino", "onnxruntime"],
        default="auto",
        help="library that computes the networks on a CPU (default: auto, the fastest that is installed)",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="precision of the networks on a CPU (default: fp32)",
    )
    parser.add_argument("--amp", action="store_true", help="compute in float16, on a GPU")
    add_batch_size(parser)
    add_workers(parser)
    _add_fold(parser)
    parser.set_defaults(run=_predict)


def _add_fold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fold",
        type=whole_number(0),
        metavar="K",
        help="fold used for testing, of a folder prepared with --protocol kfold (default: the model's own)",
    )
    parser.add_argument(
        "--allow-seen", action="store_true", help="continue if test patients have ids of the model's training patients"
    )


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.workers != 0 and not isinstance(arguments.workers, str):
        import_once(READING, reader_variables())  # beside what this process imports
    from monai_e2e.predict import Options, predict

    if arguments.keep_identity and not arguments.dicom:
        raise UserError("--keep-identity is about DICOM results: add --dicom, or leave it out")
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it logs each module that it copies
    names = [field.name for field in fields(Options)]
    options = Options(**{name: getattr(arguments, name) for name in names})
    outcome = predict(arguments.models, arguments.src, arguments.out, options)
    again = f", {outcome.earlier} of them before" if outcome.earlier else ""
    print(f"{_images(outcome.predicted)} predicted{again}: {arguments.out}/predictions.csv, breast.csv, exam.csv")
    if outcome.failed:
        print(f"{_images(outcome.failed)} failed: {arguments.out}/failures.csv; run the same command to try again")
    if outcome.predicted:
        labels = "" if outcome.labelled else " --labels CSV"
        print(f"Next: monai-e2e score {quote(str(arguments.out))}/predictions.csv{labels}")
    return 1 if outcome.failed else 0


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write one HTML page of the images that a model got right, got wrong and was unsure about, each with its "
        "annotated lesions, heatmap and score. The page contains copies of the images, which stay under the licence of "
        "their data set and may not be passed on. For research, not for diagnosis."
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="folder of `monai-e2e predict … PREPARED RESULTS --heatmap`"
    )
    parser.add_argument("prepared", type=Path, metavar="PREPARED", help="prepared folder that was predicted")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the page")
    parser.add_argument(
        "--per-group", type=whole_number(1), default=8, metavar="N", help="number of images of each kind (default: 8)"
    )
    add_threshold(parser)
    parser.set_defaults(run=_gallery)


def _gallery(arguments: argparse.Namespace) -> int:
    from monai_e2e.predict.gallery import write_gallery

    groups = write_gallery(
        arguments.results,
        arguments.prepared,
        arguments.out,
        per_group=arguments.per_group,
        threshold=arguments.threshold,
        threshold_from=arguments.threshold_from,
    )
    for group in groups:
        print(f"{group.title}: {len(group.rows)} of {group.total}")
    print(f"Page: {arguments.out / 'index.html'}")
    return 0


def _add_forest(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Fit a random forest to features of the patch classifier's heatmaps: the regions above several cut-offs, "
        "counted and measured (paper, Appendix 1). It learns from the training partition; the validation partition "
        "chooses the size of its leaves and the threshold; the test partition is scored. Writes features.csv, "
        "forest.json, predictions.csv, score.json and report.html."
    )
    parser.add_argument(
        "patch_model",
        metavar="PATCH_MODEL",
        help="bundle of a patch classifier, which can run code, or its checkpoint",
    )
    parser.add_argument("prepared", type=Path, metavar="PREPARED", help="prepared folder that it was trained on")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the results")
    parser.add_argument("--trees", type=whole_number(1), default=500, help="number of trees (default: 500)")
    add_seed(parser, "seed of the trees")
    parser.add_argument(
        "--cutoffs",
        type=float,
        nargs="+",
        default=[0.3, 0.5, 0.7, 0.9],
        metavar="P",
        help="probabilities above which a region of a heatmap counts (default: 0.3 0.5 0.7 0.9)",
    )
    add_device(parser)
    _add_fold(parser)
    parser.set_defaults(run=_forest)


def _forest(arguments: argparse.Namespace) -> int:
    from monai_e2e.forest.run import run_forest

    scored = run_forest(
        arguments.patch_model,
        arguments.prepared,
        arguments.out,
        trees=arguments.trees,
        seed=arguments.seed,
        cutoffs=arguments.cutoffs,
        device=arguments.device,
        fold=arguments.fold,
        allow_seen=arguments.allow_seen,
    )
    return show_score(scored, arguments.out)
