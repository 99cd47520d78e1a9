"""CSAW-CC: labels by breast and timing, outcomes that must not leak, masks of another size."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from release_files import by_name, check_rows, prepared, reasons, samples_of, write_csv, write_image

from monai_e2e.data.sources.csaw_cc import read_csaw_cc
from monai_e2e.errors import UserError

#: Case, side of the cancer, timing; the others are controls.
CASES = [("Left", 1), ("Right", 1), ("Left", 1), ("Left", 2), ("Right", 3), ("Left", 1), ("", 1)]
OUTCOMES = ("x_case", "x_type", "x_lymphnode_met", "x_cancer_laterality", "rad_timing", "rad_recall", "rad_r1")


def write_csaw(folder: Path) -> Path:
    rows: list[dict[str, object]] = []
    for patient in range(12):
        cancer, timing = CASES[patient] if patient < len(CASES) else ("", "")
        for side in ("Left", "Right"):
            for view in ("CC", "MLO", *(["MLO"] if patient == 0 else [])):
                stem = f"{patient + 1:05d}_20990909_{side[0]}_{view}_{len(rows)}"
                row = {
                    "anon_patientid": f"{patient + 1:05d}",
                    "exam_year": 2012,
                    "x_age": 1,
                    "x_case": int(patient < len(CASES)),
                    "x_cancer_laterality": cancer,
                    "x_type": 2 if cancer else "",
                    "x_lymphnode_met": 1 if cancer else "",
                    "rad_timing": timing,
                    "rad_r1": 1,
                    "rad_recall": 1,
                    "imagelaterality": side,
                    "viewposition": view,
                    "anon_filename": f"{stem}.dcm",
                }
                write_image(folder / "images" / f"{stem}.dcm", len(rows))
                if patient == 0 and side == "Left":
                    mask = np.zeros((48, 40), np.uint8)  # of twice the image's size
                    mask[10:20, 10:20] = 255
                    (folder / "masks").mkdir(exist_ok=True)
                    Image.fromarray(mask).save(folder / "masks" / f"{stem}_mask.png")
                rows.append(row)
    for row in [row for row in rows if row["anon_patientid"] == "00001"]:  # two years before, called alike
        stem = f"{row['anon_filename'][:-4]}0"
        timing = {"x_case": 1, "rad_timing": 3, "exam_year": 2010, "anon_filename": f"{stem}.dcm"}
        rows.append({**row, **timing, "rad_recall": 0})
        write_image(folder / "images" / f"{stem}.dcm", len(rows))
    write_csv(folder / "CSAW-CC_breast_cancer_screening_data.csv", rows)
    return folder


def test_label_is_the_breasts_at_the_exam_that_found_it(tmp_path):
    catalogue = check_rows(read_csaw_cc(write_csaw(tmp_path)))
    labels = {
        (image.patient_id, image.laterality.value): image.label
        for image in catalogue.mammograms
        if image.exam_id.endswith("2012")
    }
    assert (labels["00001", "LEFT"], labels["00001", "RIGHT"]) == (1, 0)
    assert ("00004", "LEFT") not in labels  # interval
    assert ("00005", "RIGHT") not in labels  # prior
    assert (labels["00004", "RIGHT"], labels["00005", "LEFT"], labels["00012", "LEFT"]) == (0, 0, 0)
    assert reasons(catalogue) == {
        "interval cancer, found 60 to 729 days after this exam": 2,
        "cancer found 730 days or more after this exam": 5,  # three of them of an earlier exam of patient 1
        "side of the cancer unknown": 4,
    }
    first = next(image for image in catalogue.mammograms if image.patient_id == "00001")
    assert (first.exam_id, first.vendor) == ("00001_2012", "Hologic")


def test_interval_cancers_can_count(tmp_path):
    catalogue = check_rows(read_csaw_cc(write_csaw(tmp_path), positive="interval"))
    assert {image.label for image in catalogue.mammograms if image.patient_id == "00004"} == {0, 1}
    assert reasons(catalogue)["cancer found 730 days or more after this exam"] == 5


def test_earlier_exams_of_a_woman_are_exams_of_their_own(tmp_path):
    images = [image for image in read_csaw_cc(write_csaw(tmp_path)).mammograms if image.patient_id == "00001"]
    sides = {(image.exam_id, image.laterality.value): image.label for image in images}
    assert sides == {("00001_2012", "LEFT"): 1, ("00001_2012", "RIGHT"): 0, ("00001_2010", "RIGHT"): 0}
    assert len({image.image_id for image in images}) == len(images)


def test_second_image_of_a_view_is_another_sample(tmp_path):
    images = by_name(read_csaw_cc(write_csaw(tmp_path)))
    assert images["00001_20990909_L_MLO_1"].image_id != images["00001_20990909_L_MLO_2"].image_id


def test_no_outcome_reaches_the_samples(tmp_path):
    report, datalist = prepared("csaw-cc", write_csaw(tmp_path / "src"), tmp_path / "out")
    assert report["lesions_drawn_as"] == {"mask": 3}
    samples = samples_of(datalist)
    text = json.dumps(samples)
    assert not any(word in text for word in OUTCOMES)
    assert not any("subtype" in sample for sample in samples)
    # But for the lesions' masks, a sample of a positive breast has the keys of any other.
    assert len({frozenset(sample) for sample in samples}) == 1


def test_csaw_m_is_not_taken_for_it(tmp_path):
    (tmp_path / "CSAW-M_train.csv").write_text("Filename;Label\ntrain_1.png;3\n")
    with pytest.raises(UserError, match=r"no table .* with the columns anon_patientid"):
        read_csaw_cc(tmp_path)
