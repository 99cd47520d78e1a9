"""CBIS-DDSM's image files: which layout a folder has, and which series each file belongs to.

Three layouts are in use, told apart by what is in the files and never by a flag:

- *descriptive*: as TCIA's present downloader writes,
  ``Calc-Test_P_00038_LEFT_CC/08-29-2017-DDSM-NA-96009/1.000000-full mammogram images-63992/1-1.dcm``;
- *classic*: as the tables write paths, ``<name>/<StudyInstanceUID>/<SeriesInstanceUID>/000000.dcm``;
- *JPEG re-release*: ``jpeg/<SeriesInstanceUID>/1-249.jpg`` with ``csv/dicom_info.csv``, 8 bits and lossy.

The join is by SeriesInstanceUID, which is unique and the one key that all three have: it is in the DICOM headers, in
``dicom_info.csv`` and in the JPEG folders' names. Within a series, description and number don't tell mask from crop:
of the JPEG re-release's masks some have no description, and either may come first.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from monai_e2e.data.images.dicom_files import is_dicom, one_file, open_dicom, quiet
from monai_e2e.data.records import Excluded
from monai_e2e.data.sources.cbis_ddsm.tables import leaves_source, series_of
from monai_e2e.data.sources.disk import walk
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError

_JPEG_SUFFIXES = (".jpg", ".jpeg")
_JPEG_START = b"\xff\xd8\xff"
_UID = re.compile(r"\d+(\.\d+)+")
_DICOM_INFO = "dicom_info.csv"
#: Order of a lesion's files; a file without description comes between, since it is usually the mask.
_MASK_FIRST = {"ROI mask images": 0, "": 1}
_TAGS = ["SeriesInstanceUID", "SOPInstanceUID", "SeriesDescription"]
_KNOWN = (
    "known are TCIA's descriptive folders (…/1.000000-full mammogram images-63992/1-1.dcm), its classic folders "
    "(…/<StudyInstanceUID>/<SeriesInstanceUID>/000000.dcm) and the JPEG re-release (csv/dicom_info.csv and "
    "jpeg/<SeriesInstanceUID>/1-249.jpg)"
)


@dataclass(frozen=True)
class ImageFile:
    """One image file and what its header, or ``dicom_info.csv``, says of it."""

    path: Path
    series: str
    instance: str = ""
    description: str = ""


@dataclass
class Images:
    """The image files of a folder.

    Args:
        layout: what the folder was recognised as, for the log.
        series: files by SeriesInstanceUID; a file stored twice is there once.
        excluded: files that can't be used.
    """

    layout: str
    series: dict[str, list[ImageFile]] = field(default_factory=lambda: defaultdict(list))
    excluded: list[Excluded] = field(default_factory=list)

    def files(self, *table_paths: str) -> tuple[Path, ...]:
        """Files of the series that the tables' paths name; those that are described as masks come first."""
        found = {file: None for path in table_paths for file in self.series.get(series_of(path), ())}
        return tuple(file.path for file in sorted(found, key=lambda file: _MASK_FIRST.get(file.description, 2)))

    def count_outside(self, wanted: Collection[str]) -> int:
        """Number of files whose series isn't among the wanted ones."""
        return sum(len(files) for series, files in self.series.items() if series not in wanted)


def find_images(src: Path, wanted: Collection[str]) -> Images:
    """Recognise the layout and index the files by series.

    Args:
        src: folder to search, with all its subfolders.
        wanted: SeriesInstanceUIDs that the tables name.

    Raises:
        UserError: when the folder has none of the three layouts, or images both as DICOM and as JPEG, or no file of a
            wanted series.
    """
    paths: dict[str, list[Path]] = {"": [], "dicom": [], "jpeg": []}
    for path in sorted(walk(src)):
        paths[_kind(path)].append(path)
    dicom, jpeg = _index_dicom(paths["dicom"]), _index_jpeg(src, paths["jpeg"])
    matching = [images for images in (dicom, jpeg) if any(series in wanted for series in images.series)]
    if len(matching) > 1:
        raise UserError(
            f"{src}: images both as DICOM ({_number(dicom)} files) and as JPEG ({_number(jpeg)} files); {_KNOWN}. "
            f"Keep one of them in the folder"
        )
    if matching:
        return matching[0]
    if dicom.series or jpeg.series:
        raise UserError(
            f"{src}: none of the tables' {len(wanted)} series is among the {_number(dicom)} DICOM and {_number(jpeg)} "
            f"JPEG files; download the images that belong to the tables, or try `monai-e2e phantom cbis-ddsm SRC`"
        )
    suffixes = Counter(path.suffix.lower() or "without suffix" for group in paths.values() for path in group)
    found = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(6))
    raise UserError(
        f"{src}: no images in a layout that is known (found: {found}); {_KNOWN}. Download the images from TCIA, "
        f"or try `monai-e2e phantom cbis-ddsm SRC`"
    )


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".dcm" or (not suffix and is_dicom(path)):
        return "dicom"
    return "jpeg" if suffix in _JPEG_SUFFIXES else ""


def _number(images: Images) -> int:
    return images.count_outside(())


def _index_dicom(paths: Collection[Path]) -> Images:
    """DICOM files by the SeriesInstanceUID of their header; copies share their SOPInstanceUID."""
    images = Images("descriptive or classic folders")
    instances: set[str] = set()
    with quiet(), ThreadPoolExecutor() as pool:
        headers = pool.map(_read_header, paths)
        progress = tqdm(headers, total=len(paths), desc="DICOM headers", unit="file", disable=None if paths else True)
        for path, file in zip(paths, progress, strict=True):
            if file is None:
                images.excluded.append(Excluded(str(path), "not readable as DICOM"))
            elif file.instance not in instances:
                images.series[file.series].append(file)
                instances.add(file.instance)
    found = [file for files in images.series.values() for file in files]
    if found:
        classic = sum(file.path.parent.name == file.series for file in found)
        images.layout = {0: "descriptive folders", len(found): "classic folders"}.get(classic, images.layout)
    return images


def _read_header(path: Path) -> ImageFile | None:
    try:
        with one_file(path):
            header = open_dicom(path, _TAGS)
            description = str(header.get("SeriesDescription", "") or "")
            return ImageFile(path, str(header.SeriesInstanceUID), str(header.SOPInstanceUID), description)
    except UserError:
        return None


def _index_jpeg(src: Path, paths: Collection[Path]) -> Images:
    """JPEG files by the series that ``dicom_info.csv`` or, where it doesn't know them, their folder's name gives."""
    images = Images("JPEG re-release (8 bits, lossy)")
    if not paths:
        return images
    described = _read_dicom_info(src, images)
    root, files = src.resolve(), []
    for path in paths:
        target = path.resolve()
        file = described.get("/".join(path.parts[-2:]))
        series = file.series if file else path.parent.name
        if not target.is_relative_to(root):
            images.excluded.append(Excluded(str(path), f"path leaves SRC: link to {target}"))
        elif not _UID.fullmatch(series):
            reason = f"series unknown: neither in {_DICOM_INFO} nor in a folder named by its SeriesInstanceUID"
            images.excluded.append(Excluded(str(path), reason))
        elif not _is_jpeg(path):
            images.excluded.append(Excluded(str(path), "not readable as JPEG"))
        else:
            files.append(ImageFile(path, series, description=file.description if file else ""))
    for file in _without_copies(files):
        images.series[file.series].append(file)
    return images


def _read_dicom_info(src: Path, images: Images) -> dict[str, ImageFile]:
    """What ``dicom_info.csv`` says of each file, by the last two parts of its path; refused paths go to the images'
    exclusions."""
    described = {}
    for info in sorted(src.rglob(_DICOM_INFO)):
        table = read_table(
            info,
            ("image_path", "SeriesInstanceUID"),
            ("SeriesDescription",),
            "download it again, or remove it: the folders' names then tell the series",
        )
        for line, values in table.rows:
            path = values["image_path"]
            if leaves_source(path):
                name = f"{info.relative_to(src)}, row {line}"
                images.excluded.append(Excluded(name, f"path leaves SRC: {path!r}"))
                continue
            # The paths start with a folder, CBIS-DDSM, that the download itself doesn't have.
            key = "/".join(path.split("/")[-2:])
            described[key] = ImageFile(Path(path), values["SeriesInstanceUID"], description=values["SeriesDescription"])
    return described


def _is_jpeg(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_JPEG_START)) == _JPEG_START
    except OSError:
        return False


def _without_copies(files: Iterable[ImageFile]) -> Iterator[ImageFile]:
    """Each file of a series once; JPEG files carry no identifier, so copies are told by their bytes."""
    sized = [(file, (file.series, file.path.stat().st_size)) for file in files]
    often = Counter(key for _, key in sized)
    seen = set()
    for file, key in sized:
        if often[key] > 1:
            digest = (file.series, sha256(file.path.read_bytes()).digest())
            if digest in seen:
                continue
            seen.add(digest)
        yield file
