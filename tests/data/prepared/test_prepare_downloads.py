"""From whole downloads, in every form and with every fault that real ones have, to a prepared folder that adds up."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_e2e.cli.main import main
from monai_e2e.data import load_datalist, pixel_mean, read_mask
from monai_e2e.data.phantom import write_cbis_ddsm, write_inbreast
from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.errors import UserError

SIZE = (64, 48)
LAYOUTS = ("descriptive", "classic", "jpeg")
PARTITIONS = ("training", "validation", "test")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """CBIS-DDSM phantoms of one seed in all three layouts, without and with faults → folder and planted faults."""
    root = tmp_path_factory.mktemp("downloads")
    found = {}
    for layout in LAYOUTS:
        for defects in (False, True):
            folder = root / f"{layout}-{defects}"
            planted = write_cbis_ddsm(folder, 24, seed=5, rows=256, layout=layout, workers=2, defects=defects)
            found[layout, defects] = folder, planted
    return found


@pytest.fixture(scope="module")
def prepared(downloads, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    reports = {}
    for (layout, defects), (folder, _) in downloads.items():
        out = root / f"{layout}-{defects}"
        reports[layout, defects] = out, prepare_dataset("cbis-ddsm", folder, out, image_size=SIZE, workers=2)
    return reports


def samples(out: Path) -> dict[str, dict]:
    return {Path(s["image"]).stem: s for name in PARTITIONS for s in load_datalist(out, name)}


def adds_up(report: dict) -> bool:
    return (
        report["tables"]["rows"] == report["rows_used"] + report["rows_excluded"]
        and sum(report["excluded_by_reason"].values()) == report["rows_excluded"]
    )


@pytest.mark.parametrize("defects", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_row_of_the_tables_is_used_or_excluded_with_a_reason(layout, defects, prepared):
    out, report = prepared[layout, defects]
    assert adds_up(report)
    with (out / "excluded.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert sum(int(row["rows"]) for row in listed) == report["rows_excluded"]
    assert all(row["reason"] for row in listed)
    lesions = sum(len(sample["lesions"]) for sample in samples(out).values())
    assert lesions == report["rows_used"]


def test_the_three_layouts_give_the_same_samples(prepared):
    first = samples(prepared["descriptive", False][0])
    for layout in ("classic", "jpeg"):
        others = samples(prepared[layout, False][0])
        assert list(others) == list(first)
        for name, sample in first.items():
            other = others[name]
            for key in ("label", "patient_id", "laterality", "view", "density"):
                assert other.get(key) == sample.get(key), (layout, name, key)
            kinds = [[(lesion["type"], lesion["pathology"]) for lesion in one["lesions"]] for one in (sample, other)]
            assert kinds[0] == kinds[1], (layout, name)


def test_masks_compressed_with_loss_are_those_of_the_dicom_files(prepared):
    """JPEG blurs a mask's edge; what is left must be the same lesion."""
    exact, lossy = prepared["descriptive", False][0], prepared["jpeg", False][0]
    for name, sample in samples(exact).items():
        other = samples(lossy)[name]
        for first, second in zip(sample["lesions"], other["lesions"], strict=True):
            one, two = read_mask(exact / first["mask"]), read_mask(lossy / second["mask"])
            assert (one & two).sum() / (one | two).sum() > 0.8


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planted_faults_are_found_and_nothing_else_is_lost(layout, downloads, prepared):
    planted = downloads[layout, True][1]
    report = prepared[layout, True][1]
    lost = dict(report["excluded_by_reason"])
    assert lost.pop("TCIA's test half") > 0
    assert all(planted[fault] > 0 for fault in planted if fault not in ("monochrome1", "info_leaves_source"))
    assert lost == {
        "image not on disk": planted["image_missing"] + planted["unreadable"] + planted["info_leaves_source"],
        "mask not on disk": planted["mask_missing"],
        "no mask among the lesion's files": planted["mask_missing_crop_left"],
        "mask and image differ in shape": planted["mask_other_aspect"],
        "table row not understood": planted["unknown_pathology"],
        "path leaves SRC": planted["leaves_source"],
    }
    assert report["notes"]["patients_in_both_halves"] == planted["both_halves"]
    assert prepared[layout, False][1]["excluded_by_reason"].keys() == {"TCIA's test half"}


def test_the_papers_way_counts_each_file(downloads, prepared, tmp_path):
    folder, _ = downloads["descriptive", False]
    report = prepare_dataset("cbis-ddsm", folder, tmp_path / "out", samples="files", image_size=SIZE, workers=2)
    assert adds_up(report)
    used = sum(part["images"] for part in report["partitions"].values())
    views = prepared["descriptive", False][1]
    merged = views["notes"]["images_merged"]
    assert merged > 0
    assert used > sum(part["images"] for part in views["partitions"].values())
    assert report["tables"] == views["tables"]
    assert report["tables"]["files"] == report["tables"]["views"] + merged


@pytest.mark.parametrize("protocol", ["paper", "official"])
def test_no_patient_is_in_two_partitions_of_any_protocol(protocol, downloads, tmp_path):
    folder, _ = downloads["classic", True]
    report = prepare_dataset("cbis-ddsm", folder, tmp_path / "out", protocol=protocol, image_size=SIZE, workers=2)
    groups = [{s["patient_id"] for s in load_datalist(tmp_path / "out", name)} for name in PARTITIONS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert adds_up(report)
    key = "patient in both of TCIA's halves"
    assert (key in report["excluded_by_reason"]) == (protocol == "official")


def test_cross_validation_tests_every_patient_once(downloads, tmp_path):
    folder, _ = downloads["classic", False]
    report = prepare_dataset("cbis-ddsm", folder, tmp_path, protocol="kfold", folds=4, image_size=SIZE, workers=2)
    tested = []
    for fold in range(4):
        parts = {name: {s["patient_id"] for s in load_datalist(tmp_path, name, fold=fold)} for name in PARTITIONS}
        assert not parts["training"] & parts["validation"] | parts["training"] & parts["test"]
        tested += sorted(parts["test"])
        training = load_datalist(tmp_path, "training", fold=fold)
        assert pixel_mean(tmp_path, fold) == pytest.approx(np.mean([s["mean"] for s in training]), abs=1e-3)
    assert len(tested) == len(set(tested)) == report["tables"]["patients"]
    assert pixel_mean(tmp_path, 0) == pytest.approx(pixel_mean(tmp_path), abs=1e-3)


def test_inbreast_with_every_fault_adds_up(tmp_path):
    planted = write_inbreast(tmp_path / "src", 24, seed=2, rows=256, workers=2, defects=True)
    report = prepare_dataset("inbreast", tmp_path / "src", tmp_path / "out", image_size=SIZE, workers=2)
    assert planted
    assert adds_up(report)
    assert sum(part["images"] for part in report["partitions"].values()) == report["rows_used"]
    assert report["excluded_by_reason"]["BI-RADS 3"] > 0
    assert report["excluded_by_reason"]["image not on disk"] == planted["image_missing"]
    assert report["also_excluded"]["lesion outside the image"] == planted["outline_outside"]
    assert report["notes"]["outlines_points"] >= planted["outline_point"]
    assert report["pixel_spacing"]["smallest"][0] > 0
    dry = prepare_dataset("inbreast", tmp_path / "src", tmp_path / "dry", image_size=SIZE, dry_run=True)
    assert (dry["rows_used"], dry["tables"]) == (report["rows_used"], report["tables"])


class TestOwnImages:
    @pytest.fixture
    def images(self, tmp_path):
        """Thirty patients with two views each as PNG, and their labels."""
        rng = np.random.default_rng(0)
        folder = tmp_path / "images"
        folder.mkdir()
        rows = []
        for patient in range(30):
            for view in ("CC", "MLO"):
                name = f"{patient:02d}{view}.png"
                Image.fromarray(rng.integers(0, 65535, (96, 72), dtype=np.uint16)).save(folder / name)
                rows.append(f"{name},{patient % 3 == 0:d},Doe^{patient},L,{view}")
        labels = tmp_path / "labels.csv"
        labels.write_text("image,label,patient_id,laterality,view\n" + "\n".join(rows) + "\n")
        return folder, labels, tmp_path / "out"

    def test_one_command_prepares_them(self, images, capsys):
        folder, labels, out = images
        arguments = ["prepare", "folder", str(folder), str(out), "--labels", str(labels), "--image-size", "64x48"]
        assert main([*arguments, "--workers", "1"]) == 0
        assert f"Prepared: {out}" in capsys.readouterr().out
        report = json.loads((out / "report.json").read_text())
        assert adds_up(report)
        assert report["rows_used"] == 60
        assert [part["patients"] for part in report["partitions"].values()] == [20, 5, 5]
        assert {sample["view"] for sample in load_datalist(out, "training", SIZE)} == {"CC", "MLO"}

    def test_unknown_sides_and_views_are_empty_words(self, images):
        folder, labels, out = images
        rows = [line.split(",") for line in labels.read_text().splitlines()]
        labels.write_text("\n".join(",".join(row[:3]) for row in rows) + "\n")
        prepare_dataset("folder", folder, out, labels=labels, image_size=SIZE, workers=1)
        assert {(s["laterality"], s["view"]) for s in load_datalist(out, "test")} == {("", "")}

    def test_labels_are_needed_and_go_with_own_images_only(self, images, capsys):
        folder, labels, out = images
        assert main(["prepare", "folder", str(folder), str(out)]) == 2
        assert "needs --labels" in capsys.readouterr().err
        assert main(["prepare", "inbreast", str(folder), str(out), "--labels", str(labels)]) == 2
        assert "--labels is for folder, not for inbreast" in capsys.readouterr().err
        assert main(["prepare", "inbreast", str(folder), str(out), "--protocol", "official"]) == 2
        assert "choose one of paper, kfold" in capsys.readouterr().err

    def test_a_folder_called_as_a_data_set_is_still_of_ones_own_images(self, images):
        """Their data list has the folder's name, which doesn't say that they are of that data set."""
        folder, labels, out = images
        out = out.with_name("inbreast")
        for _ in range(2):
            prepare_dataset("folder", folder, out, labels=labels, image_size=SIZE, workers=1)
        with pytest.raises(UserError, match="inbreast was prepared from your own images, and would be replaced"):
            prepare_dataset("inbreast", folder, out, image_size=SIZE, workers=1)

    def test_other_images_of_ones_own_are_kept_but_not_a_part_of_these(self, images):
        folder, labels, out = images
        header, *rows = labels.read_text().splitlines()
        labels.write_text("\n".join([header, *rows[:40]]) + "\n")
        prepare_dataset("folder", folder, out, labels=labels, image_size=SIZE, workers=1)
        labels.write_text("\n".join([header, *rows]) + "\n")
        report = prepare_dataset("folder", folder, out, labels=labels, image_size=SIZE, workers=1)
        assert report["rows_used"] == 60
        labels.write_text("\n".join([header, *rows]).replace("Doe", "Roe") + "\n")
        with pytest.raises(UserError, match=r"out was prepared from other images \(60, none of which is among these\)"):
            prepare_dataset("folder", folder, out, labels=labels, image_size=SIZE, workers=1)
        assert len(list((out / "images").iterdir())) == 60

    def test_images_of_one_class_are_refused(self, images):
        folder, labels, out = images
        labels.write_text(labels.read_text().replace(",1,", ",0,"))
        with pytest.raises(UserError):
            prepare_dataset("folder", folder, out, labels=labels, image_size=SIZE, workers=1)
        assert not out.exists()


def test_a_dry_run_prints_its_report(downloads, tmp_path, capsys):
    folder, _ = downloads["jpeg", True]
    assert main(["prepare", "cbis-ddsm", str(folder), str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "**Dry run**" in printed
    assert "| training |" in printed
    assert f"{tmp_path / 'out'}/report.md" in printed
    assert not (tmp_path / "out" / "images").exists()
