"""The record in a run's folder: the settings that its results depend on, and the table's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_e2e.data.prepared.datalist import fingerprint
from monai_e2e.data.prepared.folder import shown
from monai_e2e.data.records import GROUP_COLUMNS
from monai_e2e.errors import UserError
from monai_e2e.metrics.tables import OPTIONAL_COLUMNS, PREDICTION_COLUMNS, SPREAD_COLUMNS
from monai_e2e.predict.models import Model
from monai_e2e.predict.options import Options
from monai_e2e.predict.worklist import ListedImage
from monai_e2e.seen import shared_fact
from monai_e2e.work.files import digest_of, read_json


def settings_of(
    models: Sequence[Model], patch_model: Model | None, src: str | Path, options: Options, prepared: bool
) -> dict[str, Any]:
    """What must be the same for a run to be taken up; places are as the user wrote them.

    So a prepared folder is known by its data list: one that was prepared again has other images and labels.
    """
    return {
        "models": {model.name: model.digest for model in models},
        "patch_model": None if patch_model is None else {patch_model.name: patch_model.digest},
        "src": shown(src),
        "datalist": fingerprint(src)["sha256"][:12] if prepared else None,
        "partition": options.partition if prepared else None,
        "fold": options.fold,
        "table": None if options.table is None else _digest_of_table(Path(options.table)),
        "tta": options.tta,
        "amp": options.amp,
        "precision": None if options.precision == "fp32" else options.precision,
        "heatmap_format": options.heatmap_format if options.heatmap else None,
        "dicom": options.dicom,
        "keep_identity": options.keep_identity,
        "any_modality": options.any_modality or None,
    }


def partition_of(results: Path, prepared: str | Path) -> tuple[str, int | None]:
    """Partition and tested fold of the prepared folder that a run of ``predict`` left its results of.

    Raises:
        UserError: when the results are of something else.
    """
    path = results / "run.json"
    try:
        settings = read_json(path)["settings"]
        partition, fold = settings["partition"], settings["fold"]
    except (LookupError, TypeError) as error:
        raise UserError(f"{path}: not written by `monai-e2e predict`; name the folder of its results") from error
    if partition is None:
        raise UserError(
            f"{path}: results of images that aren't those of a prepared folder; predict {prepared} with --heatmap"
        )
    return partition, fold


def trainings_of(models: Sequence[Model]) -> dict[str, int | None]:
    """Fold and seed of the models' trainings, None where they differ or aren't known."""
    return {name: shared_fact([model.network for model in models], name) for name in ("fold", "seed")}


def columns_of(mammograms: Sequence[ListedImage], trainings: Mapping[str, int | None], several: bool) -> list[str]:
    """Columns of the table, optional ones only where something is known of an image, or of the models.

    Args:
        mammograms: the images.
        trainings: fold and seed of the models.
        several: whether several predictions are averaged, which have a spread.
    """
    known = {
        name
        for name in OPTIONAL_COLUMNS
        if any(getattr(mammogram, name, None) not in (None, "") for mammogram in mammograms)
    }
    known |= {name for name, value in trainings.items() if value is not None}
    known |= set(SPREAD_COLUMNS) if several else set()
    facts = [name for name in GROUP_COLUMNS if any(name in mammogram.facts for mammogram in mammograms)]
    return [*(name for name in PREDICTION_COLUMNS if name not in OPTIONAL_COLUMNS or name in known), *facts]


def _digest_of_table(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); name the table of the images") from error
