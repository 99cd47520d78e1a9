"""How a folder is prepared, checked before anything is read: settings, the reader's options, the folder to write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from monai_e2e.data.images.brightness import VoiLut
from monai_e2e.data.prepared.images import FINISHED
from monai_e2e.data.prepared.schema import PARTITIONS
from monai_e2e.data.prepared.splits import check_protocol
from monai_e2e.data.records import Catalogue
from monai_e2e.data.sources.registry import SOURCES, Source
from monai_e2e.errors import UserError
from monai_e2e.work.cluster import Workers

#: Rows × columns of the paper (§2.3).
IMAGE_SIZE = (1152, 896)
#: Fewest and most rows or columns of an image: each backbone halves it five times at least, and no mammogram has more.
SIDES = (32, 8192)
_REPORTS = {"report.json", "report.md", "excluded.csv"}
_OWN_ENTRIES = _REPORTS | {"images", "masks", "patches", "cache", "datalist.json", FINISHED}


@dataclass(frozen=True)
class Settings:
    """How a folder is prepared, whatever the data set.

    Args:
        image_size: rows and columns of the resized images.
        protocol: how patients are split, see :mod:`monai_e2e.data.prepared.splits`; empty: the data set's usual one.
        folds: number of folds with protocol ``"kfold"``.
        seed: of the split.
        voi_lut: whether to apply the images' own window, or ``"auto"``, see
            :func:`~monai_e2e.data.images.dicom.decode_image`.
        crop: ``"breast"`` to crop images to the breast, see :func:`~monai_e2e.data.images.framing.find_framing`.
        orient: ``"left"`` to mirror those whose breast lies on the right.
        any_modality: also read DICOM files whose header doesn't say that they are mammograms; they are flagged.
        workers: processes; None: one per core, at most 8 (each needs about 0.5 GB); or a Dask scheduler, see
            :mod:`monai_e2e.work.cluster`.
        dry_run: report what would be done from tables and headers, and write no image.
    """

    image_size: Sequence[int] = IMAGE_SIZE
    protocol: str = ""
    folds: int | None = None
    seed: int = 0
    voi_lut: VoiLut = False
    any_modality: bool = False
    crop: str | None = None
    orient: str | None = None
    workers: Workers = None
    dry_run: bool = False


def check_options(name: str, source: Source, options: Mapping[str, Any]) -> None:
    """Raise :class:`UserError` unless the data set's reader has these options, with these values, and all it needs."""
    for option, value in options.items():
        if option not in source.options:
            takers = " and ".join(other for other, known in SOURCES.items() if option in known.options) or "no data set"
            raise UserError(f"{_flag(option)} is for {takers}, not for {name}: leave it out")
        allowed = source.options[option]
        if allowed and value not in allowed:
            raise UserError(f"{_flag(option)} {value!r}: choose one of {', '.join(map(str, allowed))}")
    for option in source.needed:
        if options.get(option) is None:
            raise UserError(f"`prepare {name}` needs {_flag(option)}, see docs/data.md")


def used_options(source: Source, options: Mapping[str, Any]) -> dict[str, object]:
    """The reader's options, usual ones included, but for the user's own files."""
    return {option: options.get(option, allowed[0]) for option, allowed in source.options.items() if allowed}


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def merges_halves(wanted: bool, protocol: str) -> bool:
    """Whether views that both of CBIS-DDSM's halves list are labelled by the rows of both."""
    if wanted and protocol != "official":
        raise UserError(f"--merge-halves goes with --protocol official, not with {protocol}: leave it out")
    return wanted or protocol == "kfold"  # cross-validation knows no halves


def make_settings(arguments: dict[str, Any], protocols: Sequence[str]) -> Settings:
    """Checked settings, the protocol by its full name; raises :class:`UserError`.

    Args:
        arguments: of :class:`Settings`.
        protocols: those of the data set, the usual one first.
    """
    settings = Settings(**arguments)
    size = settings.image_size
    if len(size) != 2 or not all(isinstance(side, int) and SIDES[0] <= side <= SIDES[1] for side in size):
        raise UserError(
            f"image size {'x'.join(map(str, size))}: give {SIDES[0]} to {SIDES[1]} rows and columns; the usual size is "
            "1152x896, the recipe small's 576x448"
        )
    wanted = settings.protocol or protocols[0]
    # The first word is enough, such as "paper" for "paper-70-30".
    protocol = next((known for known in protocols if known == wanted or known.startswith(f"{wanted}-")), wanted)
    check_protocol(protocol, protocols, settings.folds)
    return replace(settings, image_size=tuple(size), protocol=protocol)


def check_out(src: str | Path, out: str | Path, dry_run: bool) -> Path:
    """The folder to write, absolute; raises :class:`UserError` where it holds anything else than a prepared folder."""
    out = Path(out).resolve()
    if Path(src).resolve().is_relative_to(out):
        raise UserError(f"{out} contains the source {src}, and would be replaced; choose another output folder")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose a folder")
    entries = {entry.name for entry in out.iterdir()} if out.exists() else set()
    foreign = sorted(entries - _OWN_ENTRIES)
    if foreign or (entries - _REPORTS and "datalist.json" not in entries):
        found = ", ".join((foreign or sorted(entries))[:3])
        raise UserError(f"{out}: not empty and not a prepared folder (has {found}); choose another folder or empty it")
    if dry_run and "datalist.json" in entries:
        raise UserError(f"{out} is a prepared folder, whose report a dry run would replace; choose another folder")
    return out


def check_same_data_set(name: str, out: Path) -> None:
    """Raise :class:`UserError` where ``out`` was prepared from another data set, which would be replaced.

    One's own images have no name that could tell one folder of them from another, but a licence of their own.
    """
    earlier = _earlier(out)
    if earlier is None:
        return
    of = "folder" if earlier["licence"] == SOURCES["folder"].licence else earlier["name"]
    if of != name:
        _refuse_to_replace(out, "your own images" if of == "folder" else of)


def check_same_images(catalogue: Catalogue, out: Path) -> None:
    """Raise :class:`UserError` where none of the images that ``out`` was prepared from is in a catalogue.

    So one group's own images don't replace another's, and those of a folder that has grown, or lost some, may. Images
    are compared by their ids, which are of patient, side and view.
    """
    earlier = _earlier(out)
    try:
        before = {Path(sample["image"]).stem for name in PARTITIONS for sample in earlier[name]} if earlier else set()
    except (LookupError, TypeError):
        return
    if before and before.isdisjoint(image.image_id for image in catalogue.mammograms):
        _refuse_to_replace(out, f"other images ({len(before)}, none of which is among these)")


def _earlier(out: Path) -> dict[str, Any] | None:
    """The data list of a folder that was prepared earlier; a damaged one doesn't say what it is of."""
    try:
        datalist = json.loads((out / "datalist.json").read_text(encoding="utf-8"))
        return datalist if {"licence", "name"} <= datalist.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _refuse_to_replace(out: Path, of: str) -> NoReturn:
    raise UserError(
        f"{out} was prepared from {of}, and would be replaced; choose another folder, or delete this one first"
    )
