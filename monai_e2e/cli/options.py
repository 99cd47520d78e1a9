"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
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
        "--batch-size",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="number of images that are scored together (default: 1)",
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
    if text.startswith("dask://"):
        return text
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"write a number of processes or dask://HOST:PORT, not '{text}'")


def add_seed(parser: argparse.ArgumentParser, words: str) -> None:
    """Add ``--seed``, with what it is for."""
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help=f"{words} (default: 0)")


def add_resamples(parser: argparse.ArgumentParser) -> None:
    """Add ``--resamples``, of which there must be enough for a percentile."""
    parser.add_argument(
        "--resamples",
        type=whole_number(100),
        default=2000,
        metavar="N",
        help="number of bootstrap resamples of patients (default: 2000)",
    )


def seed(text: str) -> int:
    """An option's value that all generators of random numbers take."""
    return whole_number(0, 2**32 - 1)(text)


def whole_number(smallest: int, largest: int | None = None) -> Callable[[str], int]:
    """What reads an option's value that is a whole number from ``smallest`` on, at most ``largest``."""

    def read(text: str) -> int:
        number = int(text) if text.isdecimal() else -1
        if number < smallest or (largest is not None and number > largest):
            end = "on" if largest is None else f"to {largest}"
            raise argparse.ArgumentTypeError(f"give a whole number from {smallest} {end}, not '{text}'")
        return number

    return read


def image_size(text: str) -> tuple[int, int]:
    """An option's value such as ``1152x896``."""
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"write ROWSxCOLUMNS such as 1152x896, not '{text}'") from None
    return rows, columns
