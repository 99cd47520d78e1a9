"""The shipped model's figure, computed again from the images, where they are at hand.

``MONAI_E2E_REAL_DATA=FOLDER pytest -m real``: FOLDER has ``images``, ``images.csv`` and ``boxes.csv`` of CBIS-DDSM's
masses, as ``benchmarks/real/make_tables.py`` reads them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from monai_e2e.cli.main import main
from monai_e2e.metrics.tables import read_predictions
from monai_e2e.shipped.models import shipped_model

pytestmark = pytest.mark.real
MAKE_TABLES = Path(__file__).parents[2] / "benchmarks" / "real" / "make_tables.py"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    source = os.environ.get("MONAI_E2E_REAL_DATA")
    if not source:
        pytest.skip("MONAI_E2E_REAL_DATA names no folder")
    root = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, MAKE_TABLES, source, root / "tables"], check=True)
    out = root / "prepared"
    tables = ["--labels", str(root / "tables" / "labels.csv"), "--lesions", str(root / "tables" / "lesions.csv")]
    assert main(["prepare", "folder", f"{source}/images", str(out), *tables, "--image-size", "576x448"]) == 0
    return out


def test_the_whole_image_models_auc_on_the_official_test_half_is_its_cards(prepared, tmp_path):
    assert main(["predict", "cbis-mass", str(prepared), str(tmp_path / "out"), "--partition", "test"]) == 0
    rows = read_predictions(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 361
    auc = roc_auc_score([row["label"] for row in rows], [row["logit"] for row in rows])
    assert auc == pytest.approx(shipped_model("cbis-mass").auc, abs=0.002)
