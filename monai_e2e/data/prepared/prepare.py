"""From raw downloads to the prepared folder that training reads: resized images, masks, data list, report.

The folder holds ``images/<image_id>.png`` (16 bits, the image's range over 0…65535), ``masks/<image_id>_<n>.png``
(8 bits, 0 or 255), ``datalist.json``, ``report.json``, ``report.md`` and ``excluded.csv``. Nothing of a DICOM header
reaches it except the identifiers that the data set itself publishes.

The folder is made in ``.<name>.partial`` beside its place, and moved there when it is complete. A run that was stopped
continues where it ended, and images of a folder prepared earlier are used again if nothing has changed for them.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from monai_e2e.data.prepared.datalist import PARTITIONS
from monai_e2e.data.prepared.images import FINISHED, ImageTask, prepare_image
from monai_e2e.data.prepared.lesions import lesion_words
from monai_e2e.data.prepared.oddities import flag_images
from monai_e2e.data.prepared.report import SOURCE_FACTS, make_report, mean_words, write_report
from monai_e2e.data.prepared.settings import (
    Settings,
    check_options,
    check_out,
    check_same_data_set,
    check_same_images,
    make_settings,
    merges_halves,
    used_options,
)
from monai_e2e.data.prepared.splits import Split, split_images
from monai_e2e.data.records import Catalogue
from monai_e2e.data.sources.disk import has_images
from monai_e2e.data.sources.registry import Source, find_source
from monai_e2e.errors import UserError
from monai_e2e.work.files import write_json
from monai_e2e.work.locking import locked
from monai_e2e.work.out_folder import make_folder, replace_folder
from monai_e2e.work.parallel import run_parallel

logger = logging.getLogger(__name__)

#: The protocol's name if the table of labels has the split.
_GIVEN = "given-in-table"


def prepare_dataset(name: str, src: str | Path, out: str | Path, **arguments: Any) -> dict[str, Any]:
    """Prepare a data set for training.

    Args:
        name: of :data:`~monai_e2e.data.sources.registry.SOURCES`, ``"folder"`` being a hospital's own images.
        src: folder with the images and the data set's tables, in any of the layouts in use.
        out: folder to write; must be absent, empty or a prepared folder, which is then replaced.
        arguments: of :class:`Settings`, and the options of the data set's reader, which its entry in ``SOURCES`` lists.

    Returns:
        The report, as written to ``report.json``.

    Raises:
        UserError: when the data set or an option isn't known, the source can't be read, the output folder is someone
            else's, or a partition ends up with one class only.
    """
    began = time.monotonic()
    source = find_source(name)
    known = {setting.name for setting in fields(Settings)}
    options = {key: value for key, value in arguments.items() if key not in known}
    check_options(name, source, options)
    settings = make_settings({key: value for key, value in arguments.items() if key in known}, source.protocols)
    if "merge_halves" in source.options:
        options["merge_halves"] = merges_halves(options.get("merge_halves", False), settings.protocol)
    src, out = Path(src).absolute(), check_out(src, out, settings.dry_run)
    check_same_data_set(name, out)
    catalogue = source.read()(src, tables_only=settings.dry_run and not has_images(src), **options)
    _check_names(src, catalogue)
    check_same_images(catalogue, out)
    split = _split(src, catalogue, settings)
    datalist = {
        "name": catalogue.name if source.has_a_name else out.name,
        **_facts(source.under(options), used_options(source, options), settings),
        **catalogue.facts,
    }
    if split.given:
        datalist["protocol"] = _GIVEN
    plan = _Plan(catalogue, split, src, out, datalist, settings, began)
    if settings.dry_run:
        return _report_dry_run(plan)
    with locked(out):
        return _write(plan)


def _check_names(src: Path, catalogue: Catalogue) -> None:
    names = Counter((image.partition, image.image_id) for image in catalogue.mammograms)
    repeated = [name for (_, name), count in names.items() if count > 1]
    if repeated:
        raise UserError(f"{src}: {len(repeated)} images have the same names, such as {repeated[0]}; please report this")


def _split(src: Path, catalogue: Catalogue, settings: Settings) -> Split:
    if settings.dry_run and catalogue.tables["patients"] is None:  # tables alone may not tell them
        return Split({})
    try:
        split = split_images(catalogue, settings.protocol, settings.seed, settings.folds)
    except UserError as error:
        raise UserError(f"{src}: {error}") from error
    _check_classes(src, {name: [image.label for image in images] for name, images in split.partitions.items()})
    return split


def _facts(source: Source, options: Mapping[str, object], settings: Settings) -> dict[str, Any]:
    """What the data list says beside its images."""
    return {
        "protocol": settings.protocol,
        "seed": settings.seed,
        "image_size": list(settings.image_size),
        "voi_lut": settings.voi_lut,
        "crop": settings.crop,
        "orient": settings.orient,
        "pixel_mean": None,
        "classes": list(source.classes),
        "options": dict(options),
        **{fact: getattr(source, fact) for fact in SOURCE_FACTS},
    }


@dataclass(frozen=True)
class _Plan:
    """A data set with its split, and what :func:`prepare_dataset` decided to do with it."""

    catalogue: Catalogue
    split: Split
    src: Path
    out: Path
    datalist: dict[str, Any]  # without its images
    settings: Settings
    began: float


def _write(plan: _Plan) -> dict[str, Any]:
    """Prepare the images, and move them with the data list and the reports to ``out``."""
    catalogue, split, out, datalist, settings = plan.catalogue, plan.split, plan.out, plan.datalist, plan.settings
    folder = out.with_name(f".{out.name}.partial")
    for name in ("images", "masks", FINISHED):
        make_folder(folder / name)
    earlier = out if (out / FINISHED).is_dir() else None
    size = tuple(settings.image_size)
    tasks = [
        ImageTask(image, folder, size, settings.voi_lut, settings.any_modality, earlier, settings.crop, settings.orient)
        for group in split.partitions.values()
        for image in group
    ]
    results = iter(run_parallel(prepare_image, tasks, settings.workers, f"preparing {catalogue.name}"))
    prepared = {name: [next(results) for _ in group] for name, group in split.partitions.items()}
    excluded = catalogue.excluded + split.left_out
    excluded += [problem for group in prepared.values() for image in group for problem in image.excluded]
    catalogue.notes |= flag_images([image for group in prepared.values() for image in group])
    samples = {name: [image.sample for image in group if image.sample] for name, group in prepared.items()}
    windows = Counter(sample.get("window") for group in samples.values() for sample in group)
    catalogue.notes |= {f"images_by_{word}": count for word, count in windows.most_common() if word}
    _check_classes(plan.src, {name: [sample["label"] for sample in group] for name, group in samples.items()})
    if samples["training"]:
        datalist["pixel_mean"] = round(float(np.mean([sample["mean"] for sample in samples["training"]])), 4)
    if split.folds is not None:
        for sample in (sample for group in samples.values() for sample in group):
            sample["fold"] = split.fold_of[sample["patient_id"]]
        datalist["folds"] = split.folds
    datalist |= {name: samples[name] for name in PARTITIONS}
    _remove_others(folder, [sample for group in samples.values() for sample in group])
    write_json(folder / "datalist.json", datalist, indent=1)
    report = make_report(datalist, catalogue, excluded, time.monotonic() - plan.began)
    write_report(folder, report, excluded, plan.src)
    replace_folder(out, folder)
    _log(report, datalist, len(excluded), out)
    return report


def _log(report: Mapping[str, Any], datalist: Mapping[str, Any], excluded: int, out: Path) -> None:
    positive = datalist["classes"][1]
    for name, counts in report["partitions"].items():
        numbers = counts["patients"], counts["images"], counts["positive"]
        logger.info("%s: %d patients, %d images, %d %s", name, *numbers, positive)
    flags = Counter(flag for name in PARTITIONS for one in datalist[name] for flag in one["flags"].split(";") if flag)
    if flags:
        words = ", ".join(f"{count} × {flag}" for flag, count in flags.most_common())
        logger.warning("flagged images: %s; see %s", words, out / "report.md")
    logger.info("%s; exclusions: %d, see %s", mean_words(report["pixel_mean"]), excluded, out / "excluded.csv")


def _check_classes(src: Path, labels: Mapping[str, Sequence[int]]) -> None:
    """Raise :class:`UserError` unless each partition has both classes, or all images are for testing only."""
    if labels.get("test") and not labels.get("training") and not labels.get("validation"):
        return  # another group's model is to be tested on them, perhaps on one class
    for name in PARTITIONS:
        own = labels.get(name, ())
        if len(set(own)) < 2:
            raise UserError(
                f"{src}: partition {name} has {len(own)} image(s), but not of both classes; add data, or name all "
                "images of your own 'test' in a column partition, to test on them alone"
            )


def _report_dry_run(plan: _Plan) -> dict[str, Any]:
    """Write the reports of what would be prepared, as far as tables, file names and headers show."""
    excluded = plan.catalogue.excluded + plan.split.left_out
    for name in PARTITIONS:
        plan.datalist[name] = [
            {
                "label": image.label,
                "patient_id": image.patient_id,
                "lesions": [lesion_words(lesion) for lesion in image.lesions],
            }
            for image in plan.split.partitions.get(name, [])
        ]
    report = make_report(plan.datalist, plan.catalogue, excluded, time.monotonic() - plan.began, dry_run=True)
    make_folder(plan.out)
    write_report(plan.out, report, excluded, plan.src)
    return report


def _remove_others(folder: Path, samples: Sequence[dict[str, Any]]) -> None:
    """Remove files that runs with another protocol or source have left in the folder."""
    wanted = {sample["image"] for sample in samples}
    wanted |= {lesion["mask"] for sample in samples for lesion in sample["lesions"]}
    wanted |= {f"{FINISHED}/{Path(sample['image']).stem}.json" for sample in samples}
    for name in ("images", "masks", FINISHED):
        for path in (folder / name).iterdir():
            if f"{name}/{path.name}" not in wanted:
                path.unlink()
