"""Lesions of one's own data: rows of a table become outlines, and every row is used or excluded with its reason."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_own import write_own

from monai_e2e.data.images.dicom import read_mask
from monai_e2e.data.images.pixels import draw_outline
from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.data.records import Catalogue, DrawnAs, Lesion, LesionType, Pathology
from monai_e2e.data.sources.own import lesions as own_lesions
from monai_e2e.data.sources.own.reader import read_own
from monai_e2e.data.training.patches import cut_patches
from monai_e2e.errors import UserError

HEADER = "image,type,pathology,x,y,width,height,radius,polygon,mask"
LABELS = ("a.png,1,K1", "b.png,0,K2")
SIZE = (40, 60)


def read(tmp_path: Path, *rows: str, header: str = HEADER, labels: tuple[str, ...] = LABELS) -> Catalogue:
    """Read two empty images with these lesions, and check that no row of the two tables is lost."""
    src = write_own(tmp_path, *labels, header="image,label,patient_id", files=("a.png", "b.png", "c.png", "m.png"))
    (tmp_path / "lesions.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    catalogue = read_own(src, tmp_path / "labels.csv", tmp_path / "lesions.csv")
    used = sum(image.rows for image in catalogue.mammograms)
    assert catalogue.tables["rows"] == len(labels) + len(rows) == used + sum(item.rows for item in catalogue.excluded)
    assert catalogue.tables["lesion_rows"] == len(rows)
    return catalogue


def lesions(catalogue: Catalogue) -> tuple[Lesion, ...]:
    return catalogue.mammograms[0].lesions


def drawn(lesion: Lesion) -> np.ndarray:
    """The lesion on an image of :data:`SIZE`."""
    mask = draw_outline(lesion.outline, SIZE, SIZE)
    assert mask is not None
    return mask


def test_a_box_covers_its_width_and_height_from_its_first_pixel(tmp_path):
    (lesion,) = lesions(read(tmp_path, "a.png,mass,malignant,10,5,4,3,,,"))
    assert (lesion.type, lesion.pathology, lesion.number) == (LesionType.MASS, Pathology.MALIGNANT, 1)
    assert (lesion.drawn_as, lesion.rows) == (DrawnAs.BOX, 1)
    expected = np.zeros(SIZE, bool)
    expected[5:8, 10:14] = True
    np.testing.assert_array_equal(drawn(lesion), expected)


def test_decimal_commas_are_read_where_they_are_no_thousands(tmp_path):
    (lesion,) = lesions(read(tmp_path, 'a.png,mass,malignant,"10,5","5,25",4,3,,,'))
    assert lesion.outline[0] == (5.25, 10.5)
    excluded = read(tmp_path, 'a.png,mass,malignant,"1,210",5,4,3,,,').excluded
    assert any("x '1,210', write pixels such as 12 or 12.5" in item.reason for item in excluded)


@pytest.mark.parametrize("size", ["1,1", "0.4,0.4"])
def test_the_smallest_box_is_a_pixel(tmp_path, size):
    (lesion,) = lesions(read(tmp_path, f"a.png,mass,benign,10,5,{size},,,"))
    assert np.argwhere(drawn(lesion)).tolist() == [[5, 10]]


def test_a_circle_is_drawn_around_its_centre(tmp_path):
    (lesion,) = lesions(read(tmp_path, "a.png,Calcification,BENIGN,30,20,,,8.5,,"))
    assert (lesion.type, lesion.pathology) == (LesionType.CALCIFICATION, Pathology.BENIGN)
    assert lesion.drawn_as is DrawnAs.CIRCLE
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 20, columns - 30)
    mask = drawn(lesion)
    assert mask[distance <= 8].all()
    assert not mask[distance >= 9.5].any()


def test_a_polygon_has_columns_before_rows(tmp_path):
    (lesion,) = lesions(read(tmp_path, "a.png,mass,,,,,,,10 5  50 5 50 35.0,"))
    assert (lesion.type, lesion.pathology, lesion.drawn_as) == (LesionType.MASS, None, DrawnAs.POLYGON)
    assert lesion.outline == ((5, 10), (5, 50), (35, 50))


def test_a_mask_is_a_file_of_the_folder_and_no_image_without_row(tmp_path):
    catalogue = read(tmp_path, "a,,malignant,,,,,,,m.png")
    (lesion,) = lesions(catalogue)
    assert (lesion.type, lesion.pathology, lesion.drawn_as) == (None, Pathology.MALIGNANT, DrawnAs.MASK)
    assert lesion.mask_paths == ((tmp_path / "src" / "m.png").resolve(),)
    assert catalogue.notes == {"images_without_row": 1, "lesions_of_unknown_type_or_pathology": 1}  # c.png alone


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "a.png,mass,benign,,,,,,,",
            "lesion not of one shape: nothing filled in, allowed are x y width height, or x y",
        ),
        ("a.png,mass,benign,1,2,3,4,5,,", "lesion not of one shape: x y width height radius filled in"),
        ("a.png,mass,benign,1,2,3,4,,,m.png", "lesion not of one shape: x y width height mask filled in"),
        ("a.png,mass,benign,1,2,3,,,,", "lesion not of one shape: x y width filled in"),
        ("a.png,mass,benign,,,,,5,,", "lesion not of one shape: radius filled in"),
        ("a.png,mass,benign,1,2,,,,1 2 3 4 5 7,", "lesion not of one shape: x y polygon filled in"),
        ("a.png,mass,benign,1,2,0,4,,,", "lesion without area: x 1, y 2, width 0, height 4"),
        ("a.png,mass,benign,1,2,3,-4,,,", "lesion without area: x 1, y 2, width 3, height -4"),
        ("a.png,mass,benign,1,2,,,0,,", "lesion without area: x 1, y 2, radius 0"),
        ("a.png,mass,benign,,,,,,1 2 3 4,", "lesion without area: polygon 1 2 3 4"),
        ("a.png,mass,benign,,,,,,1 1 2 2 3 3,", "lesion without area: polygon 1 1 2 2 3 3"),
        ("a.png,mass,benign,1,2,three,4,,,", "lesion's numbers not understood: width 'three', write pixels"),
        ("a.png,mass,benign,1,nan,3,4,,,", "lesion's numbers not understood: y 'nan'"),
        ("a.png,mass,benign,1,2,inf,4,,,", "lesion's numbers not understood: width 'inf'"),
        ("a.png,mass,benign,1 2,2,3,4,,,", "lesion's numbers not understood: x '1 2'"),
        ('a.png,mass,benign,,,,,,"1,2 3,4 5,7",', "lesion's numbers not understood: polygon '1,2'"),
        ("a.png,mass,benign,,,,,,1 2 3 4 5,", "lesion's numbers not understood: polygon of 5, write x1 y1 x2 y2"),
        (
            "a.png,cyst,benign,1,2,3,4,,,",
            "lesion's type not understood: 'cyst', allowed are mass, calcification, empty",
        ),
        ("a.png,mass,cancer,1,2,3,4,,,", "lesion's pathology not understood: 'cancer', allowed are benign, malignant"),
        ("a.png,mass,benign,,,,,,,absent.png", "mask not usable: absent.png, file not on disk"),
        ("a.png,mass,benign,,,,,,,../m.png", "mask not usable: ../m.png, path leaves the folder"),
    ],
)
def test_unusable_lesions_are_excluded_and_keep_their_place_in_the_image(tmp_path, row, reason):
    catalogue = read(tmp_path, "a.png,mass,benign,20,20,5,5,,,", row)
    (item,) = (item for item in catalogue.excluded if item.rows)
    assert item.path == "lesions.csv, row 3: a.png"
    assert item.reason.startswith(reason)
    assert [bool(lesion.outline or lesion.mask_paths) for lesion in lesions(catalogue)] == [True, False]
    assert [lesion.rows for lesion in lesions(catalogue)] == [1, 0]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("absent.png", "lesion of an image that isn't there: file not on disk"),
        ("../a.png", "lesion of an image that isn't there: path leaves the folder"),
        ("", "lesion of an image that isn't there: no image named"),
        ("c.png", "lesion of an image that isn't used: it has no usable row in labels.csv"),
    ],
)
def test_lesions_without_their_image_are_excluded(tmp_path, image, reason):
    catalogue = read(tmp_path, f"{image},mass,benign,20,20,5,5,,,")
    (item,) = (item for item in catalogue.excluded if item.rows)
    assert item.path == f"lesions.csv, row 2: {image or 'no image'}"
    assert item.reason.startswith(reason)
    assert catalogue.notes["images_without_row"] == 2  # c.png and m.png: a lesion is no label


def test_lesions_of_an_excluded_image_go_with_it(tmp_path):
    labels = (*LABELS, "c.png,unsure,K3")
    catalogue = read(tmp_path, "c.png,mass,benign,20,20,5,5,,,", "c.png,mass,benign,30,20,5,5,,,", labels=labels)
    assert sum(item.rows for item in catalogue.excluded) == 3


def test_a_lesion_listed_twice_is_one(tmp_path):
    row = "a.png,mass,benign,20,20,5,5,,,"
    catalogue = read(tmp_path, row, row, "a.png,mass,malignant,20,20,5,5,,,")
    assert [(lesion.number, lesion.rows) for lesion in lesions(catalogue)] == [(1, 2), (2, 1)]


def test_malignant_lesions_on_negative_images_are_counted(tmp_path):
    catalogue = read(tmp_path, "b.png,mass,malignant,20,20,5,5,,,", "b.png,mass,benign,20,20,5,5,,,")
    assert catalogue.notes["malignant_lesions_on_images_labelled_0"] == 1


def test_lesions_may_stand_in_the_table_of_labels(tmp_path):
    header = "image,label,patient_id,type,pathology,x,y,width,height,mask"
    rows = ["a.png,1,K1,mass,malignant,1,2,3,4,", "a.png,1,K1,calcification,benign,,,,,m.png|m2.png", "b.png,0,K2"]
    rows += ["a.png,1,K1,mass,malignant,1,2,0,4,", "b.png,0,K2,none,normal,,,,,"]  # a word about the image
    src = write_own(tmp_path, *rows, header=header, files=("a.png", "b.png", "m.png", "m2.png"))
    catalogue = read_own(src, tmp_path / "labels.csv")
    assert [(lesion.drawn_as, lesion.type, lesion.rows) for lesion in lesions(catalogue)] == [
        (DrawnAs.BOX, LesionType.MASS, 0),
        (DrawnAs.MASK, LesionType.CALCIFICATION, 0),
        (DrawnAs.MASK, LesionType.CALCIFICATION, 0),
        (DrawnAs.MASK, None, 0),  # the one without area
    ]
    assert catalogue.mammograms[1].lesions == ()
    assert [(item.path, item.rows) for item in catalogue.excluded] == [("labels.csv, row 5: a.png", 0)]
    assert (catalogue.tables["rows"], [image.rows for image in catalogue.mammograms]) == (5, [3, 2])


def test_wrong_tables_say_what_to_do(tmp_path):
    src = write_own(tmp_path, *LABELS, header="image,label,patient_id")
    with pytest.raises(UserError, match=r"absent\.csv: no such table of lesions\. Write one row per lesion"):
        read_own(src, tmp_path / "labels.csv", tmp_path / "absent.csv")
    with pytest.raises(UserError, match=r"lesions\.csv: no columns that say where a lesion is; needed: x y width heig"):
        read(tmp_path, "a.png,1,2,3", header="image,x,y,width")
    with pytest.raises(UserError, match=r"lesions\.csv: column 'image' is missing"):
        read(tmp_path, "a.png,1,2,3", header="file,x,y,radius")


def test_example_of_the_documentation_works(tmp_path):
    lines = [line.strip() for line in own_lesions.__doc__.split("::\n")[1].strip().splitlines()[:5]]
    images = dict.fromkeys(row["image"] for row in csv.DictReader(lines))
    labels = [f"{name},{index % 2},K{index}" for index, name in enumerate(images)]
    files = (*images, "masks/0004.png")
    src = write_own(tmp_path, *labels, header="image,label,patient_id", files=files)
    (tmp_path / "lesions.csv").write_text("\n".join(lines), encoding="utf-8")
    catalogue = read_own(src, tmp_path / "labels.csv", tmp_path / "lesions.csv")
    assert catalogue.excluded == []
    kinds = [lesion.drawn_as.value for image in catalogue.mammograms for lesion in image.lesions]
    assert kinds == ["box", "circle", "polygon", "mask"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Twelve images of 40 × 60 with a box of known pathology each, and five rows of other kinds."""
    tmp_path = tmp_path_factory.mktemp("own")
    src = tmp_path / "src"
    src.mkdir()
    labels, rows = ["image,label,patient_id,partition"], [HEADER]
    for index in range(12):
        partition = ("training", "training", "training", "training", "validation", "test")[index // 2]
        Image.fromarray(np.tile(np.arange(SIZE[1], dtype=np.uint8) + index, (SIZE[0], 1))).save(src / f"{index}.png")
        labels.append(f"{index}.png,{index % 2},K{index},{partition}")
        rows.append(f"{index}.png,mass,{('benign', 'malignant')[index % 2]},20,10,12,8,,,")
    Image.fromarray(np.kron(np.eye(2), np.ones((20, 30))).astype(np.uint8) * 255).save(src / "mask.png")
    rows += ["0.png,mass,,,,,,,40 20 55 20 55 35 40 35,", "1.png,mass,benign,5,5,,,3,,", "2.png,,benign,,,,,,,mask.png"]
    rows += ["3.png,mass,benign,200,10,12,8,,,", "4.png,mass,benign,-50,-50,12,8,,,"]  # beyond two of the edges
    (src / "broken.png").write_bytes(b"no image")
    labels.append("broken.png,1,K99,test")
    rows += ["broken.png,mass,malignant,1,1,5,5,,,"] * 2
    for name, lines in (("labels.csv", labels), ("lesions.csv", rows)):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    tables = {"labels": tmp_path / "labels.csv", "lesions": tmp_path / "lesions.csv"}
    report = prepare_dataset("folder", src, tmp_path / "out", **tables, image_size=SIZE, workers=1)
    assert report["name"] == "out"  # a hospital's images have no name but that of their folder
    return tmp_path / "out", report


def test_lesions_become_masks_that_say_what_they_were_made_from(prepared):
    out, report = prepared
    content = json.loads((out / "datalist.json").read_text())
    samples = {s["image"]: s for name in ("training", "validation", "test") for s in content[name]}
    first = samples["images/K0.png"]["lesions"]
    assert [(lesion["drawn_as"], lesion["pathology"]) for lesion in first] == [("box", "benign"), ("polygon", None)]
    box = read_mask(out / first[0]["mask"])
    assert box.shape == SIZE
    assert box[10:18, 20:32].all()
    assert box.sum() == 96
    assert samples["images/K1.png"]["lesions"][1]["drawn_as"] == "circle"
    assert samples["images/K2.png"]["lesions"][1]["drawn_as"] == "mask"
    assert report["lesions_drawn_as"] == {"box": 12, "circle": 1, "mask": 1, "polygon": 1}
    assert "Lesions are marked by: box 12, circle 1" in (out / "report.md").read_text()


def test_a_split_of_the_table_is_called_so(prepared):
    assert prepared[1]["protocol"] == "given-in-table"


def test_every_row_of_both_tables_is_used_or_excluded(prepared):
    out, report = prepared
    assert report["tables"] == {"rows": 13 + 19, "lesion_rows": 19, "patients": 13, "files": 13, "views": None}
    assert (report["rows_used"], report["rows_excluded"]) == (27, 5)
    assert report["excluded_by_reason"] == {"image not usable": 3, "lesion outside the image": 2}
    with (out / "excluded.csv").open(newline="", encoding="utf-8") as file:
        assert sum(int(row["rows"]) for row in csv.DictReader(file)) == 5
    assert re.search("32 rows, .*19 of the rows are lesions", (out / "report.md").read_text())


def test_patches_are_cut_from_lesions_of_known_class_alone(prepared):
    patches = cut_patches(prepared[0], "training", 16, workers=1)
    counts = np.bincount([patch["label"] for patch in patches], minlength=5).tolist()
    assert counts[1:] == [0, 0, 50, 40]
    background = {patch["source"] for patch in patches if patch["label"] == 0}
    assert background == {f"K{index}" for index in (0, 1, 2, 5, 6, 7)}  # 3 and 4 have a lesion of unknown place
