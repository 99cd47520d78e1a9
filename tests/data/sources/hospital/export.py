"""A hospital's export, drawn: DICOM files with the identifiers that a PACS gives, and a workbook as Excel writes it."""

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape
from zlib import crc32

import numpy as np
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.phantom.storage import new_dataset, save

#: Of two women; the second has two exams.
EXAMS = (
    ("007", "A-1", "20200131", "1.2.1"),
    ("008", "A-2", "20200201", "1.2.2"),
    ("008", "A-3", "20210302", "1.2.3"),
)


def write_image(path: Path, **elements) -> Path:
    """A DICOM file of random pixels with these elements."""
    uid = f"1.2.826.{crc32(path.as_posix().encode())}"
    pixels = np.random.default_rng(len(path.name)).integers(0, 4096, (48, 32)).astype(np.uint16)
    dataset = new_dataset(DigitalMammographyXRayImageStorageForPresentation, uid, pixels, 12)
    for name, value in elements.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(dataset, path)
    return path


def write_export(folder: Path, exams=EXAMS, views=("LCC", "LMLO", "RCC", "RMLO")) -> Path:
    """Four views of each exam, called as a PACS calls files."""
    for number, (patient, accession, date, study) in enumerate(exams):
        for place, view in enumerate(views):
            write_image(
                folder / f"ST{number}" / f"IM{place}",
                Modality="MG",
                PatientID=patient,
                PatientName="Doe^Jane",
                AccessionNumber=accession,
                StudyDate=date,
                StudyInstanceUID=study,
                SOPInstanceUID=f"{study}.{place}",
                ImageLaterality=view[0],
                ViewPosition=view[1:],
            )
    return folder


def write_xlsx(path: Path, rows) -> Path:
    """A workbook of one sheet: text as such, numbers as numbers (a date is the days that Excel counts)."""

    def cell(value):
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    sheet = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}">'
        '<sheets><sheet name="Befunde" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return path


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def labelled(labels):
    return {row["image"]: row["label"] for row in labels.rows}
