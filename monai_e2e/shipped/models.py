"""Trained models that come with the package, used by name wherever a checkpoint is.

Each is two files in ``monai_e2e/shipped/weights``: ``NAME.pt``, a checkpoint as training writes it, in half precision,
and ``NAME.json``, its card. What a card's fields mean is told in ``docs/models.md``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.work.files import digest_of

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ShippedModel:
    """A shipped model's card.

    Args:
        name: what it is called.
        kind: ``"patch classifier"`` or ``"whole-image classifier"``.
        sha256: of its file.
        data: what it was trained on.
        training: how: what it started from, recipe, seed, epochs.
        never_shown: what kinds of images it has not seen.
        licence: of the weights, with the attribution that the data's licence asks for.
        result: its test result in one line, with the interval and the data.
        threshold: how its operating point was chosen; empty where it has none.
        use: what it is meant for.
        auc: of that result, where it is one; None of a patch classifier.
        patch_classifier: of a whole-image classifier: the shipped model that makes its heatmaps, or None.
    """

    name: str
    kind: str
    sha256: str
    data: str
    training: str
    never_shown: str
    licence: str
    result: str
    threshold: str
    use: str
    auc: float | None = None
    patch_classifier: str | None = None

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.pt"


def shipped_models() -> tuple[ShippedModel, ...]:
    """The cards of all shipped models, by name."""
    return tuple(
        ShippedModel(name=path.stem, **json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(FOLDER.glob("*.json"))
    )


def shipped_model(name: str | Path) -> ShippedModel | None:
    """The card of the shipped model of that name, None where there is none, or a file or folder is called so."""
    if Path(name).exists():
        return None
    return next((model for model in shipped_models() if model.name == str(name)), None)


def find_model(model: str | Path) -> Path:
    """The file of a shipped model by its name; any other path as it is.

    Raises:
        UserError: when the file is not the one that was shipped, or ``model`` looks like a name and is none.
    """
    shipped = shipped_model(model)
    if shipped is None:
        text = str(model)
        names = [known.name for known in shipped_models()]
        if not Path(text).exists() and text == Path(text).stem:  # neither a path nor a file with an ending
            raise UserError(f"'{text}' is neither a file nor a shipped model; {did_you_mean(text, names)}")
        return Path(model)
    try:
        digest = digest_of(shipped.path)
    except OSError as error:
        raise UserError(f"{shipped.path} can't be read ({error.strerror}): install monai-e2e again") from error
    if digest != shipped.sha256:
        raise UserError(f"{shipped.path} is not the file that was shipped: install monai-e2e again")
    return shipped.path


def find_start(weights: str, given: str | None, own: str, instead: str | None) -> str:
    """The checkpoint that a training starts from.

    Args:
        weights: as of :func:`monai_e2e.networks.initialize`; other words than ``"checkpoint"`` need none.
        given: a checkpoint or a shipped model's name, if the user gave one.
        own: where the step before leaves its checkpoint.
        instead: the shipped model to take where that step has not been run; None for none.

    Returns:
        A path; of a file that may be absent if ``instead`` is None.

    Raises:
        UserError: as :func:`find_model`.
    """
    if given is not None:
        return str(find_model(given))
    if weights != "checkpoint" or instead is None or Path(own).is_file():
        return own
    logger.info(
        "No checkpoint at %s, since the step before was not run here: starting from the shipped %s.", own, instead
    )
    return str(find_model(instead))
