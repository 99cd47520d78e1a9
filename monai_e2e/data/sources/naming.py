"""Names of images in the prepared folder: fit for any file system, and a different one for each image."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from monai_e2e.data.records import Mammogram

#: Identifiers that may be file names as they are. Those with our own mark of a changed one aren't, so that no
#: identifier can be taken for another's changed form.
_SAFE_ID = re.compile(r"(?!.*--[0-9a-f]{12}$)[A-Za-z0-9_-]{1,64}")


def safe_id(identifier: str) -> str:
    """An identifier that may be part of a file name, a different one for each different identifier.

    Example::

        safe_id("K-0001")   # "K-0001"
        safe_id("Müller/1") # "M-ller-1--" and twelve hexadecimal digits
    """
    if _SAFE_ID.fullmatch(identifier):
        return identifier
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_replaced(identifier)}--{digest[:12]}"


def with_suffixes(files: Sequence[PurePath], mammograms: Sequence[Mammogram]) -> list[Mammogram]:
    """Tell images of the same name apart by their file's name and, where that isn't enough, by a hash of its path.

    Names that differ in case only are the same file on some systems.

    Args:
        files: each image's path within the data set's folder.
        mammograms: the images, without suffixes.
    """
    named = list(mammograms)
    while True:
        names = Counter(mammogram.image_id.lower() for mammogram in named)
        if max(names.values(), default=1) == 1:
            return named
        named = [
            replace(image, suffix=_longer_suffix(image, file)) if names[image.image_id.lower()] > 1 else image
            for file, image in zip(files, named, strict=True)
        ]


def _longer_suffix(mammogram: Mammogram, file: PurePath) -> str:
    stem, digest = _replaced(file.stem), hashlib.sha256(os.fsencode(file.as_posix())).hexdigest()
    suffixes = ["", stem, f"{stem}-{digest[:12]}", f"{stem}-{digest}"]
    return suffixes[suffixes.index(mammogram.suffix) + 1]


def _replaced(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:40]
