"""Patches for the patch classifier (paper §3.1.1): cut once from the prepared images and stored as small files.

Ten patches per lesion with an overlap of at least 0.9, and as many background patches from the same image, see
:mod:`monai_e2e.data.training.patch_centers`. Images with a lesion whose mask is missing yield no background at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_e2e.data.images.dicom import read_mask, read_pixels
from monai_e2e.data.images.pixels import save_grey16
from monai_e2e.data.prepared.datalist import load_datalist
from monai_e2e.data.records import PATCH_CLASSES
from monai_e2e.data.training.patch_centers import (
    CUTOFF_STEP,
    DRAWS,
    cut_patch,
    sample_background_centers,
    sample_patch_centers,
)
from monai_e2e.errors import UserError
from monai_e2e.work.files import write_json
from monai_e2e.work.locking import HeldError, locked
from monai_e2e.work.out_folder import temporary_sibling
from monai_e2e.work.parallel import run_parallel

logger = logging.getLogger(__name__)

_INDEX = "index.json"
#: Seconds from one look at patches that another process is cutting to the next.
_PAUSE = 0.5


def cut_patches(
    prepared_dir: str | Path,
    partition: str,
    patch_size: int = 224,
    per_roi: int = 10,
    min_overlap: float = 0.9,
    max_background_overlap: float = 0.35,
    seed: int = 0,
    image_size: Sequence[int] | None = None,
    patches_dir: str | Path | None = None,
    workers: int | None = None,
    fold: int | None = None,
) -> list[dict[str, Any]]:
    """Cut the patches of one partition, or find those that an earlier call with the same arguments cut.

    Of several processes that want the same patches at once one cuts them and the others wait.

    Patches are 16-bit PNGs ``<patches_dir>/<partition>-<fingerprint>/<class>/….png``; the fingerprint covers the
    arguments and the data list, so a folder prepared again gets new patches. The result depends on the seed and the
    image, not on the number of workers.

    Args:
        prepared_dir: prepared folder with lesions of known type and pathology. Others give no patches, but
            background keeps away from them too.
        partition: ``"training"``, ``"validation"`` or ``"test"``.
        patch_size: side of the patches in pixels.
        per_roi: patches per lesion.
        min_overlap: smallest overlap of patch and lesion.
        max_background_overlap: overlap that a background patch must stay below.
        seed: of the centres.
        image_size: rows and columns that the caller expects of the prepared images; None: any.
        patches_dir: where to store; None: ``<prepared_dir>/patches``.
        workers: processes; None: one per core, at most 8.
        fold: the fold that is tested, in a folder prepared for cross-validation; None: as the data list says.

    Returns:
        One dict per patch: ``image`` (absolute path), ``label`` (index into
        :data:`~monai_e2e.data.records.PATCH_CLASSES`), ``patient_id``, ``source`` (the image's ``image_id``).

    Raises:
        UserError: when an argument is out of range, the partition has no lesions, none of known type and pathology, or
            the folder can't be read or written.
    """
    settings = _Settings(patch_size, per_roi, min_overlap, max_background_overlap, seed)
    samples = load_datalist(prepared_dir, partition, image_size, fold)
    lesions = [lesion for sample in samples for lesion in sample["lesions"]]
    if not lesions:
        raise UserError(
            f"{prepared_dir}: no lesions in partition {partition}, so no patches; add the masks, or a table of lesions "
            "of your own images (--lesions), or train on image labels alone with the bundle inbreast_transfer"
        )
    if all(_patch_class(lesion) is None for lesion in lesions):
        raise UserError(
            f"{prepared_dir}: none of the {len(lesions)} lesions of partition {partition} has both type and pathology, "
            f"so there is no patch class (INbreast has no pathology); fill them in, or train patches on CBIS-DDSM and "
            f"fine-tune on this data set"
        )
    store = Path(patches_dir) if patches_dir is not None else Path(prepared_dir) / "patches"
    name = partition if fold is None else f"{partition}-fold{fold}"
    folder = store.resolve() / f"{name}-{_fingerprint(prepared_dir, settings)}"
    while not (folder / _INDEX).is_file():
        try:
            with locked(folder):
                if not (folder / _INDEX).is_file():
                    _cut_all(samples, settings, folder, workers, partition)
        except HeldError:  # trainings that are started together need the same patches
            time.sleep(_PAUSE)
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    counts = Counter(PATCH_CLASSES[entry["label"]] for entry in index)
    logger.info("%s: %s", folder, ", ".join(f"{counts[name]} {name}" for name in PATCH_CLASSES))
    return [{**entry, "image": str(folder / entry["image"])} for entry in index]


@dataclass(frozen=True)
class _Settings:
    patch_size: int
    per_roi: int
    min_overlap: float
    max_background_overlap: float
    seed: int

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.per_roi < 1 or self.seed < 0:
            raise UserError(
                f"patch_size {self.patch_size}, per_roi {self.per_roi}, seed {self.seed}: "
                f"the first two must be at least 1, the seed at least 0"
            )
        if not (0 < self.min_overlap <= 1 and 0 < self.max_background_overlap <= 1):
            raise UserError(
                f"min_overlap {self.min_overlap}, max_background_overlap {self.max_background_overlap}: "
                f"both must be above 0 and at most 1"
            )


@dataclass(frozen=True)
class _Image:
    """Task of one worker call: a sample with absolute paths, and where its patches go."""

    sample: dict[str, Any]
    settings: _Settings
    folder: Path


def _fingerprint(prepared_dir: str | Path, settings: _Settings) -> str:
    datalist = (Path(prepared_dir) / "datalist.json").read_bytes()
    return hashlib.sha256(json.dumps(asdict(settings)).encode() + datalist).hexdigest()[:12]


def _cut_all(
    samples: list[dict[str, Any]], settings: _Settings, folder: Path, workers: int | None, partition: str
) -> None:
    temporary = temporary_sibling(folder)
    try:
        for name in PATCH_CLASSES:
            (temporary / name).mkdir()
        mammograms = [_Image(sample, settings, temporary) for sample in samples if sample["lesions"]]
        results = run_parallel(_cut_image, mammograms, workers, f"cutting {partition} patches")
        lowered = sum(count for _, count in results)
        if lowered:
            logger.info(
                "%d lesion(s): overlap %.2f not reached in %d draws, cut-off lowered in steps of %.2f",
                lowered, settings.min_overlap, DRAWS, CUTOFF_STEP,
            )  # fmt: skip
        incomplete = sum(sample["lesions_excluded"] > 0 for sample in samples if sample["lesions"])
        if incomplete:
            logger.info("%d image(s) have lesions without a mask: no background cut from them", incomplete)
        unknown = sum(_patch_class(lesion) is None for sample in samples for lesion in sample["lesions"])
        if unknown:
            logger.info(
                "%d lesion(s) of unknown type or pathology: no patches cut from them, and no background near them",
                unknown,
            )
        index = [entry for entries, _ in results for entry in entries]
        write_json(temporary / _INDEX, index, indent=0)
        try:
            temporary.rename(folder)
        except OSError as error:
            # Another machine, whose locks this one doesn't see, may have been faster; its patches are the same.
            if not (folder / _INDEX).is_file():
                raise UserError(f"{folder}: can't be written ({error.strerror}); pass another patches_dir") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cut_image(mammogram: _Image) -> tuple[list[dict[str, Any]], int]:
    """Cut one image's patches; returns index entries and the number of lesions whose cut-off was lowered."""
    sample, settings = mammogram.sample, mammogram.settings
    size, source = settings.patch_size, Path(sample["image"]).stem
    image = read_pixels(sample["image"])
    masks = [read_mask(lesion["mask"]) for lesion in sample["lesions"]]
    digest = hashlib.sha256(source.encode()).digest()
    rng = np.random.default_rng([settings.seed, int.from_bytes(digest[:8], "big")])

    cuts: list[tuple[int, str, np.ndarray]] = []
    lowered = 0
    for number, (lesion, mask) in enumerate(zip(sample["lesions"], masks, strict=True), start=1):
        label = _patch_class(lesion)
        if label is None:
            continue
        centers, cutoff = sample_patch_centers(mask, settings.per_roi, size, settings.min_overlap, rng)
        lowered += cutoff < settings.min_overlap
        cuts += [(label, f"{source}_{number}_{i:03d}", center) for i, center in enumerate(centers)]
    if not sample["lesions_excluded"]:
        centers = sample_background_centers(masks, image.shape, len(cuts), size, settings.max_background_overlap, rng)
        cuts += [(0, f"{source}_{i:03d}", center) for i, center in enumerate(centers)]

    entries = []
    for label, name, center in cuts:
        relative = f"{PATCH_CLASSES[label]}/{name}.png"
        save_grey16(cut_patch(image, center, size), mammogram.folder / relative)
        entries.append({"image": relative, "label": label, "patient_id": sample["patient_id"], "source": source})
    return entries, lowered


def _patch_class(lesion: dict[str, Any]) -> int | None:
    """Index into PATCH_CLASSES, None where the lesion's type or pathology is unknown."""
    name = f"{lesion['type']}-{lesion['pathology']}"
    return PATCH_CLASSES.index(name) if name in PATCH_CLASSES else None
