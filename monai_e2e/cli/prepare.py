"""The command ``prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_e2e.cli.options import add_seed, add_workers, image_size
from monai_e2e.data.sources.registry import SOURCES


def add_parser(commands: Any) -> None:
    """Add the command to ``monai-e2e``'s subparsers."""
    parser = commands.add_parser(
        "prepare", help="turn a downloaded data set, or your own images, into a prepared folder"
    )
    parser.description = (
        "Read a downloaded data set, or your own images, and write a prepared folder, which trainings and predictions "
        "use: images of one size, masks of lesions, labels, a split by patient, and the reason for every exclusion "
        "(report.md, excluded.csv). No text of a DICOM header is written. docs/data.md describes each data set."
    )
    parser.add_argument(
        "dataset",
        choices=list(SOURCES),
        metavar="DATASET",
        help=f"{', '.join(name for name in SOURCES if name != 'folder')}, or folder: your own images",
    )
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of the download or of the images")
    parser.add_argument("out", type=Path, metavar="OUT", help="prepared folder to write")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="labels of your own images: image,label,patient_id[,laterality,view,…]",
    )
    parser.add_argument(
        "--lesions",
        type=Path,
        metavar="CSV",
        help="lesions of your own images, one per row: image,type,pathology and x,y,width,height or x,y,radius or "
        "polygon or mask",
    )
    parser.add_argument(
        "--image-size",
        type=image_size,
        default=(1152, 896),
        metavar="ROWSxCOLUMNS",
        help="size of the prepared images (default: 1152x896)",
    )
    parser.add_argument(
        "--protocol",
        choices=["paper", "official", "given", "patients", "kfold"],
        help="how patients are split. paper: CBIS-DDSM's training half, or INbreast 70:30; official: CBIS-DDSM's test "
        "half for testing; given: the data set's own split; patients: 70:15:15; kfold: cross-validation (default: the "
        "first of these that the data set has)",
    )
    parser.add_argument("--folds", type=int, metavar="K", help="number of folds of protocol kfold")
    parser.add_argument(
        "--samples",
        choices=["views", "files"],
        help="CBIS-DDSM: one sample for each view, or for each image file as in the paper (default: views)",
    )
    parser.add_argument(
        "--merge-halves",
        action="store_true",
        default=None,
        help="CBIS-DDSM, protocol official: some test views are also in the training tables; label them by both tables "
        "(default: by the test tables alone, as in published results)",
    )
    parser.add_argument(
        "--positive",
        metavar="RULE",
        help="which labels are positive. VinDr-Mammo, KAU-BCMD: birads4 (4 and 5, the default) or birads5; CSAW-CC: "
        "screen-detected (default) or interval (interval cancers too)",
    )
    parser.add_argument(
        "--exclude-contralateral",
        action="store_true",
        default=None,
        help="CMMD: leave out breasts that have no row in the table (default: they are negative, and flagged)",
    )
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--window",
        choices=["auto"],
        dest="voi_lut",
        default=False,
        help="auto: apply the VOI LUT or window of DICOM images FOR PRESENTATION; others keep their own range "
        "(default: all keep their own range)",
    )
    window.add_argument("--voi-lut", action="store_true", help="apply the window of every DICOM image that has one")
    parser.add_argument("--crop", choices=["breast"], help="crop to the breast; padding keeps its proportions")
    parser.add_argument("--orient", choices=["left"], help="mirror images whose breast is on the right")
    parser.add_argument(
        "--any-modality",
        action="store_true",
        help="also use DICOM files whose header doesn't say that they are mammograms; they are flagged",
    )
    parser.add_argument("--dry-run", action="store_true", help="write only the report; works without images")
    add_seed(parser, "seed of the split")
    add_workers(parser, "one per core, up to 8")
    parser.set_defaults(run=_prepare)


def _prepare(arguments: argparse.Namespace) -> int:
    from monai_e2e.data.prepared.prepare import prepare_dataset
    from monai_e2e.data.prepared.report import format_report

    given = vars(arguments)
    settings = ["image_size", "protocol", "folds", "seed", "voi_lut", "any_modality", "crop", "orient"]
    settings += ["workers", "dry_run"]
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
