"""The command ``predict``: the same scores by every way, results that a killed run can be resumed to, no identities."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from pydicom.datadict import dictionary_VR
from pydicom.uid import JPEG2000Lossless

from monai_e2e.cli import main as cli
from monai_e2e.data import load_datalist, phantom_dataset
from monai_e2e.data.phantom import write_inbreast
from monai_e2e.errors import UserError
from monai_e2e.inferers import HeatmapInferer
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, load_classifier
from monai_e2e.predict import Options, predict
from monai_e2e.transforms import mammogram

pytestmark = pytest.mark.usefixtures("blank_curves")

BUNDLES = Path(__file__).parents[2] / "bundles"
SIZE = (128, 96)
HERE = Options(workers=0)
SECRETS = ("Planted^Name", "PLANTED-ID", "19470203", "Planted Hospital")
#: Elements of a mammogram's header that hold text, dates and names.
TEXTS = (
    *("PatientName", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientAddress", "PatientComments"),
    *("PatientMotherBirthName", "InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "OperatorsName"),
    *("StudyDate", "ContentDate", "PerformingPhysicianName", "StationName", "StudyDescription", "SeriesDescription"),
    *("ProtocolName", "AccessionNumber", "StudyID", "ImageComments", "AdditionalPatientHistory", "RetrieveAETitle"),
    *("RequestedProcedureDescription", "DerivationDescription", "ContributionDescription"),
)


def save_networks(folder: Path, seed: int) -> None:
    """Both bundles with untrained networks for small images, as training would leave them."""
    torch.manual_seed(seed)
    preparation = {"image_size": list(SIZE), "voi_lut": False}
    patch = PatchClassifier("vgg16", width=0.0625, pixel_mean=40.0, preparation={**preparation, "patch_size": 32})
    whole = WholeImageClassifier(patch, ["[8-8-16]x1"], pixel_mean=40.0, preparation=preparation)
    whole.threshold.fill_(-0.25 - seed)
    for name, network in (("ddsm_patch", patch), ("ddsm_whole", whole)):
        shutil.copytree(BUNDLES / name / "configs", folder / name / "configs")
        (folder / name / "models").mkdir()
        torch.save(network.state_dict(), folder / name / "models" / "model.pt")


#: A command that is killed when its table has two images.
KILLED = """
import os, sys, threading, time
from pathlib import Path
from monai_e2e.cli.main import main
def kill():
    table = Path(sys.argv[1])
    while not (table.is_file() and table.read_bytes().count(b"\\n") > 2):
        time.sleep(0.001)
    os.kill(os.getpid(), 9)
threading.Thread(target=kill, daemon=True).start()
main([*sys.argv[2:], "--workers", "0"])
time.sleep(10)  # the thread may be late
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two seeds of bundles; images of INbreast's form, as files and prepared."""
    folder = tmp_path_factory.mktemp("predict")
    for seed in (0, 1):
        save_networks(folder / f"seed{seed}", seed)
    write_inbreast(folder / "download", patients=3, rows=256, workers=1)
    prepared = phantom_dataset("inbreast", patients=12, image_size=SIZE, folder=folder / "phantoms", workers=1)
    (folder / "prepared").symlink_to(prepared, target_is_directory=True)
    return folder


@pytest.fixture
def raw(root, tmp_path):
    """The first patient's images in a folder of their own."""
    files = sorted((root / "download" / "AllDICOMs").iterdir())
    patient = files[0].name.split("_")[1]
    for number, file in enumerate(file for file in files if patient in file.name):
        path = tmp_path / "raw" / f"case{number % 2}" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, path)
    return tmp_path / "raw"


def rows_of(out, name="predictions.csv"):
    with (out / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logits_of(out):
    return {row["image"]: float(row["logit"]) for row in rows_of(out)}


def whole(root, seed=0):
    return root / f"seed{seed}" / "ddsm_whole"


class TestScores:
    def test_a_prepared_folder_scores_as_the_bundles_evaluation_does(self, root, tmp_path):
        predict([whole(root)], root / "prepared", tmp_path / "predicted", HERE)
        configs = [str(whole(root) / "configs" / f"{name}.json") for name in ("train", "evaluate")]
        workflow = ConfigWorkflow(
            configs,
            run_id="evaluating",
            logging_file=False,
            workflow_type=None,
            recipe="phantom",
            image_size=list(SIZE),
            batch_size=4,
            dataset_dir=str(root / "prepared"),
            output_dir=str(tmp_path / "evaluated"),
        )
        workflow.initialize()
        workflow.run()
        expected = logits_of(tmp_path / "evaluated")
        scored = json.loads((tmp_path / "evaluated" / "score.json").read_text())
        assert scored["about"]["model"] == "Whole-image mammography classifier"
        assert scored["about"]["partition"] == "test"
        assert scored["cohort"]["prepared"]["name"] == scored["about"]["data"]
        assert logits_of(tmp_path / "predicted") == pytest.approx(expected, abs=1e-5, rel=1e-5)
        samples = load_datalist(root / "prepared", "test")
        rows = rows_of(tmp_path / "predicted")
        assert [row["label"] for row in rows] == [str(sample["label"]) for sample in samples]
        assert [row["patient_id"] for row in rows] == [sample["patient_id"] for sample in samples]

    def test_a_checkpoint_alone_scores_as_its_bundle_does(self, root, raw, tmp_path):
        shutil.copy(whole(root) / "models" / "model.pt", tmp_path / "alone.pt")
        predict([whole(root)], raw, tmp_path / "bundle", HERE)
        predict([tmp_path / "alone.pt"], raw, tmp_path / "checkpoint", HERE)
        assert logits_of(tmp_path / "checkpoint") == logits_of(tmp_path / "bundle")
        assert {row["model"] for row in rows_of(tmp_path / "checkpoint")} == {"alone"}

    def test_a_bundle_whose_transforms_were_changed_is_followed(self, root, raw, tmp_path):
        shutil.copytree(whole(root), tmp_path / "darker")
        config = tmp_path / "darker" / "configs" / "inference.json"
        changed = json.loads(config.read_text())
        changed["preprocessing"]["transforms"].append(
            {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x / 2"}
        )
        config.write_text(json.dumps(changed))
        predict([whole(root)], raw, tmp_path / "as_trained", HERE)
        predict([tmp_path / "darker"], raw, tmp_path / "changed", HERE)
        assert logits_of(tmp_path / "changed") != pytest.approx(logits_of(tmp_path / "as_trained"), abs=1e-3)

    def test_raw_images_score_as_prepared_ones_up_to_the_rounding_to_16_bits(self, root, tmp_path):
        predict([whole(root)], root / "prepared", tmp_path / "prepared", HERE)
        images = (root / "prepared").resolve().parent / "download" / "AllDICOMs"
        predict([whole(root)], images, tmp_path / "raw", HERE)
        known = {row["image"]: row for row in rows_of(tmp_path / "prepared")}
        raw = rows_of(tmp_path / "raw")
        for row in known.values():
            same = [
                float(other["logit"])
                for other in raw
                if row["patient_id"] in other["image"]
                and (other["laterality"], other["view"]) == (row["laterality"], row["view"])
            ]
            assert same == pytest.approx([float(row["logit"])], abs=1e-3)

    def test_several_models_are_the_mean_of_their_probabilities_and_each_image_is_decoded_once(
        self, root, raw, tmp_path, monkeypatch
    ):
        for seed in (0, 1):
            predict([whole(root, seed)], raw, tmp_path / str(seed), HERE)
        read, decode = [], mammogram.decode_image
        monkeypatch.setattr(mammogram, "decode_image", lambda *given: read.append(given) or decode(*given))
        predict([whole(root, 0), whole(root, 1)], raw, tmp_path / "both", HERE)
        assert len(read) == len(rows_of(tmp_path / "both"))
        first, second = logits_of(tmp_path / "0"), logits_of(tmp_path / "1")
        for image, logit in logits_of(tmp_path / "both").items():
            mean = (1 / (1 + np.exp(-first[image])) + 1 / (1 + np.exp(-second[image]))) / 2
            assert logit == pytest.approx(np.log(mean / (1 - mean)), abs=1e-5)
        for row in rows_of(tmp_path / "both"):
            both = sorted(1 / (1 + np.exp(-logits[row["image"]])) for logits in (first, second))
            assert [float(row["p_low"]), float(row["p_high"])] == pytest.approx(both, abs=1e-5)
            assert row["spread_over"] == "2 models"
        digest = json.loads((tmp_path / "both" / "run.json").read_text())["settings"]["models"]
        assert len(digest) == 2
        assert {row["model"] for row in rows_of(tmp_path / "both")} == {"+".join(digest)}

    def test_batches_and_flips_change_scores_as_they_should(self, root, raw, tmp_path):
        predict([whole(root)], raw, tmp_path / "one", HERE)
        predict([whole(root)], raw, tmp_path / "batch", Options(workers=0, batch_size=3))
        predict([whole(root)], raw, tmp_path / "flips", Options(workers=0, tta="flips"))
        assert logits_of(tmp_path / "batch") == pytest.approx(logits_of(tmp_path / "one"), abs=1e-5, rel=1e-5)
        assert logits_of(tmp_path / "flips") != pytest.approx(logits_of(tmp_path / "one"), abs=1e-5)

    def test_the_models_threshold_stands_in_each_row_but_not_in_those_of_an_average(self, root, raw, tmp_path):
        predict([whole(root)], raw, tmp_path / "one", HERE)
        predict([whole(root)], raw, tmp_path / "flips", Options(workers=0, tta="flips"))
        predict([whole(root, 0), whole(root, 1)], raw, tmp_path / "two", HERE)
        expected = 1 / (1 + np.exp(0.25))
        assert {row["threshold"] for row in rows_of(tmp_path / "one")} == {f"{expected:.12g}"}
        for name in ("flips", "two"):
            assert {row["threshold"] for row in rows_of(tmp_path / name)} == {""}


class TestRows:
    def test_images_without_a_table_get_side_view_and_numbers_from_their_headers(self, root, tmp_path):
        images = root / "download" / "AllDICOMs"
        predict([whole(root)], images, tmp_path / "out", HERE)
        rows = rows_of(tmp_path / "out")
        assert [row["image"] for row in rows] == sorted(path.stem for path in images.iterdir())
        for row in rows:
            header = pydicom.dcmread(images / f"{row['image']}.dcm", stop_before_pixels=True)
            assert row["laterality"][0] == header.ImageLaterality
            assert row["view"] == header.ViewPosition
        assert {row["patient_id"] for row in rows} == {"patient-0001"}  # INbreast's are all called "removed"
        assert {row["exam_id"] for row in rows} == {"exam-0001", "exam-0002", "exam-0003"}
        assert "label" not in rows[0]

    def test_breasts_and_exams_are_written_by_the_same_functions_that_score_them(self, root, tmp_path):
        predict([whole(root)], root / "prepared", tmp_path / "out", Options(workers=0, aggregate="max"))
        best = {}
        for row in rows_of(tmp_path / "out"):
            best[row["patient_id"]] = max(float(row["logit"]), best.get(row["patient_id"], -np.inf))
        exams = {row["patient_id"]: float(row["logit"]) for row in rows_of(tmp_path / "out", "exam.csv")}
        assert exams == pytest.approx(best, abs=1e-5)
        assert {row["laterality"] for row in rows_of(tmp_path / "out", "breast.csv")} <= {"LEFT", "RIGHT"}

    def test_images_unlike_the_models_are_flagged(self, root, tmp_path):
        (tmp_path / "images").mkdir()
        noise = np.random.default_rng(0).integers(0, 80, (600, 600), dtype=np.uint8)  # as bright as the models' mean
        for name, rows, columns in (("fits", 300, 225), ("small", 64, 48), ("wide", 200, 400)):
            Image.fromarray(noise[:rows, :columns]).save(tmp_path / "images" / f"{name}.png")
        predict([whole(root)], tmp_path / "images", tmp_path / "out", HERE)
        flags = {row["image"]: row["flags"].split(";") for row in rows_of(tmp_path / "out")}
        assert flags["fits"] == ["side unknown", "view unknown", "patient unknown", "no breast found"]
        assert {name: own[-1] for name, own in flags.items() if name != "fits"} == {
            "small": "upscaled",
            "wide": "other aspect",
        }

    def test_a_prepared_folder_made_otherwise_than_the_models_images_is_refused(self, root, tmp_path):
        other = phantom_dataset("inbreast", patients=12, image_size=(160, 96), folder=tmp_path, workers=1)
        with pytest.raises(UserError, match=r"\[128, 96\].*\[160, 96\]"):
            predict([whole(root)], other, tmp_path / "out", HERE)


class TestFailures:
    @pytest.fixture
    def broken(self, raw):
        """A truncated image, an empty one, text, and a report; and the one good image's name."""
        good = raw / "case0" / "0.dcm"
        data = good.read_bytes()
        (raw / "case1" / "truncated.dcm").write_bytes(data[: len(data) // 2])
        (raw / "case1" / "empty.dcm").write_bytes(b"")
        (raw / "case1" / "text.png").write_text("no image")
        report = pydicom.dcmread(good)
        del report.PixelData
        report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
        report.save_as(raw / "case1" / "report.dcm")
        odd = pydicom.dcmread(good)
        odd.RescaleSlope, odd.PatientName = 1, "Planted^Name"
        odd.file_meta.TransferSyntaxUID = JPEG2000Lossless
        odd.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 no codestream"])
        odd.save_as(raw / "case1" / "undecodable.dcm")
        return raw

    @pytest.mark.parametrize("workers", [0, 1])
    def test_bad_files_are_rows_and_the_others_are_predicted(self, root, broken, tmp_path, workers):
        outcome = predict([whole(root)], broken, tmp_path / "out", Options(workers=workers))
        failures = {row["image"]: row["reason"] for row in rows_of(tmp_path / "out", "failures.csv")}
        assert set(failures) == {f"case1/{name}" for name in ("truncated", "empty", "text", "report", "undecodable")}
        assert all(str(tmp_path) not in reason for reason in failures.values())
        assert "no pixel data" in failures["case1/report"]
        good = sum(path.stem.isdigit() for path in broken.rglob("*.dcm"))
        assert (outcome.predicted, outcome.failed) == (good, 5)

    def test_they_are_tried_again_by_the_next_run(self, root, broken, tmp_path):
        predict([whole(root)], broken, tmp_path / "out", HERE)
        before = (tmp_path / "out" / "predictions.csv").read_bytes()
        shutil.copy(broken / "case0" / "0.dcm", broken / "case1" / "truncated.dcm")
        outcome = predict([whole(root)], broken, tmp_path / "out", HERE)
        assert outcome.failed == 4
        assert (tmp_path / "out" / "predictions.csv").read_bytes().startswith(before)
        found = logits_of(tmp_path / "out")
        assert found["case1/truncated"] == found["case0/0"]

    def test_an_image_whose_reader_was_killed_is_a_row_too(self, root, raw, tmp_path, monkeypatch):
        def first_kills_its_process(read, images, workers):
            return ((image, read(image) if index else None) for index, image in enumerate(images))

        monkeypatch.setattr("monai_e2e.predict.run.stream_parallel", first_kills_its_process)
        predict([whole(root)], raw, tmp_path / "out", HERE)
        (failure,) = rows_of(tmp_path / "out", "failures.csv")
        assert failure["image"] == "case0/0"
        assert "process that read it was killed" in failure["reason"]

    def test_a_score_that_is_no_number_is_a_failure(self, root, raw, tmp_path):
        network = load_classifier(whole(root) / "models" / "model.pt")
        network.head.bias.data.fill_(float("nan"))
        torch.save(network.state_dict(), tmp_path / "nan.pt")
        outcome = predict([tmp_path / "nan.pt"], raw, tmp_path / "out", HERE)
        assert outcome.predicted == 0
        assert {"not a finite number" in row["reason"] for row in rows_of(tmp_path / "out", "failures.csv")} == {True}
        assert rows_of(tmp_path / "out") == []


class TestResuming:
    def test_a_run_that_was_killed_goes_on_to_the_same_results(self, root, run_code, tmp_path):
        images, table = root / "download" / "AllDICOMs", tmp_path / "out" / "predictions.csv"
        predict([whole(root)], images, tmp_path / "whole", HERE)
        status, said = run_code(KILLED, str(table), "predict", *map(str, (whole(root), images, tmp_path / "out")))
        assert status == -signal.SIGKILL, said
        written = table.read_bytes()
        table.write_bytes(written[:-7])  # as if it had been killed in the middle of a line
        outcome = predict([whole(root)], images, tmp_path / "out", HERE)
        assert outcome.earlier == written.count(b"\n") - 2
        for name in ("predictions.csv", "breast.csv", "exam.csv"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_numbers_of_patients_stay_when_images_are_added(self, root, raw, tmp_path):
        other = next(
            p
            for p in (root / "download" / "AllDICOMs").iterdir()
            if p.read_bytes() not in [q.read_bytes() for q in raw.rglob("*.dcm")]
        )
        predict([whole(root)], raw, tmp_path / "out", HERE)
        (raw / "a_new_one").mkdir()
        new = pydicom.dcmread(other)
        new.PatientID, new.StudyInstanceUID = "another", "1.2.3"
        new.save_as(raw / "a_new_one" / "image.dcm")
        predict([whole(root)], raw, tmp_path / "out", HERE)
        patients = {row["image"].split("/")[0]: row["patient_id"] for row in rows_of(tmp_path / "out")}
        assert patients == {"case0": "patient-0001", "case1": "patient-0001", "a_new_one": "patient-0002"}

    def test_another_folder_of_the_same_name_is_refused(self, root, raw, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        predict([whole(root)], "raw", tmp_path / "out", HERE)
        (tmp_path / "elsewhere").mkdir()
        shutil.copytree(raw / "case1", tmp_path / "elsewhere" / "raw" / "case1")
        monkeypatch.chdir(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=r"results of \d images that aren't in raw \(case0/.*new folder"):
            predict([whole(root)], "raw", tmp_path / "out", HERE)

    def test_a_folder_that_was_prepared_anew_is_refused(self, root, tmp_path):
        shutil.copytree(root / "prepared", tmp_path / "prepared")
        predict([whole(root)], tmp_path / "prepared", tmp_path / "out", HERE)
        datalist = json.loads((tmp_path / "prepared" / "datalist.json").read_text())
        datalist["test"][0]["label"] = 1 - datalist["test"][0]["label"]
        (tmp_path / "prepared" / "datalist.json").write_text(json.dumps(datalist))
        with pytest.raises(UserError, match=r"datalist was .*new folder"):
            predict([whole(root)], tmp_path / "prepared", tmp_path / "out", HERE)

    @pytest.mark.parametrize("change", ["model", "tta", "src"])
    def test_other_settings_are_refused(self, root, raw, tmp_path, change):
        predict([whole(root)], raw, tmp_path / "out", HERE)
        model, src = whole(root, int(change == "model")), raw / "case0" if change == "src" else raw
        with pytest.raises(UserError, match=f"{change}.*new folder"):
            predict([model], src, tmp_path / "out", Options(workers=0, tta="flips" if change == "tta" else None))

    def test_a_folder_of_other_files_is_not_written_to(self, root, raw, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("years of work")
        with pytest.raises(UserError, match="other files"):
            predict([whole(root)], raw, tmp_path / "out", HERE)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


class TestPictures:
    def test_the_patch_bundle_beside_the_model_makes_the_heatmaps(self, root, raw, tmp_path):
        predict([whole(root)], raw, tmp_path / "out", Options(workers=0, heatmap=True))
        for row in rows_of(tmp_path / "out"):
            values = np.load(tmp_path / "out" / "heatmaps" / f"{row['image']}.npy")
            assert values.dtype == np.float32
            image = mammogram.LoadMammogram(SIZE)(raw / f"{row['image']}.dcm").as_tensor()[None] - 40.0
            network = load_classifier(root / "seed0" / "ddsm_patch" / "models" / "model.pt")
            with torch.no_grad():
                expected = HeatmapInferer(32)(image.repeat(1, 3, 1, 1), network).softmax(dim=1)[0]
            np.testing.assert_allclose(values, expected.numpy(), atol=1e-5)
            assert (tmp_path / "out" / "overlays" / f"{row['image']}.png").stat().st_size > 10_000
        described = json.loads((tmp_path / "out" / "heatmaps" / "format.json").read_text())
        assert (described["window"], described["stride"], described["image_size"]) == (32, 32, [128, 96])
        assert len(described["classes"]) == 5

    def test_a_patch_classifier_among_the_models_makes_heatmaps_and_no_scores(self, root, raw, tmp_path):
        patch = root / "seed1" / "ddsm_patch" / "models" / "model.pt"
        predict([whole(root)], raw, tmp_path / "without", HERE)
        options = Options(workers=0, heatmap=True, heatmap_format="nifti")
        predict([whole(root), patch], raw, tmp_path / "with", options)
        assert logits_of(tmp_path / "with") == logits_of(tmp_path / "without")
        assert {row["model"] for row in rows_of(tmp_path / "with")} == {"ddsm_whole"}
        import nibabel

        volume = nibabel.load(tmp_path / "with" / "heatmaps" / "case0" / "0.nii.gz")
        assert volume.shape == (4, 3, 1, 5)
        assert volume.get_fdata().sum(axis=-1) == pytest.approx(np.ones((4, 3, 1)), abs=1e-5)
        np.testing.assert_allclose(volume.affine @ [1, 2, 0, 1], [32 + 15.5, 64 + 15.5, 0, 1])

    def test_lesions_of_a_prepared_folder_are_outlined(self, root, tmp_path, monkeypatch):
        monkeypatch.setattr("monai_e2e.predict.reading.PICTURE_ROWS", 192)  # to draw them is most of its time
        predict([whole(root)], root / "prepared", tmp_path / "out", Options(workers=0, heatmap=True))
        for sample in load_datalist(root / "prepared", "test"):
            picture = np.asarray(Image.open(tmp_path / "out" / "overlays" / f"{Path(sample['image']).stem}.png"))
            outlined = (picture == (90, 230, 255)).all(axis=2).any()
            assert outlined == bool(sample["lesions"])

    def test_without_a_patch_classifier_the_user_is_told_to_name_one(self, root, raw, tmp_path):
        shutil.copytree(whole(root), tmp_path / "alone" / "ddsm_whole")
        with pytest.raises(UserError, match="no trained bundle ddsm_patch beside"):
            predict([tmp_path / "alone" / "ddsm_whole"], raw, tmp_path / "out", Options(workers=0, heatmap=True))
        with pytest.raises(UserError, match="scores no images"):
            predict([root / "seed0" / "ddsm_patch"], raw, tmp_path / "out", HERE)
        with pytest.raises(UserError, match="add --heatmap"):
            predict([whole(root), root / "seed0" / "ddsm_patch"], raw, tmp_path / "out", HERE)


class TestDicomResults:
    @pytest.fixture(autouse=True)
    def _needs_highdicom(self):
        pytest.importorskip("highdicom")

    def test_each_image_gets_a_capture_and_a_report_in_a_new_study(self, root, raw, tmp_path):
        predict([whole(root)], raw, tmp_path / "out", Options(workers=0, dicom=True))
        for row in rows_of(tmp_path / "out"):
            image = pydicom.dcmread(raw / f"{row['image']}.dcm")
            capture, report = (
                pydicom.dcmread(tmp_path / "out" / "dicom" / f"{row['image']}_{kind}.dcm")
                for kind in ("overlay", "report")
            )
            assert capture.StudyInstanceUID == report.StudyInstanceUID != image.StudyInstanceUID
            assert capture.PatientID == row["patient_id"]
            assert capture.Rows / capture.Columns == pytest.approx(image.Rows / image.Columns, rel=0.01)

    def test_identity_is_kept_where_it_is_asked_for(self, root, raw, tmp_path):
        for path in raw.rglob("*.dcm"):
            plant(path)
        predict([whole(root)], raw, tmp_path / "out", Options(workers=0, dicom=True, keep_identity=True))
        names = {str(pydicom.dcmread(path).PatientName) for path in (tmp_path / "out" / "dicom").rglob("*.dcm")}
        assert names == {SECRETS[0]}

    def test_an_image_that_no_result_can_refer_to_is_a_failure(self, root, raw, tmp_path):
        image = pydicom.dcmread(raw / "case0" / "0.dcm")
        del image.SeriesInstanceUID
        image.save_as(raw / "case0" / "0.dcm")
        outcome = predict([whole(root)], raw, tmp_path / "out", Options(workers=0, dicom=True))
        (failure,) = rows_of(tmp_path / "out", "failures.csv")
        assert failure["image"] == "case0/0"
        assert failure["reason"].startswith("no DICOM results: Series Instance UID is missing")
        assert "case0/0" not in logits_of(tmp_path / "out")
        assert outcome.failed == 1


def plant(path: Path) -> None:
    """Put words that identify somebody into every text element that a mammogram's header may have, and private ones."""
    dataset = pydicom.dcmread(path)
    names, ids, dates, others = SECRETS
    kinds = {
        "PN": names,
        "LO": others,
        "SH": others[:16],
        "LT": names,
        "ST": names,
        "UT": names,
        "DA": dates,
        "AE": ids,
    }
    for keyword in TEXTS:
        setattr(dataset, keyword, kinds[dictionary_VR(keyword)])
    dataset.PatientID = ids
    block = dataset.private_block(0x0011, "PLANTED-ID", create=True)
    block.add_new(1, "LO", names)
    dataset.save_as(path)


def test_no_text_of_a_header_reaches_any_output(root, raw, tmp_path):
    pytest.importorskip("highdicom")
    for path in raw.rglob("*.dcm"):
        plant(path)
    bad = pydicom.dcmread(raw / "case0" / "0.dcm")
    bad.ViewPosition, bad.ImageLaterality, bad.PhotometricInterpretation = "PLANTED-ID", "PLANTED-ID", "PLANTED-ID"
    bad.save_as(raw / "case1" / "odd.dcm")
    worse = pydicom.dcmread(raw / "case0" / "0.dcm")
    worse.add_new("VOILUTFunction", "CS", "PLANTED-ID")
    worse.add_new("RescaleSlope", "LO", "Planted^Name")
    worse.save_as(raw / "case1" / "odder.dcm")
    outcome = predict([whole(root)], raw, tmp_path / "out", Options(workers=0, heatmap=True, dicom=True))
    assert outcome.failed == 2
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2 * outcome.predicted
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        content = path.read_bytes()
        for secret in (*SECRETS, "Planted", "PLANTED", "planted"):
            assert secret.encode() not in content, path


class TestCommand:
    def test_status_and_last_lines_say_what_was_written_and_what_comes_next(self, root, raw, tmp_path, capsys):
        arguments = ["predict", str(whole(root)), str(raw), str(tmp_path / "out"), "--workers", "0"]
        assert cli.main(arguments) == 0
        count = len(rows_of(tmp_path / "out"))
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{count} images predicted: {tmp_path}/out/predictions.csv")
        assert lines[-1] == f"Next: monai-e2e score {tmp_path}/out/predictions.csv --labels CSV"
        (raw / "bad.dcm").write_bytes(b"")
        assert cli.main(arguments) == 1
        assert "1 image failed" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--keep-identity"], "--dicom"),
            (["--device", "toaster"], "toaster"),
            (["--device", "cpu", "--amp"], "GPU"),
            (["--table", "absent.csv"], "absent.csv"),
        ],
    )
    def test_a_users_mistake_is_one_line_and_status_2(self, root, raw, tmp_path, capsys, more, message):
        assert cli.main(["predict", str(whole(root)), str(raw), str(tmp_path / "out"), *more]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.out == ""
        assert not (tmp_path / "out").exists()

    def test_help_loads_neither_torch_nor_matplotlib(self):
        code = (
            "import sys; from monai_e2e.cli.main import main\n"
            "try: main(['predict', '--help'])\n"
            "except SystemExit: print(sorted({'torch', 'matplotlib', 'monai'} & set(sys.modules)))"
        )
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert printed.splitlines()[-1] == "[]"
        assert "For research, not for diagnosis" in " ".join(printed.split())

    def test_run_json_has_what_the_user_wrote_and_no_other_path(self, root, raw, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        predict([Path(os.path.relpath(whole(root)))], Path("raw"), Path("out"), HERE)
        record = json.loads((tmp_path / "out" / "run.json").read_text())
        assert record["settings"]["src"] == "raw"
        assert str(tmp_path) not in json.dumps(record)
        assert record["predicted"] == len(rows_of(tmp_path / "out"))
        assert record["versions"]["torch"] == torch.__version__
