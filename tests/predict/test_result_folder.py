"""Names of the files of results, and rows of films whose names no table could hold as they are."""

import csv

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


def test_a_folder_is_never_called_like_another_films_result():
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
