"""Whose each image is, by names that may be written.

A table's own pseudonyms stay. Where it has the header's Patient ID, or none, patients are numbered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_e2e.data.sources.hospital.joining import Image
from monai_e2e.data.sources.hospital.pseudonyms import Pseudonyms
from monai_e2e.data.sources.identifiers import identifier_key


@dataclass
class Patients:
    """What images' patients are called.

    Args:
        names: by the image's name; empty where nothing tells patients apart.
        links: of numbers, see :class:`~monai_e2e.data.sources.hospital.pseudonyms.Pseudonyms`; private.
        notes: what is worth a look.
    """

    names: dict[str, str]
    links: list[tuple[str, str, str]]
    notes: list[str]


def name_patients(images: Sequence[Image], link: Path | None) -> Patients:
    """Keep tables' pseudonyms, and number all other patients."""
    of_headers = {identifier_key(image.header.patient) for image in images if image.header.patient}

    def own_pseudonym(image: Image) -> str:
        named = image.facts.get("patient_id", "")
        return named if identifier_key(named) not in of_headers else ""

    of_patient: dict[str, dict[str, None]] = defaultdict(dict)  # pseudonyms of each Patient ID of the headers
    for image in images:
        if image.header.patient and (pseudonym := own_pseudonym(image)):
            of_patient[identifier_key(image.header.patient)][pseudonym] = None

    taken = {image.facts.get("patient_id", "") for image in images}
    numbers = Pseudonyms("patient", link, taken, identifier_key)
    names = {}
    for image in images:
        name = own_pseudonym(image)
        of_other_exams = of_patient.get(identifier_key(image.header.patient), {})
        if not name and len(of_other_exams) == 1:
            (name,) = of_other_exams
        names[image.name] = name or numbers.of(
            image.header.patient or image.facts.get("patient_id", "") or image.header.study
        )

    notes = []
    if several := sum(len(pseudonyms) > 1 for pseudonyms in of_patient.values()):
        notes.append(
            f"Patient IDs of the headers with several pseudonyms in the tables: {several}; if these are of one person, "
            "who may then be in two partitions, correct the tables"
        )
    if several := numbers.written_in_several_ways:
        notes.append(
            f"patients with several Patient IDs in the headers, which differ in case or leading zeros alone: {several}"
        )
    return Patients(names, numbers.links, notes)
