"""How images are made into prepared ones: the window, and what the folder and its report say of it."""

import json

import numpy as np
import pytest
from test_dicom import ramp, write_dicom

from monai_e2e.cli.main import main
from monai_e2e.data.prepared.datalist import preparation


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
    assert main([*words, "--image-size", "16x12", *more]) == 0
    return out


def test_window_auto_is_kept_and_its_share_is_noted(src):
    out = prepare(src, "--window", "auto")
    assert preparation(out)["voi_lut"] == "auto"
    notes = json.loads((out / "report.json").read_text())["notes"]
    assert notes["images_by_LINEAR"] == notes["images_by_min-max"] == 3
    assert "images by LINEAR: 3" in (out / "report.md").read_text()


def test_without_it_nothing_is_said_of_windows(src):
    out = prepare(src)
    assert preparation(out)["voi_lut"] is False
    assert "images_by_min-max" not in (out / "report.json").read_text()
