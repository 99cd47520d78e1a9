"""The files that a hospital's own tables name: within the folder and nowhere else."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from pathlib import Path

from monai_e2e.data.images.dicom_files import is_dicom
from monai_e2e.data.records import IMAGE_SUFFIXES
from monai_e2e.data.sources.cells import Refused
from monai_e2e.data.sources.disk import one_form, visible_folders

logger = logging.getLogger(__name__)


class OwnFiles:
    """The images under a folder, and the way from a table's words to them that never leaves the folder."""

    def __init__(self, src: Path) -> None:
        self.root = real_path(src)
        self.images: list[Path] = []
        self.named: set[Path] = set()
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        leading_out = 0
        for folder, subfolders, names in visible_folders(self.root):
            leading_out += sum(not self._holds(folder / name) for name in subfolders)
            for path in (folder / name for name in names):
                if not self._holds(path):
                    leading_out += 1
                elif _is_image(path):
                    self.images.append(path)
                    name = path.relative_to(self.root)
                    for known in {one_form(str(name)), one_form(str(name.with_suffix("")))}:
                        self._by_name[known].append(path)

        if leading_out:
            logger.warning(
                "%s: %d links that lead out of the folder are left out: copy their files into it, or name the folder "
                "that they lead to",
                src,
                leading_out,
            )

    def _holds(self, path: Path) -> bool:
        return real_path(path).is_relative_to(self.root)

    def take(self, text: str) -> Path:
        """As :meth:`find`, and the file counts as named by the tables."""
        path = self.find(text)
        self.named.add(path)
        return path

    def find(self, text: str) -> Path:
        """The file that a table means; raises :class:`Refused`."""
        relative = text.replace("\\", "/")
        if relative.startswith("/") or re.match(r"[A-Za-z]:", relative):
            raise Refused("path leaves the folder: it is absolute, write it relative to the folder")
        try:
            path = real_path(self.root / relative)
        except (OSError, ValueError) as error:  # a zero byte, say
            raise Refused(f"path not usable: {type(error).__name__}") from error
        if not path.is_relative_to(self.root):
            raise Refused("path leaves the folder: by '..' or by a link, copy the file into the folder")
        if not os.path.isfile(path):
            fitting = self._by_name.get(one_form(relative), [])
            if not fitting:
                raise Refused("file not on disk")
            if len(fitting) > 1:
                raise Refused(f"several files fit: {', '.join(path.name for path in fitting)}, add the ending")
            path = real_path(fitting[0])
        return path


def real_path(path: Path) -> Path:
    """The path without links; ``Path.resolve`` raises on circles of them."""
    return Path(os.path.realpath(path))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or (path.is_file() and is_dicom(path))
