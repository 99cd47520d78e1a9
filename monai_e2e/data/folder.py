"""Mammograms in any folder, for inference on images that have no table."""

from __future__ import annotations

from pathlib import Path

from monai_e2e.data.datalist import load_datalist
from monai_e2e.data.dicom import is_dicom
from monai_e2e.errors import UserError

_PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_ID_KEYS = ("image", "label", "patient_id", "laterality", "view")


def list_mammograms(folder: str | Path, partition: str = "test") -> list[dict]:
    """Images to classify, as the data list of a MONAI data set.

    Args:
        folder: a prepared folder, of which one partition is listed with its labels, or any folder, of which
            every DICOM, PNG, TIFF and JPEG file in it and below it is listed.
        partition: partition of a prepared folder.

    Returns:
        Dicts with ``image`` (absolute path) and ``image_id`` (path within the folder, since all of CBIS-DDSM's films
        are called ``1-1.dcm``) or, from a prepared folder, ``label``, ``patient_id``, ``laterality`` and ``view``.

    Raises:
        UserError: when the folder is absent or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name one with DICOM, PNG, TIFF or JPEG mammograms")
    if (folder / "datalist.json").is_file():
        return [{key: sample[key] for key in _ID_KEYS} for sample in load_datalist(folder, partition)]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix.lower() in _PICTURE_SUFFIXES or is_dicom(path)]
    if not images:
        raise UserError(f"{folder} holds no DICOM, PNG, TIFF or JPEG file ({len(files)} others): name another folder")
    root = folder.resolve()
    return [
        {"image": str(root / path.relative_to(folder)), "image_id": path.relative_to(folder).with_suffix("").as_posix()}
        for path in images
    ]
