"""The command ``monai-e2e``: what is done to data before and after training."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_e2e import __version__
from monai_e2e.cli import check as cli_check
from monai_e2e.cli import experiment as cli_experiment
from monai_e2e.cli import labels as cli_labels
from monai_e2e.cli import validate as cli_validate
from monai_e2e.cli.options import add_workers
from monai_e2e.cli.results import add_parsers
from monai_e2e.data.sources.registry import SOURCES
from monai_e2e.errors import UserError, of_the_system
from monai_e2e.work.interrupt import STATUS, end_on_interrupt


def _image_size(text: str) -> tuple[int, int]:
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"write ROWSxCOLUMNS such as 1152x896, not '{text}'") from None
    return rows, columns


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="monai-e2e",
        description="Whole-image breast-cancer classifiers on mammograms. For research, not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"monai-e2e {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    phantom = commands.add_parser("phantom", help="draw a phantom data set in the on-disk form of the real one")
    phantom.add_argument("dataset", choices=["cbis-ddsm", "inbreast"])
    phantom.add_argument("out", type=Path, metavar="OUT", help="folder to write, new or empty")
    phantom.add_argument("--patients", type=int, default=40, help="number of patients (default: 40)")
    phantom.add_argument("--seed", type=int, default=0, help="the same seed gives the same files (default: 0)")
    phantom.add_argument("--rows", type=int, default=768, help="about the images' height in pixels (default: 768)")
    phantom.add_argument(
        "--layout",
        choices=["descriptive", "classic", "jpeg"],
        default="descriptive",
        help="CBIS-DDSM: folders as NBIA Data Retriever names them, as the tables do, or the JPEG re-release",
    )
    phantom.add_argument("--defects", action="store_true", help="plant the faults that real downloads have")
    phantom.add_argument("--workers", type=int, default=None, help="processes (default: all cores)")

    phantom.set_defaults(run=_phantom)

    prepare = commands.add_parser("prepare", help="turn a download, or your own images, into a prepared folder")
    prepare.add_argument(
        "dataset",
        choices=list(SOURCES),
        metavar="DATASET",
        help=f"{', '.join(name for name in SOURCES if name != 'folder')}, or folder: your own images",
    )
    prepare.add_argument("src", type=Path, metavar="SRC", help="folder of the download or of the images")
    prepare.add_argument("out", type=Path, metavar="OUT", help="prepared folder to write")
    prepare.add_argument(
        "--labels", type=Path, metavar="CSV", help="of your own images: image,label,patient_id[,laterality,view,…]"
    )
    prepare.add_argument(
        "--lesions",
        type=Path,
        metavar="CSV",
        help="of your own images, a row per lesion: image,type,pathology and x,y,width,height or x,y,radius or polygon "
        "or mask",
    )
    prepare.add_argument(
        "--image-size", type=_image_size, default=(1152, 896), metavar="ROWSxCOLUMNS", help="default: 1152x896"
    )
    prepare.add_argument(
        "--protocol",
        choices=["paper", "official", "given", "patients", "kfold"],
        help="division into partitions: CBIS-DDSM's training half as in the paper or its official test half, INbreast "
        "70:30 (paper), the data set's own test patients (given), 70:15:15 of the patients, or cross-validation "
        "(default: the first of these that applies)",
    )
    prepare.add_argument("--folds", type=int, metavar="K", help="number of folds of protocol kfold")
    prepare.add_argument(
        "--samples",
        choices=["views", "files"],
        help="CBIS-DDSM: one sample for each view, or for each image file as in the paper (default: views)",
    )
    prepare.add_argument(
        "--merge-halves",
        action="store_true",
        default=None,
        help="CBIS-DDSM, protocol official: label test views that the training tables list too by the rows of both "
        "(default: by the test tables alone, as published figures do)",
    )
    prepare.add_argument(
        "--positive",
        metavar="RULE",
        help="what is positive: VinDr-Mammo, KAU-BCMD: birads4 (and 5, the default) or birads5; CSAW-CC: "
        "screen-detected (default) or interval, cancers between two exams too",
    )
    prepare.add_argument(
        "--exclude-contralateral",
        action="store_true",
        default=None,
        help="CMMD: leave out breasts without a row in the table (default: negative, flagged)",
    )
    window = prepare.add_mutually_exclusive_group()
    window.add_argument(
        "--window",
        choices=["auto"],
        dest="voi_lut",
        default=False,
        help="auto: apply the VOI LUT or window of DICOM images FOR PRESENTATION; others keep their own range "
        "(default: all keep their own range)",
    )
    window.add_argument("--voi-lut", action="store_true", help="apply the window of every DICOM image that has one")
    prepare.add_argument("--crop", choices=["breast"], help="crop to the breast, whose proportions are kept by padding")
    prepare.add_argument("--orient", choices=["left"], help="mirror images whose breast is on the right")
    prepare.add_argument(
        "--any-modality", action="store_true", help="also take DICOM files whose header isn't a mammogram's, flagged"
    )
    prepare.add_argument("--dry-run", action="store_true", help="write only the report; works without images")
    prepare.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    add_workers(prepare, "one per core, up to 8")

    prepare.set_defaults(run=_prepare)

    cli_check.add_parser(commands)
    cli_labels.add_parser(commands)

    describe = commands.add_parser("describe", help="the networks of the paper's Table 2, or one of them by its blocks")
    describe.add_argument(
        "network",
        nargs="?",
        metavar="ROW|CONFIG|CHECKPOINT",
        help="a row's name or number, a bundle's config (a.json, or a.json,b.json) or a model.pt (default: all rows)",
    )
    describe.add_argument("--json", action="store_true", help="print JSON")
    describe.add_argument(
        "--image-size", type=_image_size, default=None, metavar="ROWSxCOLUMNS", help="default: the network's own"
    )
    describe.add_argument("--bundles", type=Path, help="folder of the bundles (default: those of this package)")

    describe.set_defaults(run=_describe)

    bundle = commands.add_parser("bundle", help="copy one of this package's MONAI bundles, to run and change it")
    bundle.add_argument("name", metavar="NAME", help="ddsm_patch, ddsm_whole or inbreast_transfer")
    bundle.add_argument("out", type=Path, metavar="DIR", help="folder of the copy, new or empty")
    bundle.add_argument("--model", metavar="MODEL", help="checkpoint or shipped model to put in, as models/model.pt")

    bundle.set_defaults(run=_bundle)

    convert = commands.add_parser("convert-keras", help="turn one of the author's published Keras models into ours")
    convert.add_argument("model", type=Path, metavar="MODEL.h5", help="Keras model, written by Keras 2.0's model.save")
    convert.add_argument("out", type=Path, metavar="OUT.pt", help="checkpoint to write")
    convert.add_argument("--bundle", type=Path, metavar="DIR", help="also put it into this bundle, as models/model.pt")
    convert.add_argument(
        "--pixel-mean",
        type=float,
        help="mean (0-255) subtracted from the images (default: 44.33 where MODEL's name has 'inbreast', else 52.18)",
    )

    convert.set_defaults(run=_convert_keras)

    add_parsers(commands)
    cli_validate.add_parser(commands)
    cli_experiment.add_parser(commands)

    demo = commands.add_parser("demo", help="the whole pipeline on phantoms, with a report")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the results (default: runs/demo)")
    demo.add_argument("--bundles", type=Path, help="folder of the bundles (default: those of this package)")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)
    return parser


# Each command imports what it needs itself, since that is a part only and torch takes seconds to load.


def _phantom(arguments: argparse.Namespace) -> int:
    from monai_e2e.data.phantom import write_cbis_ddsm, write_inbreast

    common = {name: getattr(arguments, name) for name in ("seed", "rows", "workers", "defects")}
    if arguments.dataset == "cbis-ddsm":
        planted = write_cbis_ddsm(arguments.out, arguments.patients, layout=arguments.layout, **common)
    else:
        planted = write_inbreast(arguments.out, arguments.patients, **common)
    if arguments.defects:
        print("Planted: " + ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in planted.items()))
    print(f"{arguments.dataset} phantoms of {arguments.patients} patients: {arguments.out}")
    print(f"Next: monai-e2e prepare {arguments.dataset} {arguments.out} PREPARED")
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    from monai_e2e.describe.text import report

    print(report(arguments.network, arguments.image_size, arguments.bundles, arguments.json))
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    from monai_e2e.shipped.bundles import copy_bundle

    out = copy_bundle(arguments.name, arguments.out, arguments.model)
    print(f"Bundle: {out} (its settings: configs/train.json, its page: docs/README.md)")
    action, config = ("training", "train") if arguments.model is None else ("inferring", "inference")
    print(f"Next: python -m monai.bundle run {action} --config_file {out}/configs/{config}.json")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from monai_e2e.demo.run import format_summary, run_demo

    print(format_summary(run_demo(arguments.out, arguments.bundles, arguments.seed)))
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from monai_e2e.data.prepared.prepare import prepare_dataset
    from monai_e2e.data.prepared.report import format_report

    given = vars(arguments)
    settings = (
        "image_size",
        "protocol",
        "folds",
        "seed",
        "voi_lut",
        "any_modality",
        "crop",
        "orient",
        "workers",
        "dry_run",
    )
    options = {option for source in SOURCES.values() for option in source.options if given[option] is not None}
    out = arguments.out
    chosen = {name: given[name] for name in (*settings, *sorted(options))}
    report = prepare_dataset(arguments.dataset, arguments.src, out, **chosen)
    if arguments.dry_run:
        print(format_report(report))
        print(f"Report of the dry run: {out}/report.md, {out}/report.json, {out}/excluded.csv")
    else:
        print(f"Prepared: {out} (counts and exclusions: report.md, excluded.csv)")
    return 0


def _convert_keras(arguments: argparse.Namespace) -> int:
    from monai_e2e.checkpoints.files import save_atomically
    from monai_e2e.networks import PatchClassifier
    from monai_e2e.networks.keras_convert import convert_keras, install_in_bundle, summarize

    network = convert_keras(arguments.model, arguments.pixel_mean)
    if arguments.bundle is not None:
        installed = install_in_bundle(network, arguments.bundle)
    save_atomically(network.state_dict(), arguments.out)
    print(f"{arguments.out}: {summarize(network)}")
    print("The weights stay under their author's licence (CC BY-NC-SA). For research, not for diagnosis.")
    if arguments.bundle is not None:
        print(f"{installed}: the same, for this bundle's configs evaluate.json and inference.json")
    bundle, key = "inbreast_transfer", "whole_checkpoint"
    if isinstance(network, PatchClassifier):
        bundle, key = "ddsm_whole", "patch_checkpoint"
    print(f"Next: python -m monai.bundle run training --config_file bundles/{bundle}/configs/train.json \\")
    print(f"    --{key} {arguments.out} --dataset_dir PREPARED")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 2 for a user's mistake, 1 where some images failed, 130 for
    Ctrl-C.

    Args:
        argv: the words after the program's name; None: this process's own.
    """
    if argv is None:  # this is the program
        end_on_interrupt("run the same command again; prepare, predict and experiment go on where they were")
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # It logs a traceback for each damaged file, which here is a line of excluded.csv.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return STATUS
    except BrokenPipeError:  # who reads it, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes the rest when it ends
        return 1
    except (UserError, OSError) as error:
        mistake = error if isinstance(error, UserError) else of_the_system(error, vars(arguments).get("out"))
        if mistake is None:
            raise
        print(f"error: {mistake}", file=sys.stderr)
        return 2
