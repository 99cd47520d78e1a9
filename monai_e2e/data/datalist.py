"""A prepared folder's report, and its data list read back with the checks that save a wasted night of training."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from monai_e2e.data.records import Excluded
from monai_e2e.data.splits import check_patients
from monai_e2e.errors import UserError

PARTITIONS = ("training", "validation", "test")
_PREPARE = "run `monai-e2e prepare cbis-ddsm SRC OUT` or `monai-e2e prepare inbreast SRC OUT`"


def read_datalist(prepared_dir: str | Path) -> dict[str, Any]:
    """The data list of a prepared folder as it is on disk.

    Raises:
        UserError: when the folder is missing, wasn't prepared, or its list lacks a needed key.
    """
    folder = Path(prepared_dir)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {_PREPARE}")
    path = folder / "datalist.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a prepared folder (no datalist.json); {_PREPARE}")
    try:
        datalist = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {_PREPARE} again") from error
    keys = ("image_size", "pixel_mean", *PARTITIONS)
    missing = [key for key in keys if key not in datalist] if isinstance(datalist, dict) else keys
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing; {_PREPARE} again")
    return datalist


def pixel_mean(prepared_dir: str | Path) -> float:
    """Mean of the training partition's pixels, scaled to 0…255; subtracted from every network input."""
    return float(read_datalist(prepared_dir)["pixel_mean"])


def load_datalist(
    prepared_dir: str | Path, partition: str, image_size: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Samples of one partition with absolute paths, checked.

    Samples have ``image`` (path), ``label`` (0 or 1), ``patient_id``, ``laterality``, ``view``, ``lesions`` (list of
    ``{mask, type, pathology}``), ``lesions_excluded`` (count of lesions that have no mask here) and, where known,
    ``density``. ``lesions`` differs in length between samples, so drop it before samples are collated to a batch.

    Args:
        prepared_dir: prepared folder.
        partition: ``"training"``, ``"validation"`` or ``"test"``.
        image_size: rows and columns that the caller expects; None: any.

    Raises:
        UserError: when the folder isn't a prepared one, its size is another, a patient is in two partitions, the
            partition has one class only, or a file is absent or outside the folder.
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
    try:
        check_patients({name: [sample["patient_id"] for sample in datalist[name]] for name in PARTITIONS})
        root = Path(prepared_dir).resolve()
        samples = [_absolute(sample, root) for sample in datalist[partition]]
        labels = {sample["label"] for sample in samples}
    except (KeyError, TypeError) as error:
        raise UserError(f"{prepared_dir}: a sample of datalist.json lacks {error}; {_PREPARE} again") from error
    if labels != {0, 1}:
        raise UserError(
            f"{prepared_dir}: partition {partition} has labels {sorted(labels)}, but 0 and 1 are both needed; "
            f"prepare more data"
        )
    return samples


def make_report(datalist: dict[str, Any], notes: dict[str, int], excluded: Iterable[Excluded]) -> dict[str, Any]:
    """What a prepared folder holds, in counts: partitions, notes of the reader, exclusions by kind, versions."""
    partitions = {}
    for name in PARTITIONS:
        samples = datalist[name]
        lesions = Counter(
            "-".join(filter(None, (lesion["type"], lesion["pathology"]))) for s in samples for lesion in s["lesions"]
        )
        partitions[name] = {
            "patients": len({sample["patient_id"] for sample in samples}),
            "images": len(samples),
            "positive": sum(sample["label"] for sample in samples),
            "lesions": dict(sorted(lesions.items())),
        }
    kinds = Counter(exclusion.reason.split(":")[0] for exclusion in excluded)
    settings = {key: datalist[key] for key in ("name", "protocol", "seed", "image_size", "pixel_mean", "classes")}
    packages = ("monai-e2e", "numpy", "pillow", "pydicom", "scikit-learn")
    return {
        **settings,
        "partitions": partitions,
        "notes": notes,
        "excluded": dict(kinds.most_common()),
        "versions": {package: _version(package) for package in packages},
    }


def write_report(folder: Path, report: dict[str, Any], excluded: Iterable[Excluded], src: Path) -> None:
    """Write ``report.json``, ``report.md`` and ``excluded.csv``, the latter with paths relative to ``src``."""
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    with (folder / "excluded.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "reason"))
        prefixes = (f"{src.resolve()}{os.sep}", f"{src}{os.sep}")
        for exclusion in excluded:
            path, reason = exclusion.path, exclusion.reason
            for prefix in prefixes:
                path, reason = path.removeprefix(prefix), reason.replace(prefix, "")
            writer.writerow((path, reason))
    rows, columns = report["image_size"]
    lines = [
        f"# {report['name']}: protocol {report['protocol']}, seed {report['seed']}",
        "",
        f"{rows} × {columns} pixels, pixel mean {report['pixel_mean']:.2f} (of 255, training partition).",
        "",
        f"| partition | patients | images | {report['classes'][1]} | lesions |",
        "|---|---|---|---|---|",
    ]
    for name, counts in report["partitions"].items():
        lesions = ", ".join(f"{count} {kind}" for kind, count in counts["lesions"].items()) or "none"
        lines.append(f"| {name} | {counts['patients']} | {counts['images']} | {counts['positive']} | {lesions} |")
    for title, counts in (("Notes", report["notes"]), ("Left out (see excluded.csv)", report["excluded"])):
        lines += ["", f"## {title}", "", *([f"- {kind}: {count}" for kind, count in counts.items()] or ["- nothing"])]
    lines += ["", "Made with " + ", ".join(f"{name} {number}" for name, number in report["versions"].items()) + "."]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _absolute(sample: dict[str, Any], root: Path) -> dict[str, Any]:
    lesions = [{**lesion, "mask": _inside(lesion["mask"], root)} for lesion in sample["lesions"]]
    return {**sample, "image": _inside(sample["image"], root), "lesions": lesions}


def _inside(relative: str, root: Path) -> str:
    """Absolute path of a file of the prepared folder; refuses paths that lead out of it."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise UserError(f"{root / 'datalist.json'}: {relative} leads out of the folder; {_PREPARE} again")
    if not path.is_file():
        raise UserError(f"{path}: absent though datalist.json names it; {_PREPARE} again")
    return str(path)


def _times(size: Sequence[int]) -> str:
    return "×".join(map(str, size))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
