"""mini-MIAS: several rows per image, the origin at the bottom, missing places, sides by odd and even numbers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from release_files import by_name, check_rows, pixels, prepared, samples_of

from monai_e2e.data.records import DrawnAs, Laterality, LesionType, Pathology, View
from monai_e2e.data.sources.mias import read_mias
from monai_e2e.errors import UserError

PROSE = "MAMMOGRAPHIC IMAGE ANALYSIS SOCIETY\n\n1st column: reference number, such as mdb001\n\n"
KAGGLE = "REFNUM BG CLASS SEVERITY X Y RADIUS \n"


def rows() -> list[str]:
    """12 patients, two images each; those of patients 1–4 malignant, 5–6 benign, the others normal."""
    lines = ["mdb001 G CIRC M 535 425 197 ", "mdb002 G CIRC B 522 280 69", "mdb002 G SPIC M 500 300 40"]
    lines += ["mdb003 D CALC M *NOTE 3*", "mdb004 D ARCH M 100 900 30"]
    lines += [f"mdb{number:03d} F MISC M 200 200 20" for number in (5, 6, 7, 8)]
    lines += [f"mdb{number:03d} F ASYM B 200 200 20" for number in (9, 10, 11, 12)]
    return [*lines, *(f"mdb{number:03d} F NORM " for number in range(13, 25))]


def write_mias(folder: Path, header: str = PROSE, suffix: str = ".pgm", side: int = 1024) -> Path:
    (folder / "all-mias").mkdir(parents=True)
    for number in range(1, 25):
        Image.fromarray(pixels(number, (side, side))).save(folder / "all-mias" / f"mdb{number:03d}{suffix}")
    (folder / "all-mias" / "Info.txt").write_text(header + "\n".join(rows()) + "\n")
    return folder


@pytest.mark.parametrize(("header", "suffix"), [(PROSE, ".pgm"), (KAGGLE, ".png")])
def test_both_forms_of_the_table_are_read(tmp_path, header, suffix):
    catalogue = check_rows(read_mias(write_mias(tmp_path, header, suffix)))
    assert catalogue.tables == {"rows": 25, "patients": 12, "files": 24, "views": 24}
    images = by_name(catalogue)
    assert [images[f"mdb{number:03d}"].label for number in (1, 2, 4, 9, 13)] == [1, 1, 1, 0, 0]
    assert (images["mdb001"].laterality, images["mdb002"].laterality) == (Laterality.RIGHT, Laterality.LEFT)
    assert images["mdb001"].patient_id == images["mdb002"].patient_id != images["mdb003"].patient_id
    assert {image.view for image in catalogue.mammograms} == {View.MLO}
    assert images["mdb001"].density is None  # a tissue is no density


def test_rows_of_an_image_add_up_and_y_counts_from_below(tmp_path):
    image = by_name(read_mias(write_mias(tmp_path)))["mdb002"]
    assert [(lesion.number, lesion.type, lesion.pathology) for lesion in image.lesions] == [
        (1, LesionType.MASS, Pathology.BENIGN),
        (2, LesionType.MASS, Pathology.MALIGNANT),
    ]
    centre = np.mean(image.lesions[0].outline, axis=0)
    np.testing.assert_allclose(centre, (1024 - 280, 522), atol=1e-6)
    assert image.lesions[0].drawn_as is DrawnAs.CIRCLE
    assert image.rows == 2


def test_lesion_without_a_place_keeps_its_label(tmp_path):
    catalogue = read_mias(write_mias(tmp_path))
    image = by_name(catalogue)["mdb003"]
    assert (image.label, image.lesions[0].type, image.lesions[0].outline) == (1, LesionType.CALCIFICATION, ())
    assert catalogue.notes == {"lesions_without_a_place": 1}
    assert by_name(catalogue)["mdb004"].lesions[0].type is None  # a distortion


def test_folder_is_prepared(tmp_path):
    report, datalist = prepared("mias", write_mias(tmp_path / "src"), tmp_path / "out")
    assert report["images_by_class"] == {"not malignant": 16, "malignant": 8}
    assert (datalist["label_source"], datalist["label_unit"]) == ("pathology", "image")
    assert len(samples_of(datalist)) == 24


def test_circles_lie_where_they_do_on_smaller_copies_too(tmp_path):
    for side in (1024, 256):
        write_mias(tmp_path / f"{side}", side=side)
        report, datalist = prepared("mias", tmp_path / f"{side}", tmp_path / f"out{side}")
        assert report["lesions_drawn_as"] == {"circle": 12}
    names = [lesion["mask"] for sample in samples_of(datalist) for lesion in sample["lesions"]]
    masks = [[Image.open(tmp_path / f"out{side}" / name).tobytes() for name in names] for side in (1024, 256)]
    assert masks[0] == masks[1]


def test_folder_without_the_table_says_what_is_wanted(tmp_path):
    write_mias(tmp_path)
    (tmp_path / "all-mias" / "Info.txt").unlink()
    with pytest.raises(UserError, match=r"mdb001 G CIRC B 535 425 197"):
        read_mias(tmp_path)
