"""Which patients a model was trained on, so that it is not evaluated on them.

A checkpoint has its fold, and hashes of the patients in its training and validation partitions and in those of the
checkpoints that it started from. It does not have the ids themselves, but anyone with a list of ids can find out which
of them were used. Blanks, leading zeros and case of an id make no difference.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from monai_e2e.data.images.headers import read_header
from monai_e2e.data.prepared.datalist import load_datalist, read_datalist
from monai_e2e.data.prepared.folder import is_prepared
from monai_e2e.data.sources.identifiers import clean_identifier, identifier_key
from monai_e2e.data.sources.naming import safe_id
from monai_e2e.errors import UserError
from monai_e2e.networks.patients import recorded_patients
from monai_e2e.networks.weights import read_patients

logger = logging.getLogger(__name__)

_HEX_DIGITS = 16


def hash_patient(patient_id: str) -> str:
    """Hash of a patient's id, however it is written: the first 16 hexadecimal digits of its SHA-256."""
    return _hash(identifier_key(patient_id))


def is_known(patient_id: str, hashes: Collection[str]) -> bool:
    """Whether a patient is among those that a checkpoint has hashes of.

    Ids in data lists are cleaned so that they can be part of file names, and earlier versions hashed them as they are:
    all of these forms are compared.

    Args:
        patient_id: id of a data list or of any table.
        hashes: of a checkpoint.
    """
    named = safe_id(clean_identifier(patient_id))
    return any(one in hashes for one in (hash_patient(patient_id), hash_patient(named), _hash(patient_id.strip())))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX_DIGITS]


def describe_patients(
    prepared_dir: str | Path, fold: int | None = None, training_patients: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """What a network that is trained on a prepared folder records about it.

    ``validation_as_written`` has those that earlier versions would have, to be compared with their checkpoints.

    Args:
        prepared_dir: prepared folder.
        fold: the fold for testing, if the folder is prepared for cross-validation.
        training_patients: how many of the training patients are used, as in :func:`~monai_e2e.data.load_datalist`.
        seed: seed of the training and of the selection of these patients; None if not known.

    Returns:
        ``fold``, ``seed``, and under ``training`` and ``validation`` the sorted hashes of the patients.

    Raises:
        UserError: as :func:`~monai_e2e.data.load_datalist` does.
    """
    patients = {
        name: {
            sample["patient_id"]
            for sample in load_datalist(prepared_dir, name, None, fold, training_patients, seed or 0)
        }
        for name in ("training", "validation")
    }
    has_folds = read_datalist(prepared_dir).get("folds") is not None
    return {
        "fold": (fold or 0) if has_folds else None,
        "seed": seed,
        **{name: sorted(set(map(hash_patient, own))) for name, own in patients.items()},
        "validation_as_written": sorted(_hash(patient.strip()) for patient in patients["validation"]),
    }


def shared_fact(networks: Iterable[nn.Module], name: str) -> int | None:
    """The networks' ``"fold"`` or ``"seed"``; None if one has none or they differ."""
    values = {recorded_patients(network).get(name) for network in networks}
    return values.pop() if len(values) == 1 else None


def own_fold(checkpoint: str | Path | None, prepared_dir: str | Path) -> int | None:
    """The test fold of a checkpoint's training; None if it has none, or the prepared folder has no such fold."""
    if checkpoint is None or not is_prepared(prepared_dir):
        return None
    fold, folds = read_patients(checkpoint).get("fold"), read_datalist(prepared_dir).get("folds")
    return fold if fold is not None and folds is not None and fold < folds else None


def seen_flags(networks: Iterable[nn.Module]) -> Callable[[str], tuple[str, ...]]:
    """A function that returns a patient's flags, ``seen in training`` or ``seen in validation``, for their id."""
    records = [recorded_patients(network) for network in networks]
    known = {name: {one for record in records for one in record.get(name, ())} for name in ("training", "validation")}

    def flags(patient_id: str) -> tuple[str, ...]:
        return next(((f"seen in {name}",) for name, hashes in known.items() if is_known(patient_id, hashes)), ())

    return flags


def check_unseen(
    samples: Sequence[Mapping[str, Any]], checkpoint: str | Path | None, partition: str, allow_seen: bool = False
) -> Sequence[Mapping[str, Any]]:
    """Check that a model was not trained on the patients that it is evaluated on; returns the samples unchanged.

    Args:
        samples: samples with ``patient_id``, as a prepared folder has them; of others the DICOM headers are read, and
            patients of the training are warned of, since a header's id may be another hospital's.
        checkpoint: the model's; None, for weights from a server, checks nothing.
        partition: the samples' partition; ``training`` is not checked.
        allow_seen: log a warning in place of the error.

    Raises:
        UserError: when patients of the samples were in the model's training.
    """
    if checkpoint is not None and partition != "training":
        record = read_patients(checkpoint)
        patients = {sample["patient_id"] for sample in samples if "patient_id" in sample}
        refuse_seen(patients, record, str(checkpoint), partition, allow_seen)
        if trained := set(record.get("training", ())):
            headers = [read_header(Path(sample["image"])) for sample in samples if "patient_id" not in sample]
            if count := sum(is_known(header.patient, trained) for header in headers if header.patient):
                logger.warning(
                    "%d of %d images are, by their headers, of patients that %s was trained on.",
                    count,
                    len(samples),
                    checkpoint,
                )
    return samples


def refuse_seen(
    patients: Collection[str], record: Mapping[str, Any], model: str, partition: str, allow_seen: bool = False
) -> None:
    """Like :func:`check_unseen`, for patients' ids and a network's record of patients.

    Args:
        patients: ids.
        record: as :func:`describe_patients` returns it.
        model: the model's name, for messages.
        partition: the patients' partition, for messages.
        allow_seen: log a warning in place of the error.

    Raises:
        UserError: when some of the patients were in the model's training.
    """
    known = {name: set(record.get(name, ())) for name in ("training", "validation")}
    counts = {name: sum(is_known(patient, hashes) for patient in patients) for name, hashes in known.items()}
    if counts["training"]:
        fold = record.get("fold")
        text = f"{counts['training']} of {len(patients)} {partition} patients were in the training of {model}"
        if not allow_seen:
            own = "" if fold is None else f"name its own fold, {fold}, or "
            raise UserError(
                f"{text}, so its scores for them mean nothing: {own}take a model that has not seen them; if these "
                "are other people with the same ids, pass --allow-seen (to a bundle: --allow_seen true)"
            )
        logger.warning("%s.", text)
    elif counts["validation"] and partition != "validation":
        logger.warning(
            "%d of %d %s patients were in the validation of %s, by which its epoch was chosen.",
            counts["validation"],
            len(patients),
            partition,
            model,
        )
