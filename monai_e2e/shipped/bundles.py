"""The bundles that come with the package: where they are, and a copy of one to be run and changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.shipped.models import find_model, shipped_model
from monai_e2e.work.out_folder import replace_folder, temporary_sibling

BUNDLES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
#: What of a bundle is its own; what else stands in its folder was made by running it.
_PARTS = ("LICENSE", "configs", "docs")
_KINDS = {"ddsm_patch": "patch classifier"}


def bundles_folder() -> Path:
    """The folder of the three bundles: the checkout's ``bundles``, or inside the package where that was installed."""
    inside = Path(__file__).parents[1] / "bundles"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "bundles"


def copy_bundle(name: str, out: str | Path, model: str | Path | None = None) -> Path:
    """Copy a bundle without anything that was made by running it.

    Args:
        name: one of :data:`BUNDLES`.
        out: the copy, a new or empty folder.
        model: checkpoint, or a shipped model's name, that becomes the copy's ``models/model.pt``; None: it has none.

    Returns:
        The copy.

    Raises:
        UserError: when there is no such bundle or model, the model is of another kind, or ``out`` holds something.
    """
    out = Path(out)
    if name not in BUNDLES:
        raise UserError(f"no bundle is called '{name}': {did_you_mean(name, BUNDLES)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: name a new folder for the copy")
    checkpoint = None if model is None else find_model(model)
    if checkpoint is not None and not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such checkpoint; name a .pt file or a shipped model (`monai-e2e models`)")
    shipped = None if model is None else shipped_model(model)
    if shipped is not None and shipped.kind != _KINDS.get(name, "whole-image classifier"):
        raise UserError(f"{shipped.name} is a {shipped.kind}, and {name} needs a {_KINDS.get(name, 'whole-image one')}")
    copy = temporary_sibling(out)
    for part in _PARTS:
        source = bundles_folder() / name / part
        if source.is_dir():
            shutil.copytree(source, copy / part)
        else:
            shutil.copy(source, copy / part)
    (copy / "models").mkdir()
    if checkpoint is not None:
        shutil.copy(checkpoint, copy / "models" / "model.pt")
    replace_folder(out, copy)
    return out
