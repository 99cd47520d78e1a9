"""A network that left its bundle as TorchScript, with its config inside, is all that a program needs to classify an
image that it has in memory, as MONAI Deploy's do.
"""

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export
from monai.data import load_net_with_metadata

from monai_e2e.data.phantom import write_inbreast
from monai_e2e.inferers import HeatmapInferer
from monai_e2e.predict.models import load_model
from monai_e2e.predict.run import predict
from monai_e2e.shipped.bundles import copy_bundle

ROOT = Path(__file__).parents[2]
SHIPPED = {"ddsm_patch": "phantom-patch", "ddsm_whole": "phantom-whole", "inbreast_transfer": "phantom-whole"}

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def mammogram(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("download")
    write_inbreast(folder / "inbreast", 2, workers=1)
    return next((folder / "inbreast/AllDICOMs").glob("*.dcm"))


@pytest.fixture(params=SHIPPED)
def exported(request, tmp_path, monkeypatch) -> tuple[str, Path]:
    """A bundle's name and its exported network, alone in another folder."""
    monkeypatch.chdir(copy_bundle(request.param, tmp_path / "bundle", SHIPPED[request.param]))
    ckpt_export(args_file="configs/ckpt_export.json")
    (tmp_path / "elsewhere").mkdir()
    shutil.move("models/model.ts", tmp_path / "elsewhere/model.ts")
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "bundle")
    return request.param, tmp_path / "elsewhere/model.ts"


def test_an_array_gets_the_score_that_predict_gives_the_file(exported, mammogram):
    bundle, model = exported
    network, metadata, extra = load_net_with_metadata(str(model), more_extra_files=("inference.json",))
    parser = ConfigParser(json.loads(extra["inference.json"]))
    parser["checkpoint"] = str(model)
    preprocessing, inferer = (parser.get_parsed_content(key) for key in ("preprocessing", "inferer"))

    image = preprocessing({"image": pydicom.dcmread(mammogram).pixel_array})["image"]
    reference = load_model(SHIPPED[bundle], torch.device("cpu"), mammogram.parent)
    expected = reference.preprocessing({"image": mammogram})["image"]
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.numpy(), expected.numpy(), atol=1e-2)
    if bundle == "ddsm_patch":  # whose map needs the classifier's parts, which TorchScript hasn't got
        assert isinstance(inferer, HeatmapInferer)
        return
    with torch.no_grad():
        logits = inferer(image[None].as_tensor(), network.eval())
        result = parser.get_parsed_content("postprocessing")({"pred": logits[0]})
        wanted = reference.network(expected[None].as_tensor())[0].softmax(dim=0)
    np.testing.assert_allclose(result["pred"].numpy(), wanted.numpy(), atol=1e-3)
    assert int(result["predicted_class"]) == int(wanted.argmax())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] == "positive"


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["ddsm_whole"], indirect=True)
def test_the_app_of_monai_deploy_writes_an_sr_with_the_probabilities_of_predict(exported, mammogram, tmp_path):
    if importlib.util.find_spec("monai.deploy") is None:
        pytest.skip("the App SDK is needed: pip install monai-deploy-app-sdk highdicom")
    study, exam = tmp_path / "study", mammogram.name.split("_")[1]
    study.mkdir()
    for file in mammogram.parent.glob(f"*_{exam}_*.dcm"):
        shutil.copy(file, study)
    broken = pydicom.dcmread(mammogram)
    del broken.ImageLaterality, broken.Laterality, broken.ViewPosition
    broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    broken.PixelData = broken.PixelData[:100]
    broken.save_as(study / "broken.dcm")
    options = ["--input", study, "--model", exported[1].parent, "--output", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    app = [sys.executable, ROOT / "docs/deploy_app.py", *options]
    finished = subprocess.run(app, capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr

    (report,) = (tmp_path / "out").glob("*.dcm")
    written = pydicom.dcmread(report)
    assert written.StudyInstanceUID == pydicom.dcmread(mammogram, stop_before_pixels=True).StudyInstanceUID
    title, *lines, last = written.ContentSequence[0].TextValue.splitlines()
    assert title.startswith("Whole-image mammography classifier")
    assert last == "For research, not for diagnosis."
    predict(["phantom-whole"], study, tmp_path / "predicted")
    with (tmp_path / "predicted/predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [f"{row['laterality'][0]} {row['view']}: {float(row['p_malignant']):.3f}" for row in rows]
    assert sorted(lines) == sorted([*wanted, "side unknown view unknown: NOT READ"])
