"""Names of the files of results, and rows of images whose names no table could hold as they are."""

import csv
import json

import pytest

from monai_e2e.predict.result_folder import ResultFolder, file_name


@pytest.mark.parametrize("image", ["case/1-1", "1.2.840.7", "Müller/rechts", "a.png"])
def test_ordinary_ids_are_the_names_of_the_files(image):
    assert file_name(image) == image


def test_long_names_are_shortened_and_stay_different(tmp_path):
    first, second = (file_name("case/" + "ä" * 120 + ending) for ending in ("1", "2"))
    assert first != second
    for name in (first, second):
        path = tmp_path / f".{name}_overlay.dcm"
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_a_folder_is_never_called_like_another_images_result():
    assert file_name("x.png/1") not in ("x.png/1", "x")
    assert file_name("x.png/1").startswith("x.png--")
    assert file_name("x_report.dcm/1") != "x_report.dcm/1"


def test_bytes_that_are_no_utf8_are_written_as_escapes(tmp_path):
    results = ResultFolder(tmp_path, {})
    results.start(["image", "patient_id", "exam_id"], {})
    results.fail("image", "m\udcfcller.png: broken")
    with results.failures.open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"image": "image", "reason": "m\\udcfcller.png: broken"}]


def test_ids_that_spreadsheets_would_run_are_guarded_and_taken_up_again(tmp_path):
    row = {"image": "=1+1", "patient_id": "-7a", "exam_id": "@x", "laterality": "LEFT", "view": "CC", "logit": "-1.5"}
    results = ResultFolder(tmp_path, {})
    results.start(list(row), {})
    results.add(row)
    results.fail("+cmd", "broken")
    results.finish("mean")
    assert "'=1+1,'-7a,'@x,LEFT,CC,-1.5" in results.predictions.read_text()
    assert "'+cmd,broken" in results.failures.read_text()
    assert "'-7a,'@x,LEFT" in (tmp_path / "breast.csv").read_text()
    assert ResultFolder(tmp_path, {}).finished == {"=1+1": ("-7a", "@x")}


@pytest.mark.parametrize(("mirrored", "total"), [(13, 36), (9, 36)])
def test_many_mirrored_images_are_told_of_the_set_also_when_a_run_is_taken_up(tmp_path, mirrored, total, caplog):
    columns = ["image", "patient_id", "exam_id", "laterality", "view", "logit", "flags"]
    many = mirrored == 13

    def run(numbers):
        results = ResultFolder(tmp_path, {})
        results.start(columns, {})
        for number in numbers:
            side = "upscaled;breast on the other side" if number < mirrored else ""
            results.add(dict.fromkeys(columns, "") | {"image": f"=i{number}", "logit": "0.5", "flags": side})
        results.finish("mean")
        with results.predictions.open(newline="", encoding="utf-8") as file:
            flags = [row["flags"] for row in csv.DictReader(file)]
        return flags, json.loads((tmp_path / "run.json").read_text()).get("breast_on_the_other_side")

    flags, told = run(range(total // 2))
    assert len(flags) == total // 2
    flags, told = run(range(total // 2, total))
    assert sum(flag.startswith("upscaled") for flag in flags) == mirrored
    assert sum("other side" in flag for flag in flags) == (0 if many else mirrored)
    assert told == (13 if many else None)
    assert ("13 of 36 images show the breast on the other side" in caplog.text) == many
    assert len(ResultFolder(tmp_path, {}).finished) == total
