"""The images that are to be classified: where each is, whose it is, and what is known about it.

They come from a prepared folder, or from any folder with or without a table. The table, CSV or a spreadsheet, has a row
per image: ``image`` (path within the folder) and ``patient_id``, and where they are known ``exam_id``, ``laterality``,
``view``, ``label``, ``density`` and :data:`~monai_e2e.data.records.GROUP_COLUMNS`, in the words of `monai-e2e prepare
folder`'s table.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_e2e.data.images.dicom_files import is_dicom, quiet
from monai_e2e.data.images.headers import OTHER_VIEW, Header, flags_beside_table, read_header, unknown_flags
from monai_e2e.data.prepared.datalist import load_datalist
from monai_e2e.data.prepared.folder import find_images
from monai_e2e.data.records import GROUP_COLUMNS
from monai_e2e.data.sources.disk import one_form
from monai_e2e.data.sources.identifiers import identifier_key
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError
from monai_e2e.metrics import lesion_types
from monai_e2e.metrics.cells import parse_density, parse_group, parse_label, parse_place

logger = logging.getLogger(__name__)

#: A table that only CBIS-DDSM's JPEG re-release has.
_JPEG_RELEASE = "csv/dicom_info.csv"
_ADVICE = "Write one row per image, for example `image,patient_id` and `2021/0001_rcc.dcm,K-0001`"
_OPTIONAL_COLUMNS = ("exam_id", "laterality", "view", "label", "density", *GROUP_COLUMNS)


@dataclass(frozen=True)
class ListedImage:
    """One image to classify; what isn't known is empty or None.

    Args:
        image: id of the image, unique in the list.
        path: its file.
        patient_id: of a prepared folder or a table as it stands there, else a running number.
        exam_id: of a prepared folder or a table, else a running number; empty where the patient is one exam.
        laterality: LEFT or RIGHT.
        view: CC or MLO.
        label: 1 malignant, 0 not.
        density: ACR 1–4.
        lesion_type: types of the annotated lesions, joined by ``+``.
        masks: the lesions' mask files.
        original_size: rows and columns of the original, where ``path`` is a resized copy.
        dicom: whether the file is DICOM.
        number: its place in the list, from 1.
        flags: what about these facts is missing or odd.
        header_patient: Patient ID of the header, to be compared with ids that a model knows. Never to be written.
        facts: what else folder or table know, by the names of :data:`~monai_e2e.data.records.GROUP_COLUMNS`.
        judged: whether the flags say what the pixels show too, as those of a prepared folder do.
    """

    image: str
    path: Path
    patient_id: str = ""
    exam_id: str = ""
    laterality: str = ""
    view: str = ""
    label: int | None = None
    density: int | None = None
    lesion_type: str = ""
    masks: tuple[str, ...] = ()
    original_size: tuple[int, int] | None = None
    dicom: bool = False
    number: int = 1
    flags: tuple[str, ...] = ()
    header_patient: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = False


def list_prepared(folder: str | Path, partition: str, fold: int | None = None) -> list[ListedImage]:
    """The images of a prepared folder's partition; raises what :func:`~monai_e2e.data.load_datalist` raises."""
    return [
        ListedImage(
            image=Path(sample["image"]).stem,
            path=Path(sample["image"]),
            patient_id=sample["patient_id"],
            exam_id=sample.get("exam_id") or "",
            laterality=sample["laterality"],
            view=sample["view"],
            label=sample["label"],
            density=sample.get("density"),
            lesion_type=lesion_types(sample["lesions"]),
            masks=tuple(lesion["mask"] for lesion in sample["lesions"]),
            original_size=tuple(sample["original_size"]) if "original_size" in sample else None,
            flags=_flags_of_sample(sample),
            facts={fact: sample[fact] for fact in GROUP_COLUMNS if sample.get(fact) is not None},
            judged="flags" in sample,
        )
        for sample in load_datalist(folder, partition, fold=fold)
    ]


def list_images(
    folder: str | Path,
    table: str | Path | None = None,
    without: Collection[Path] = (),
    earlier: Mapping[str, tuple[str, str]] | None = None,
) -> list[ListedImage]:
    """The images of any folder, in the order of their paths.

    Side and view are the table's, else the DICOM header's. So are patient and exam, but of the header's Patient ID and
    Study Instance UID, which name people, only a running number in the order of the paths is kept: ``patient-0001``.
    Images without a Patient ID are a patient of their own, or one with the images of the same study; those of IDs that
    differ in case or leading zeros alone are of one patient.

    Args:
        folder: see :func:`~monai_e2e.data.prepared.folder.find_images`.
        table: see the module's docstring. Images that it doesn't name are left out, and counted in the log.
        without: folders that are left out.
        earlier: patient and exam by image, of images that were listed before: these keep their numbers, whatever
            images were added since.

    Raises:
        UserError: when the folder or the table can't be used, or the table has a word or an image that isn't known.
    """
    found = find_images(folder, without)
    mammograms = [
        ListedImage(image, path, dicom=is_dicom(path), number=number)
        for number, (image, path) in enumerate(found.items(), start=1)
    ]
    headers = dict(zip(found, _read_headers(mammograms), strict=True))
    if table is None:
        if (Path(folder) / _JPEG_RELEASE).is_file():
            raise UserError(
                f"{folder} is the JPEG release of CBIS-DDSM, where images can't be told from crops and masks: prepare "
                f"it with `monai-e2e prepare cbis-ddsm`, or name the images in a --table"
            )
        whole = _without_lesion_images(folder, mammograms, headers)
        _tell_of_one_patient(folder, [headers[mammogram.image] for mammogram in whole])
        listed = _number_images(whole, headers, earlier or {})
    else:
        listed = _join(mammograms, headers, Path(folder), Path(table))
    return _flag_copies(listed, headers)


def _flag_copies(mammograms: Sequence[ListedImage], headers: Mapping[str, Header]) -> list[ListedImage]:
    """The images, those whose headers have one SOP Instance UID flagged."""
    instances = [headers[mammogram.image].instance for mammogram in mammograms]
    counts = Counter(filter(None, instances))
    return [
        replace(mammogram, flags=(*mammogram.flags, "same instance as another")) if counts[instance] > 1 else mammogram
        for mammogram, instance in zip(mammograms, instances, strict=True)
    ]


def _number_images(
    mammograms: Sequence[ListedImage], headers: Mapping[str, Header], earlier: Mapping[str, tuple[str, str]]
) -> list[ListedImage]:
    """The images with what their headers say, patients and exams as running numbers."""
    those = [headers[mammogram.image] for mammogram in mammograms]
    before = [earlier.get(mammogram.image, ("", "")) for mammogram in mammograms]
    ids = [identifier_key(header.patient) or header.study for header in those]
    patients = _number("patient", ids, [one for one, _ in before])
    studies = _number("exam", [header.study for header in those], [exam for _, exam in before])
    return [
        replace(
            mammogram,
            patient_id=patient,
            exam_id=study if header.study else "",
            laterality=header.laterality,
            view=header.view,
            header_patient=header.patient,
            flags=(*header.flags, *(() if header.patient else ("patient unknown",))),
        )
        for mammogram, header, patient, study in zip(mammograms, those, patients, studies, strict=True)
    ]


def _read_headers(mammograms: Sequence[ListedImage]) -> list[Header]:
    with quiet(), ThreadPoolExecutor() as pool:
        headers = pool.map(lambda mammogram: read_header(mammogram.path) if mammogram.dicom else Header(), mammograms)
        return list(tqdm(headers, total=len(mammograms), desc="DICOM headers", unit="image", disable=None))


def _without_lesion_images(
    folder: str | Path, mammograms: Sequence[ListedImage], headers: Mapping[str, Header]
) -> list[ListedImage]:
    """The images without CBIS-DDSM's crops and masks of lesions, which lie beside them."""
    whole = [mammogram for mammogram in mammograms if not headers[mammogram.image].lesion_only]
    if not whole:
        raise UserError(f"{folder} holds CBIS-DDSM's crops and masks of lesions alone: name the folder of the images")
    if len(whole) < len(mammograms):
        logger.warning("%s: %d crops and masks of lesions are left out", folder, len(mammograms) - len(whole))
    return whole


def _tell_of_one_patient(folder: str | Path, headers: Sequence[Header]) -> None:
    """Some data sets, INbreast's among them, have one word in place of every Patient ID."""
    patients, studies = {header.patient for header in headers}, {header.study for header in headers}
    if len(patients) == 1 and patients != {""} and len(studies) > 1:
        logger.warning(
            "%s: all images, of %d studies, have the same Patient ID and count as one patient; if they are of several "
            "people, name these in a table `image,patient_id` (`predict --table`)",
            folder,
            len(studies),
        )


def _number(prefix: str, groups: Sequence[str], earlier: Sequence[str]) -> list[str]:
    """An id for each group in the order of its first image; an image without a group is one of its own.

    Groups of which an image had an id before keep it.
    """
    keys = [group or f"image {index}" for index, group in enumerate(groups)]
    ids = {key: before for key, before in zip(keys, earlier, strict=True) if before}
    taken, number = set(ids.values()), 0
    for key in keys:
        while key not in ids:
            number += 1
            if (new := f"{prefix}-{number:04d}") not in taken:
                ids[key] = new
    return [ids[key] for key in keys]


def _join(
    mammograms: Sequence[ListedImage], headers: Mapping[str, Header], folder: Path, path: Path
) -> list[ListedImage]:
    """The images that the table names, with what it says of them."""
    table = read_table(path, ("image", "patient_id"), _OPTIONAL_COLUMNS, advice=_ADVICE)
    by_name = {one_form(mammogram.image): mammogram for mammogram in mammograms}
    root = folder.resolve()
    by_name |= {one_form(str(mammogram.path.relative_to(root))): mammogram for mammogram in mammograms}
    joined: dict[str, ListedImage] = {}
    for line, values in table.rows:
        place = f"{path}, row {line}"
        mammogram = by_name.get(one_form(values["image"]))
        if mammogram is None:
            raise UserError(f"{place}: image {values['image']!r} is not in {folder}; correct the path or drop the row")
        if mammogram.image in joined:
            raise UserError(f"{place}: image {values['image']!r} has a row already; keep one of them")
        if not values["patient_id"]:
            raise UserError(f"{place}: no patient_id; give all images of a person the same one")
        joined[mammogram.image] = _described(mammogram, headers[mammogram.image], values, place)
    if not joined:
        raise UserError(f"{path}: no row; {_ADVICE[0].lower()}{_ADVICE[1:]}")
    if len(joined) < len(mammograms):
        logger.warning(
            "%s: %d of %d images have no row and are left out", path, len(mammograms) - len(joined), len(mammograms)
        )
    return [joined[mammogram.image] for mammogram in mammograms if mammogram.image in joined]


def _described(mammogram: ListedImage, header: Header, values: Mapping[str, str], place: str) -> ListedImage:
    """The image with what its row says and, where the row leaves side or view empty, its header."""
    laterality, view, _ = parse_place(place, values["laterality"], values["view"])
    flags = flags_beside_table(header, laterality, view or values["view"])
    if values["view"] and not view:
        flags.append(f"{OTHER_VIEW} {values['view'].replace(';', ',')}")
    if values["view"].upper() == "ML":
        flags.append("view ML read as MLO")
    laterality, view = laterality or header.laterality, view or ("" if values["view"] else header.view)
    facts = {name: parse_group(name, place, values[name]) for name in GROUP_COLUMNS if values[name]}
    return replace(
        mammogram,
        patient_id=values["patient_id"],
        exam_id=values["exam_id"],
        laterality=laterality,
        view=view,
        label=parse_label(place, values["label"]),
        density=parse_density(place, values["density"]),
        header_patient=header.patient,
        flags=(*unknown_flags(laterality, view, flags), *flags),
        facts=facts,
    )


def _flags_of_sample(sample: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the data list; one of an earlier version doesn't say what isn't known."""
    flags = [flag for flag in sample.get("flags", "").split(";") if flag]
    return tuple(dict.fromkeys([*unknown_flags(sample["laterality"], sample["view"], flags), *flags]))
