"""A model's card: ``README.md`` with Hugging Face's header, ``card.json`` with MONAI's fields and the model's name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from scipy.special import expit

from monai_e2e import NOTICE, __version__
from monai_e2e.cards.records import Records, Statement, records_of_model, statements
from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier, architecture, load_classifier, operating_point
from monai_e2e.networks.patients import recorded_patients
from monai_e2e.predict.models import checkpoint_of, name_of
from monai_e2e.shipped.models import find_model, shipped_model
from monai_e2e.work.files import read_json, write_json, write_text

#: Fields of a bundle's metadata that a card keeps.
_MONAI = (
    "version", "monai_version", "pytorch_version", "task", "description", "authors", "copyright", "data_source",
    "data_type", "image_classes", "label_classes", "pred_classes", "eval_metrics", "intended_use", "references",
)  # fmt: skip
#: The folders of a path from the root, in quotes with blanks too; no part of an address.
_FOLDERS = re.compile(
    r"""(?<=['"])(?:[A-Za-z]:)?[\\/](?:[^\\/'"\n]+[\\/])+|(?<![\w./:])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'",]+[\\/])+"""
)
#: Licences that Hugging Face has a word for, as cards write them.
_LICENCES = {"Apache-2.0": "apache-2.0", "CC BY 4.0": "cc-by-4.0", "CC BY 3.0": "cc-by-3.0", "MIT": "mit"}
_SECTIONS = {
    "Intended use": ("use",),
    "Limits": ("limits",),
    "Training data": ("data", "partitions", "disjoint", "eligibility", "flow", "characteristics", "preprocessing"),
    "Training": ("model", "initialization", "training", "selection", "software", "hardware", "command"),
    "Evaluation": ("performance", "threshold", "calibration", "uncertainty", "subgroups", "heterogeneity", "reference"),
    "Licence": ("licence",),
}


def write_card(model: str | Path, out: str | Path | None = None, name: str | None = None) -> Path:
    """Write a model's card; returns the page.

    Args:
        model: a shipped model's name, a trained bundle's folder, or a checkpoint.
        out: folder for ``README.md`` and ``card.json``; None: that of the checkpoint, where ``predict`` finds the name.
        name: what the model is to be called; None: as its card, folder or architecture says.

    Raises:
        UserError: when there is no such model, it is a shipped one and no folder is named, or the folder has a
            README.md without ``card.json``, which this command didn't write.
    """
    shipped = shipped_model(model)
    if shipped is not None and out is None:
        raise UserError(f"{model} comes with the package: name a folder for its card")
    checkpoint = checkpoint_of(find_model(model))
    folder = checkpoint.parent if out is None else Path(out)
    page, card = folder / "README.md", folder / "card.json"
    if page.exists() and not card.exists():
        raise UserError(f"{page} was not written by `monai-e2e card`: name another folder for the card")
    network = load_classifier(checkpoint)
    metadata = read_json(checkpoint.parent.parent / "configs" / "metadata.json")
    records = records_of_model(model)
    called = name or (shipped.name if shipped is not None else name_of(checkpoint, network))
    fields = _fields(called, network, metadata, records)
    write_json(card, fields, ensure_ascii=False)
    write_text(page, _page(fields, _header(fields, records), statements(records)))
    return page


def without_folders(text: str) -> str:
    """Text without the folders of paths from the root, which are nobody else's business; names of files stay."""
    return _FOLDERS.sub("", text)


def _fields(name: str, network: Any, metadata: Mapping[str, Any], records: Records) -> dict[str, Any]:
    """What ``card.json`` holds."""
    arguments, patients = architecture(network), recorded_patients(network)
    threshold = operating_point(network)
    return {
        "name": name,
        "kind": "patch classifier" if isinstance(network, PatchClassifier) else "whole-image classifier",
        **{key: metadata[key] for key in _MONAI if key in metadata},
        "architecture": {key: value for key, value in arguments.items() if value is not None},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "preparation": network.preparation,
        "threshold_logit": threshold,
        "fold": patients.get("fold"),
        "seed": patients.get("seed"),
        "training_patients": len(patients.get("training", ())) or None,
        "validation_patients": len(patients.get("validation", ())) or None,
        "licence": records.card.get("licence"),
        "intended_use": records.card.get("use") or metadata.get("intended_use") or NOTICE,
        "files": sorted(Path(file).name for file in records.files.values()),
        "written_by": f"monai-e2e {__version__}",
    }


def _header(fields: Mapping[str, Any], records: Records) -> dict[str, Any]:
    """The YAML that Hugging Face reads."""
    licence = fields["licence"]
    header: dict[str, Any] = {"license": _LICENCES.get(licence or "", "other" if licence else "unknown")}
    if header["license"] == "other":
        header["license_name"] = licence
    header |= {
        "library_name": "monai",
        "pipeline_tag": "image-classification",
        "tags": ["mammography", "breast-cancer", "medical-imaging", "monai", fields["architecture"]["backbone"]],
    }
    score = records.score.get("image")
    if score is not None:
        about = records.score.get("about") or {}
        data = {
            "name": without_folders(about.get("data") or "unknown"),
            "type": "mammograms",
            "split": about.get("partition") or "test",
        }
        values = {"AUC": score["auc"], "average precision": score["average_precision"]}
        metrics = [{"type": key.lower(), "name": f"{key} per image", "value": round(v, 4)} for key, v in values.items()]
        result = {"task": {"type": "image-classification"}, "dataset": data, "metrics": metrics}
        header["model-index"] = [{"name": fields["name"], "results": [result]}]
    return header


def _page(fields: Mapping[str, Any], header: Mapping[str, Any], known: Mapping[str, Sequence[Statement]]) -> str:
    top = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    size = " × ".join(map(str, fields["preparation"].get("image_size") or [])) or "unknown size"
    lines = ["---", top.rstrip(), "---", "", f"# {fields['name']}", "", f"**{NOTICE}**", ""]
    lines.append(f"A {fields['kind']} of {fields['parameters']:,} parameters for mammograms of {size} pixels.")
    if fields["threshold_logit"] is not None:
        lines[-1] += f" An image counts as malignant from a probability of {expit(fields['threshold_logit']):.3f} on."
    model = fields["name"] if shipped_model(fields["name"]) is not None else "model.pt"
    lines += ["", "```sh", f"monai-e2e predict {model} IMAGES results", "```"]
    if fields.get("description"):
        lines += ["", str(fields["description"])]
    for title, names in _SECTIONS.items():
        found = list(dict.fromkeys(one for name in names for one in known.get(name, ())))
        lines += ["", f"## {title}", ""]
        lines += [f"- {without_folders(one.text)} [`{Path(one.file).name}`]" for one in found] or [
            "- *to be filled in by the authors*"
        ]
    if fields.get("references"):
        lines += ["", "## References", "", *(f"- {reference}" for reference in fields["references"])]
    return "\n".join(lines) + "\n"
