"""KAU-BCMD: mammograms of King Abdulaziz University with BI-RADS assessments (Alsolami et al., 2021).

The BI-RADS is the folder's, ``Birad1/``, ``Birad3/`` … (or ``BIRAD 1``), the rest the file's name,
``2018_BC005421_CC_R.jpg`` with or without blanks; ``correctSheetlast.xlsx`` adds age and density. Some images lie in
two folders: the higher BI-RADS counts.

Both breasts of a patient have the same BI-RADS, so the label is the patient's rather than the breast's: a healthy
breast may count as positive. 4 and 5 are positive, 1 negative, 3 left out; with ``positive="birads5"`` 4 is left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from monai_e2e.data.records import Catalogue, Mammogram
from monai_e2e.data.sources.cells import Refused, birads_label, parse_age, parse_side, parse_view
from monai_e2e.data.sources.release import Entry, Release
from monai_e2e.errors import UserError

_FOLDER = re.compile(r"BI-?RADS?\s*([0-6])", re.IGNORECASE)
_NAME = re.compile(r"(\d{4}_BC\d+)_(CC|MLO)_([LR])", re.IGNORECASE)
_AGE, _DENSITY = "Patient age", "Percentage of grandular tissue(density)"
_DENSITIES = {"0%-25%": 1, "26%-50%": 2, "51%-75%": 3, ">75%": 4}


def read_kau_bcmd(src: str | Path, tables_only: bool = False, positive: str = "birads4") -> Catalogue:
    """Read KAU-BCMD's folders and, where it is there, its table.

    Args:
        src: folder that has the folders of the BI-RADS categories in or under it.
        tables_only: can't be: the labels are the folders of the images.
        positive: ``"birads4"`` or ``"birads5"``, see the module's docstring.

    Raises:
        UserError: when the folder or the images are missing, or none can be used.
    """
    release = Release(src, "kau-bcmd")
    images: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in release.images:
        categories = [int(found[1]) for part in path.parts[:-1] if (found := _FOLDER.fullmatch(part))]
        if categories:
            images["".join(path.stem.split()).upper()].append((categories[-1], path))
    if tables_only or not images:
        raise UserError(f"{src}: no images in folders such as Birad1 in or under it; unpack the download here")
    facts = _facts(release)
    entries = list(_entries(images, facts, positive))
    patients = {found[1].upper() for name in images if (found := _NAME.fullmatch(name))}
    return release.join(entries, patients=len(patients), files=sum(map(len, images.values())), views=len(images))


def _entries(
    images: dict[str, list[tuple[int, Path]]], facts: dict[str, dict[str, str]], positive: str
) -> Iterator[Entry]:
    for name, found in images.items():
        (birads, path), *lower = sorted(found, key=lambda item: (-item[0], item[1]))
        for _, other in lower:
            yield Entry(str(other), other, None, f"same image in a folder of BI-RADS {birads}, which counts")
        try:
            parts = _NAME.fullmatch(name)
            if not parts:
                raise Refused("file name not understood, such as 2018_BC005421_CC_R.jpg")
            values = facts.get(name, {})
            mammogram = Mammogram(
                path=None,
                patient_id=parts[1].upper(),
                laterality=parse_side(parts[3]),
                view=parse_view(parts[2]),
                label=birads_label(birads, positive),
                density=_DENSITIES.get("".join(values.get(_DENSITY, "").split())),
                age=parse_age(values.get(_AGE, "")),
            )
        except Refused as reason:
            yield Entry(str(path), path, None, str(reason))
        else:
            yield Entry(str(path), path, mammogram)


def _facts(release: Release) -> dict[str, dict[str, str]]:
    """Age and density by image."""
    table = release.find_table(("Image path",), (_AGE, _DENSITY))
    rows = table.rows if table else ()
    names = (re.split(r"[\\/]", values["Image path"])[-1] for _, values in rows)
    stems = (re.sub(r"\.\w+$", "", "".join(name.split())).upper() for name in names)
    return dict(zip(stems, (values for _, values in rows), strict=True))
