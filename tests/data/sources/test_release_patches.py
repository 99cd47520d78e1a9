"""Lesions of public data sets, however they mark them, become patches of the classes that the data set knows."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from release_files import prepared
from test_cdd_cesm import write_cesm
from test_dmid import write_dmid
from test_embed import Made
from test_mias import write_mias
from test_vindr import write_vindr

from monai_e2e.data.records import PATCH_CLASSES
from monai_e2e.data.training.patches import cut_patches


def write_embed(folder):
    """One breast of each patient with a finding, a mass or a calcification; malignant in half of the patients."""
    made = Made(folder)
    for patient in range(12):
        made.file(patient, 100 * patient, "L", ROI_coords="[[4, 3, 14, 12]]")
        made.file(patient, 100 * patient, "R")
        kind = {"massshape": "I"} if patient % 2 else {"calcfind": "A"}
        made.finding(patient, 100 * patient, "L", "S", path_severity=0 if patient < 6 else 4, **kind)
    return made.write()


SETS = {
    "cdd-cesm": (write_cesm, {"mass-malignant"}),
    "dmid": (write_dmid, {"mass-malignant", "calcification-benign"}),
    "embed": (write_embed, {f"{kind}-{end}" for kind in ("mass", "calcification") for end in ("benign", "malignant")}),
    "mias": (write_mias, {"mass-benign", "mass-malignant"}),
    "vindr": (write_vindr, {"calcification-benign", "mass-malignant"}),
}


@pytest.mark.parametrize("name", SETS)
def test_lesions_become_patches_of_their_classes(tmp_path, name):
    pytest.importorskip("python_calamine")
    write, classes = SETS[name]
    _, datalist = prepared(name, write(tmp_path / "src"), tmp_path / "out")
    known = {
        f"{lesion['type']}-{lesion['pathology']}"
        for partition in ("training", "validation", "test")
        for sample in datalist[partition]
        for lesion in sample["lesions"]
    }
    assert known & set(PATCH_CLASSES) == classes
    patches = cut_patches(tmp_path / "out", "training", patch_size=4, per_roi=2, workers=1)
    counts = Counter(PATCH_CLASSES[patch["label"]] for patch in patches)
    found = Counter(
        f"{lesion['type']}-{lesion['pathology']}" for sample in datalist["training"] for lesion in sample["lesions"]
    )
    assert {kind: counts[kind] for kind in PATCH_CLASSES[1:]} == {kind: 2 * found[kind] for kind in PATCH_CLASSES[1:]}
    assert sum(counts[kind] for kind in PATCH_CLASSES[1:]) > 0
    assert {np.asarray(Image.open(patch["image"])).shape for patch in patches} == {(4, 4)}
