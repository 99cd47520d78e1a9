"""Small files in the form of published data sets, for the tests of their readers."""

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from test_dicom import write_dicom

from monai_e2e.cli.main import main
from monai_e2e.data.records import Catalogue

SIZE = (24, 20)


def pixels(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Grey values of a made-up image, uint8."""
    return np.random.default_rng(seed).integers(1, 250, size).astype(np.uint8)


def write_image(path: Path, seed: int = 0, **header: object) -> Path:
    """An image, DICOM or a picture by its ending; ``header`` are DICOM elements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".dcm", ".dicom"):
        return write_dicom(path, pixels(seed).astype(np.uint16) * 16, **header)
    Image.fromarray(pixels(seed)).save(path)
    return path


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    """A table whose columns are the first row's keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_xlsx(path: Path, **sheets: list[list[object]]) -> Path:
    """A workbook, the least that is one, of numbers (a date is the days that Excel counts) and texts."""

    def cell(value: object) -> str:
        if isinstance(value, int | float):
            return f"<c><v>{value}</v></c>"
        return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'

    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    names, links = "", ""
    with zipfile.ZipFile(path, "w") as book:
        for number, (name, rows) in enumerate(sheets.items(), start=1):
            names += f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>'
            links += f'<Relationship Id="r{number}" Type="{office}/worksheet" Target="worksheets/sheet{number}.xml"/>'
            data = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            book.writestr(
                f"xl/worksheets/sheet{number}.xml", f"<worksheet {main}><sheetData>{data}</sheetData></worksheet>"
            )
        root = f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/>'
        book.writestr("_rels/.rels", f"<Relationships {package}>{root}</Relationships>")
        book.writestr("xl/workbook.xml", f'<workbook {main} xmlns:r="{office}"><sheets>{names}</sheets></workbook>')
        book.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {package}>{links}</Relationships>")
    return path


def write_sheet(path: Path, rows: list[dict[str, object]], sheet: str = "Sheet1") -> Path:
    """A workbook of one sheet, whose columns are the first row's keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_xlsx(path, **{sheet: [list(rows[0]), *(list(row.values()) for row in rows)]})


def check_rows(catalogue: Catalogue) -> Catalogue:
    """No row of a table is lost, each is used or excluded; no two images have one name."""
    used = sum(image.rows for image in catalogue.mammograms)
    assert catalogue.tables["rows"] == used + sum(item.rows for item in catalogue.excluded)
    assert len({image.image_id for image in catalogue.mammograms}) == len(catalogue.mammograms)
    return catalogue


def by_name(catalogue: Catalogue) -> dict[str, object]:
    """The mammograms by the stem of their file."""
    return {image.path.stem: image for image in catalogue.mammograms}


def reasons(catalogue: Catalogue) -> Counter[str]:
    """How many exclusions there are of each kind."""
    return Counter(item.reason.split(":")[0] for item in catalogue.excluded)


def prepared(name: str, src: Path, out: Path, **options: object) -> tuple[dict, dict]:
    """Prepare by the command, at a tiny size; returns report and data list, after what holds for every data set."""
    words = ["prepare", name, str(src), str(out), "--image-size", "40x32", "--workers", "1"]
    for option, value in options.items():
        words += [f"--{option.replace('_', '-')}", *([] if value is True else [str(value)])]
    assert main(words) == 0
    report = json.loads((out / "report.json").read_text())
    datalist = json.loads((out / "datalist.json").read_text())
    text = (out / "report.md").read_text()
    assert report["rows_used"] + report["rows_excluded"] == report["tables"]["rows"]
    assert f"Labels are based on {datalist['label_source']}, one for each {datalist['label_unit']}" in text
    assert datalist["licence"] in text
    assert datalist["citation"] in text
    for partition in ("training", "validation", "test"):
        assert {sample["label"] for sample in datalist[partition]} == {0, 1}
    return report, datalist


def samples_of(datalist: dict) -> list[dict]:
    """All samples of a data list."""
    return [sample for name in ("training", "validation", "test") for sample in datalist[name]]
