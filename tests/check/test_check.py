"""The command ``check`` on drawn exams with planted faults."""

import csv
import io
import shutil
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from filelock import FileLock

from monai_e2e.check.run import CheckedImage, with_flags_of_the_set
from monai_e2e.cli.main import main
from monai_e2e.data.phantom import write_inbreast


def change(path, pixels=None, **elements):
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(dataset, name, value)
    if pixels is not None:
        dataset.PixelData = pixels(dataset.pixel_array).tobytes()
    dataset.save_as(path)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Two women's exams with faults: rows by image, page, and what was printed."""
    folder = tmp_path_factory.mktemp("check")
    write_inbreast(folder / "download", patients=2, rows=256, workers=1)
    names = {}
    for path in sorted((folder / "download" / "AllDICOMs").iterdir()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        part = path.stem.split("_")
        name = f"{part[1]}_{header.get('ImageLaterality', part[3])}_{header.get('ViewPosition', part[4])}.dcm"
        names.setdefault(part[1], []).append((name, part))
        (folder / "src").mkdir(exist_ok=True)
        copy = folder / "src" / name
        shutil.copy(path, copy)
        view = {"ML": "MLO"}.get(part[4], part[4])
        change(copy, Modality="MG", PatientID=part[1], StudyInstanceUID=f"1.2.{len(names)}", PatientName="Doe^Jane",
               ImageLaterality=part[3], ViewPosition=view)  # fmt: skip
    first, second = ([folder / "src" / name for name, _ in own] for own in names.values())
    shutil.copy(first[0], folder / "src" / "copy.dcm")
    change(first[1], pixels=lambda pixels: np.zeros_like(pixels))
    change(second[0], ImageType=["DERIVED", "PRIMARY", "TOMO_2D"])
    second[1].unlink()
    shutil.copy(second[2], folder / "src" / "ct.dcm")
    change(folder / "src" / "ct.dcm", Modality="CT")
    (folder / "src" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    text = io.StringIO()
    with redirect_stdout(text):
        assert main(["check", str(folder / "src"), str(folder / "out"), "--workers", "0"]) == 0
    with (folder / "out" / "check.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    page = (folder / "out" / "index.html").read_text()
    return {"rows": rows, "page": page, "text": text.getvalue(), "files": (first, second), "folder": folder}


def test_copies_are_found_by_uid_and_by_pixels(checked):
    flags = checked["rows"]["copy"]["flags"].split(";")
    assert {"same instance as another", "same pixels as another"} <= set(flags)


def test_what_cannot_be_used_has_its_reason(checked):
    first, _ = checked["files"]
    rows = checked["rows"]
    assert rows[first[1].stem]["verdict"] == "not usable"
    assert "single pixel value" in rows[first[1].stem]["reason"]
    assert "modality CT" in rows["ct"]["reason"]
    assert rows["broken"]["verdict"] == "not usable"


def test_views_that_an_exam_lacks_are_named(checked):
    _, second = checked["files"]
    missing = second[1].stem.split("_")
    side = {"L": "LEFT", "R": "RIGHT"}[missing[1]]
    row = checked["rows"][second[2].stem]
    assert f"exam without {side}" in row["flags"]
    assert "synthesized 2D" in checked["rows"][second[0].stem]["flags"]


def test_the_page_shows_the_odd_ones_first_and_no_name(checked):
    page = checked["page"]
    assert page.index("Not usable") < page.index("To look at")
    assert page.count("data:image/jpeg;base64,") == sum(
        row["verdict"] != "not usable" for row in checked["rows"].values()
    )
    written = page + checked["text"] + (checked["folder"] / "out" / "check.csv").read_text()
    assert "Doe" not in written
    assert "not usable" in checked["text"]


def test_two_into_one_folder_are_refused(checked, capsys):
    with FileLock(checked["folder"] / ".out.lock"):
        assert main(["check", str(checked["folder"] / "src"), str(checked["folder"] / "out")]) == 2
    assert "is writing to it" in capsys.readouterr().err


def exams(number, views, flags=()):
    return [
        CheckedImage(
            SimpleNamespace(patient_id=f"{n}", exam_id="", laterality="LEFT", view=view),
            (9, 9),
            flags,
            digest=f"{n}{view}",
        )
        for n in range(number)
        for view in views
    ]


def test_views_that_most_exams_lack_are_said_once_of_the_set():
    images, remarks = with_flags_of_the_set(exams(12, ["CC"]))
    assert {image.flags for image in images} == {()}
    assert remarks == [
        "12 of 12 exams lack a view, as in data sets that were collected by lesion: no single image is flagged for it"
    ]
    images, remarks = with_flags_of_the_set(exams(3, ["CC"]))
    assert images[0].flags == ("exam without LEFT MLO", "exam without RIGHT CC", "exam without RIGHT MLO")
    assert remarks == []


def test_images_of_which_nobody_knows_the_exam_lack_no_view():
    """Without Patient ID and Study Instance UID each counts as a patient."""
    images, remarks = with_flags_of_the_set(exams(3, ["CC"], ("patient unknown",)))
    assert {image.flags for image in images} == {("patient unknown",)}
    assert remarks == []
