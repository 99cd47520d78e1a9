"""Joining CBIS-DDSM's tables and files, on made-up tables and on phantoms with every defect in all three layouts."""

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_dicom import write_dicom

from monai_e2e.data.phantom import write_cbis_ddsm
from monai_e2e.data.prepared.splits import split_images
from monai_e2e.data.records import Catalogue, LesionType, Mammogram, Pathology
from monai_e2e.data.sources.cbis_ddsm.files import ImageFile, Images
from monai_e2e.data.sources.cbis_ddsm.reader import read_cbis_ddsm
from monai_e2e.data.sources.disk import has_images
from monai_e2e.errors import UserError

REAL_TABLES = os.environ.get("MONAI_E2E_REAL_TABLES")
COLUMNS = [
    "patient_id",
    "breast density",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "pathology",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
]


def image_pixels(rows: int = 64, columns: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (rows, columns)).astype(np.uint16)


def mask_pixels(rows: int = 64, columns: int = 48) -> np.ndarray:
    mask = np.zeros((rows, columns), np.uint8)
    mask[rows // 4 : rows // 2, columns // 4 : columns // 2] = 255
    return mask


def assert_reconciled(catalogue: Catalogue) -> None:
    """Every row of the tables is either used or excluded, and only once."""
    used = sum(mammogram.rows for mammogram in catalogue.mammograms)
    assert catalogue.tables["rows"] == used + sum(item.rows for item in catalogue.excluded)
    for mammogram in catalogue.mammograms:
        assert mammogram.rows == sum(lesion.rows for lesion in mammogram.lesions)
    names = [(mammogram.partition, mammogram.image_id) for mammogram in catalogue.mammograms]
    assert len(set(names)) == len(names)


def kinds(catalogue: Catalogue, rows: int | None = None) -> Counter[str]:
    """Exclusions by kind; with ``rows``, those that cost so many rows."""
    return Counter(item.reason.split(":")[0] for item in catalogue.excluded if rows in (None, item.rows))


class CbisFolder:
    """Writes tables and images one lesion at a time, in the classic or the descriptive layout or as JPEG."""

    def __init__(self, root: Path, layout: str = "classic"):
        self.root, self.layout, self.mammograms, self.count = root, layout, {}, 0
        self.rows: dict[str, list[list[str]]] = {}
        self.info: list[list[str]] = []
        root.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        patient: str,
        side: str = "LEFT",
        view: str = "CC",
        *,
        kind: str = "mass",
        half: str = "train",
        pathology: str = "BENIGN",
        mask: np.ndarray | None = None,
        crop: np.ndarray | None = None,
        mammogram: np.ndarray | None = None,
        mask_first: bool = True,
    ) -> str:
        prefix = f"{'Calc' if kind == 'calcification' else 'Mass'}-{'Training' if half == 'train' else 'Test'}"
        name = f"{prefix}_{patient}_{side}_{view}"
        table = f"{'calc' if kind == 'calcification' else 'mass'}_case_description_{half}_set.csv"
        if name not in self.mammograms:
            pixels = image_pixels(seed=len(self.mammograms)) if mammogram is None else mammogram
            self.mammograms[name] = self._series(name, [pixels])[0]
        rows = self.rows.setdefault(table, [])
        number = 1 + sum(row[7] == self.mammograms[name] for row in rows)
        pair = [mask_pixels() if mask is None else mask, image_pixels(16, 16) if crop is None else crop]
        order = pair if mask_first else pair[::-1]
        # Both paths may name the same file, as 104 real rows do.
        path = self._series(f"{name}_{number}", order)[0]
        rows.append([patient, "2", side, view, str(number), kind, pathology, self.mammograms[name], path + "\n", path])
        return name

    def _series(self, name: str, images: list[np.ndarray]) -> list[str]:
        self.count += 1
        study, series = f"1.2.3.{self.count}", f"1.2.4.{self.count}"
        folder = self.root / name
        folder /= f"{study}/{series}" if self.layout == "classic" else f"date-{study[-5:]}/1.000-{series[-5:]}"
        for i, pixels in enumerate(images):
            if self.layout == "jpeg":
                path = self.root / "jpeg" / series / f"{i + 1}-{self.count:03d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((pixels >> (8 * (pixels.itemsize - 1))).astype(np.uint8)).save(path)
                described = "cropped images" if pixels.shape == (16, 16) else ""
                self.info.append([f"CBIS-DDSM/{path.relative_to(self.root)}", series, described])
            else:
                file = f"{i:06d}.dcm" if self.layout == "classic" else f"1-{i + 1}.dcm"
                write_dicom(folder / file, pixels, SeriesInstanceUID=series)
        return [f"{name}/{study}/{series}/{i:06d}.dcm" for i in range(len(images))]

    def write(self) -> Path:
        for table, rows in self.rows.items():
            density = COLUMNS[1] if table.startswith("calc") else COLUMNS[1].replace(" ", "_")
            with (self.root / table).open("w", newline="") as file:
                csv.writer(file).writerows([[COLUMNS[0], density, *COLUMNS[2:]], *rows])
        if self.info:
            with (self.root / "dicom_info.csv").open("w", newline="") as file:
                csv.writer(file).writerows([["image_path", "SeriesInstanceUID", "SeriesDescription"], *self.info])
        return self.root


@pytest.mark.parametrize("layout", ["classic", "descriptive", "jpeg"])
def test_rows_and_files_are_joined_in_all_layouts(tmp_path, layout):
    folder = CbisFolder(tmp_path / "src", layout)
    folder.add("P_00001", "LEFT", "CC", pathology="MALIGNANT")
    folder.add("P_00001", "LEFT", "MLO", pathology="BENIGN")
    folder.add("P_00002", "RIGHT", "CC", kind="calcification", pathology="BENIGN_WITHOUT_CALLBACK", half="test")
    catalogue = read_cbis_ddsm(folder.write())
    found = {mammogram.image_id: mammogram for mammogram in catalogue.mammograms}
    assert {name: mammogram.label for name, mammogram in found.items()} == {
        "P_00001_LEFT_CC": 1,
        "P_00001_LEFT_MLO": 0,
        "P_00002_RIGHT_CC": 0,
    }
    assert [found[name].partition for name in sorted(found)] == ["training", "training", "test"]
    calc = found["P_00002_RIGHT_CC"]
    assert calc.density == 2
    assert calc.path.is_file()
    assert calc.lesions[0].type is LesionType.CALCIFICATION
    assert calc.lesions[0].pathology is Pathology.BENIGN
    assert len(calc.lesions[0].mask_paths) == 2
    assert catalogue.excluded == []
    assert catalogue.tables == {"rows": 3, "patients": 2, "files": 3, "views": 3}
    assert_reconciled(catalogue)


def test_view_listed_under_mass_and_calc_is_one_mammogram(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001", kind="mass", pathology="BENIGN")
    folder.add("P_00001", kind="mass", pathology="BENIGN")
    folder.add("P_00001", kind="calcification", pathology="MALIGNANT")
    folder.add("P_00002")
    catalogue = read_cbis_ddsm(folder.write())
    assert len(catalogue.mammograms) == 2
    merged = next(mammogram for mammogram in catalogue.mammograms if mammogram.patient_id == "P_00001")
    assert merged.label == 1
    assert Counter(lesion.type.value for lesion in merged.lesions) == {"mass": 2, "calcification": 1}
    assert merged.rows == 3
    assert catalogue.tables == {"rows": 4, "patients": 2, "files": 3, "views": 2}
    assert catalogue.notes == {
        "images_merged": 1,
        "views_with_several_lesions": 1,
        "views_both_benign_and_malignant": 1,
        "views_in_both_halves": 0,
        "patients_in_both_halves": 0,
        "training_rows_of_test_views": 0,
        "test_views_malignant_by_training_rows_alone": 0,
        "files_not_in_tables": 0,
    }


def test_each_file_is_a_sample_with_its_own_rows_where_asked(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001", kind="mass", pathology="BENIGN")
    folder.add("P_00001", kind="mass", pathology="BENIGN")
    folder.add("P_00001", kind="calcification", pathology="MALIGNANT")
    folder.add("P_00001", kind="mass", half="test")
    folder.add("P_00002")
    catalogue = read_cbis_ddsm(folder.write(), samples="files", merge_halves=True)
    assert {
        mammogram.image_id: (mammogram.label, mammogram.rows, mammogram.partition) for mammogram in catalogue.mammograms
    } == {
        "P_00001_LEFT_CC_Mass": (0, 1, "test"),
        "P_00001_LEFT_CC_Mass2": (0, 2, "training"),
        "P_00001_LEFT_CC_Calc": (1, 1, "training"),
        "P_00002_LEFT_CC": (0, 1, "training"),
    }
    assert len({mammogram.path for mammogram in catalogue.mammograms}) == 4
    assert catalogue.notes["images_merged"] == 0
    assert_reconciled(catalogue)
    with pytest.raises(UserError, match="samples 'image': choose one of views, files"):
        read_cbis_ddsm(tmp_path / "src", samples="image")


@pytest.mark.parametrize("samples", ["views", "files"])
def test_tables_alone_give_the_same_mammograms_without_any_image(tmp_path, samples):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001", pathology="MALIGNANT")
    folder.add("P_00001", kind="calcification")
    folder.add("P_00002")
    folder.add("P_00003", pathology="UNSURE")
    src = folder.write()
    joined = read_cbis_ddsm(src, samples=samples)
    for entry in src.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    assert not has_images(src)
    alone = read_cbis_ddsm(src, samples=samples, tables_only=True)
    assert [(mammogram.image_id, mammogram.label, mammogram.rows) for mammogram in alone.mammograms] == [
        (mammogram.image_id, mammogram.label, mammogram.rows) for mammogram in joined.mammograms
    ]
    assert all(mammogram.path is None for mammogram in alone.mammograms)
    assert {(lesion.rows, lesion.mask_paths) for mammogram in alone.mammograms for lesion in mammogram.lesions} == {
        (1, ())
    }
    assert alone.tables == joined.tables
    assert kinds(alone) == {"table row not understood": 1}
    assert_reconciled(alone)


def test_counts_of_a_made_up_table_are_exact(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    for number in range(6):
        for view in ("CC", "MLO"):
            pathology = "MALIGNANT" if number % 3 == 0 else "BENIGN"
            folder.add(f"P_{number:05d}", view=view, pathology=pathology, half="test" if number == 5 else "train")
    folder.add("P_00005", "RIGHT", kind="calcification")
    catalogue = read_cbis_ddsm(folder.write())
    assert len(catalogue.mammograms) == 13
    assert sum(mammogram.label for mammogram in catalogue.mammograms) == 4
    assert Counter(mammogram.partition for mammogram in catalogue.mammograms) == {"training": 11, "test": 2}
    assert catalogue.notes["patients_in_both_halves"] == 1
    assert catalogue.notes["views_in_both_halves"] == 0


def halves_that_share_a_view(root: Path) -> Path:
    """Of 12 + 6 patients, P_00000 is in both halves: LEFT CC in both, malignant by the training rows alone."""
    folder = CbisFolder(root)
    for number in range(12):
        pathology = "MALIGNANT" if number % 2 == 0 else "BENIGN"
        folder.add(f"P_{number:05d}", pathology=pathology)
        folder.add(f"P_{number:05d}", view="MLO", pathology=pathology)
    folder.add("P_00000", kind="calcification", half="test", pathology="BENIGN")
    for number in range(20, 26):
        folder.add(f"P_{number:05d}", half="test", pathology="MALIGNANT" if number % 2 else "BENIGN")
    return folder.write()


def ids(mammograms: list[Mammogram]) -> list[tuple[str, int, int]]:
    return [(mammogram.image_id, mammogram.label, mammogram.rows) for mammogram in mammograms]


@pytest.mark.parametrize("samples", ["views", "files"])
def test_protocol_paper_does_not_depend_on_the_test_tables(tmp_path, samples):
    src = halves_that_share_a_view(tmp_path)
    with_all = read_cbis_ddsm(src, samples, tables_only=True)
    split = split_images(with_all, "paper", seed=0)
    for table in src.glob("*_test_set.csv"):
        table.unlink()
    alone = split_images(read_cbis_ddsm(src, samples, tables_only=True), "paper", seed=0)
    assert {name: ids(mammograms) for name, mammograms in split.partitions.items()} == {
        name: ids(mammograms) for name, mammograms in alone.partitions.items()
    }
    assert sum(item.rows for item in split.left_out) == 7
    assert alone.left_out == []
    assert_reconciled(with_all)


@pytest.mark.parametrize("samples", ["views", "files"])
def test_protocol_official_follows_the_test_tables_and_tells_what_contradicts_them(tmp_path, samples):
    catalogue = read_cbis_ddsm(halves_that_share_a_view(tmp_path), samples)
    split = split_images(catalogue, "official", seed=0)
    assert ids(split.partitions["test"])[0] == ("P_00000_LEFT_CC", 0, 1)
    assert sum(mammogram.label for mammogram in split.partitions["test"]) == 3
    assert {mammogram.patient_id for mammogram in split.partitions["training"] + split.partitions["validation"]} == {
        f"P_{number:05d}" for number in range(1, 12)
    }
    reason = "patient in both of TCIA's halves: kept for testing only"
    assert [(item.path, item.reason, item.rows) for item in split.left_out] == [
        ("P_00000_LEFT_CC", f"{reason}; malignant by these rows, benign by the test half's, which count", 1),
        ("P_00000_LEFT_MLO", reason, 1),
    ]
    notes = catalogue.notes
    assert (notes["views_in_both_halves"], notes["patients_in_both_halves"]) == (1, 1)
    assert notes["training_rows_of_test_views"] == 1
    assert notes["test_views_malignant_by_training_rows_alone"] == 1
    assert notes["images_merged"] == 0
    assert_reconciled(catalogue)


def test_patients_of_the_test_tables_are_known_without_their_images_or_readable_rows(tmp_path):
    src = halves_that_share_a_view(tmp_path)
    path = src / "mass_case_description_test_set.csv"
    path.write_text(path.read_text().replace("MALIGNANT", "PERHAPS").replace("BENIGN", "PERHAPS"))
    catalogue = read_cbis_ddsm(src, tables_only=True)
    assert "P_00000" in catalogue.test_patients


def test_a_table_that_is_missing_among_the_four_is_told(tmp_path, caplog):
    src = halves_that_share_a_view(tmp_path)
    for table in src.glob("calc_*.csv"):
        table.unlink()
    read_cbis_ddsm(src, tables_only=True)
    assert "is missing" not in caplog.text  # masses alone are a choice
    (src / "mass_case_description_test_set.csv").rename(src / "calc_case_description_test_set.csv")
    read_cbis_ddsm(src, tables_only=True)
    assert "no mass_case_description_test_set.csv" in caplog.text


def test_halves_are_merged_where_asked(tmp_path):
    catalogue = read_cbis_ddsm(halves_that_share_a_view(tmp_path), merge_halves=True)
    split = split_images(catalogue, "official", seed=0)
    assert ids(split.partitions["test"])[0] == ("P_00000_LEFT_CC", 1, 2)
    assert [item.path for item in split.left_out] == ["P_00000_LEFT_MLO"]
    assert catalogue.notes["images_merged"] == 1
    assert len({mammogram.image_id for mammogram in catalogue.mammograms}) == catalogue.tables["views"]
    assert_reconciled(catalogue)


def test_missing_files_are_excluded_with_a_reason(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    lost_image, lost_mask = folder.add("P_00001"), folder.add("P_00002")
    folder.add("P_00003")
    src = folder.write()
    shutil.rmtree(src / lost_image)
    shutil.rmtree(src / f"{lost_mask}_1")
    catalogue = read_cbis_ddsm(src)
    assert {mammogram.patient_id for mammogram in catalogue.mammograms} == {"P_00002", "P_00003"}
    assert sorted(item.reason for item in catalogue.excluded) == [
        "image not on disk",
        "mask not on disk: lesion left out, image kept",
    ]
    assert all(item.path.startswith("Mass-Training_P_0000") for item in catalogue.excluded)
    kept = next(mammogram for mammogram in catalogue.mammograms if mammogram.patient_id == "P_00002")
    assert [(lesion.rows, lesion.mask_paths) for lesion in kept.lesions] == [(0, ())]
    assert kept.rows == 0
    assert_reconciled(catalogue)


def test_rows_of_a_missing_image_are_lost_once(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    lost = folder.add("P_00001")
    folder.add("P_00001")
    folder.add("P_00002")
    src = folder.write()
    for name in (lost, f"{lost}_1", f"{lost}_2"):
        shutil.rmtree(src / name)
    catalogue = read_cbis_ddsm(src)
    assert [(item.reason, item.rows) for item in catalogue.excluded] == [("image not on disk", 2)]
    assert_reconciled(catalogue)


def test_second_image_stands_in_when_one_of_a_merged_view_is_missing(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    lost = folder.add("P_00001", kind="calcification")
    folder.add("P_00001", kind="mass")
    src = folder.write()
    shutil.rmtree(src / lost)
    catalogue = read_cbis_ddsm(src)
    assert "Mass-Training" in str(catalogue.mammograms[0].path)
    assert len(catalogue.mammograms[0].lesions) == 2
    (missing,) = catalogue.excluded
    assert missing.reason == "view stored twice, one image not usable: image not on disk"
    assert missing.path.startswith("Calc-Training")
    assert_reconciled(catalogue)
    each = read_cbis_ddsm(src, samples="files")
    assert [mammogram.image_id for mammogram in each.mammograms] == ["P_00001_LEFT_CC_Mass"]
    assert kinds(each, rows=1) == {"image not on disk": 1}
    assert_reconciled(each)


def test_bad_rows_and_unreadable_files_are_excluded(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001")
    folder.add("P_00002", pathology="UNSURE")
    folder.add("../../etc", side="RIGHT")
    folder.add("P_00003")
    table = "mass_case_description_train_set.csv"
    folder.rows[table][-1] = folder.rows[table][-1][:6]  # the line is cut off
    src = folder.write()
    (src / "junk.dcm").write_text("not DICOM")
    catalogue = read_cbis_ddsm(src)
    assert [mammogram.patient_id for mammogram in catalogue.mammograms] == ["P_00001"]
    assert kinds(catalogue, rows=1) == {"table row not understood": 3}
    assert kinds(catalogue, rows=0) == {"not readable as DICOM": 1}
    assert any("pathology 'UNSURE' is none of MALIGNANT" in item.reason for item in catalogue.excluded)
    assert catalogue.tables == {"rows": 4, "patients": 4, "files": 3, "views": 4}
    assert catalogue.notes["files_not_in_tables"] == 3  # image, mask and crop of the line that is cut off
    assert_reconciled(catalogue)


def test_copies_of_tables_and_files_count_once(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    name = folder.add("P_00001")
    folder.add("P_00002", pathology="UNSURE")
    src = folder.write()
    shutil.copytree(src / name, src / "copy" / name)
    shutil.copy(src / "mass_case_description_train_set.csv", src / "copy")
    catalogue = read_cbis_ddsm(src)
    assert len(catalogue.mammograms) == 1
    assert len(catalogue.mammograms[0].lesions) == 1
    assert catalogue.tables["rows"] == 2
    assert_reconciled(catalogue)


def test_files_that_no_table_names_are_counted(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001")
    src = folder.write()
    for number in range(3):
        write_dicom(src / "other" / f"{number}.dcm", image_pixels())
    (src / "._1-1.dcm").write_text("left by macOS")
    catalogue = read_cbis_ddsm(src)
    assert catalogue.notes["files_not_in_tables"] == 3
    assert catalogue.excluded == []


def test_order_of_columns_byte_order_mark_and_blanks_make_no_difference(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001", pathology="MALIGNANT")
    folder.add("P_00001", view="MLO")
    src = folder.write()
    table = src / "mass_case_description_train_set.csv"
    expected = read_cbis_ddsm(src)
    with table.open(newline="") as file:
        lines = [[f" {cell}\n" for cell in reversed(line)] for line in csv.reader(file)]
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([*lines, ["", " "]])
    found = read_cbis_ddsm(src)
    assert found.mammograms == expected.mammograms
    assert found.tables == expected.tables


@pytest.mark.parametrize(
    "path", ["../../x/1.2.3.1/1.2.4.1/000000.dcm", "/etc/1.2.3.1/1.2.4.1/000000.dcm", "C:\\1.2.4.1\\0"]
)
@pytest.mark.parametrize("tables_only", [False, True])
def test_table_paths_that_leave_the_folder_are_refused(tmp_path, path, tables_only):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001")
    folder.add("P_00001")  # the image's other row
    folder.add("P_00002")
    folder.add("P_00003")
    folder.add("P_00004")
    rows = folder.rows["mass_case_description_train_set.csv"]
    rows[0][7] = rows[1][7] = path  # image
    rows[2][9] = path  # mask; the crop's path is left
    rows[3][8] = rows[3][9] = path
    catalogue = read_cbis_ddsm(folder.write(), tables_only=tables_only)
    assert {mammogram.patient_id: mammogram.rows for mammogram in catalogue.mammograms} == {
        "P_00002": 1,
        "P_00003": 0,
        "P_00004": 1,
    }
    assert {item.reason for item in catalogue.excluded} == {f"path leaves SRC: {path!r}"}
    assert sorted((item.path[-5:], item.rows) for item in catalogue.excluded) == [
        ("row 2", 1),
        ("row 3", 1),
        ("row 4", 0),
        ("row 5", 1),
    ]
    assert_reconciled(catalogue)


def test_jpeg_paths_that_leave_the_folder_are_refused(tmp_path):
    folder = CbisFolder(tmp_path / "src", "jpeg")
    for number in range(1, 6):
        folder.add(f"P_{number:05d}")
    src = folder.write()
    mammograms = {patient: Path(entry[0]) for patient, entry in zip("12345", folder.info[::3], strict=True)}
    (tmp_path / "elsewhere").mkdir()
    for patient, mammogram in mammograms.items():
        file = src / mammogram.relative_to("CBIS-DDSM")
        if patient in "123":
            file.rename(tmp_path / "elsewhere" / f"{patient}.jpg")
        if patient == "3":
            file.symlink_to(tmp_path / "elsewhere" / "3.jpg")
    outside = {mammograms["1"]: "../elsewhere/1.jpg", mammograms["2"]: str(tmp_path / "elsewhere" / "2.jpg")}
    outside[mammograms["4"]] = f"../src/{mammograms['4']}"  # refused as well, but the folder's name tells the series
    table = (src / "dicom_info.csv").read_text()
    for path, refused in outside.items():
        table = table.replace(str(path), refused)
    (src / "dicom_info.csv").write_text(table)
    catalogue = read_cbis_ddsm(src)
    assert {mammogram.patient_id for mammogram in catalogue.mammograms} == {"P_00004", "P_00005"}
    assert kinds(catalogue, rows=0) == {"path leaves SRC": 4}
    assert kinds(catalogue, rows=1) == {"image not on disk": 3}
    assert_reconciled(catalogue)


def test_jpeg_folders_are_read_without_their_table(tmp_path):
    folder = CbisFolder(tmp_path / "src", "jpeg")
    for patient in ("P_00001", "P_00002"):
        folder.add(patient)
    src = folder.write()
    with_table = read_cbis_ddsm(src)
    assert [path.name[:2] for path in with_table.mammograms[0].lesions[0].mask_paths] == ["1-", "2-"]
    (src / "dicom_info.csv").unlink()
    without = read_cbis_ddsm(src)
    assert without.mammograms == with_table.mammograms
    (src / "jpeg" / "stray.jpg").write_bytes(next(src.rglob("1-*.jpg")).read_bytes())
    assert kinds(read_cbis_ddsm(src)) == {"series unknown": 1}
    (src / "dicom_info.csv").write_text("path,series\n")
    with pytest.raises(UserError, match=r"dicom_info\.csv: columns 'image_path', 'SeriesInstanceUID' are missing"):
        read_cbis_ddsm(src)


def test_flat_jpeg_folders_are_read_by_their_table(tmp_path):
    folder = CbisFolder(tmp_path / "src", "jpeg")
    folder.add("P_00001")
    for entry in folder.info:
        old = folder.root / Path(entry[0]).relative_to("CBIS-DDSM")
        entry[0] = f"flat/{old.name}"
        (folder.root / "flat").mkdir(exist_ok=True)
        old.rename(folder.root / entry[0])
    catalogue = read_cbis_ddsm(folder.write())
    assert catalogue.mammograms[0].rows == 1
    assert catalogue.excluded == []


@pytest.mark.parametrize("layout", ["classic", "jpeg"])
def test_files_described_as_masks_come_first_and_the_image_never(tmp_path, layout):
    folder = CbisFolder(tmp_path / "src", layout)
    folder.add("P_00001", mask_first=False)
    rows = folder.rows["mass_case_description_train_set.csv"]
    rows[0][8] = rows[0][7]  # the image's path for the crop's
    src = folder.write()
    if layout == "classic":
        for path in (src / "Mass-Training_P_00001_LEFT_CC_1").rglob("*.dcm"):
            is_mask = path.name == "000001.dcm"
            pixels = mask_pixels() if is_mask else image_pixels(16, 16)
            described = "ROI mask images" if is_mask else "cropped images"
            write_dicom(path, pixels, SeriesInstanceUID=path.parent.name, SeriesDescription=described)
    masks = [path.name for path in read_cbis_ddsm(src).mammograms[0].lesions[0].mask_paths]
    assert masks == (["000001.dcm", "000000.dcm"] if layout == "classic" else ["2-002.jpg", "1-002.jpg"])


def test_two_images_in_one_series_are_not_guessed_between(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001")
    folder.add("P_00002")
    src = folder.write()
    write_dicom(src / "more" / "1-2.dcm", image_pixels(seed=9), SeriesInstanceUID="1.2.4.1")
    catalogue = read_cbis_ddsm(src)
    assert [item.reason for item in catalogue.excluded] == ["several images in one series: 2 files"]
    assert_reconciled(catalogue)


def test_missing_column_is_named_with_the_file(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001")
    table = folder.write() / "mass_case_description_train_set.csv"
    table.write_text(table.read_text().replace("pathology", "diagnosis", 1))
    with pytest.raises(UserError, match=r"mass_case_description_train_set\.csv: column 'pathology'.*diagnosis"):
        read_cbis_ddsm(tmp_path / "src")


def test_wrong_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_cbis_ddsm(tmp_path / "absent")
    with pytest.raises(UserError, match=r"case_description.*monai-e2e phantom cbis-ddsm"):
        read_cbis_ddsm(tmp_path)
    folder = CbisFolder(tmp_path / "src")
    name = folder.add("P_00001")
    src = folder.write()
    for path in (src / name, src / f"{name}_1"):
        shutil.rmtree(path)
    (src / "image.png").touch()
    with pytest.raises(UserError, match=r"found: 1 \.png, 1 \.csv.*descriptive.*classic.*JPEG re-release"):
        read_cbis_ddsm(src)
    write_dicom(src / "other.dcm", image_pixels())
    with pytest.raises(UserError, match="none of the tables' 2 series is among the 1 DICOM and 0 JPEG files"):
        read_cbis_ddsm(src)


def test_folder_with_both_dicom_and_jpeg_images_is_refused(tmp_path):
    for layout in ("classic", "jpeg"):
        folder = CbisFolder(tmp_path / "src", layout)
        folder.add("P_00001")
    src = folder.write()
    with pytest.raises(UserError, match=r"both as DICOM \(3 files\) and as JPEG \(3 files\).*Keep one"):
        read_cbis_ddsm(src)


def test_tables_without_any_row_that_can_be_used_say_why(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001", pathology="UNSURE")
    with pytest.raises(UserError, match=r"all of the tables' 1 rows are left out, the first because.*UNSURE"):
        read_cbis_ddsm(folder.write())


LAYOUTS = ("descriptive", "classic", "jpeg")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, int]]]:
    """The same 20 patients with every defect in each of the layouts, and what was planted."""
    root = tmp_path_factory.mktemp("phantoms")
    return {
        layout: (
            root / layout,
            write_cbis_ddsm(root / layout, 20, seed=1, rows=256, layout=layout, workers=1, defects=True),
        )
        for layout in LAYOUTS
    }


def summary(catalogue: Catalogue) -> dict[str, tuple]:
    return {
        mammogram.image_id: (
            mammogram.label,
            mammogram.rows,
            mammogram.partition,
            mammogram.density,
            [(lesion.type, lesion.pathology, lesion.rows, len(lesion.mask_paths)) for lesion in mammogram.lesions],
        )
        for mammogram in catalogue.mammograms
    }


class TestPhantomsWithDefects:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("samples", ["views", "files"])
    def test_rows_are_reconciled_and_each_defect_has_its_reason(self, phantoms, layout, samples):
        src, planted = phantoms[layout]
        catalogue = read_cbis_ddsm(src, samples=samples)
        assert_reconciled(catalogue)
        assert kinds(catalogue, rows=1) == {
            "image not on disk": planted["image_missing"] + planted["unreadable"] + planted["info_leaves_source"],
            "mask not on disk": planted["mask_missing"],
            "table row not understood": planted["unknown_pathology"],
            "path leaves SRC": planted["leaves_source"],
        }
        strays = Counter({f"not readable as {'JPEG' if layout == 'jpeg' else 'DICOM'}": planted["unreadable"]})
        strays["path leaves SRC"] = planted["info_leaves_source"]
        assert kinds(catalogue, rows=0) == +strays
        assert sum(item.rows > 1 for item in catalogue.excluded) == 0
        merged = 2 * planted["mass_and_calc"]  # in either view
        assert catalogue.notes["images_merged"] == (merged if samples == "views" else 0)
        assert catalogue.notes["views_both_benign_and_malignant"] == 2 * planted["benign_and_malignant"]
        assert catalogue.notes["patients_in_both_halves"] == planted["both_halves"]
        assert catalogue.notes["files_not_in_tables"] == 0
        expected = catalogue.tables["views"] if samples == "views" else catalogue.tables["files"]
        assert len(catalogue.mammograms) == expected - sum(item.rows for item in catalogue.excluded) + 1

    @pytest.mark.parametrize("samples", ["views", "files"])
    def test_all_layouts_give_the_same_mammograms(self, phantoms, samples):
        found = {layout: read_cbis_ddsm(src, samples=samples) for layout, (src, _) in phantoms.items()}
        assert len({str(catalogue.tables) for catalogue in found.values()}) == 1
        descriptive, classic, jpeg = (summary(found[layout]) for layout in LAYOUTS)
        assert descriptive == classic
        (lost,) = set(descriptive) - set(jpeg)  # dicom_info.csv leaves the folder
        assert jpeg == {name: mammogram for name, mammogram in descriptive.items() if name != lost}

    def test_tables_alone_need_no_image(self, phantoms, tmp_path):
        src, planted = phantoms["classic"]
        for table in src.glob("*.csv"):
            shutil.copy(table, tmp_path)
        for samples in ("views", "files"):
            catalogue = read_cbis_ddsm(tmp_path, samples=samples, tables_only=True)
            assert_reconciled(catalogue)
            assert kinds(catalogue) == {
                "table row not understood": planted["unknown_pathology"],
                "path leaves SRC": planted["leaves_source"],
            }
            assert len(catalogue.mammograms) == catalogue.tables[samples] - 2

    def test_labels_follow_the_lesions(self, phantoms):
        catalogue = read_cbis_ddsm(phantoms["jpeg"][0])
        mixed = [
            mammogram
            for mammogram in catalogue.mammograms
            if len({lesion.pathology for lesion in mammogram.lesions}) == 2
        ]
        assert len(mixed) == 2
        assert all(mammogram.label == 1 for mammogram in mixed)
        two_types = [
            mammogram for mammogram in catalogue.mammograms if len({lesion.type for lesion in mammogram.lesions}) == 2
        ]
        assert len(two_types) == 2
        assert all(mammogram.rows == 2 for mammogram in two_types)
        halves = Counter(mammogram.patient_id for mammogram in catalogue.mammograms if mammogram.partition == "test")
        assert sorted(halves.values())[0] == 1  # the one view of a patient who is in both halves


@pytest.mark.skipif(not REAL_TABLES, reason="MONAI_E2E_REAL_TABLES names no folder")
class TestRealTables:
    """Needs the tables of the training half; of the real test half only the pooled counts are known."""

    @pytest.fixture
    def src(self, tmp_path: Path) -> Path:
        tables = list(Path(str(REAL_TABLES)).rglob("*_case_description_train_set.csv"))
        if len(tables) != 2:
            pytest.skip("CBIS-DDSM's training tables are not there")
        for table in tables:
            shutil.copy(table, tmp_path)
        return tmp_path

    @pytest.mark.parametrize("samples", ["views", "files"])
    def test_counts_of_the_tables_alone(self, src, samples):
        catalogue = read_cbis_ddsm(src, samples=samples, tables_only=True)
        assert catalogue.tables == {"rows": 1546 + 1318, "patients": 1248, "files": 2458, "views": 2420}
        assert catalogue.notes == {
            "images_merged": 38 if samples == "views" else 0,
            "views_with_several_lesions": 263,
            "views_both_benign_and_malignant": 20,
            "views_in_both_halves": 0,
            "patients_in_both_halves": 0,
            "training_rows_of_test_views": 0,
            "test_views_malignant_by_training_rows_alone": 0,
        }
        assert catalogue.excluded == []
        assert len(catalogue.mammograms) == catalogue.tables[samples]
        assert sum(mammogram.label for mammogram in catalogue.mammograms) == (1097 if samples == "views" else 1111)
        assert_reconciled(catalogue)

    def test_every_series_that_the_tables_name_is_joined(self, src, monkeypatch):
        """As if all of them were on disk, a file each."""

        def all_on_disk(src: Path, wanted: set[str]) -> Images:
            images = Images("made up")
            for series in wanted:
                images.series[series] = [ImageFile(src / series, series)]
            return images

        monkeypatch.setattr("monai_e2e.data.sources.cbis_ddsm.reader.find_images", all_on_disk)
        catalogue = read_cbis_ddsm(src)
        assert catalogue.excluded == []
        assert_reconciled(catalogue)
        # Where both paths end in 000000.dcm, mask and crop are in series of their own: 93 rows of these two tables.
        apart = sum(len(lesion.mask_paths) == 2 for mammogram in catalogue.mammograms for lesion in mammogram.lesions)
        assert apart == 93
        partitions = split_images(catalogue, "paper", seed=0).partitions
        assert {
            name: len({mammogram.patient_id for mammogram in mammograms}) for name, mammograms in partitions.items()
        } == {
            "training": 954,
            "validation": 106,
            "test": 188,
        }
