"""VinDr-Mammo: BI-RADS as words, lists in strings, boxes of findings, its own split."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from release_files import by_name, check_rows, pixels, prepared, reasons, samples_of, write_csv, write_image

from monai_e2e.data.prepared.datalist import fingerprint, labels_in_words
from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.data.records import DrawnAs, LesionType, Pathology
from monai_e2e.data.sources.vindr import read_vindr
from monai_e2e.errors import UserError

#: Of each study the BI-RADS of the left and the right breast.
STUDIES = [(5, 1), (4, 2), (4, 1), (5, 2), (4, 1), (1, 1), (2, 1), (1, 2), (1, 1), (3, 1), (4, 3), (1, 1)]


def write_vindr(folder: Path, boxes: bool = True, studies: list[tuple[int, int]] = STUDIES) -> Path:
    images, findings = [], []
    for study, pair in enumerate(studies):
        for side, birads in zip("LR", pair, strict=True):
            for view in ("CC", "MLO"):
                row = {
                    "study_id": f"study{study:02d}",
                    "series_id": f"series{study}",
                    "image_id": f"{study:02d}{side}{view}",
                    "laterality": side,
                    "view_position": view,
                    "height": 24,
                    "width": 20,
                    "breast_birads": f"BI-RADS {birads}",
                    "breast_density": "" if study == 1 else f"DENSITY {'ABCD'[study % 4]}",
                    "split": "test" if study in (3, 4, 7, 8) else "training",
                }
                images.append(row)
                write_image(folder / "images" / row["study_id"] / f"{row['image_id']}.dicom", len(images))
                finding = {"finding_categories": "['No Finding']", "finding_birads": ""}
                box = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), "")
                if birads >= 4 and boxes:
                    finding = {"finding_categories": "['Mass']", "finding_birads": f"BI-RADS {birads}"}
                    box = {"xmin": 2.0, "ymin": 3.0, "xmax": 9.5, "ymax": 12.0}
                findings.append({**row, **finding, **box})
    more = {
        "00LCC": ["['Suspicious Calcification', 'Mass']", "['Suspicious Calcification']", "['Skin Thickening']"],
        "09LCC": ["['Focal Asymmetry']"],  # on an image of BI-RADS 3
    }
    for image, kinds in more.items() if boxes else ():
        row = next(row for row in images if row["image_id"] == image)
        for number, kind in enumerate(kinds):
            place = {"xmin": 1, "ymin": 1 + number, "xmax": 5, "ymax": 9}
            findings.append({**row, "finding_categories": kind, "finding_birads": "BI-RADS 3", **place})
    write_csv(
        folder / "metadata.csv",
        [
            {
                "SOP Instance UID": row["image_id"],
                "Image Type": "['ORIGINAL', 'PRIMARY']",
                "Manufacturer's Model Name": "Planmed Nuance",
                "Patient's Age": "045Y" if row["laterality"] == "L" else "000Y",
                "Manufacturer": "Planmed",
            }
            for row in images
        ],
    )
    (folder / "SHA256SUMS.txt").write_text("0" * 64 + "  metadata.csv\n")
    write_csv(folder / "breast-level_annotations.csv", images)
    write_csv(folder / "finding_annotations.csv", findings)
    return folder


def test_label_is_the_breasts_birads(tmp_path):
    catalogue = check_rows(read_vindr(write_vindr(tmp_path)))
    images = by_name(catalogue)
    assert [images[name].label for name in ("00LCC", "00LMLO", "00RCC", "01RCC")] == [1, 1, 0, 0]
    assert "09LCC" not in images  # BI-RADS 3
    assert reasons(catalogue) == {"BI-RADS 3": 4, "finding of an image that isn't used": 1}
    assert (images["00LCC"].density, images["01LCC"].density) == (1, None)
    assert catalogue.tables == {"rows": 64, "patients": 12, "files": 48, "views": 48, "lesion_rows": 16}


def test_birads_5_alone_leaves_4_out(tmp_path):
    catalogue = check_rows(read_vindr(write_vindr(tmp_path), positive="birads5"))
    assert sum(image.label for image in catalogue.mammograms) == 4
    assert reasons(catalogue)["BI-RADS 4"] == 8


@pytest.mark.parametrize(
    ("rule", "said", "classes"),
    [
        ("birads4", "BI-RADS 4 and 5 positive", ["BI-RADS 1-2", "BI-RADS 4-6"]),
        ("birads5", "BI-RADS 5 positive", ["BI-RADS 1-2", "BI-RADS 5-6"]),
    ],
)
def test_data_list_and_report_state_the_rule_that_was_used(tmp_path, rule, said, classes):
    write_vindr(tmp_path / "src", studies=[(5, 1), (1, 2)] * 6)
    prepare_dataset(
        "vindr", tmp_path / "src", tmp_path / "out", image_size=(40, 32), workers=1, protocol="patients", positive=rule
    )
    datalist = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert datalist["label_rule"].startswith(said)
    assert datalist["classes"] == classes
    assert datalist["options"] == {"positive": rule}
    assert said in labels_in_words(fingerprint(tmp_path / "out"))
    report = (tmp_path / "out" / "report.md").read_text()
    assert f"one for each breast: {said}" in report
    assert f"Options: positive {rule}." in report


def test_boxes_are_lesions_of_the_classes_that_are_known(tmp_path):
    lesions = by_name(read_vindr(write_vindr(tmp_path)))["00LCC"].lesions
    assert [(lesion.type, lesion.pathology, lesion.drawn_as) for lesion in lesions] == [
        (LesionType.MASS, Pathology.MALIGNANT, DrawnAs.BOX),
        (None, Pathology.BENIGN, DrawnAs.BOX),  # both at once
        (LesionType.CALCIFICATION, Pathology.BENIGN, DrawnAs.BOX),
        (None, Pathology.BENIGN, DrawnAs.BOX),
    ]
    assert np.min(lesions[0].outline, axis=0).tolist() == [3, 2]


def test_age_and_machine_are_those_of_the_headers_table(tmp_path, caplog):
    write_vindr(tmp_path)
    images = by_name(read_vindr(tmp_path))
    assert (images["00LCC"].age, images["00LCC"].vendor, images["00LCC"].machine) == (45, "Planmed", "Planmed Nuance")
    assert images["00RCC"].age is None
    table = tmp_path / "metadata.csv"
    table.write_text(table.read_text() + 'stray,"quote"s,x\n')
    assert by_name(read_vindr(tmp_path))["00LCC"].age is None
    assert "metadata.csv, row 50" in caplog.text
    assert "ages and vendors stay unknown" in caplog.text


def test_findings_of_an_image_of_no_known_partition_are_rows_of_the_exclusions(tmp_path):
    table = write_vindr(tmp_path) / "breast-level_annotations.csv"
    table.write_text(table.read_text().replace("BI-RADS 5,DENSITY A,training", "BI-RADS 5,DENSITY A,other", 1))
    assert reasons(check_rows(read_vindr(tmp_path)))["split not understood"] == 1


def test_damaged_findings_are_rows_of_the_exclusions(tmp_path):
    table = write_vindr(tmp_path) / "finding_annotations.csv"
    table.write_text(table.read_text().replace("['Skin Thickening']", "Skin").replace("1,3,5,9", "1,3,1,9"))
    assert reasons(check_rows(read_vindr(tmp_path)))["finding not understood"] == 1


def test_own_split_is_kept_and_validation_comes_from_training(tmp_path):
    write_vindr(tmp_path / "src")
    report, datalist = prepared("vindr", tmp_path / "src", tmp_path / "out")
    assert datalist["protocol"] == "given"
    assert {sample["patient_id"] for sample in datalist["test"]} == {"study03", "study04", "study07", "study08"}
    assert datalist["label_source"] == "BI-RADS"
    assert report["lesions_drawn_as"] == {"box": 15}
    _, ours = prepared("vindr", tmp_path / "src", tmp_path / "ours", protocol="patients")
    assert ours["protocol"] == "patients-70-15-15"
    assert {sample["image"] for sample in samples_of(ours)} == {sample["image"] for sample in samples_of(datalist)}


@pytest.mark.parametrize(("size", "drawn"), [((48, 40), 15), ((12, 12), 0)])
def test_boxes_are_scaled_to_copies_of_another_size_and_left_out_on_those_of_another_shape(tmp_path, size, drawn):
    """The table has the size of the original, and copies as PNG are often of another one."""
    write_vindr(tmp_path / "src")
    prepared("vindr", tmp_path / "src", tmp_path / "out")
    for number, path in enumerate(sorted((tmp_path / "src").rglob("*.dicom"))):
        Image.fromarray(pixels(number, size)).save(path.with_suffix(".png"))
        path.unlink()
    report, copies = prepared("vindr", tmp_path / "src", tmp_path / "copies")
    assert report["lesions_drawn_as"] == ({"box": drawn} if drawn else {})
    assert report["excluded_by_reason"].get("outline and image differ in shape", 0) == 15 - drawn
    masks = [lesion["mask"] for sample in samples_of(copies) for lesion in sample["lesions"]]
    assert len(masks) == drawn
    for name in masks:
        first, second = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("out", "copies"))
        assert np.mean(first != second) < 0.1


def test_images_for_processing_are_left_out_and_either_polarity_is_read(tmp_path):
    src = write_vindr(tmp_path / "src")
    write_image(src / "images/study05/05LCC.dicom", 1, PhotometricInterpretation="MONOCHROME1")
    write_image(src / "images/study05/05RCC.dicom", 1, PresentationIntentType="FOR PROCESSING")
    report, datalist = prepared("vindr", src, tmp_path / "out")
    names = {sample["image"] for sample in samples_of(datalist)}
    assert "images/study05_LEFT_CC.png" in names
    assert "images/study05_RIGHT_CC.png" not in names
    assert report["excluded_by_reason"]["image not usable"] == 1
    assert "FOR PROCESSING" in (tmp_path / "out" / "excluded.csv").read_text()


def test_tables_alone_are_enough_for_a_dry_run(tmp_path):
    write_vindr(tmp_path / "src")
    for path in (tmp_path / "src" / "images").rglob("*.dicom"):
        path.unlink()
    report = prepare_dataset("vindr", tmp_path / "src", tmp_path / "out", dry_run=True)
    assert report["partitions"]["test"]["images"] == 16


def test_option_is_checked(tmp_path):
    with pytest.raises(UserError, match=r"--positive 'birads3': choose one of birads4, birads5"):
        prepare_dataset("vindr", tmp_path, tmp_path / "out", positive="birads3")
    with pytest.raises(UserError, match=r"--positive is for vindr and csaw-cc and kau-bcmd, not for mias"):
        prepare_dataset("mias", tmp_path, tmp_path / "out", positive="birads4")
