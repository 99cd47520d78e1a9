"""The command ``check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_e2e.cli.options import add_workers


def add_parser(commands: Any) -> None:
    """Add the command to ``monai-e2e``'s subparsers."""
    parser = commands.add_parser("check", help="find problems in a folder of mammograms: a table and a contact sheet")
    parser.description = (
        "Read every image of a folder and write what was found to OUT/check.csv and OUT/index.html: headers that are "
        "not a mammogram's, sides that contradict the image, copies, blank or clipped images, text in the image, views "
        "that an exam lacks. No text of a DICOM header is written."
    )
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of DICOM, PNG, TIFF or JPEG")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the table and the page")
    add_workers(parser)
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from monai_e2e.check.run import check_folder, format_check

    images = check_folder(arguments.src, arguments.out, arguments.workers)
    print(format_check(images))
    print(f"Table and contact sheet: {arguments.out / 'check.csv'}, {arguments.out / 'index.html'}")
    return 0
