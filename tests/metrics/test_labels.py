"""Labels of any origin meet the predictions of the same image, and what doesn't meet is said."""

import json
import unicodedata

import pytest

from monai_e2e.errors import UserError
from monai_e2e.metrics import join_labels, lesion_types, read_labels, require_labels


def predictions(*images: str, **more) -> list[dict]:
    return [{"image": image, "logit": 0.0, "label": None, "patient_id": "", "flags": "", **more} for image in images]


def table(tmp_path, text: str):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def prepared(tmp_path):
    sample = {"label": 1, "patient_id": "P1", "laterality": "LEFT", "view": "CC", "density": 2}
    lesions = [{"mask": "m.png", "type": kind} for kind in ("mass", "calcification", "mass", None)]
    datalist = {
        "image_size": [8, 8],
        "pixel_mean": 1.0,
        "training": [{"image": "images/T1.png", "label": 0, "patient_id": "T1", "lesions": []}],
        "validation": [],
        "test": [{**sample, "image": "images/P1_LEFT_CC.png", "lesions": lesions}],
    }
    (tmp_path / "datalist.json").write_text(json.dumps(datalist), encoding="utf-8")
    return tmp_path


def test_labels_and_facts_of_a_table_are_joined_by_image_whatever_its_ending(tmp_path):
    path = table(
        tmp_path,
        "image,label,patient_id,laterality,view,density,lesion_type\na\\1.dcm,malignant,K1,L,ML,c,mass\nb/2.PNG,0,,,,,\n",
    )
    rows, notes = join_labels(predictions("b/2", "a/1"), read_labels(path), path)
    assert [row["label"] for row in rows] == [0, 1]
    assert (rows[1]["patient_id"], rows[1]["laterality"], rows[1]["view"]) == ("K1", "LEFT", "MLO")
    assert (rows[1]["density"], rows[1]["lesion_type"]) == (3, "mass")
    assert notes == []


def test_names_in_either_form_of_unicode_meet(tmp_path):
    path = table(tmp_path, "image,label\n./Müller/1.dcm,True\n")
    rows, _ = join_labels(predictions(unicodedata.normalize("NFD", "Müller/1")), read_labels(path), path)
    assert rows[0]["label"] == 1


def test_prepared_folder_gives_labels_density_and_lesions(tmp_path):
    labels = read_labels(prepared(tmp_path))
    (row,), notes = join_labels(predictions("P1_LEFT_CC"), labels, tmp_path)
    assert (row["label"], row["patient_id"], row["density"]) == (1, "P1", 2)
    assert row["lesion_type"] == "calcification+mass"
    assert notes == []  # that the training image has no prediction is as it should be


def test_training_images_among_those_scored_are_pointed_out(tmp_path):
    _, notes = join_labels(predictions("P1_LEFT_CC", "T1"), read_labels(prepared(tmp_path)), tmp_path)
    assert notes == [
        "The images are of the partitions 1 training, 1 test: a model scores too well on what it was trained on."
    ]


def test_labels_without_predictions_are_counted_and_named(tmp_path):
    path = table(tmp_path, "image,label\n" + "".join(f"f{i},0\n" for i in range(9)))
    _, notes = join_labels(predictions("f0"), read_labels(path), path)
    assert notes == ["8 labelled images of labels.csv have no prediction: f1, f2, f3, f4, f5 and 3 more."]


def test_labels_that_differ_from_the_predictions_own_count_and_are_pointed_out(tmp_path):
    path = table(tmp_path, "image,label\na,1\nb,\n")
    rows, notes = join_labels(predictions("a", "b", label=0), read_labels(path), path)
    assert [row["label"] for row in rows] == [1, 0]
    assert notes == ["1 labels differ from those in the predictions and count instead: a."]


def test_no_image_in_common_is_an_error_that_shows_both_ways_of_naming(tmp_path):
    path = table(tmp_path, "image,label\nimage 1,0\n")
    with pytest.raises(UserError, match=r"none of its 1 images \(image 1\) is among the 1 predictions \(a/1\)"):
        join_labels(predictions("a/1"), read_labels(path), path)


def test_two_predictions_for_one_label_are_an_error(tmp_path):
    path = table(tmp_path, "image,label\na,0\n")
    with pytest.raises(UserError, match="image 'a' fits several predictions"):
        join_labels(predictions("a.dcm", "a.png"), read_labels(path), path)


def test_missing_labels_are_an_error_or_dropped_and_counted():
    rows = [{**row, "label": label} for row, label in zip(predictions(*"abc"), (0, None, 1), strict=True)]
    with pytest.raises(UserError, match=r"p.csv: 1 of 3 images have no label: b; .*--drop-unlabelled"):
        require_labels(rows, "p.csv")
    kept, notes = require_labels(rows, "p.csv", drop_unlabelled=True)
    assert [row["image"] for row in kept] == ["a", "c"]
    assert notes == ["1 images without label were left out: b."]
    with pytest.raises(UserError, match="none of the 2 images has a label; give them by --labels"):
        require_labels(predictions("a", "b"), "p.csv", drop_unlabelled=True)


def test_lesion_types_are_words_in_alphabetical_order():
    assert lesion_types([{"type": "mass"}, {"type": "calcification"}, {"type": None}]) == "calcification+mass"
    assert lesion_types([]) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n", "the table has no row"),
        ("image\na\n", "column 'label' is missing"),
        ("image,label\n,1\n", "row 2: no image named"),
        ("image,label\na,7\n", "row 2: label '7'; allowed are"),
        ("image,label\na,1\nb,4a\n", "row 3: label '4a' looks like a BI-RADS category"),
        ("image,label\na,1\na.dcm,0\n", "row 3: image 'a.dcm' was listed before with other values"),
        ("image,label,laterality\na,1,B\n", "laterality 'B'; allowed are"),
        ("image,label,density\na,1,dense\n", "density 'dense'"),
    ],
)
def test_bad_table_is_an_error_that_names_file_and_row(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        read_labels(path)
    assert str(caught.value).startswith(str(path))


def test_folder_that_was_not_prepared_is_an_error(tmp_path):
    with pytest.raises(UserError, match="not a prepared folder"):
        read_labels(tmp_path)


def test_image_listed_twice_with_the_same_values_is_fine(tmp_path):
    assert len(read_labels(table(tmp_path, "image,label\na,1\na,1\n"))) == 1
