"""A prepared folder's data list read back, with the checks that save a wasted night of training."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_e2e.data.prepared.schema import PARTITIONS, PREPARE, check_datalist
from monai_e2e.data.prepared.splits import check_patients, partition_of_fold
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Digests of lists that were found sound: a training reads its list eight times, and each check takes longer than that.
_checked: set[bytes] = set()


def read_datalist(prepared_dir: str | Path) -> dict[str, Any]:
    """The data list of a prepared folder as it is on disk.

    Raises:
        UserError: when the folder is missing, wasn't prepared, or its list lacks a needed key or has a value of
            another type.
    """
    folder = Path(prepared_dir)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {PREPARE}")
    path = folder / "datalist.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a prepared folder (no datalist.json); {PREPARE}")
    try:
        content = path.read_bytes()
        datalist = json.loads(content, parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {PREPARE} again") from error
    except RecursionError:
        raise UserError(f"{path}: not readable as JSON (nested too deeply); {PREPARE} again") from None
    digest = hashlib.sha256(content).digest()
    if digest not in _checked:
        check_datalist(datalist, path)
        _checked.add(digest)
    return datalist


def fingerprint(prepared_dir: str | Path) -> dict[str, Any]:
    """What a record of a run says of its data: path and SHA-256 of the data list, and how they were prepared.

    Raises:
        UserError: when there is no data list that can be read.
    """
    folder = Path(prepared_dir)
    try:
        data = (folder / "datalist.json").read_bytes()
        datalist = json.loads(data)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no readable datalist.json ({error}); name a prepared folder") from error
    keys = ("name", "protocol", "folds", "seed", "image_size", "label_source", "label_unit", "label_rule")
    settings = {key: datalist.get(key) for key in keys}
    return {"path": str(folder.resolve()), "sha256": hashlib.sha256(data).hexdigest(), **settings}


def labels_in_words(dataset: Mapping[str, Any]) -> str:
    """Where a prepared folder's labels come from: ``vindr, as prepared: by BI-RADS, one for each breast: 4 and …``.

    Args:
        dataset: its data list or its :func:`fingerprint`; older folders don't say what their labels are based on.
    """
    source, unit, rule = (dataset.get(f"label_{fact}") for fact in ("source", "unit", "rule"))
    rest = [f"by {source}, one for each {unit}"] if source and unit else []
    return ": ".join([f"{dataset.get('name')}, as prepared", *rest, *([rule] if rest and rule else [])])


def _refuse_constant(name: str) -> None:
    """NaN and infinity are no JSON, and no limit of a schema holds NaN back."""
    raise ValueError(f"{name} is no number")


def pixel_mean(
    prepared_dir: str | Path, fold: int | None = None, training_patients: int | None = None, seed: int = 0
) -> float:
    """Mean of the training partition's pixels, scaled to 0…255; subtracted from every network input.

    Args:
        prepared_dir: prepared folder.
        fold: the fold that is tested, in a folder prepared for cross-validation; None: as the data list says.
        training_patients: as of :func:`load_datalist`.
        seed: as of :func:`load_datalist`.

    Raises:
        UserError: when the folder isn't a prepared one, has no such fold, no training images or too few patients.
    """
    datalist = read_datalist(prepared_dir)
    mean = datalist["pixel_mean"]
    if fold is not None or training_patients is not None:
        training = _arranged(datalist, fold, prepared_dir)["training"]
        means: list[Any] = [sample.get("mean") for sample in _drawn(training, training_patients, seed, prepared_dir)]
        mean = None if None in means or not means else round(sum(means) / len(means), 4)
    if mean is None:
        raise UserError(
            f"{prepared_dir}: no training images, so no pixel mean; prepare a folder that has training images"
        )
    return float(mean)


def preparation(prepared_dir: str | Path) -> dict[str, Any]:
    """How mammograms became a prepared folder's images: ``image_size`` (rows, columns), ``voi_lut``, ``crop``,
    ``orient``.

    Raises:
        UserError: when the folder isn't a prepared one.
    """
    datalist = read_datalist(prepared_dir)
    framing = {key: datalist.get(key) for key in ("crop", "orient")}
    return {"image_size": datalist["image_size"], "voi_lut": datalist.get("voi_lut", False), **framing}


def digest_samples(samples: Sequence[Mapping[str, Any]]) -> str:
    """A short digest of samples, ``"16 images, 5f0c…"``, the same wherever the files are, to recognise the data."""
    facts = [[Path(one["image"]).name, one["label"], one.get("patient_id"), one.get("mean")] for one in samples]
    return f"{len(samples)} images, {hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"


def load_datalist(
    prepared_dir: str | Path,
    partition: str,
    image_size: Sequence[int] | None = None,
    fold: int | None = None,
    training_patients: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Samples of one partition with absolute paths, checked.

    Samples have ``image`` (path), ``label`` (0 or 1), ``patient_id``, ``laterality``, ``view`` (both empty where
    unknown), ``flags`` (what is odd about the image, joined by ``;``, see docs/results.md), ``lesions`` (list of
    ``{mask, type, pathology, drawn_as}``: a path, two words or None where unknown, and what the mask was made from, see
    :class:`~monai_e2e.data.records.DrawnAs`), ``lesions_excluded`` (count of lesions that have no mask here), ``mean``
    (of its pixels, 0…255), ``original_size`` (rows and columns of the original) and, where known, ``pixel_spacing``
    (mm at the detector, rows and columns of the original), ``lesion_size`` (mm there, of a positive image's largest
    lesion that isn't benign) and :data:`~monai_e2e.data.records.FACTS`. ``lesions`` differs in length between samples,
    so drop it before samples are collated to a batch.

    Args:
        prepared_dir: prepared folder.
        partition: ``"training"``, ``"validation"`` or ``"test"``.
        image_size: rows and columns that the caller expects; None: any.
        fold: the fold that is tested, in a folder prepared for cross-validation; the next one is for validation.
        training_patients: how many of the training partition's patients are kept, drawn at random; the share of those
            with a positive image stays. With one seed, a larger number has all patients of a smaller one. None: all.
        seed: of that draw.

    Raises:
        UserError: when the folder isn't a prepared one, its size is another, a patient is in two partitions, the
            partition is empty or, unless it is the test partition, of one class, it has no such fold or not so many
            patients, or a file is absent or outside the folder.
    """
    if partition not in PARTITIONS:
        raise UserError(f"partition {partition!r}: choose one of {', '.join(PARTITIONS)}")
    datalist = read_datalist(prepared_dir)
    prepared_size = datalist["image_size"]
    if image_size is not None and list(image_size) != list(prepared_size):
        raise UserError(
            f"{prepared_dir}: prepared at {_times(prepared_size)}, this config wants {_times(image_size)}: prepare "
            f"again with --image-size or pass --image_size '{json.dumps(prepared_size, separators=(',', ':'))}'"
        )
    if partition == "training" and not datalist.get("models_may_be_passed_on", True):
        logger.warning(
            "%s: the licence of %s forbids passing on models or weights trained on it",
            prepared_dir,
            datalist.get("name"),
        )
    datalist = _arranged(datalist, fold, prepared_dir)
    try:
        check_patients({name: [sample["patient_id"] for sample in datalist[name]] for name in PARTITIONS})
    except UserError as error:
        raise UserError(f"{Path(prepared_dir) / 'datalist.json'}: {error}") from error
    root = Path(prepared_dir).resolve()
    wanted = training_patients if partition == "training" else None
    samples = [_absolute(sample, root) for sample in _drawn(datalist[partition], wanted, seed, prepared_dir)]
    labels = {sample["label"] for sample in samples}
    if not samples:
        raise UserError(f"{prepared_dir}: partition {partition} has no images; prepare a folder that has some")
    if partition != "test" and labels != {0, 1}:
        raise UserError(
            f"{prepared_dir}: partition {partition} has labels {sorted(labels)}, but 0 and 1 are both needed; "
            f"prepare more data"
        )
    return samples


def _drawn(
    samples: list[dict[str, Any]], patients: int | None, seed: int, prepared_dir: str | Path
) -> list[dict[str, Any]]:
    """The samples of so many patients, see :func:`load_datalist`."""
    if patients is None:
        return samples
    positive: dict[str, bool] = {}
    for sample in samples:
        positive[sample["patient_id"]] = positive.get(sample["patient_id"], False) or sample["label"] == 1
    if not 1 <= patients <= len(positive):
        raise UserError(
            f"training_patients {patients}: {prepared_dir} has {len(positive)} patients for training; give a number "
            f"from 1 to {len(positive)}, or leave it out for all"
        )
    draw = np.random.default_rng(seed)
    places: dict[str, float] = {}
    for kind in (False, True):  # evenly spaced, so that any number of the first ones has both kinds in their share
        own = draw.permutation(sorted(patient for patient, is_positive in positive.items() if is_positive == kind))
        places |= {str(patient): (rank + 0.5) / len(own) for rank, patient in enumerate(own)}
    chosen = set(sorted(places, key=lambda patient: (places[patient], patient))[:patients])
    return [sample for sample in samples if sample["patient_id"] in chosen]


def _arranged(datalist: dict[str, Any], fold: int | None, prepared_dir: str | Path) -> dict[str, Any]:
    """The data list with its partitions as they are when ``fold`` is tested."""
    if fold is None:
        return datalist
    folds = datalist.get("folds")
    if folds is None:
        raise UserError(f"{prepared_dir}: not split into folds; prepare it with --protocol kfold or leave out the fold")
    if not 0 <= fold < folds:
        raise UserError(f"fold {fold}: {prepared_dir} has folds 0 to {folds - 1}")
    partitions: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTITIONS}
    for sample in sorted((s for name in PARTITIONS for s in datalist[name]), key=lambda sample: sample["image"]):
        if not 0 <= sample.get("fold", -1) < folds:
            raise UserError(f"{prepared_dir}: image {sample['image']} has none of the {folds} folds; {PREPARE} again")
        partitions[partition_of_fold(sample["fold"], fold, folds)].append(sample)
    return datalist | partitions


def _absolute(sample: dict[str, Any], root: Path) -> dict[str, Any]:
    lesions = [{**lesion, "mask": _inside(lesion["mask"], root)} for lesion in sample["lesions"]]
    return {"laterality": "", "view": "", **sample, "image": _inside(sample["image"], root), "lesions": lesions}


def _inside(relative: str, root: Path) -> str:
    """Absolute path of a file of the prepared folder; refuses paths that lead out of it."""
    try:
        path = (root / relative).resolve()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, half a character, links in a circle
        message = f"{root / 'datalist.json'}: {relative[:100]!r} is no usable path ({type(error).__name__})"
        raise UserError(f"{message}; {PREPARE} again") from error
    if not path.is_relative_to(root):
        raise UserError(f"{root / 'datalist.json'}: {relative} leads out of the folder; {PREPARE} again")
    if not there:
        raise UserError(f"{path} is missing, though datalist.json lists it; {PREPARE} again")
    return str(path)


def _times(size: Sequence[int]) -> str:
    return "×".join(map(str, size))
