"""The phantoms' folders, tables, tags and pictures have the form of the real data sets."""

import csv
import plistlib
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from monai_e2e.data.phantom import rows_for, write_cbis_ddsm, write_inbreast
from monai_e2e.data.phantom.cbis_defects import DEFECTS
from monai_e2e.data.phantom.inbreast import BI_RADS_SHARES, bi_rads_of
from monai_e2e.data.phantom.lesions import draw_lesion, random_finding
from monai_e2e.data.phantom.storage import PHANTOM_NOTE
from monai_e2e.data.records import LesionType, Pathology
from monai_e2e.errors import UserError

ROWS = 256
TABLES = {
    "calc_case_description_train_set.csv",
    "calc_case_description_test_set.csv",
    "mass_case_description_train_set.csv",
    "mass_case_description_test_set.csv",
}


@pytest.fixture(scope="module")
def cbis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cbis")
    write_cbis_ddsm(out, patients=20, seed=1, rows=ROWS, workers=1)
    return out


@pytest.fixture(scope="module")
def inbreast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inbreast")
    write_inbreast(out, patients=8, seed=1, rows=ROWS, workers=1)
    return out


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def _table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _rows(folder: Path) -> list[dict[str, str]]:
    return [row for name in sorted(TABLES) for row in _table(folder / name)]


def _labels(folder: Path) -> dict[str, bool]:
    """Whether an image shows anything malignant, by the image's name."""
    labels: dict[str, bool] = {}
    for row in _rows(folder):
        name = row["image file path"].split("/")[0]
        labels[name] = labels.get(name, False) or row["pathology"] == "MALIGNANT"
    return labels


def _mammograms(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*full mammogram images*/*.dcm"))]


class TestBoth:
    @pytest.mark.parametrize("write", [write_cbis_ddsm, write_inbreast])
    def test_bytes_depend_on_nothing_but_the_arguments(self, write, tmp_path):
        write(tmp_path / "one", patients=3, seed=5, rows=ROWS, workers=1)
        write(tmp_path / "two", patients=3, seed=5, rows=ROWS, workers=2)
        write(tmp_path / "other", patients=3, seed=6, rows=ROWS, workers=1)
        assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
        assert _digest(tmp_path / "one") != _digest(tmp_path / "other")

    @pytest.mark.parametrize("write", [write_cbis_ddsm, write_inbreast])
    @pytest.mark.parametrize("wrong", [{"patients": 0}, {"patients": 1, "rows": 100}])
    def test_arguments_out_of_range_are_refused(self, write, wrong, tmp_path):
        with pytest.raises(UserError, match="give a number from"):
            write(tmp_path / "out", **wrong)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("write", [write_cbis_ddsm, write_inbreast])
    def test_a_folder_with_something_in_it_is_left_alone(self, write, tmp_path):
        (tmp_path / "kept.txt").write_text("mine")
        with pytest.raises(UserError, match=re.escape(str(tmp_path))):
            write(tmp_path, patients=1)
        with pytest.raises(UserError, match="is a file"):
            write(tmp_path / "kept.txt", patients=1)
        assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]

    def test_unknown_layout_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="layout 'png': choose one of descriptive, classic, jpeg"):
            write_cbis_ddsm(tmp_path / "out", patients=1, layout="png")


class TestCbisDdsm:
    def test_tables_have_the_original_columns(self, cbis):
        assert {path.name for path in cbis.iterdir()} == TABLES | {"CBIS-DDSM"}
        calc = (cbis / "calc_case_description_train_set.csv").read_text().splitlines()[0]
        mass = (cbis / "mass_case_description_test_set.csv").read_text().splitlines()[0]
        assert calc == (
            "patient_id,breast density,left or right breast,image view,abnormality id,abnormality type,calc type,"
            "calc distribution,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
        )
        assert mass == (
            "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,"
            "mass margins,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
        )

    def test_paths_end_in_newlines_where_the_original_ones_do(self, cbis):
        for row in _rows(cbis):
            is_mass = row["abnormality type"] == "mass"
            assert row["cropped image file path"].endswith("\n") is not is_mass
            assert row["ROI mask file path"].endswith("\n") is is_mass
            assert row["image file path"].endswith("/000000.dcm")

    def test_halves_and_lesions_are_balanced(self, cbis):
        patients = {name: {row["patient_id"] for row in _table(cbis / name)} for name in TABLES}
        training = patients["calc_case_description_train_set.csv"] | patients["mass_case_description_train_set.csv"]
        test = patients["calc_case_description_test_set.csv"] | patients["mass_case_description_test_set.csv"]
        assert (len(training), len(test)) == (16, 4)
        assert not training & test
        assert 0.4 < np.mean(list(_labels(cbis).values())) < 0.6

    def test_descriptive_folders_carry_the_last_digits_of_the_uids(self, cbis):
        for row in _rows(cbis):
            name, study, series, _ = row["image file path"].split("/")
            pattern = f"??-??-????-DDSM-NA-{study[-5:]}/1.000000-full mammogram images-{series[-5:]}/1-1.dcm"
            assert len(list((cbis / "CBIS-DDSM" / name).glob(pattern))) == 1
            assert len(study) <= 64
        every = list((cbis / "CBIS-DDSM").rglob("*.dcm"))
        paths = {row[key].strip() for row in _rows(cbis) for key in row if key.endswith("file path")}
        assert len(every) == len(paths)

    def test_classic_folders_are_what_the_tables_say(self, tmp_path):
        write_cbis_ddsm(tmp_path, patients=4, rows=ROWS, layout="classic", workers=1)
        paths = {row[key].strip() for row in _rows(tmp_path) for key in row if key.endswith("file path")}
        root = tmp_path / "CBIS-DDSM"
        assert {str(path.relative_to(root)) for path in root.rglob("*.dcm")} == paths

    def test_masks_fit_their_image_and_crops_their_mask(self, cbis):
        orders = set()
        for row in _rows(cbis):
            name = row["image file path"].split("/")[0]
            mammogram = pydicom.dcmread(next((cbis / "CBIS-DDSM" / name).rglob("*.dcm"))).pixel_array
            region = cbis / "CBIS-DDSM" / f"{name}_{row['abnormality id']}"
            files = {path: pydicom.dcmread(path) for path in sorted(region.rglob("*.dcm"))}
            assert len(files) == 2
            by_kind = {dataset.SeriesDescription: dataset for dataset in files.values()}
            orders.add(tuple(dataset.SeriesDescription for dataset in files.values()))
            mask, crop = by_kind["ROI mask images"], by_kind["cropped images"]
            assert mask.pixel_array.shape == mammogram.shape
            assert (mask.BitsStored, set(np.unique(mask.pixel_array))) == (8, {0, 255})
            where = np.nonzero(mask.pixel_array)
            box = tuple(slice(axis.min(), axis.max() + 1) for axis in where)
            np.testing.assert_array_equal(crop.pixel_array, mammogram[box])
        assert len(orders) == 2  # the crop may come first or second

    def test_images_have_the_original_tags(self, cbis):
        mammograms = _mammograms(cbis)
        for mammogram in mammograms:
            assert mammogram.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert mammogram.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
            assert (mammogram.Modality, mammogram.BodyPartExamined) == ("MG", "BREAST")
            assert (mammogram.BitsAllocated, mammogram.BitsStored) == (16, 16)
            assert mammogram.PhotometricInterpretation == "MONOCHROME2"
            assert mammogram.PatientID == mammogram.PatientName
            assert mammogram.PatientID.endswith(mammogram.PatientOrientation)
            assert mammogram.StudyInstanceUID.startswith("1.3.6.1.4.1.9590.100.1.2.")
            assert mammogram.LargestImagePixelValue == mammogram.pixel_array.max()
            assert "PixelSpacing" not in mammogram
            assert mammogram.ImageComments == PHANTOM_NOTE
        assert len({mammogram.pixel_array.shape for mammogram in mammograms}) > len(mammograms) / 2
        uids = [pydicom.dcmread(path).SOPInstanceUID for path in cbis.rglob("*.dcm")]
        assert len(set(uids)) == len(uids)

    def test_the_chest_wall_is_at_the_left_of_left_breasts(self, cbis):
        for mammogram in _mammograms(cbis):
            middle = mammogram.pixel_array[ROWS // 4 : -ROWS // 4]
            quarter = middle.shape[1] // 4
            left, right = middle[:, :quarter].mean(), middle[:, -quarter:].mean()
            assert (left > right) == ("_LEFT_" in mammogram.PatientID)

    def test_an_image_in_both_tables_is_the_same_image(self, tmp_path):
        write_cbis_ddsm(tmp_path, patients=1, seed=13, rows=ROWS, workers=1)  # a seed with such a patient
        pixels: dict[str, list[np.ndarray]] = {}
        for mammogram in _mammograms(tmp_path):
            pixels.setdefault(mammogram.PatientID.split("-", 1)[1], []).append(mammogram.pixel_array)
        twins = [both for both in pixels.values() if len(both) == 2]
        assert twins
        for first, second in twins:
            np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jpeg")
    assert set(write_cbis_ddsm(out, patients=20, seed=1, rows=ROWS, layout="jpeg", workers=1).values()) == {0}
    return out


class TestCbisDdsmAsJpeg:
    def test_tables_are_those_of_the_other_layouts(self, cbis, jpeg):
        for name in TABLES:
            assert (jpeg / "csv" / name).read_bytes() == (cbis / name).read_bytes()

    def test_every_file_is_in_its_series_folder_and_in_the_table(self, jpeg):
        info = _table(jpeg / "csv" / "dicom_info.csv")
        pattern = re.compile(r"CBIS-DDSM/(jpeg/([\d.]+)/\d-\d{3}\.jpg)")
        matches = [pattern.fullmatch(row["image_path"]) for row in info]
        assert all(match and match[2] == row["SeriesInstanceUID"] for match, row in zip(matches, info, strict=True))
        assert {match[1] for match in matches if match} == {
            str(path.relative_to(jpeg)) for path in jpeg.rglob("*") if path.is_file() and path.suffix != ".csv"
        }
        kinds = Counter(row["SeriesDescription"] for row in info)
        assert set(kinds) == {"full mammogram images", "cropped images", "ROI mask images", ""}
        for row in info:
            if not row["SeriesDescription"]:  # the older tags: P_00001_LEFT_CC_1.dcm, P_00001^P_00001
                assert re.fullmatch(r"P_\d{5}_(LEFT|RIGHT)_(CC|MLO)(_\d)?\.dcm", row["PatientID"])
                assert row["PatientName"] == "^".join([row["PatientID"][:7]] * 2)

    def test_pictures_are_the_images_in_eight_bits_and_masks_are_blurred(self, cbis, jpeg):
        mammograms = {mammogram.SeriesInstanceUID: mammogram for mammogram in map(pydicom.dcmread, cbis.rglob("*.dcm"))}
        for row in _table(jpeg / "csv" / "dicom_info.csv"):
            with Image.open(jpeg / row["image_path"].removeprefix("CBIS-DDSM/")) as image:
                assert (image.format, image.mode) == ("JPEG", "L")
                assert image.info["comment"] == PHANTOM_NOTE.encode()
                pixels = np.array(image)
            assert pixels.shape == (int(row["Rows"]), int(row["Columns"]))
            if row["SeriesDescription"] == "full mammogram images":
                mammogram = mammograms[row["SeriesInstanceUID"]].pixel_array
                assert np.abs(pixels - mammogram / 257).mean() < 3
            elif row["SeriesDescription"] == "ROI mask images":
                assert len(np.unique(pixels)) > 2  # lossy, so not two-valued any more
                assert ((pixels > 64) & (pixels < 192)).mean() < 0.001


@pytest.fixture(scope="module")
def defective(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("defects")
    planted = write_cbis_ddsm(out, patients=20, seed=1, rows=ROWS, layout="classic", workers=1, defects=True)
    assert planted == {**dict.fromkeys(DEFECTS, 1), "info_leaves_source": 0}
    return out


class TestCbisDdsmDefects:
    @staticmethod
    def _read(folder: Path, row: dict[str, str], column: str) -> pydicom.Dataset | None:
        path = folder / "CBIS-DDSM" / row[column].strip()
        return pydicom.dcmread(path, force=True) if path.is_file() else None

    def test_bytes_depend_on_nothing_but_the_arguments(self, tmp_path):
        for name, seed, workers in (("one", 5, 1), ("two", 5, 2), ("other", 6, 1)):
            write_cbis_ddsm(tmp_path / name, 3, seed, ROWS, "jpeg", workers, defects=True)
        assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
        assert _digest(tmp_path / "one") != _digest(tmp_path / "other")

    @pytest.mark.parametrize(("patients", "each"), [(3, {0, 1}), (40, {2, 0})])
    def test_number_grows_with_the_patients(self, tmp_path, patients, each, monkeypatch):
        monkeypatch.setattr("monai_e2e.data.phantom.cbis_ddsm.run_parallel", lambda *args, **kwargs: [])
        planted = write_cbis_ddsm(tmp_path / "out", patients, layout="jpeg", defects=True)
        assert set(planted.values()) == each

    def test_masks_of_another_size(self, defective):
        scales = []
        for row in _rows(defective):
            mammogram = self._read(defective, row, "image file path")
            regions = [self._read(defective, row, f"{kind} file path") for kind in ("cropped image", "ROI mask")]
            for mask in regions:
                if mask and mask.BitsStored == 8 and mammogram and "Rows" in mammogram:
                    assert set(np.unique(mask.pixel_array)) == {0, 255}
                    scales.append((mask.Rows / mammogram.Rows, mask.Columns / mammogram.Columns))
        larger = sorted(scale for scale in scales if scale != (1, 1))
        np.testing.assert_allclose(larger, [(1, 1.2), (1.25, 1.25)], rtol=0.004)

    def test_tables_and_files_disagree_where_they_should(self, defective):
        rows = _rows(defective)
        assert sum(row["pathology"] == "UNPROVEN" for row in rows) == 1
        assert sum(row["image file path"].startswith("../../") for row in rows) == 1
        patients = {half: set() for half in ("train", "test")}
        for name in TABLES:
            half = "train" if "train" in name else "test"
            patients[half] |= {row["patient_id"] for row in _table(defective / name)}
        assert len(patients["train"] & patients["test"]) == 1
        ends = [{row[f"{kind} file path"].strip()[-10:] for kind in ("cropped image", "ROI mask")} for row in rows]
        assert {"000000.dcm"} in ends  # both of a lesion's paths
        assert all(len(each) == 2 for each in ends if each != {"000000.dcm"})

    def test_files_are_lost_broken_doubled_and_inverted(self, defective):
        root = defective / "CBIS-DDSM"
        copies = list(root.rglob("* (1).dcm"))
        assert [path.read_bytes() == (path.parent / "000000.dcm").read_bytes() for path in copies] == [True]
        broken = [path for path in root.rglob("*.dcm") if path.read_bytes()[128:132] != b"DICM"]
        assert len(broken) == 1
        missing = Counter(
            key
            for row in _rows(defective)
            for key in row
            if key.endswith("file path") and self._read(defective, row, key) is None
            if not row[key].startswith("..")
        )
        assert missing["image file path"] == 1
        assert sum(missing.values()) == 1 + 2 + 1  # image; mask and crop; mask
        readable = [pydicom.dcmread(path) for path in root.rglob("*.dcm") if path not in broken]
        (inverted,) = [mammogram for mammogram in readable if mammogram.PhotometricInterpretation == "MONOCHROME1"]
        assert inverted.SeriesDescription == "full mammogram images"
        assert np.median(inverted.pixel_array) > 32768  # mostly air, which is bright here


class TestInbreast:
    def test_table_has_the_original_form(self, inbreast):
        raw = (inbreast / "INbreast.csv").read_bytes()
        lines = raw.decode().split("\r\n")
        assert lines[0] == "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads"
        assert raw.count(b"\n") == raw.count(b"\r\n")
        for line in filter(None, lines[1:]):
            assert re.fullmatch(r"removed;removed;[LR];(CC|MLO);20\d{4};\d{8};[1-4];(1|2|3|4a|4b|4c|5|6)", line)

    def test_files_are_named_and_tagged_as_in_the_original(self, inbreast):
        with open(inbreast / "INbreast.csv", newline="") as file:
            table = {row["File Name"]: row for row in csv.DictReader(file, delimiter=";")}
        paths = sorted((inbreast / "AllDICOMs").iterdir())
        assert len(paths) == len(table)
        for path in paths:
            match = re.fullmatch(r"(\d{8})_[0-9a-f]{16}_MG_([LR])_(CC|ML)_ANON\.dcm", path.name)
            assert match
            row, image = table[match[1]], pydicom.dcmread(path)
            assert (row["Laterality"], row["View"][:2]) == (match[2], match[3])
            assert image.SOPClassUID == pydicom.uid.DigitalMammographyXRayImageStorageForPresentation
            assert (image.ImageLaterality, image.ViewPosition) == (row["Laterality"], row["View"])
            assert (image.BitsAllocated, image.BitsStored, image.HighBit) == (16, 14, 13)
            assert image.pixel_array.max() == 16383
            assert (image.pixel_array == 0).mean() > 0.2  # air is black, without grain
            assert image.PixelSpacing == image.ImagerPixelSpacing
            assert image.StudyDescription == PHANTOM_NOTE

    def test_outlines_lie_on_findings(self, inbreast):
        shapes = {path.name[:8]: pydicom.dcmread(path).pixel_array.shape for path in (inbreast / "AllDICOMs").iterdir()}
        names, single_points = set(), 0
        for path in (inbreast / "AllXML").iterdir():
            (image,) = plistlib.loads(path.read_bytes())["Images"]
            assert image["NumberOfROIs"] == len(image["ROIs"]) > 0
            for roi in image["ROIs"]:
                names.add(roi["Name"])
                points = np.array([[float(each) for each in point.strip("()").split(",")] for point in roi["Point_px"]])
                assert roi["NumberOfPoints"] == len(points) == len(roi["Point_mm"])
                single_points += len(points) == 1
                rows, columns = shapes[path.stem]
                assert (points >= 0).all()
                assert (points <= (columns, rows)).all()
        assert {"Mass", "Calcification"} <= names
        assert names <= {"Mass", "Calcification", "Cluster", "Spiculated Region"}
        assert single_points

    def test_images_without_findings_have_no_outlines(self, inbreast):
        with open(inbreast / "INbreast.csv", newline="") as file:
            table = {row["File Name"]: row["Bi-Rads"] for row in csv.DictReader(file, delimiter=";")}
        outlined = {path.stem for path in (inbreast / "AllXML").iterdir()}
        for number, bi_rads in table.items():
            if bi_rads == "1":
                assert number not in outlined
            if bi_rads not in ("1", "2"):
                assert number in outlined

    def test_assessments_are_shared_out_as_in_the_original(self):
        drawn = [bi_rads_of(breast, seed=0) for breast in range(410)]
        for bi_rads, count in BI_RADS_SHARES.items():
            assert abs(drawn.count(bi_rads) - count) <= 3
        assert sum(bi_rads_of(breast, seed=7)[0] in "456" for breast in range(16)) in (3, 4, 5)


class TestLesions:
    @pytest.mark.parametrize("kind", LesionType)
    def test_brightness_does_not_tell_benign_from_malignant(self, kind):
        means = {}
        for pathology in Pathology:
            rng = np.random.default_rng(0)
            peaks = []
            for _ in range(150):
                finding = random_finding(rng, kind, pathology)
                drawing = draw_lesion(rng, finding, scale=1.0)
                peaks.append(drawing.added[drawing.roi].mean() if kind is LesionType.MASS else finding.contrast)
            means[pathology] = np.mean(peaks)
        assert means[Pathology.BENIGN] == pytest.approx(means[Pathology.MALIGNANT], rel=0.1)

    def test_spicules_reach_beyond_the_outline_of_malignant_masses_only(self):
        rng = np.random.default_rng(0)
        outside = {}
        for pathology in Pathology:
            drawing = draw_lesion(rng, random_finding(rng, LesionType.MASS, pathology), scale=1.0)
            added = drawing.added / drawing.added.max()
            outside[pathology] = ((added > 0.2) & ~drawing.roi).sum() / drawing.roi.sum()
        assert outside[Pathology.BENIGN] < 0.1 < outside[Pathology.MALIGNANT]


def test_neither_frame_nor_brightness_of_the_image_tells_the_label(cbis):
    labels = _labels(cbis)
    mammograms = _mammograms(cbis)
    brightness = np.array([mammogram.pixel_array.mean() for mammogram in mammograms])
    malignant = np.array([labels[mammogram.PatientID] for mammogram in mammograms])
    gap = brightness[malignant].mean() - brightness[~malignant].mean()
    assert abs(gap) < 0.5 * brightness.std()
    assert all(
        mammogram.LargestImagePixelValue > 0.9 * 65535 for mammogram in mammograms
    )  # every image has a white border


def test_images_are_drawn_no_higher_than_what_they_are_prepared_for_needs():
    assert [rows_for(size) for size in ((64, 48), (288, 224), (1152, 896))] == [256, 512, 768]
