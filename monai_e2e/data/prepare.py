"""From raw downloads to the prepared folder that training reads: resized films, masks, data list, report.

The folder holds ``images/<image_id>.png`` (16 bits, the film's range over 0…65535), ``masks/<image_id>_<n>.png``
(8 bits, 0 or 255), ``datalist.json``, ``report.json``, ``report.md`` and ``excluded.csv``. Nothing of a DICOM header
reaches it except the identifiers that the data set itself publishes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from monai_e2e.data.cbis_ddsm import read_cbis_ddsm
from monai_e2e.data.datalist import PARTITIONS, make_report, write_report
from monai_e2e.data.dicom import (
    draw_outline,
    is_two_valued,
    read_mammogram,
    read_pixels,
    resize_mammogram,
    resize_mask,
    same_aspect,
)
from monai_e2e.data.inbreast import read_inbreast
from monai_e2e.data.parallel import run_parallel
from monai_e2e.data.records import Catalogue, Excluded, Lesion, Mammogram
from monai_e2e.data.splits import INBREAST_PROTOCOL, Partitions, check_protocol, split_cbis_ddsm, split_inbreast
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Rows × columns of the paper (§2.3).
IMAGE_SIZE = (1152, 896)
_OWN_ENTRIES = {"images", "masks", "patches", "datalist.json", "report.json", "report.md", "excluded.csv"}


def prepare_cbis_ddsm(
    src: str | Path,
    out: str | Path,
    image_size: Sequence[int] = IMAGE_SIZE,
    protocol: str = "paper",
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Prepare CBIS-DDSM for training.

    Args:
        src: folder with the films and TCIA's tables.
        out: folder to write; must be absent, empty or a prepared folder, which is then replaced.
        image_size: rows and columns of the resized films.
        protocol: ``"paper"`` or ``"official"``, see :mod:`monai_e2e.data.splits`.
        seed: of the split.
        workers: processes; None: one per core, at most 8 (each needs about 0.5 GB).

    Returns:
        The report, as written to ``report.json``.

    Raises:
        UserError: when the source can't be read, the output folder is someone else's, or a partition ends up with
            one class only.
    """
    check_protocol(protocol)
    out = _check_out(src, out, image_size)
    catalogue = read_cbis_ddsm(src)
    split = split_cbis_ddsm(catalogue, protocol, seed)
    classes = ("not malignant", "malignant")
    return _prepare(catalogue, split, Path(src), out, _Settings(tuple(image_size), protocol, seed, classes), workers)


def prepare_inbreast(
    src: str | Path,
    out: str | Path,
    image_size: Sequence[int] = IMAGE_SIZE,
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Prepare INbreast for training; arguments, result and errors as :func:`prepare_cbis_ddsm`."""
    out = _check_out(src, out, image_size)
    catalogue = read_inbreast(src)
    split = split_inbreast(catalogue, seed)
    classes = ("BI-RADS 1-2", "BI-RADS 4a-6")
    settings = _Settings(tuple(image_size), INBREAST_PROTOCOL, seed, classes)
    return _prepare(catalogue, split, Path(src), out, settings, workers)


def temporary_sibling(folder: Path) -> Path:
    """A new empty folder beside ``folder``, so that finished work moves into place by a rename."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        path.chmod(0o777 & ~_umask())  # mkdtemp keeps others out, which suits no shared data folder
        return path
    except OSError as error:
        raise UserError(f"{folder.parent}: can't write there ({error.strerror}); choose another folder") from error


def save_grey16(image: np.ndarray, path: Path) -> None:
    """Write uint16 ``[rows, columns]`` as PNG (fast compression: a third of the time for 4 % more bytes)."""
    Image.fromarray(image.astype(np.uint16, copy=False)).save(path, compress_level=2)


@dataclass(frozen=True)
class _Settings:
    image_size: tuple[int, ...]
    protocol: str
    seed: int
    classes: tuple[str, str]


@dataclass(frozen=True)
class _Film:
    """Task of one worker call."""

    mammogram: Mammogram
    folder: Path
    image_size: tuple[int, ...]


@dataclass(frozen=True)
class _Prepared:
    """Its result: a sample of the data list (None when the film was left out), its mean on 0…255, exclusions."""

    sample: dict[str, Any] | None
    mean: float
    excluded: list[Excluded]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _check_out(src: str | Path, out: str | Path, image_size: Sequence[int]) -> Path:
    if len(image_size) != 2 or not all(isinstance(side, int) and side > 0 for side in image_size):
        raise UserError(f"image size {image_size}: give rows and columns, for example [1152,896]")
    out = Path(out).resolve()
    if Path(src).resolve().is_relative_to(out):
        raise UserError(f"{out}: holds the source {src}, and would be replaced; choose another output folder")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; choose a folder")
    entries = {entry.name for entry in out.iterdir()} if out.exists() else set()
    foreign = sorted(entries - _OWN_ENTRIES)
    if foreign or (entries and "datalist.json" not in entries):
        found = ", ".join((foreign or sorted(entries))[:3])
        raise UserError(f"{out}: not empty and not a prepared folder (has {found}); choose another folder or empty it")
    return out


def _prepare(
    catalogue: Catalogue,
    split: tuple[Partitions, list[Excluded]],
    src: Path,
    out: Path,
    settings: _Settings,
    workers: int | None,
) -> dict[str, Any]:
    partitions, left_out = split
    folder = temporary_sibling(out)
    try:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        films = [_Film(film, folder, settings.image_size) for group in partitions.values() for film in group]
        results = iter(run_parallel(_prepare_film, films, workers, f"preparing {catalogue.name}"))
        prepared = {name: [next(results) for _ in group] for name, group in partitions.items()}
        excluded = (
            catalogue.excluded + left_out + [e for group in prepared.values() for film in group for e in film.excluded]
        )
        samples = {name: [film.sample for film in group if film.sample] for name, group in prepared.items()}
        for name, group in samples.items():
            if len({sample["label"] for sample in group}) < 2:
                raise UserError(f"partition {name} has {len(group)} image(s) and not both classes; add data")
        pixel_mean = float(np.mean([film.mean for film in prepared["training"] if film.sample]))
        datalist = {
            "name": catalogue.name,
            "protocol": settings.protocol,
            "seed": settings.seed,
            "image_size": list(settings.image_size),
            "pixel_mean": round(pixel_mean, 4),
            "classes": list(settings.classes),
            **{name: samples[name] for name in PARTITIONS},
        }
        (folder / "datalist.json").write_text(json.dumps(datalist, indent=1) + "\n", encoding="utf-8")
        report = make_report(datalist, catalogue.notes, excluded)
        write_report(folder, report, excluded, src)
        _replace(out, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, counts in report["partitions"].items():
        logger.info(
            "%s: %d patients, %d images, %d %s",
            name,
            counts["patients"],
            counts["images"],
            counts["positive"],
            settings.classes[1],
        )
    logger.info("pixel mean %.2f; %d exclusions, see %s", pixel_mean, len(excluded), out / "excluded.csv")
    return report


def _prepare_film(film: _Film) -> _Prepared:
    """Read, resize and write one film and its masks."""
    mammogram = film.mammogram
    excluded: list[Excluded] = []
    try:
        image = read_mammogram(mammogram.path)
    except UserError as error:
        return _Prepared(
            None, 0.0, [Excluded(str(mammogram.path), _as_reason("film not usable", error, mammogram.path))]
        )
    name = mammogram.image_id
    pixels = np.rint(resize_mammogram(image, film.image_size) * 65535).astype(np.uint16)
    lesions = []
    for number, lesion in enumerate(mammogram.lesions, start=1):
        mask = _lesion_mask(mammogram, lesion, image.shape, film.image_size, excluded)
        if mask is None:
            continue
        relative = f"masks/{name}_{number}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(film.folder / relative)
        pathology = lesion.pathology.value if lesion.pathology else None
        lesions.append({"mask": relative, "type": lesion.type.value, "pathology": pathology})
    save_grey16(pixels, film.folder / "images" / f"{name}.png")
    sample: dict[str, Any] = {
        "image": f"images/{name}.png",
        "label": mammogram.label,
        "patient_id": mammogram.patient_id,
        "laterality": mammogram.laterality.value,
        "view": mammogram.view.value,
        "lesions": lesions,
        "lesions_excluded": len(mammogram.lesions) - len(lesions),
    }
    if mammogram.density is not None:
        sample["density"] = mammogram.density
    return _Prepared(sample, float(pixels.mean(dtype=np.float64) * 255 / 65535), excluded)


def _lesion_mask(
    mammogram: Mammogram,
    lesion: Lesion,
    film_size: Sequence[int],
    image_size: Sequence[int],
    excluded: list[Excluded],
) -> np.ndarray | None:
    """The lesion's bool mask at the target size; on None the reason is in ``excluded``."""
    if lesion.outline:
        mask = draw_outline(lesion.outline, film_size, image_size)
        if mask is None:
            excluded.append(Excluded(f"{mammogram.path}, lesion {lesion.number}", "outline outside the film"))
        return mask
    problems = []
    for path in lesion.mask_paths:
        try:
            pixels = read_pixels(path)
        except UserError as error:
            problems.append(Excluded(str(path), _as_reason("mask not usable", error, path)))
            continue
        if not is_two_valued(pixels):
            continue
        if not same_aspect(pixels.shape, film_size):
            sizes = f"mask {pixels.shape[0]}×{pixels.shape[1]}, film {film_size[0]}×{film_size[1]}"
            problems.append(Excluded(str(path), f"mask and film differ in shape: {sizes}"))
        elif pixels.max() == 0:
            problems.append(Excluded(str(path), "mask empty"))
        else:
            return resize_mask(pixels == pixels.max(), image_size)
    if lesion.mask_paths and not problems:
        problems.append(Excluded(str(lesion.mask_paths[0]), "no mask among the lesion's files: all have grey values"))
    excluded.extend(problems)
    return None


def _as_reason(kind: str, error: UserError, path: Path) -> str:
    """A reader's message without the path that the table of exclusions has already."""
    return f"{kind}: {str(error).removeprefix(f'{path}: ')}"


def _replace(out: Path, folder: Path) -> None:
    """Put a finished folder where an older one may be."""
    try:
        if out.exists():
            old = temporary_sibling(out)
            out.rename(old / out.name)
            try:
                folder.rename(out)
            except OSError:
                (old / out.name).rename(out)
                old.rmdir()
                raise
            shutil.rmtree(old)
        else:
            folder.rename(out)
    except OSError as error:
        raise UserError(f"{out}: can't be replaced ({error.strerror}); choose another folder") from error
