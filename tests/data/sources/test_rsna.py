"""RSNA: other views, a table of tests without outcome, facts of the breast and the machine."""

from pathlib import Path

import pytest
from release_files import by_name, check_rows, prepared, reasons, samples_of, write_csv, write_image

from monai_e2e.data.sources.rsna import read_rsna


def write_rsna(folder: Path) -> Path:
    rows, test = [], []
    for patient in range(12):
        for side in "LR":
            for view in ("CC", "MLO", *(["AT", "MLO"] if patient == 0 and side == "L" else [])):
                cancer = int(patient < 5 and side == "L")
                rows.append(
                    {
                        "site_id": 1 + patient % 2,
                        "patient_id": 10006 + patient,
                        "image_id": 462822612 + len(rows),
                        "laterality": side,
                        "view": view,
                        "age": "" if patient == 3 else f"{61.0 + patient}",
                        "cancer": cancer,
                        "biopsy": cancer,
                        "invasive": int(patient == 0 and cancer),
                        "BIRADS": "",
                        "implant": int(patient == 1),
                        "density": "" if patient % 2 else "B",
                        "machine_id": 49,
                        "difficult_negative_case": False,
                    }
                )
                write_image(folder / f"train_images/{10006 + patient}/{rows[-1]['image_id']}.dcm", len(rows))
    keys = ("site_id", "patient_id", "image_id", "laterality", "view", "age", "implant", "machine_id")
    test.append({**{key: rows[0][key] for key in keys}, "patient_id": 1, "image_id": 7, "prediction_id": "1_L"})
    write_image(folder / "test_images/1/7.dcm")
    (folder / "sample_submission.csv").write_text("prediction_id,cancer\n1_L,0.02\n")
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "test.csv", test)
    return folder


def test_label_is_the_column_cancer_and_other_views_stay_out(tmp_path):
    catalogue = check_rows(read_rsna(write_rsna(tmp_path)))
    assert sum(image.label for image in catalogue.mammograms) == 11
    assert reasons(catalogue) == {"view neither CC nor MLO": 1, "image without row": 1}  # that of test.csv
    assert len({image.image_id for image in catalogue.mammograms}) == 49  # two MLO views of one breast


def test_copies_whose_names_have_patient_and_image_are_found(tmp_path):
    src = write_rsna(tmp_path)
    for path in list(src.rglob("*.dcm")):
        write_image(src / "png" / f"{path.parent.name}_{path.stem}.png")
        path.unlink()
    catalogue = check_rows(read_rsna(src))
    assert len(catalogue.mammograms) == 49
    assert reasons(catalogue) == {"view neither CC nor MLO": 1, "image without row": 1}


def test_copies_beside_the_originals_are_not_read(tmp_path):
    src = write_rsna(tmp_path)
    for path in list((src / "train_images").rglob("*.dcm")):
        write_image(src / "png" / f"{path.parent.name}_{path.stem}.png")
        write_image(src / "plain" / path.parent.name / f"{path.stem}.png")
    assert {image.path.suffix for image in check_rows(read_rsna(src)).mammograms} == {".dcm"}


def test_facts_are_carried(tmp_path):
    images = by_name(read_rsna(write_rsna(tmp_path)))
    first = images["462822612"]
    assert (first.age, first.density, first.site, first.machine) == (61, 2, "1", "49")
    assert (first.implant, first.subtype) == ("no", "invasive")
    other = next(image for image in images.values() if image.patient_id == "10007" and image.label)
    assert (other.implant, other.subtype, other.density) == ("yes", "not invasive", None)
    assert all(image.subtype is None for image in images.values() if not image.label)
    assert {image.age for image in images.values() if image.patient_id == "10009"} == {None}


def test_folder_is_prepared(tmp_path):
    """Among the images are negatives, several windows and a window of the kind SIGMOID."""
    src = write_rsna(tmp_path / "src")
    several = {"WindowCenter": [2000, 1500], "WindowWidth": [4000, 3000], "VOILUTFunction": "SIGMOID"}
    first, second = sorted((src / "train_images/10009").glob("*.dcm"))[:2]
    write_image(first, 1, **several)
    write_image(second, 1, PhotometricInterpretation="MONOCHROME1", **several)
    broken = next((src / "train_images/10008").glob("*.dcm"))
    broken.write_bytes(broken.read_bytes()[:700])
    report, datalist = prepared("rsna", src, tmp_path / "out", window="auto")
    assert report["notes"]["images_by_SIGMOID"] == 2
    pair = [sample for sample in samples_of(datalist) if sample.get("window") == "SIGMOID"]
    assert sum(sample["mean"] for sample in pair) == pytest.approx(255, abs=5)  # one is the other's negative
    assert report["excluded_by_reason"] == {"view neither CC nor MLO": 1, "image not usable": 1}
    sample = next(sample for sample in samples_of(datalist) if sample["patient_id"] == "10006")
    assert (sample["machine"], sample["site"], sample["implant"]) == ("49", "1", "no")
    assert datalist["label_unit"] == "breast"
