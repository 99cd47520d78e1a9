"""Options that several commands have."""

from __future__ import annotations

import argparse


def add_workers(parser: argparse.ArgumentParser, default: str = "up to 4") -> None:
    """Where images are read: processes of this machine, or a cluster's workers."""
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N|dask://HOST:PORT",
        help=f"processes that read images (default: {default}), or a Dask scheduler whose workers do",
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
