"""Fit the forest to a prepared folder, and score its test partition."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.ensemble import RandomForestClassifier
from tqdm import tqdm

from monai_e2e.bundle import choose_device
from monai_e2e.data import load_datalist, preparation
from monai_e2e.data.prepared.datalist import PARTITIONS
from monai_e2e.errors import UserError
from monai_e2e.forest.features import CUTOFFS, image_features
from monai_e2e.metrics import choose_threshold, lesion_types, roc_auc, score_file, write_predictions, write_table
from monai_e2e.networks import check_preparation
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.models import Model, load_model
from monai_e2e.seen import check_unseen, own_fold
from monai_e2e.work.files import write_json
from monai_e2e.work.locking import locked

logger = logging.getLogger(__name__)

#: Smallest numbers of images in a leaf, of which one is chosen on the validation partition.
LEAF_SIZES = (1, 3, 10, 30)
#: Name in ``predictions.csv``.
MODEL = "heatmap forest"
#: Columns of ``features.csv`` before the features.
_FACTS = ("partition", "image", "patient_id", "laterality", "view", "label", "density", "lesion_type")


@dataclass(frozen=True)
class FittedForest:
    """A forest, and what was chosen on the validation partition.

    Args:
        forest: the trees.
        min_samples_leaf: size of leaves with the highest AUC on the validation images.
        validation_auc: size of leaves → AUC on the validation images.
        threshold: as log-odds, with the largest Youden index on the validation images.
    """

    forest: RandomForestClassifier
    min_samples_leaf: int
    validation_auc: dict[int, float]
    threshold: float


def fit_forest(
    features: np.ndarray,
    labels: Sequence[int],
    validation_features: np.ndarray,
    validation_labels: Sequence[int],
    trees: int = 500,
    seed: int = 0,
) -> FittedForest:
    """Fit forests with leaves of several sizes to the training images, and keep the best on the validation images.

    Args:
        features: ``[images, features]`` of the training images.
        labels: their labels, 0 or 1; both classes have the same weight, however many images they have.
        validation_features: ``[images, features]`` of the validation images.
        validation_labels: their labels.
        trees: number of trees.
        seed: of the trees' random choices.

    Raises:
        UserError: when all validation images have the same label.
    """
    forests, aucs = {}, {}
    for size in LEAF_SIZES:
        forest = RandomForestClassifier(
            trees, min_samples_leaf=size, class_weight="balanced", random_state=seed, max_features="sqrt"
        )
        forests[size] = forest.fit(features, labels)
        aucs[size] = roc_auc(validation_labels, log_odds(forest, validation_features))[0]
    best = max(LEAF_SIZES, key=lambda size: (round(aucs[size], 9), size))
    threshold = choose_threshold(validation_labels, log_odds(forests[best], validation_features))
    return FittedForest(forests[best], best, aucs, threshold)


def log_odds(forest: RandomForestClassifier, features: np.ndarray) -> list[float]:
    """Log-odds of malignant for each image.

    A forest's probability is a mean of votes, so ties are common, and it can be exactly 0 or 1. Half a vote is added
    for each class: that makes the log-odds finite, and keeps order and ties.
    """
    # Equal votes may differ in the last digits, if they were summed in another order.
    votes = (forest.predict_proba(features)[:, 1] * forest.n_estimators).round(9)
    return [float(value) for value in logit((votes + 0.5) / (forest.n_estimators + 1))]


def run_forest(
    patch_model: str | Path,
    prepared_dir: str | Path,
    out: str | Path,
    trees: int = 500,
    seed: int = 0,
    cutoffs: Sequence[float] = CUTOFFS,
    device: str | None = None,
    fold: int | None = None,
    allow_seen: bool = False,
) -> dict[str, Any]:
    """Make the heatmaps of a prepared folder, fit a forest to their features, and score the test partition.

    Writes into ``out``

    - ``features.csv``: partition, label and features of every image. The forest isn't stored, since fitting it to
      this file again gives the same one;
    - ``forest.json``: settings, what was chosen on the validation partition, and the features' importances (mean
      decrease in impurity);
    - ``predictions.csv`` of the test images, and what :func:`~monai_e2e.metrics.score_file` writes: ``score.json``,
      ``report.html``, …

    Args:
        patch_model: a patch classifier: its bundle's folder, whose config may run code, or its checkpoint.
        prepared_dir: prepared folder on whose training partition the patch classifier was trained.
        out: folder of the results.
        trees: number of trees.
        seed: of the trees' random choices.
        cutoffs: probabilities at which the heatmaps are cut.
        device: of the patch classifier, such as ``"cuda"``; None: a GPU if there is one.
        fold: fold used for testing, in a folder prepared for cross-validation; None: the patch classifier's own.
        allow_seen: whether to continue if validation or test patients were in the patch classifier's training.

    Returns:
        The content of ``score.json``.

    Raises:
        UserError: when the model isn't a patch classifier of the five classes, the folder was prepared in another way
            than the model's images, validation or test patients were in its training, or an argument is out of range.
    """
    if not cutoffs or not all(0 < cutoff < 1 for cutoff in cutoffs):
        raise UserError(f"cutoffs {list(cutoffs)}: give one or more numbers between 0 and 1, such as 0.5")
    if trees < 1 or seed < 0:
        raise UserError(f"trees {trees}, seed {seed}: give at least 1 tree, and a seed from 0 on")
    cutoffs = sorted(set(cutoffs))
    chosen = choose_device(device)
    model = load_model(patch_model, chosen, prepared_dir)
    if not model.makes_heatmaps:
        raise UserError(f"{patch_model} classifies whole images; name a patch classifier, such as bundles/ddsm_patch")
    check_preparation(preparation(prepared_dir), model.checkpoint)
    fold = own_fold(model.checkpoint, prepared_dir) if fold is None else fold
    samples = {name: load_datalist(prepared_dir, name, fold=fold) for name in PARTITIONS}
    for name, group in samples.items():
        check_unseen(group, model.checkpoint, name, allow_seen)
    out = Path(out)
    with locked(out):
        images = _describe_images(model, samples, Engine(chosen), cutoffs)
        write_table(out / "features.csv", images)
        names = [name for name in images[0] if name not in _FACTS]
        training, validation, test = ([image for image in images if image["partition"] == name] for name in PARTITIONS)
        fitted = fit_forest(*_arrays(training, names), *_arrays(validation, names), trees, seed)
        _write_record(out / "forest.json", fitted, names, {"trees": trees, "seed": seed, "cutoffs": cutoffs})
        threshold, facts = float(expit(fitted.threshold)), {"model": MODEL, "fold": fold, "seed": seed}
        scores = log_odds(fitted.forest, _arrays(test, names)[0])
        predictions = [
            {**image, "p_malignant": float(expit(score)), "logit": score, "threshold": threshold, **facts}
            for image, score in zip(test, scores, strict=True)
        ]
        write_predictions(out / "predictions.csv", predictions)
        return score_file(out / "predictions.csv")


def _describe_images(
    model: Model, partitions: Mapping[str, Sequence[Mapping[str, Any]]], engine: Engine, cutoffs: Sequence[float]
) -> list[dict[str, Any]]:
    """The rows of ``features.csv``: facts and features of each image of all partitions."""
    samples = [(name, sample) for name, group in partitions.items() for sample in group]
    described = zip(samples, image_features(model, [sample for _, sample in samples], engine, cutoffs), strict=True)
    return [
        {
            "partition": partition,
            "image": Path(sample["image"]).stem,
            **{key: sample.get(key) for key in ("patient_id", "laterality", "view", "label", "density")},
            "lesion_type": lesion_types(sample["lesions"]),
            **features,
        }
        for (partition, sample), features in tqdm(described, "heatmaps", len(samples), unit="image", disable=None)
    ]


def _arrays(images: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """Features ``[images, features]`` and labels."""
    return np.array([[image[name] for name in names] for image in images]), [image["label"] for image in images]


def _write_record(path: Path, fitted: FittedForest, names: Sequence[str], settings: Mapping[str, Any]) -> None:
    importances = zip(names, fitted.forest.feature_importances_.tolist(), strict=True)
    record = {
        **settings,
        "min_samples_leaf": fitted.min_samples_leaf,
        "validation_auc_by_min_samples_leaf": fitted.validation_auc,
        "threshold_logit": fitted.threshold,
        "importances": dict(sorted(importances, key=lambda item: -item[1])),
    }
    write_json(path, record)
    logger.info(
        "Leaves of at least %d images had the best validation AUC, %.3f. Most important features: %s.",
        fitted.min_samples_leaf,
        fitted.validation_auc[fitted.min_samples_leaf],
        ", ".join(list(record["importances"])[:5]),
    )
