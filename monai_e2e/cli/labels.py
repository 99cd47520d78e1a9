"""The command ``labels``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from monai_e2e.errors import UserError


def add_parser(commands: Any) -> None:
    """Add the command to ``monai-e2e``'s subparsers."""
    parser = commands.add_parser(
        "labels", help="join images with a hospital's tables, to make the labels for `prepare folder`"
    )
    parser.description = (
        "Join a folder of images with a hospital's tables by file, UID, accession number, or patient and date, "
        "whichever columns there are, and write the table that `monai-e2e prepare folder --labels` reads. Columns and "
        "labels may be in English, German, French, Spanish or Chinese. Without -o it only shows which images were "
        "joined and what each label means. No identifier of a DICOM header is written."
    )
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of DICOM, PNG, TIFF or JPEG")
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE", help="CSV, XLS or XLSX")
    parser.add_argument("-o", "--out", type=Path, metavar="CSV", help="table to write (default: show only)")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help="a column whose name isn't recognised, such as label=Befund, accession=Auftrag or label_left=Links",
    )
    parser.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="TEXT=0|1|drop",
        help="what a label means, such as 'LCIS=0'; drop leaves its images out",
    )
    parser.add_argument(
        "--positive",
        choices=["birads4", "birads5"],
        help="BI-RADS categories that are positive: 4 to 6, or 5 and 6 (1 and 2 are negative, others are left out; "
        "default: birads4)",
    )
    parser.add_argument(
        "--keep-link",
        type=Path,
        metavar="FILE",
        help="private file with the Patient ID of each pseudonym; name it again to keep the same pseudonyms",
    )
    parser.set_defaults(run=_labels)


def _labels(arguments: argparse.Namespace) -> int:
    from monai_e2e.data.sources.hospital.labels import collect_labels, write_labels
    from monai_e2e.data.sources.hospital.pseudonyms import write_link
    from monai_e2e.data.sources.hospital.summary import format_labels

    out, link = arguments.out, arguments.keep_link
    if out is not None and out.resolve() in [table.resolve() for table in arguments.tables]:
        raise UserError(f"{out} is one of the tables to read: name another file")
    if link is not None:
        if out is None:
            raise UserError("--keep-link needs -o, the table that the pseudonyms are written to: add it")
        if link.resolve().parent == out.resolve().parent or link.resolve().is_relative_to(arguments.src.resolve()):
            raise UserError(
                f"{link} would hold Patient IDs, so it can't be beside labels or images: name another folder"
            )
    columns, values = _pairs("--column", arguments.column), _pairs("--value", arguments.value)
    labels = collect_labels(arguments.src, arguments.tables, columns, values, arguments.positive, link)
    print(format_labels(labels))
    if out is None:
        print("Nothing written: add -o labels.csv")
        return 0
    if link is not None:  # first, for without it nobody knows whose the labels are
        write_link(labels.links, link)
        print(f"Pseudonyms and their Patient IDs, keep private: {link}")
    write_labels(labels, out)
    print(f"Labels: {out}")
    print(f"Next: monai-e2e prepare folder {quote(str(arguments.src))} PREPARED --labels {quote(str(out))}")
    return 0


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        left, equals, right = word.rpartition("=") if option == "--value" else word.partition("=")
        if not (left.strip() and equals and right.strip()):
            raise UserError(f"{option} {word}: write two words with = between them")
        pairs[left.strip()] = right.strip()
    return pairs
