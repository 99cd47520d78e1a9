"""What an evaluator leaves behind: one row for each image, and where labels are known what `score` would write."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import ROCAUC
from torch import nn

from monai_e2e.handlers import PredictionWriter, binary_scores, logit_of_positive
from monai_e2e.metrics import PREDICTION_COLUMNS, score_file
from monai_e2e.metrics.tables import OPTIONAL_COLUMNS, SPREAD_COLUMNS

pytestmark = pytest.mark.usefixtures("blank_curves")

# Logits of five images; negative 0 and positive 1 of the labelled are separated but for one pair of six.
LOGITS = [[2.0, -1.0], [0.5, 0.0], [0.0, 1.0], [1.0, 1.2], [-3.0, 4.0]]
LABELS = [0, 0, 0, 1, 1]


def evaluate(
    tmp_path: Path, logits: list[list[float]], labels: list[int] | None, ids: bool = True, **arguments
) -> SupervisedEvaluator:
    """Run MONAI's evaluator over samples that carry their logits, in batches of two."""
    samples = []
    for index, values in enumerate(logits):
        sample = {"image": torch.tensor(values), "image_path": f"/images/image{index}.png"}
        if labels is not None:
            sample["label"] = labels[index]
        if ids:
            sample |= {"patient_id": f"P{index}", "laterality": "LEFT", "view": "CC", "density": 2}
        samples.append(sample)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(samples, batch_size=2),
        network=nn.Identity(),
        key_val_metric={"auc": ROCAUC(output_transform=binary_scores)} if labels and len(logits[0]) == 2 else None,
        val_handlers=[PredictionWriter(tmp_path, **arguments)],
        decollate=False,
    )
    evaluator.run()
    return evaluator


def rows(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_for_each_image_in_order(tmp_path):
    evaluate(tmp_path, LOGITS, LABELS)
    table = rows(tmp_path)
    assert list(table[0]) == [name for name in PREDICTION_COLUMNS if name == "label" or name not in OPTIONAL_COLUMNS]
    assert [row["image"] for row in table] == [f"image{i}" for i in range(5)]
    assert [row["patient_id"] for row in table] == [f"P{i}" for i in range(5)]
    assert [int(row["label"]) for row in table] == LABELS
    for row, (negative, positive) in zip(table, LOGITS, strict=True):
        assert float(row["logit"]) == pytest.approx(positive - negative, abs=1e-6)
        assert float(row["p_malignant"]) == pytest.approx(1 / (1 + math.exp(negative - positive)), abs=1e-6)


def test_score_and_curve_are_of_all_batches_together(tmp_path):
    evaluator = evaluate(tmp_path, LOGITS, LABELS)
    score = json.loads((tmp_path / "score.json").read_text())["image"]
    assert (score["n"], score["positive"]) == (5, 2)
    assert score["auc"] == pytest.approx(5 / 6)  # image 2 (logit 1.0) stands above image 3 (0.2)
    assert score["auc"] == pytest.approx(evaluator.state.metrics["auc"])
    assert score["auc_ci_delong"][0] < score["auc"] < score["auc_ci_delong"][1]
    assert (tmp_path / "roc.png").is_file()


def test_without_labels_there_are_predictions_and_no_score(tmp_path):
    evaluate(tmp_path, LOGITS, None, ids=False)
    assert not {"label", "density", "lesion_type"} & set(rows(tmp_path)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


class WithThreshold(nn.Identity):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(threshold))


def test_density_lesions_and_the_models_threshold_become_columns(tmp_path):
    lesions = [{"type": "mass"}, {"type": "calcification"}]
    samples = [{"image": "/images/image3.png", "density": 3, "lesions": lesions}]
    evaluate(tmp_path, LOGITS, LABELS, samples=samples, network=WithThreshold(0.5), model="ours")
    table = rows(tmp_path)
    unknown = ("fold", "seed", *SPREAD_COLUMNS)
    assert list(table[0]) == [name for name in PREDICTION_COLUMNS if name not in unknown]
    assert [row["density"] for row in table] == ["", "", "", "3", ""]
    assert [row["lesion_type"] for row in table] == ["", "", "", "calcification+mass", ""]
    assert [float(row["threshold"]) for row in table] == pytest.approx([1 / (1 + math.exp(-0.5))] * 5, abs=1e-11)
    assert {row["model"] for row in table} == {"ours"}
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["image"]["at_threshold"]["threshold_logit"] == pytest.approx(0.5, abs=1e-10)
    assert score["image"]["at_threshold"]["false_positive"] == 1  # image 2, whose logit is 1


def test_threshold_that_no_validation_chose_is_none(tmp_path):
    evaluate(tmp_path, LOGITS, LABELS, network=WithThreshold(0.0))
    assert {row["threshold"] for row in rows(tmp_path)} == {""}
    assert "at_threshold" not in json.loads((tmp_path / "score.json").read_text())["image"]


def test_files_are_those_of_the_command(tmp_path):
    evaluate(tmp_path / "handler", LOGITS, LABELS, network=WithThreshold(0.5))
    score_file(tmp_path / "handler" / "predictions.csv", out=tmp_path / "command")
    names = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert sorted(path.name for path in (tmp_path / "handler").iterdir()) == sorted([*names, "predictions.csv"])
    scores = [json.loads((tmp_path / by / "score.json").read_text()) for by in ("handler", "command")]
    for score in scores:  # the file has the threshold as a probability
        score["settings"].pop("threshold")
        for level in ("image", "breast", "exam"):
            values = [score[level]["at_threshold"].pop(name) for name in ("threshold", "threshold_logit")]
            assert values == pytest.approx([1 / (1 + math.exp(-0.5)), 0.5])
    assert scores[0] == scores[1]
    for name in ("roc.csv", "pr.csv", "calibration.csv"):
        assert (tmp_path / "handler" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()


def test_classes_of_patches_get_a_column_each_and_a_confusion_matrix(tmp_path):
    classes = ["background", "calc benign", "mass"]
    logits = [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0], [0.0, 3.0, 0.0]]
    evaluate(tmp_path, logits, [0, 1, 2, 2], classes=classes)
    table = rows(tmp_path)
    assert list(table[0])[-4:] == ["predicted", "p_background", "p_calc benign", "p_mass"]
    assert [int(row["predicted"]) for row in table] == [0, 1, 2, 1]
    assert sum(float(table[0][f"p_{name}"]) for name in classes) == pytest.approx(1, abs=1e-5)
    score = json.loads((tmp_path / "score.json").read_text())["patch"]
    assert score == {
        "n": 4,
        "accuracy": 0.75,
        "classes": classes,
        "confusion": [[1, 0, 0], [0, 1, 0], [0, 1, 1]],
    }
    assert not (tmp_path / "roc.png").exists()


def test_second_run_of_the_evaluator_starts_anew(tmp_path):
    evaluator = evaluate(tmp_path, LOGITS, LABELS)
    evaluator.run()
    assert len(rows(tmp_path)) == len(LOGITS)
    assert json.loads((tmp_path / "score.json").read_text())["image"]["n"] == len(LOGITS)


def test_logit_keeps_the_order_where_the_softmax_saturates():
    logits = torch.tensor([[0.0, 40.0], [0.0, 50.0], [-40.0, 40.0]])
    assert (logits.softmax(dim=1)[:, 1] == 1).all()
    assert logit_of_positive(logits).tolist() == [40.0, 50.0, 80.0]


def test_logit_of_half_precision_is_taken_in_single_precision():
    logits = torch.tensor([[-2048.0, 3.0]], dtype=torch.float16)
    assert logit_of_positive(logits).item() == 2051.0  # float16 would say 2052


def test_files_of_one_name_in_several_folders_stay_apart(tmp_path):
    """CBIS-DDSM's downloads call every image 1-1.dcm; the folder tells them apart."""
    samples = [
        {"image": torch.tensor(logits), "image_path": f"/download/{case}/1-1.dcm", "image_id": f"{case}/1-1"}
        for case, logits in (("case_a", [0.0, 1.0]), ("case_b", [1.0, 0.0]))
    ]
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(samples, batch_size=2),
        network=nn.Identity(),
        val_handlers=[PredictionWriter(tmp_path)],
        decollate=False,
    ).run()
    assert [row["image"] for row in rows(tmp_path)] == ["case_a/1-1", "case_b/1-1"]
