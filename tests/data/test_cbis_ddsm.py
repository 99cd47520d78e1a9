"""Joining CBIS-DDSM's tables and files, on made-up tables."""

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from test_dicom import write_dicom

from monai_e2e.data.cbis_ddsm import read_cbis_ddsm
from monai_e2e.data.records import LesionType, Pathology
from monai_e2e.data.splits import split_cbis_ddsm
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


def film_pixels(rows: int = 64, columns: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (rows, columns)).astype(np.uint16)


def mask_pixels(rows: int = 64, columns: int = 48) -> np.ndarray:
    mask = np.zeros((rows, columns), np.uint8)
    mask[rows // 4 : rows // 2, columns // 4 : columns // 2] = 255
    return mask


class CbisFolder:
    """Writes tables and films one lesion at a time, in the classic or the descriptive layout."""

    def __init__(self, root: Path, layout: str = "classic"):
        self.root, self.layout, self.films, self.count = root, layout, {}, 0
        self.rows: dict[str, list[list[str]]] = {}
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
        film: np.ndarray | None = None,
        mask_first: bool = True,
    ) -> str:
        prefix = f"{'Calc' if kind == 'calcification' else 'Mass'}-{'Training' if half == 'train' else 'Test'}"
        name = f"{prefix}_{patient}_{side}_{view}"
        table = f"{'calc' if kind == 'calcification' else 'mass'}_case_description_{half}_set.csv"
        if name not in self.films:
            pixels = film_pixels(seed=len(self.films)) if film is None else film
            self.films[name] = self._series(name, [pixels])[0]
        rows = self.rows.setdefault(table, [])
        number = 1 + sum(row[7] == self.films[name] for row in rows)
        pair = [mask_pixels() if mask is None else mask, film_pixels(16, 16) if crop is None else crop]
        order = pair if mask_first else pair[::-1]
        # Both paths may name the same file, as 104 real rows do.
        path = self._series(f"{name}_{number}", order)[0]
        rows.append([patient, "2", side, view, str(number), kind, pathology, self.films[name], path + "\n", path])
        return name

    def _series(self, name: str, images: list[np.ndarray]) -> list[str]:
        self.count += 1
        study, series = f"1.2.3.{self.count}", f"1.2.4.{self.count}"
        folder = self.root / name
        folder /= f"{study}/{series}" if self.layout == "classic" else f"date-{study[-5:]}/1.000-{series[-5:]}"
        for i, pixels in enumerate(images):
            file = f"{i:06d}.dcm" if self.layout == "classic" else f"1-{i + 1}.dcm"
            write_dicom(folder / file, pixels, SeriesInstanceUID=series)
        return [f"{name}/{study}/{series}/{i:06d}.dcm" for i in range(len(images))]

    def write(self) -> Path:
        for table, rows in self.rows.items():
            density = COLUMNS[1] if table.startswith("calc") else COLUMNS[1].replace(" ", "_")
            with (self.root / table).open("w", newline="") as file:
                csv.writer(file).writerows([[COLUMNS[0], density, *COLUMNS[2:]], *rows])
        return self.root


@pytest.mark.parametrize("layout", ["classic", "descriptive"])
def test_rows_and_files_are_joined_in_both_layouts(tmp_path, layout):
    folder = CbisFolder(tmp_path / "src", layout)
    folder.add("P_00001", "LEFT", "CC", pathology="MALIGNANT")
    folder.add("P_00001", "LEFT", "MLO", pathology="BENIGN")
    folder.add("P_00002", "RIGHT", "CC", kind="calcification", pathology="BENIGN_WITHOUT_CALLBACK", half="test")
    catalogue = read_cbis_ddsm(folder.write())
    found = {film.image_id: film for film in catalogue.mammograms}
    assert {name: film.label for name, film in found.items()} == {
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


def test_view_listed_under_mass_and_calc_is_one_mammogram(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001", kind="mass", pathology="BENIGN")
    folder.add("P_00001", kind="mass", pathology="BENIGN")
    folder.add("P_00001", kind="calcification", pathology="MALIGNANT")
    folder.add("P_00002")
    catalogue = read_cbis_ddsm(folder.write())
    assert len(catalogue.mammograms) == 2
    merged = next(film for film in catalogue.mammograms if film.patient_id == "P_00001")
    assert merged.label == 1
    assert Counter(lesion.type.value for lesion in merged.lesions) == {"mass": 2, "calcification": 1}
    assert catalogue.notes["films_merged"] == 1
    assert catalogue.notes["lesion_rows"] == 4


def test_counts_of_a_made_up_table_are_exact(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    for number in range(6):
        for view in ("CC", "MLO"):
            pathology = "MALIGNANT" if number % 3 == 0 else "BENIGN"
            folder.add(f"P_{number:05d}", view=view, pathology=pathology, half="test" if number == 5 else "train")
    folder.add("P_00005", "RIGHT", kind="calcification")
    catalogue = read_cbis_ddsm(folder.write())
    assert len(catalogue.mammograms) == 13
    assert sum(film.label for film in catalogue.mammograms) == 4
    assert Counter(film.partition for film in catalogue.mammograms) == {"training": 11, "test": 2}
    assert catalogue.notes["patients_in_both_halves"] == 1
    assert catalogue.notes["views_in_both_halves"] == 0


def test_missing_files_are_excluded_with_a_reason(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    lost_film, lost_mask = folder.add("P_00001"), folder.add("P_00002")
    folder.add("P_00003")
    src = folder.write()
    shutil.rmtree(src / lost_film)
    shutil.rmtree(src / f"{lost_mask}_1")
    catalogue = read_cbis_ddsm(src)
    assert {film.patient_id for film in catalogue.mammograms} == {"P_00002", "P_00003"}
    assert sorted(item.reason for item in catalogue.excluded) == [
        "film not on disk",
        "mask not on disk: lesion left out, film kept",
    ]
    assert all(item.path.startswith("Mass-Training_P_0000") for item in catalogue.excluded)


def test_second_film_stands_in_when_one_of_a_merged_view_is_missing(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    lost = folder.add("P_00001", kind="calcification")
    folder.add("P_00001", kind="mass")
    src = folder.write()
    shutil.rmtree(src / lost)
    catalogue = read_cbis_ddsm(src)
    assert "Mass-Training" in str(catalogue.mammograms[0].path)
    assert len(catalogue.mammograms[0].lesions) == 2


def test_bad_rows_and_unreadable_files_are_excluded(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    folder.add("P_00001")
    folder.add("P_00002", pathology="UNSURE")
    folder.add("../../etc", side="RIGHT")
    src = folder.write()
    (src / "junk.dcm").write_text("not DICOM")
    catalogue = read_cbis_ddsm(src)
    assert [film.patient_id for film in catalogue.mammograms] == ["P_00001"]
    reasons = Counter(item.reason.split(":")[0] for item in catalogue.excluded)
    assert reasons == {"table row not understood": 2, "not readable as DICOM": 1}


def test_copies_of_tables_and_files_count_once(tmp_path):
    folder = CbisFolder(tmp_path / "src")
    name = folder.add("P_00001")
    src = folder.write()
    shutil.copytree(src / name, src / "copy" / name)
    shutil.copy(src / "mass_case_description_train_set.csv", src / "copy")
    catalogue = read_cbis_ddsm(src)
    assert len(catalogue.mammograms) == 1
    assert len(catalogue.mammograms[0].lesions) == 1


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
    with pytest.raises(UserError, match="no DICOM files"):
        read_cbis_ddsm(src)
    (src / "csv").mkdir()
    (src / "csv" / "dicom_info.csv").touch()
    with pytest.raises(UserError, match="JPEG re-release"):
        read_cbis_ddsm(src)
    write_dicom(src / "other.dcm", film_pixels())
    with pytest.raises(UserError, match="none of the tables' 1 mammograms"):
        read_cbis_ddsm(src)


@pytest.mark.skipif(not REAL_TABLES, reason="MONAI_E2E_REAL_TABLES names no folder")
def test_real_tables_give_the_known_counts(tmp_path, monkeypatch):
    """Every series that the tables name is taken to be on disk; needs the tables of the training half at least."""
    tables = list(Path(str(REAL_TABLES)).rglob("*_case_description_train_set.csv"))
    if len(tables) != 2:
        pytest.skip("CBIS-DDSM's training tables are not there")
    series: dict[str, list[Path]] = {}
    for table in tables:
        shutil.copy(table, tmp_path)
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                for column in COLUMNS[7:]:
                    uid = row[column].strip().split("/")[-2]
                    series[uid] = [tmp_path / uid]
    monkeypatch.setattr("monai_e2e.data.cbis_ddsm._index_series", lambda src, catalogue: series)
    catalogue = read_cbis_ddsm(tmp_path)
    assert catalogue.notes["lesion_rows"] == 1546 + 1318
    assert len(catalogue.mammograms) + catalogue.notes["films_merged"] == 2458
    assert len({film.patient_id for film in catalogue.mammograms}) == 1248
    assert catalogue.excluded == []
    partitions, _ = split_cbis_ddsm(catalogue, "paper", seed=0)
    assert {name: len({film.patient_id for film in films}) for name, films in partitions.items()} == {
        "training": 954,
        "validation": 106,
        "test": 188,
    }
