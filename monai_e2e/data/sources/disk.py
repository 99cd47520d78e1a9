"""Files of a download, wherever they lie: all that there are, and the one that a table means."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from monai_e2e.data.records import IMAGE_SUFFIXES
from monai_e2e.data.sources.cells import Refused
from monai_e2e.errors import UserError

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


def check_folder(src: Path, advice: str) -> None:
    """Raise :class:`UserError` with the advice unless it is a folder."""
    if not src.is_dir():
        what = f"a file{packed_hint([src])}" if src.is_file() else "no such folder"
        raise UserError(f"{src}: {what}; {advice}")


def packed_hint(files: Iterable[Path]) -> str:
    """What to do first where files lie in archives, as the end of a message; else empty."""
    archives = [path.name for path in files if path.suffix.lower() in _ARCHIVES]
    return f"; unpack {archives[0]} first" if archives else ""


def visible_folders(src: Path, followlinks: bool = False) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As ``os.walk`` and in order, but without what is hidden (macOS leaves a ``._1.dcm`` beside each ``1.dcm``).

    Prepared folders further down are left out.

    Raises:
        UserError: when a folder can't be read.
    """
    for folder, subfolders, names in os.walk(src, followlinks=followlinks, onerror=_refuse_unreadable):
        if "datalist.json" in names and Path(folder) != src:  # a prepared folder
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield Path(folder), subfolders, sorted(name for name in names if not name.startswith("."))


def _refuse_unreadable(error: OSError) -> None:
    """``os.walk`` passes over folders that it can't read: their images would be missed silently."""
    raise UserError(f"{error.filename}: can't be read ({error.strerror}); change its permissions or move it") from error


def walk(src: Path) -> Iterator[Path]:
    """All files in visible folders; links are followed, since images are often kept on another disk."""
    seen = set()
    for folder, subfolders, names in visible_folders(src, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads in a circle
            subfolders.clear()
            continue
        seen.add(real)
        yield from (folder / name for name in names if (folder / name).is_file())  # no link to nothing


def has_images(src: str | Path) -> bool:
    """Whether there is any image file in or under a folder."""
    from monai_e2e.data.images.dicom_files import is_dicom

    files = walk(Path(src))
    return any(path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and is_dicom(path)) for path in files)


def by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by their names in lower case and without ending."""
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        stems[path.stem.casefold()].append(path)
    return stems


def one_form(path: str) -> str:
    """A path in the one way that tables and folders of different programs share: ``/``, no ``./``, composed accents."""
    return unicodedata.normalize("NFC", PurePosixPath(path.replace("\\", "/")).as_posix())


def plain_path(image: str) -> str:
    """A path as a table writes it, with ``/`` and without the ending of an image."""
    path = PurePosixPath(image.replace("\\", "/").strip())
    if path.suffix.lower() in IMAGE_SUFFIXES:  # UIDs have dots too
        path = path.with_suffix("")
    return str(path)


def find_by_path(stems: dict[str, list[Path]], image: str) -> Path:
    """The file that a table means, by its name and the end of its path; raises :class:`Refused`.

    Args:
        stems: of :func:`by_stem`.
        image: as much of the path as the table tells.
    """
    *folders, stem = [part.strip().casefold() for part in PurePosixPath(plain_path(image)).parts] or [""]
    fitting = stems.get(stem, [])
    if not fitting:
        raise Refused("image not on disk")
    shared = [_common_end(folders, [part.casefold() for part in path.parts[:-1]]) for path in fitting]
    best = [path for path, count in zip(fitting, shared, strict=True) if count == max(shared)]
    if len(best) > 1:
        raise Refused(f"several files fit: {', '.join(path.name for path in best[:3])}, keep one of them")
    return best[0]


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
