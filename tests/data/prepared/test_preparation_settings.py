"""How images are made into prepared ones: the window, and what the folder and its report say of it."""

import json

import numpy as np
import pytest
from PIL import Image
from test_dicom import ramp, write_dicom

from monai_e2e.cli.main import main
from monai_e2e.data.images.framing import find_framing
from monai_e2e.data.prepared.datalist import preparation
from monai_e2e.transforms import LoadMammogram


@pytest.fixture
def src(tmp_path):
    """Six images of six women, every second one with a window."""
    rows = ["image,label,patient_id,laterality,view,partition"]
    for number in range(6):
        window = {"WindowCenter": 300 + number, "WindowWidth": 400, "PresentationIntentType": "FOR PRESENTATION"}
        pixels = ramp() + np.uint16(number)
        write_dicom(tmp_path / "src" / f"{number}.dcm", pixels, **(window if number % 2 else {}))
        rows.append(f"{number}.dcm,{number % 2},P{number},L,CC,{('training', 'validation', 'test')[number // 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "src"


def prepare(src, *more):
    out = src.parent / "prepared"
    words = ["prepare", "folder", str(src), str(out), "--labels", str(src.parent / "labels.csv"), "--workers", "1"]
    assert main([*words, "--image-size", "40x32", *more]) == 0
    return out


def test_window_auto_is_kept_and_its_share_is_noted(src):
    out = prepare(src, "--window", "auto")
    assert preparation(out)["voi_lut"] == "auto"
    notes = json.loads((out / "report.json").read_text())["notes"]
    assert notes["images_by_LINEAR"] == notes["images_by_min-max"] == 3
    assert "images by LINEAR: 3" in (out / "report.md").read_text()


def test_report_says_how_images_were_made(src):
    report = (prepare(src, "--window", "auto", "--crop", "breast", "--orient", "left") / "report.md").read_text()
    assert "40 × 32 pixels, window auto, cropped to the breast, right breasts mirrored, pixel mean" in report


def test_without_it_nothing_is_said_of_windows(src):
    out = prepare(src)
    assert preparation(out)["voi_lut"] is False
    assert "images_by_min-max" not in (out / "report.json").read_text()


def drawn_breast(at_right):
    """A breast of 60 × 30 in 100 × 80, the chest wall at the edge, with a bright lesion and a label in a corner."""
    rows, columns = np.mgrid[0:100, 0:80]
    inside = (columns / 30) ** 2 + ((rows - 50) / 30) ** 2 < 1
    pixels = np.where(inside, 1000 + 5 * rows + columns, 0)
    pixels[48:54, 10:16] = 3000
    pixels[4:8, 70:76] = 4000
    return (pixels[:, ::-1] if at_right else pixels).astype(np.uint16).copy()


@pytest.fixture
def breasts(tmp_path):
    rows = ["image,label,patient_id,partition,x,y,width,height,type"]
    for number in range(6):
        at_right = bool(number % 2)
        write_dicom(tmp_path / "src" / f"{number}.dcm", drawn_breast(at_right) + np.uint16(number))
        x = 64 if at_right else 10
        partition = ("training", "validation", "test")[number // 2]
        rows.append(f"{number}.dcm,{number % 2},P{number},{partition},{x},48,6,6,mass")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "src"


def test_crop_and_orient_frame_image_and_mask_alike_and_are_kept(breasts):
    out = prepare(breasts, "--crop", "breast", "--orient", "left", "--image-size", "60x40")
    assert preparation(out) == {"image_size": [60, 40], "voi_lut": False, "crop": "breast", "orient": "left"}
    for number in (0, 1):
        image = np.asarray(Image.open(out / "images" / f"P{number}.png"))
        mask = np.asarray(Image.open(out / "masks" / f"P{number}_1.png")) > 0
        assert image[:, :5].mean() > 3 * max(image[:, -5:].mean(), 1)  # the breast lies on the left
        lesion = image > 0.9 * image[:, :25].max()
        assert abs(np.argwhere(lesion).mean(axis=0) - np.argwhere(mask).mean(axis=0)).max() < 1.5
        assert image.max() < 65535  # the label is gone, which had the highest value
    there, here = (np.asarray(Image.open(out / "images" / f"P{number}.png")).astype(float) for number in (0, 1))
    assert abs(there - here).mean() < 200  # the right breast is the left one's mirror image


def test_raw_images_are_framed_as_prepared_ones_and_these_only_once(breasts):
    out = prepare(breasts, "--crop", "breast", "--orient", "left", "--image-size", "60x40")
    load = LoadMammogram((60, 40), crop="breast", orient="left")
    raw, prepared = (load(path).numpy() for path in (breasts / "1.dcm", out / "images" / "P1.png"))
    np.testing.assert_allclose(raw, prepared, atol=0.01)


def test_a_crop_keeps_the_breast_s_proportions_and_its_chest_wall_at_the_edge():
    for at_right in (False, True):
        pixels = drawn_breast(at_right) / 4000
        framing = find_framing(pixels, (60, 60), crop="breast")
        framed = framing.apply(pixels)
        assert framed.shape[0] == framed.shape[1]
        edge = framed[:, -3:] if at_right else framed[:, :3]
        assert edge.max() > 0.2
    assert find_framing(np.zeros((20, 20)), (60, 60), crop="breast", orient="left") is None


def test_a_scanner_s_margins_are_no_part_of_the_breast():
    pixels = np.pad(drawn_breast(True) / 4100, ((0, 0), (0, 12)))
    pixels[:3], pixels[-3:], pixels[:, :2] = 1, 1, 1
    framing = find_framing(pixels, (60, 40), crop="breast", orient="left")
    assert framing.mirrored
    assert framing.apply(pixels)[:, :5].mean() > 0.15
    rows, columns = framing.box
    assert rows.stop - rows.start < 75
    assert columns.stop - columns.start < 45
