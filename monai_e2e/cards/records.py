"""What the records of runs know of a study: statements for a reader, each with the file that it is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monai_e2e.metrics.facts import prepared_folder
from monai_e2e.metrics.html_page import format_p
from monai_e2e.metrics.samples import levels_of
from monai_e2e.shipped.models import shipped_model
from monai_e2e.work.files import read_json

#: Settings of a training that a reader asks for, as the bundles' configs name them.
_TRAINING = ("recipe", "optimizer_name", "stages", "batch_size", "accumulation_steps", "patience", "amp")
_LIBRARIES = ("monai-e2e", "monai", "torch", "numpy", "scikit-learn")

#: The name that a checklist or card asks by, and the words; empty words are no statement.
Fact = tuple[str, Any]


@dataclass(frozen=True)
class Statement:
    """Something known, in words, and the name of the file that says it."""

    text: str
    file: str


@dataclass
class Records:
    """The records of a study, ``{}`` where there is none.

    Args:
        score: ``score.json``.
        predicted: ``run.json`` of the predictions.
        training: ``run.json`` of the training.
        report: ``report.json`` of the prepared folder.
        card: of a shipped model.
        files: where each is from, by its name here.
    """

    score: Mapping[str, Any] = field(default_factory=dict)
    predicted: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def records_of_predictions(path: str | Path, score: Mapping[str, Any], out: str | Path, labels: Any = None) -> Records:
    """The records around a table of predictions.

    Args:
        path: the table.
        score: what ``score.json`` holds.
        out: the folder that it is in.
        labels: what the labels were taken from.
    """
    beside = Path(path).parent / "run.json"
    record = read_json(beside)
    found = Records(score=score, files={"score": str(Path(out) / "score.json")})
    models = record.get("models_named") or []
    if "bundle" in record:  # an evaluation lies in the folder of its training
        _take(found, "training", beside, record)
    else:
        _take(found, "predicted", beside, record)
        if models:
            _take_model(found, models[0])
    prepared = prepared_folder(path, labels)
    trained_on = (found.training.get("dataset") or {}).get("path")
    if prepared is not None or trained_on:
        _take(found, "report", Path(prepared or str(trained_on)) / "report.json")
    return found


def records_of_model(model: str | Path) -> Records:
    """The records around a model: its card or training, its evaluation's score and its data's report."""
    found = Records()
    _take_model(found, model)
    if found.training:
        score = Path(found.files["training"]).parent / "score.json"
        _take(found, "score", score)
        dataset = found.training.get("dataset") or {}
        if dataset.get("path"):
            _take(found, "report", Path(dataset["path"]) / "report.json")
    return found


def statements(records: Records) -> dict[str, list[Statement]]:
    """What the records know, by the names that checklists and cards ask for; names of which nothing is known lack."""
    known: dict[str, list[Statement]] = {}
    facts = {
        "report": _of_report(records.report),
        "training": _of_training(records.training),
        "card": _of_card(records.card),
        "predicted": _of_predictions(records.predicted),
        "score": _of_score(records.score),
    }
    for record, found in facts.items():
        file = records.files.get(record, f"{record}.json")
        for name, text in found:
            if text:
                known.setdefault(name, []).append(Statement(str(text), file))
    return known


def _of_report(report: Mapping[str, Any]) -> Iterator[Fact]:
    if not report:
        return
    tables = report.get("tables") or {}
    counts = [f"{tables[key]} {key}" for key in ("rows", "patients", "files", "views") if tables.get(key) is not None]
    yield "data", f"{report.get('name')}: {', '.join(counts)}" if counts else report.get("name")
    yield "partitions", f"protocol {report.get('protocol')}, seed {report.get('seed')}"
    if report.get("patients_known", True):
        yield "disjoint", "by patient: preparing refuses a patient who is in two partitions"
    else:
        yield "disjoint", "by image, since patients aren't known: a patient may be in two partitions"
    size = report.get("image_size")
    yield "preprocessing", size and f"images of {size[0]} × {size[1]} pixels, mean {report.get('pixel_mean')}"
    for key in ("excluded_by_reason", "also_excluded"):
        reasons = "; ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in (report.get(key) or {}).items())
        yield "eligibility", reasons and f"left out: {reasons}"
    yield "flow", f"{report.get('rows_used')} rows used, {report.get('rows_excluded')} excluded"
    for name, part in (report.get("partitions") or {}).items():
        text = f"{name}: {part['patients']} patients, {part['images']} images, {part['positive']} malignant"
        yield "characteristics", text
        yield "sample_size", text


def _of_training(record: Mapping[str, Any]) -> Iterator[Fact]:
    resolved, bundle = record.get("resolved") or {}, record.get("bundle") or {}
    yield "model", " ".join(str(bundle[key]) for key in ("name", "version") if bundle.get(key))
    layers = [f"{key} {resolved[key]}" for key in ("backbone", "top_blocks", "heatmap", "width") if resolved.get(key)]
    yield "model", ", ".join(layers)
    yield "initialization", resolved.get("started_from") or resolved.get("weights")
    yield "training", ", ".join(f"{key} {resolved[key]}" for key in _TRAINING if resolved.get(key) is not None)
    yield "training", record.get("epochs") and f"{record['epochs']} epochs, seed {record.get('seed')}"
    best = record.get("best") or {}
    if best.get("best_metric_epoch"):
        yield (
            "selection",
            f"epoch {best['best_metric_epoch']}, the best by {best['key_metric_name']} of the validation patients "
            f"({best['best_metric']:.3f})",
        )
    yield "software", _versions(record)
    revision = (record.get("git") or {}).get("revision")
    yield "software", revision not in (None, "unknown") and f"revision {revision}"
    yield "hardware", record.get("device")
    yield "command", record.get("command")


def _of_card(card: Mapping[str, Any]) -> Iterator[Fact]:
    yield "data", card.get("data")
    yield "training", card.get("training")
    yield "performance", card.get("result")
    yield "use", card.get("use")
    yield "threshold", card.get("threshold") and f"threshold: {card['threshold']}"
    yield "limits", card.get("never_shown") and f"never shown: {card['never_shown']}"
    yield "licence", card.get("licence")


def _of_predictions(record: Mapping[str, Any]) -> Iterator[Fact]:
    settings = record.get("settings") or {}
    models = list(settings.get("models") or {})
    if len(models) > 1:
        yield "ensembling", f"mean of the probabilities of {len(models)} models: {', '.join(models)}"
    if settings.get("tta"):
        yield "ensembling", "each model is averaged over the four flips of an image"
    maker = settings.get("patch_model")
    yield "explainability", maker and f"heatmaps of the patch classifier {', '.join(maker)}"
    yield "software", _versions(record)
    yield "hardware", record.get("device")
    if record.get("failed"):
        yield "missing", f"{record['failed']} images could not be read and have no score (failures.csv)"


def _of_score(score: Mapping[str, Any]) -> Iterator[Fact]:
    about = score.get("about") or {}
    yield "data", about.get("data")
    yield "partitions", about.get("partition") and f"scored: the {about['partition']} partition"
    yield "model", about.get("model")
    yield "reference", about.get("labels") and f"labels: {about['labels']}"
    levels = levels_of(score)
    for level in levels:
        yield from _of_level(level, score[level])
    if levels:
        yield "metrics", "AUC, average precision, sensitivity, specificity, Brier score, calibration, net benefit"
        settings = score.get("settings") or {}
        yield (
            "uncertainty",
            f"95 % intervals by DeLong and by {settings.get('resamples')} bootstrap resamples of "
            f"{score[levels[0]]['drawn']}, Wilson's for proportions",
        )
        source = settings.get("threshold_source")
        yield "threshold", source and f"threshold: {source}"
        yield "updating", settings.get("recalibration")
    for name, groups in (score.get("subgroups") or {}).items():
        values = [f"{word}: {one['auc']:.3f}" for word, one in groups.items() if one["auc"] is not None]
        yield "subgroups", values and f"AUC by {name.replace('_', ' ')} – {', '.join(values)}"
        test = (score.get("heterogeneity") or {}).get(name)
        if test:
            difference = f"difference by {name.replace('_', ' ')}: {format_p(test['p'])}, I² {test['i2']:.0%}"
            yield "heterogeneity", difference
    for one in score.get("comparisons") or []:
        test = one[levels_of(one)[0]]
        text = f"AUC minus that of {one.get('name') or one['predictions']}: {test['difference']:.3f}"
        if test["difference_ci_bootstrap"] is not None:
            low, high = test["difference_ci_bootstrap"]
            text += f" (95 % {low:.3f} to {high:.3f})"
        if test["p_holm"] is not None:
            text += f", {format_p(test['p_holm'])} with Holm's correction"
        yield "comparison", text
    cohort = (score.get("cohort") or {}).get("scored") or {}
    if cohort:
        patients = "" if cohort.get("patients") is None else f" of {cohort['patients']} patients"
        yield "characteristics", f"scored: {cohort['images']} images{patients}, {cohort['positive']} malignant"
        if cohort.get("age"):
            yield "characteristics", f"age {cohort['age']['mean']:.0f} years on average"
    for note in score.get("notes") or []:
        if note.startswith("Flagged") or "without label" in note:
            yield "missing", note


def _of_level(level: str, one: Mapping[str, Any]) -> Iterator[Fact]:
    """What the score says per image, breast or exam."""
    counts = f"{one['n']} {level}s, {one['positive']} malignant"
    interval, how = one["auc_ci_bootstrap"], f"bootstrap of {one['drawn']}"
    if interval is None:
        interval, how = one["auc_ci_delong"], "DeLong"
    limits = f"(95 % {interval[0]:.3f} to {interval[1]:.3f}, {how})"
    yield "performance", f"AUC per {level} {one['auc']:.3f} {limits}, {counts}"
    yield "events", counts
    point = one.get("at_threshold")
    if point is not None:
        rates = ", ".join(f"{name} {point[name]:.3f}" for name in ("sensitivity", "specificity"))
        yield "performance", f"per {level} at the threshold: {rates}"
    line = one.get("calibration_line") or {}
    if line.get("slope") is not None:
        yield "calibration", f"per {level}: slope {line['slope']:.2f}, intercept {line['intercept']:.2f}"


def _take(records: Records, name: str, path: Path, content: Mapping[str, Any] | None = None) -> None:
    found = read_json(path) if content is None else content
    if found:
        setattr(records, name, found)
        records.files[name] = str(path)


def _take_model(records: Records, model: str | Path) -> None:
    """The record of a model's training beside it, or its card if it comes with the package."""
    shipped = shipped_model(model)
    if shipped is not None:
        records.card, records.files["card"] = asdict(shipped), f"{shipped.name}.json"
        return
    path = Path(model)
    folders: Sequence[Path] = [path / "eval", path] if path.is_dir() else [path.parent, path.parent.parent / "eval"]
    for folder in folders:
        record = read_json(folder / "run.json")
        if "bundle" in record:
            _take(records, "training", folder / "run.json", record)
            return


def _versions(record: Mapping[str, Any]) -> str:
    versions = record.get("versions") or {}
    return ", ".join(f"{name} {versions[name]}" for name in _LIBRARIES if versions.get(name))
