"""The prepared folder, made from images written here: contents, exclusions, replacement, privacy."""

import csv
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from test_cbis_ddsm import CbisFolder, image_pixels, mask_pixels
from test_inbreast import write_inbreast

from monai_e2e.data.images.dicom import decode_image, read_mammogram, read_mask
from monai_e2e.data.prepared.datalist import load_datalist
from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.data.prepared.report import SOURCE_FACTS
from monai_e2e.errors import UserError

SIZE = (40, 32)


def cbis_source(root: Path, patients: int = 9, **extra) -> CbisFolder:
    folder = CbisFolder(root)
    for number in range(patients):
        folder.add(f"P_{number:05d}", pathology="BENIGN" if number % 2 else "MALIGNANT", mask_first=number % 3 > 0)
    return folder


def prepare(src: Path, out: Path, **arguments) -> dict:
    return prepare_dataset("cbis-ddsm", src, out, **{"image_size": SIZE, "workers": 1, **arguments})


def exclusions(out: Path) -> list[dict[str, str]]:
    with (out / "excluded.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def samples(out: Path) -> dict[str, dict]:
    datalist = json.loads((out / "datalist.json").read_text())
    return {Path(s["image"]).stem: s for name in ("training", "validation", "test") for s in datalist[name]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    report = prepare(cbis_source(root / "src").write(), root / "out")
    return root, report


def test_folder_has_what_the_design_says(prepared):
    root, report = prepared
    out = root / "out"
    datalist = json.loads((out / "datalist.json").read_text())
    assert list(datalist) == [
        "name",
        "protocol",
        "seed",
        "image_size",
        "voi_lut",
        "crop",
        "orient",
        "pixel_mean",
        "classes",
        "options",
        *SOURCE_FACTS,
        "training",
        "validation",
        "test",
    ]
    assert (datalist["name"], datalist["protocol"], datalist["seed"]) == ("cbis-ddsm", "paper", 0)
    assert datalist["image_size"] == list(SIZE)
    sample = samples(out)["P_00000_LEFT_CC"]
    assert sample == {
        "image": "images/P_00000_LEFT_CC.png",
        "label": 1,
        "patient_id": "P_00000",
        "laterality": "LEFT",
        "view": "CC",
        "flags": "text in the image",  # its pixels are noise
        "lesions": [
            {"mask": "masks/P_00000_LEFT_CC_1.png", "type": "mass", "pathology": "malignant", "drawn_as": "mask"}
        ],
        "lesions_excluded": 0,
        "density": 2,
        "mean": sample["mean"],
        "original_size": [64, 48],
    }
    with Image.open(out / sample["image"]) as image, Image.open(out / sample["lesions"][0]["mask"]) as mask:
        assert (image.mode, image.size) == ("I;16", SIZE[::-1])
        assert (mask.mode, mask.size) == ("L", SIZE[::-1])
        assert set(np.unique(np.array(mask))) == {0, 255}
    with Image.open(out / sample["image"]) as image:
        assert sample["mean"] == pytest.approx(np.array(image).mean() * 255 / 65535, abs=1e-6)
    assert report == json.loads((out / "report.json").read_text())
    assert sum(counts["images"] for counts in report["partitions"].values()) == 9
    assert "| training |" in (out / "report.md").read_text()
    assert {path.name for path in root.iterdir()} == {"src", "out"}  # no temporary folder left


def test_official_labels_are_the_test_tables_unless_the_halves_are_merged(tmp_path):
    folder = cbis_source(tmp_path / "src")
    folder.add("P_00000", kind="calcification", half="test", pathology="BENIGN")
    for number in range(20, 22):
        folder.add(f"P_{number:05d}", half="test", pathology="MALIGNANT" if number % 2 else "BENIGN")
    src = folder.write()
    report = prepare(src, tmp_path / "official", protocol="official")
    assert samples(tmp_path / "official")["P_00000_LEFT_CC"]["label"] == 0
    assert report["partitions"]["test"]["positive"] == 1
    assert "test views malignant by training rows alone: 1" in (tmp_path / "official" / "report.md").read_text()
    report = prepare(src, tmp_path / "merged", protocol="official", merge_halves=True)
    assert samples(tmp_path / "merged")["P_00000_LEFT_CC"]["label"] == 1
    assert report["partitions"]["test"]["positive"] == 2
    with pytest.raises(UserError, match="--merge-halves goes with --protocol official, not with paper"):
        prepare(src, tmp_path / "out", merge_halves=True)


def own_for_testing(root: Path, partition: str = "test") -> Path:
    """Three negative images of three patients, and their table; returns the table."""
    (root / "src").mkdir()
    lines = ["image,label,patient_id,partition"]
    for number in range(3):
        Image.fromarray(image_pixels(seed=number)).save(root / "src" / f"{number}.png")
        lines.append(f"{number}.png,0,K{number},{partition}")
    (root / "labels.csv").write_text("\n".join([*lines, ""]))
    return root / "labels.csv"


def prepare_own(root: Path, **arguments) -> dict:
    own = {"labels": root / "labels.csv", "image_size": SIZE, "workers": 1}
    return prepare_dataset("folder", root / "src", root / "out", **own, **arguments)


@pytest.mark.parametrize("dry_run", [False, True])
def test_own_images_of_one_class_are_prepared_for_testing_alone(tmp_path, dry_run):
    own_for_testing(tmp_path)
    report, out = prepare_own(tmp_path, dry_run=dry_run), tmp_path / "out"
    images = {name: part["images"] for name, part in report["partitions"].items()}
    assert images == {"training": 0, "validation": 0, "test": 3}
    assert report["pixel_mean"] is None
    if not dry_run:
        assert "no training images" in (out / "report.md").read_text()
        assert len(load_datalist(out, "test")) == 3


def test_dry_run_refuses_partitions_that_the_real_run_refuses(tmp_path):
    labels = own_for_testing(tmp_path, "training")
    text = labels.read_text().replace("0.png,0", "0.png,1").replace("K2,training", "K2,test")
    labels.write_text(text)
    for dry_run in (True, False):
        named = re.escape(f"{tmp_path / 'src'}: partition validation has 0 image(s), but not of both classes")
        with pytest.raises(UserError, match=named):
            prepare_own(tmp_path, dry_run=dry_run)
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_cannot_be_split_is_named(tmp_path):
    labels = own_for_testing(tmp_path)
    labels.write_text(
        re.sub(",(training|test)$", "", labels.read_text(), flags=re.MULTILINE)
        .replace(",partition", "")
        .replace("0.png,0", "0.png,1")
    )
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'src'}: 2 patient(s) without a positive mammogram")):
        prepare_own(tmp_path)


def test_images_that_are_flagged_are_counted_in_the_log(tmp_path, caplog):
    own_for_testing(tmp_path)
    (tmp_path / "src" / "1.png").write_bytes((tmp_path / "src" / "0.png").read_bytes())
    with caplog.at_level(logging.INFO):
        prepare_own(tmp_path)
    (line,) = (record.getMessage() for record in caplog.records if "flagged images" in record.getMessage())
    assert "2 × same pixels as another" in line
    assert "2 × same pixels, other patient" in line
    assert str(tmp_path / "out" / "report.md") in line


def test_mask_is_told_from_crop_by_pixels_in_either_order(prepared):
    out = prepared[0] / "out"
    expected = np.zeros(SIZE, bool)
    expected[10:20, 8:16] = True
    for sample in samples(out).values():
        np.testing.assert_array_equal(read_mask(out / sample["lesions"][0]["mask"]), expected)


def test_image_is_the_resized_image_and_pixel_mean_the_training_mean(prepared):
    root, report = prepared
    out = root / "out"
    datalist = json.loads((out / "datalist.json").read_text())
    means = [np.array(Image.open(out / s["image"])).mean() * 255 / 65535 for s in datalist["training"]]
    assert datalist["pixel_mean"] == pytest.approx(np.mean(means), abs=1e-3)
    assert 100 < report["pixel_mean"] < 155  # uniform noise
    image = read_mammogram(next((root / "src").glob("*P_00003_LEFT_CC/*/*/*.dcm")))
    small = read_mammogram(out / "images" / "P_00003_LEFT_CC.png")
    image, small = image.reshape(8, 8, 16, 3).mean(axis=(1, 3)), small.reshape(8, 5, 16, 2).mean(axis=(1, 3))
    assert np.corrcoef(image.ravel(), small.ravel())[0, 1] > 0.9


def test_no_header_text_reaches_the_output(prepared):
    out = prepared[0] / "out"
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 3 * 9 + 4  # images, masks, records; lists and reports
    for path in files:
        content = path.read_bytes()
        assert b"Doe" not in content
        assert b"1.2.4." not in content
        assert str(out.parent).encode() not in content


@pytest.mark.parametrize("element", ["PhotometricInterpretation", "RescaleSlope"])
def test_reason_of_an_exclusion_repeats_no_text_of_the_header(element, tmp_path):
    folder = cbis_source(tmp_path / "src", 8)
    src = folder.write()
    image = next(src.glob("*P_00003_LEFT_CC/*/*/*.dcm"))
    dataset = pydicom.dcmread(image)
    dataset[element] = pydicom.DataElement(element, "LO", "DOE JANE")
    dataset.save_as(image)
    prepare(src, tmp_path / "out")
    (row,) = exclusions(tmp_path / "out")
    assert row["reason"].startswith("image not usable: ")
    assert "DOE" not in row["reason"]


def test_mask_sizes_that_differ_from_the_image(tmp_path):
    folder = cbis_source(tmp_path / "src", 8)
    folder.add("P_00100", pathology="MALIGNANT", mask=mask_pixels(128, 96))
    folder.add("P_00101", pathology="MALIGNANT", mask=mask_pixels(64, 56))
    prepare(folder.write(), tmp_path / "out")
    found = samples(tmp_path / "out")
    assert read_mask(tmp_path / "out" / found["P_00100_LEFT_CC"]["lesions"][0]["mask"])[10:20, 8:16].all()
    assert found["P_00101_LEFT_CC"]["lesions"] == []
    assert found["P_00101_LEFT_CC"]["lesions_excluded"] == 1
    reasons = [row["reason"] for row in exclusions(tmp_path / "out")]
    assert reasons == ["mask and image differ in shape: mask 64×56, image 64×48"]


def test_bad_files_end_in_excluded_csv(tmp_path):
    folder = cbis_source(tmp_path / "src", 10)
    no_mask = image_pixels(64, 48, seed=99)
    folder.add("P_00100", pathology="MALIGNANT", mask=no_mask)
    folder.add("P_00101", mask=mask_pixels() * 0)
    src = folder.write()
    broken = next((src / "Mass-Training_P_00003_LEFT_CC").rglob("*.dcm"))
    broken.write_bytes(broken.read_bytes()[:-1000])
    (src / "junk.dcm").write_text("junk")
    report = prepare(src, tmp_path / "out")
    rows = {Path(row["path"]).parts[0]: row["reason"] for row in exclusions(tmp_path / "out")}
    assert rows["Mass-Training_P_00003_LEFT_CC"].startswith("image not usable: pixel data can't be decoded")
    assert rows["Mass-Training_P_00100_LEFT_CC_1"] == "no mask among the lesion's files: all have grey values"
    assert rows["Mass-Training_P_00101_LEFT_CC_1"] == "mask empty"
    assert rows["junk.dcm"] == "not readable as DICOM"
    assert "P_00003_LEFT_CC" not in samples(tmp_path / "out")
    assert report["tables"]["rows"] == 12
    assert report["excluded_by_reason"] == {
        "image not usable": 1,
        "no mask among the lesion's files": 1,
        "mask empty": 1,
    }
    assert (report["rows_used"], report["rows_excluded"]) == (9, 3)
    assert report["also_excluded"] == {"not readable as DICOM": 1}


def test_result_is_the_same_whatever_the_workers_and_on_every_run(prepared, tmp_path):
    root, _ = prepared
    prepare(root / "src", tmp_path / "out", workers=2)
    files = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(root / "out") for path in (root / "out").rglob("*") if path.is_file())
    for path in files:
        if path.name not in ("report.json", "report.md"):  # they tell the time
            assert (tmp_path / "out" / path).read_bytes() == (root / "out" / path).read_bytes()


def test_preparing_again_replaces_the_folder(tmp_path):
    src, out = cbis_source(tmp_path / "src").write(), tmp_path / "out"
    prepare(src, out)
    for folder in ("patches", "cache"):
        (out / folder).mkdir()
        (out / folder / "stale").touch()
    prepare(src, out, image_size=(48, 36))
    assert not (out / "patches").exists()
    assert not (out / "cache").exists()
    assert json.loads((out / "datalist.json").read_text())["image_size"] == [48, 36]
    assert {path.name for path in tmp_path.iterdir()} == {"src", "out"}


def test_failure_leaves_the_old_folder(tmp_path):
    src, out = cbis_source(tmp_path / "src").write(), tmp_path / "out"
    prepare(src, out)
    before = (out / "datalist.json").read_bytes()
    for path in src.glob("*_P_*[02468]_LEFT_CC/*/*/*.dcm"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"^{src}: partition \w+ has \d+ image\(s\), but not of both"):
        prepare(src, out)
    assert (out / "datalist.json").read_bytes() == before
    assert len(samples(out)) == 9


def test_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    src, out = cbis_source(tmp_path / "src").write(), tmp_path / "out"
    prepare(src, out)
    rename = Path.rename

    def fail_for_the_new_folder(self, target):
        if (self / "datalist.json").is_file() and self.name == ".out.partial":
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_folder)
    with pytest.raises(UserError, match="can't be replaced"):
        prepare(src, out)
    assert len(samples(out)) == 9
    assert {path.name for path in tmp_path.iterdir()} == {"src", "out", ".out.partial"}


def test_another_data_sets_prepared_folder_is_kept(tmp_path):
    src = cbis_source(tmp_path / "src").write()
    prepare(src, tmp_path / "out")
    for name, own in (("inbreast", {}), ("folder", {"labels": tmp_path / "labels.csv"})):
        with pytest.raises(UserError, match=r"out was prepared from cbis-ddsm, and would be replaced; choose another"):
            prepare_dataset(name, src, tmp_path / "out", **own)
    assert len(samples(tmp_path / "out")) == 9
    prepare(src, tmp_path / "out", seed=1)
    datalist = json.loads((tmp_path / "out/datalist.json").read_text())
    assert datalist["seed"] == 1


def test_folders_of_others_are_refused(tmp_path):
    src = cbis_source(tmp_path / "src").write()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"not empty and not a prepared folder \(has thesis\.txt\)"):
        prepare(src, tmp_path / "mine")
    (tmp_path / "mine" / "datalist.json").touch()
    with pytest.raises(UserError, match=r"thesis\.txt"):
        prepare(src, tmp_path / "mine")
    with pytest.raises(UserError, match="contains the source"):
        prepare(src, src)
    with pytest.raises(UserError, match="choose one of paper, official, kfold"):
        prepare(src, tmp_path / "out", protocol="other")
    for size in ((0, 5), (10, 10), (1152, 31), (200000, 32)):
        with pytest.raises(UserError, match=f"image size {size[0]}x{size[1]}: give 32 to 8192 rows and columns"):
            prepare(src, tmp_path / "out", image_size=size)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_inbreast_outlines_become_masks(tmp_path):
    rows = [(100 + i, f"p{i:02d}", "LR"[i % 2], "CC", "5" if i % 3 == 0 else "2") for i in range(12)]
    rois = {row[0]: [("Mass", [(6, 10), (15, 10), (15, 20), (6, 20)])] for row in rows[::3]}
    rois[103].append(("Calcification", [(500, 500)]))
    src = write_inbreast(tmp_path / "src", rows, rois)
    report = prepare_dataset("inbreast", src, tmp_path / "out", image_size=(40, 40), workers=1)
    found = samples(tmp_path / "out")
    assert len(found) == 12
    lesion = found["p00_LEFT_CC"]["lesions"][0]
    assert (lesion["type"], lesion["pathology"], lesion["drawn_as"]) == ("mass", None, "polygon")
    mask = read_mask(tmp_path / "out" / lesion["mask"])
    assert mask[15, 14]
    assert not mask[:9].any()
    assert not mask[22:].any()
    assert found["p03_RIGHT_CC"]["lesions_excluded"] == 1
    assert report["also_excluded"] == {"lesion outside the image": 1}
    assert report["rows_used"] == report["tables"]["rows"] == 12
    assert report["protocol"] == "paper-70-30"
    assert sum(counts["lesions"].get("mass", 0) for counts in report["partitions"].values()) == 4


class TestResuming:
    @pytest.fixture
    def source(self, tmp_path):
        return cbis_source(tmp_path / "src").write()

    @pytest.fixture
    def read(self, monkeypatch):
        """Names of the images that are read, in order."""
        names: list[str] = []

        def read(path, *arguments):
            names.append(Path(path).parts[-4])
            return decode_image(path, *arguments)

        monkeypatch.setattr("monai_e2e.data.prepared.images.decode_image", read)
        return names

    def test_a_second_run_reads_no_image_again(self, source, tmp_path, read):
        first = prepare(source, tmp_path / "out")
        assert len(read) == 9
        second = prepare(source, tmp_path / "out")
        assert len(read) == 9
        assert {**second, "seconds": 0} == {**first, "seconds": 0}
        assert len(samples(tmp_path / "out")) == 9
        for sample in samples(tmp_path / "out").values():
            read_mammogram(tmp_path / "out" / sample["image"])

    def test_another_split_takes_the_same_images(self, source, tmp_path, read):
        prepare(source, tmp_path / "out")
        prepare(source, tmp_path / "out", protocol="kfold", folds=3)
        assert len(read) == 9
        assert json.loads((tmp_path / "out" / "datalist.json").read_text())["folds"] == 3
        assert {sample["fold"] for sample in samples(tmp_path / "out").values()} == {0, 1, 2}

    @pytest.mark.parametrize("settings", [{"image_size": (48, 36)}, {"voi_lut": True}])
    def test_other_settings_prepare_anew(self, settings, source, tmp_path, read):
        prepare(source, tmp_path / "out")
        prepare(source, tmp_path / "out", **settings)
        assert len(read) == 18

    def test_a_changed_image_alone_is_prepared_anew(self, source, tmp_path, read):
        prepare(source, tmp_path / "out")
        image = next(source.glob("*P_00003_LEFT_CC/*/*/*.dcm"))
        image.touch()
        prepare(source, tmp_path / "out")
        assert read[9:] == [image.parts[-4]]

    def test_a_stopped_run_is_taken_up_and_its_half_written_files_are_not_trusted(self, source, tmp_path, monkeypatch):
        class Stopped(BaseException):
            pass

        done: list[str] = []

        def stop(path, *arguments):
            if len(done) == 4:
                raise Stopped
            done.append(str(path))
            return decode_image(path, *arguments)

        monkeypatch.setattr("monai_e2e.data.prepared.images.decode_image", stop)
        with pytest.raises(Stopped):
            prepare(source, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        partial = tmp_path / ".out.partial"
        finished = sorted(path.stem for path in (partial / ".finished").iterdir())
        assert len(finished) == 4
        # As if it had been killed while it wrote the next image, and a record had been lost.
        (partial / "images" / ".P_00008_LEFT_CC.1.png").write_bytes(b"half")
        (partial / "images" / "P_00008_LEFT_CC.png").write_bytes(b"half")
        (partial / ".finished" / f"{finished[0]}.json").write_text('{"fingerprint": "')
        monkeypatch.setattr(
            "monai_e2e.data.prepared.images.decode_image", lambda *a: done.append(str(a[0])) or decode_image(*a)
        )
        prepare(source, tmp_path / "out")
        assert len(done) == 4 + 9 - 3
        assert {path.name for path in tmp_path.iterdir()} == {"src", "out"}
        assert len(list((tmp_path / "out" / "images").iterdir())) == 9
        for sample in samples(tmp_path / "out").values():
            assert read_mammogram(tmp_path / "out" / sample["image"]).shape == SIZE

    def test_an_image_that_could_not_be_read_is_tried_again(self, source, tmp_path, read):
        image = next(source.glob("*P_00003_LEFT_CC/*/*/*.dcm"))
        whole = image.read_bytes()
        image.write_bytes(whole[:-1000])
        assert prepare(source, tmp_path / "out")["rows_excluded"] == 1
        image.write_bytes(whole)
        assert prepare(source, tmp_path / "out")["rows_excluded"] == 0
        assert len(read) == 10

    def test_an_image_whose_mask_failed_is_tried_again_and_leaves_no_path_in_its_record(self, tmp_path, read):
        folder = cbis_source(tmp_path / "src", 8)
        folder.add("P_00101", pathology="MALIGNANT", mask=mask_pixels(64, 56))
        source = folder.write()
        for runs in (1, 2):
            assert prepare(source, tmp_path / "out")["rows_excluded"] == 1
            assert len([name for name in read if "P_00101" in name]) == runs
        assert len(read) == 8 + 2
        for path in (tmp_path / "out").rglob("*.json"):
            assert str(tmp_path) not in path.read_text()

    def test_images_that_are_gone_from_the_source_are_gone_from_the_folder(self, source, tmp_path):
        prepare(source, tmp_path / "out")
        next(source.glob("*P_00003_LEFT_CC/*/*/*.dcm")).unlink()
        prepare(source, tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*P_00003*"))


class TestDryRun:
    def test_it_reports_what_a_run_does_and_writes_no_image(self, tmp_path):
        source = cbis_source(tmp_path / "src").write()
        dry = prepare(source, tmp_path / "dry", dry_run=True)
        assert {path.name for path in (tmp_path / "dry").iterdir()} == {"report.json", "report.md", "excluded.csv"}
        real = prepare(source, tmp_path / "dry")
        for key in ("tables", "rows_used", "rows_excluded", "excluded_by_reason", "partitions"):
            assert dry[key] == real[key]
        assert (dry["dry_run"], dry["pixel_mean"], real["dry_run"]) == (True, None, False)

    def test_it_works_with_the_tables_alone(self, tmp_path):
        source = cbis_source(tmp_path / "src").write()
        complete = prepare(source, tmp_path / "complete", dry_run=True)
        for folder in source.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
        tables = prepare(source, tmp_path / "tables", dry_run=True)
        assert {**tables, "seconds": 0, "notes": 0} == {**complete, "seconds": 0, "notes": 0}
        assert "**Dry run**" in (tmp_path / "tables" / "report.md").read_text()

    def test_it_does_not_touch_a_prepared_folder(self, tmp_path):
        source = cbis_source(tmp_path / "src").write()
        prepare(source, tmp_path / "out")
        before = (tmp_path / "out" / "report.json").read_bytes()
        with pytest.raises(UserError, match="is a prepared folder, whose report a dry run would replace"):
            prepare(source, tmp_path / "out", dry_run=True)
        assert (tmp_path / "out" / "report.json").read_bytes() == before
