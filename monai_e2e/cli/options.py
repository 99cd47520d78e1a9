"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_aggregate(parser: argparse.ArgumentParser) -> None:
    """Add ``--aggregate``, how views become a breast's score."""
    parser.add_argument(
        "--aggregate", choices=["mean", "max"], default="mean", help="a breast's score from its views (default: mean)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, what computes the networks."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda if there is one)")


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Add ``--batch-size``, how many images go through a network together."""
    parser.add_argument(
        "--batch-size", type=int, default=1, help="number of images that are scored together (default: 1)"
    )


def add_bundles(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundles``, other bundles than the package's."""
    parser.add_argument("--bundles", type=Path, help="folder of the bundles (default: those of this package)")


def add_workers(parser: argparse.ArgumentParser, default: str = "up to 4") -> None:
    """Where images are read: processes of this machine, or a cluster's workers."""
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N|dask://HOST:PORT",
        help=f"processes that read images (default: {default}), or a Dask scheduler whose workers read them",
    )


def _workers(text: str) -> int | str:
    try:
        return text if text.startswith("dask://") else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"write a number of processes or dask://HOST:PORT, not '{text}'") from None


def image_size(text: str) -> tuple[int, int]:
    """An option's value such as ``1152x896``."""
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"write ROWSxCOLUMNS such as 1152x896, not '{text}'") from None
    return rows, columns
