"""The heatmap's peak, the pointing game and FROC, on maps and lesions drawn by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_e2e.cli.main import main
from monai_e2e.data import load_datalist, phantom_dataset
from monai_e2e.data.images.dicom import read_mask
from monai_e2e.errors import UserError
from monai_e2e.metrics import write_predictions
from monai_e2e.predict.heatmaps import Heatmap, describe_format
from monai_e2e.predict.localisation import join_cluster, localisation_of, localise, summarize_localisation

pytestmark = pytest.mark.usefixtures("blank_curves")

SIZE = (288, 224)
#: Around the centre of the window at (2, 3), which is at row 96, column 128.
HIT = (slice(80, 120), slice(110, 150))
NEAR = (slice(100, 140), slice(110, 150))
FAR = (slice(10, 30), slice(10, 30))


def heatmap(*windows, size=SIZE):
    """Windows of 64 pixels every 32; malignant masses of given probabilities at some of them."""
    values = np.zeros((5, (size[0] - 64) // 32 + 1, (size[1] - 64) // 32 + 1), dtype=np.float32)
    values[0] = 1
    for row, column, probability in windows:
        values[0, row, column], values[4, row, column] = 1 - probability, probability
    return Heatmap(values, 64, 32, size)


def lesion(place):
    mask = np.zeros(SIZE, dtype=bool)
    mask[place] = True
    return mask


def test_detections_in_and_outside_of_lesions():
    found = localise(heatmap((2, 3, 0.9), (6, 1, 0.5)), [lesion(HIT), lesion(FAR)])
    assert found.distance == 0
    assert found.found.tolist() == pytest.approx([0.9, 0.0])
    assert found.false.tolist() == pytest.approx([0.5])


def test_neighbouring_windows_are_one_detection():
    found = localise(heatmap((2, 3, 0.9), (2, 2, 0.8)), [])
    assert found.false.tolist() == pytest.approx([0.9])
    assert found.distance is None


def test_rates_and_froc_by_hand():
    images = [
        localise(heatmap((2, 3, 0.9)), [lesion(HIT)]),
        localise(heatmap((2, 3, 0.8)), [lesion(NEAR)]),
        localise(heatmap((6, 1, 0.7)), [lesion(FAR)]),
        localise(heatmap((6, 1, 0.95)), []),
    ]
    found = summarize_localisation(images)
    assert (found["images"], found["images_with_lesion"], found["lesions"]) == (4, 3, 3)
    assert found["peak"]["hits"] == 1
    assert found["pointing_game"]["hits"] == 2  # a few pixels beside it
    # The lesion is found once one false positive in four images is allowed; the other two never.
    assert found["froc"]["sensitivity"] == pytest.approx(dict.fromkeys(("0.25", "0.5", "1", "2", "4", "8"), 1 / 3))
    assert found["froc"]["score"] == pytest.approx(1 / 3)


def test_perfect_detection_of_one_probability_is_perfect():
    found = summarize_localisation([localise(heatmap((2, 3, 0.9)), [lesion(HIT)])])
    assert found["froc"]["score"] == 1


def test_lesion_within_another_one_can_be_found_too():
    outer = (slice(60, 200), slice(60, 200))
    for masks in ([lesion(outer), lesion(HIT)], [lesion(HIT), lesion(outer)]):
        found = localise(heatmap((2, 3, 0.9), (4, 3, 0.8)), masks).found
        assert sorted(found.tolist()) == pytest.approx([0.8, 0.9])


def test_overlap_of_the_region_with_the_lesions():
    made = heatmap((2, 3, 0.9))
    region = made.enlarge(made.malignant, SIZE) >= 0.5
    assert localise(made, [region]).iou == 1
    assert localise(made, [lesion(FAR)]).iou == 0
    assert localise(heatmap((2, 3, 0.4)), [lesion(HIT)]).iou == 0  # no region
    assert localise(made, []).iou is None
    found = summarize_localisation([localise(made, [region]), localise(made, [lesion(FAR)]), localise(made, [])])
    assert found["iou"] == {"mean": 0.5, "cutoff": 0.5}


def test_images_without_any_lesion_have_no_localisation():
    with pytest.raises(UserError, match="has a malignant lesion"):
        summarize_localisation([localise(heatmap((2, 3, 0.9)), [])])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return phantom_dataset("cbis-ddsm", patients=24, image_size=(288, 224), folder=folder, workers=1)


@pytest.fixture
def results(drawn, tmp_path):
    """Results whose heatmaps are highest where a malignant lesion is, and nowhere else; with the prepared folder."""
    prepared = str(shutil.copytree(drawn, tmp_path / "prepared"))
    folder, rows = tmp_path / "results", []
    (folder / "heatmaps").mkdir(parents=True)
    samples = load_datalist(prepared, "test")
    for number, sample in enumerate(samples):
        masks = [read_mask(one["mask"]) for one in sample["lesions"] if one["pathology"] == "malignant"]
        windows = [((np.argwhere(mask).mean(axis=0) - 32) / 32).round().astype(int) for mask in masks]
        made = heatmap(*((min(max(r, 0), 7), min(max(c, 0), 5), 0.9) for r, c in windows))
        name = Path(sample["image"]).stem
        np.save(folder / "heatmaps" / f"{name}.npy", made.probabilities)
        rows.append({"image": name, "label": sample["label"], "logit": number, "patient_id": sample["patient_id"]})
    (folder / "heatmaps" / "format.json").write_text(describe_format(made))
    (folder / "run.json").write_text(json.dumps({"settings": {"partition": "test", "fold": None}}))
    write_predictions(folder / "predictions.csv", rows)
    return folder, prepared


def test_results_are_compared_with_the_lesions_of_the_prepared_folder(results, capsys):
    folder, prepared = results
    found = localisation_of(folder, prepared)
    assert found["images"] == len(load_datalist(prepared, "test"))
    assert found["pointing_game"]["rate"] > 0.8
    command = ["score", str(folder / "predictions.csv"), "--localisation", str(prepared), "--resamples", "100"]
    assert main(command) == 0
    assert json.loads((folder / "score.json").read_text())["localisation"] == found
    assert "Localisation by the heatmap" in (folder / "report.html").read_text()
    assert (folder / "froc.png").is_file()
    (folder / "heatmaps" / "format.json").unlink()
    assert main(command) == 2
    assert "no heatmaps; predict" in capsys.readouterr().err


def test_malignant_images_with_lesions_that_nobody_marked_are_left_out(results):
    folder, prepared = results
    before = localisation_of(folder, prepared)
    path = Path(prepared) / "datalist.json"
    datalist = json.loads(path.read_text())
    first, second = [sample for sample in datalist["test"] if sample["label"] == 1][:2]
    first["lesions"], second["lesions_excluded"] = [], 1  # a detection there may be right
    path.write_text(json.dumps(datalist))
    found = localisation_of(folder, prepared)
    assert found["images"] == before["images"] - 2
    assert found["left_out"] == 2


def test_calcifications_of_a_cluster_are_one_lesion_and_two_clusters_two():
    specks = [lesion((slice(row, row + 2), slice(column, column + 2))) for row in (90, 110) for column in (120, 140)]
    far = lesion((slice(250, 252), slice(20, 22)))
    near, apart = sorted(join_cluster([*specks, far]), key=np.count_nonzero, reverse=True)
    assert near[100, 130]  # between the specks
    assert near.sum() < 25 * 25
    assert np.array_equal(apart, far)


def test_each_mass_is_a_lesion_and_the_specks_of_an_image_are_joined(results):
    folder, prepared = results
    before = localisation_of(folder, prepared)
    path = Path(prepared) / "datalist.json"
    datalist = json.loads(path.read_text())
    sample = next(one for one in datalist["test"] if one["label"] == 1)
    known = next(one for one in sample["lesions"] if one["pathology"] == "malignant")
    sample["lesions"] = [known | {"type": "calcification"}] * 30
    path.write_text(json.dumps(datalist))
    assert localisation_of(folder, prepared)["lesions"] <= before["lesions"]
