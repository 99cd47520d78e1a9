"""Plans: JSON files that list the rows of a table, and how each of them is made.

A row is a training of one of the three bundles (``bundle``), possibly from the model of another row (``from``); a
prediction with other rows' models, averaged if there are several (``predict``); or a random forest on another row's
heatmaps (``forest``).
``docs/experiments.md`` explains every key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.experiment.commands import dataset_of
from monai_e2e.shipped.bundles import BUNDLES
from monai_e2e.shipped.models import find_model

FOLDER = Path(__file__).parent / "plans"
#: Bundle → its key for the model that it starts from.
START = {"ddsm_whole": "patch_checkpoint", "inbreast_transfer": "whole_checkpoint"}
_NAME = {"type": "string", "pattern": r"^[\w.-]+$"}
_NAMES = {"type": "array", "items": _NAME, "minItems": 1, "uniqueItems": True}
_KEYS: dict[str, Any] = {"type": "object"}
_NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
_RATE = {"type": "number", "minimum": 0, "maximum": 1}
_VALUE = {"anyOf": [_RATE, {"type": "object", "additionalProperties": _RATE}]}
_ROW = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "bundle": {"enum": list(BUNDLES)},
        "overlay": {"type": "string"},
        "from": {"type": "string"},
        "set": _KEYS,
        "recipes": {"type": "object", "additionalProperties": _KEYS},
        "predict": _NAMES,
        "flips": {"type": "boolean"},
        "forest": _NAME,
        "paper": {
            "type": "object",
            "properties": {"auc": _VALUE, "accuracy": _VALUE, "epoch": {"type": "integer"}},
            "additionalProperties": False,
        },
    },
    "oneOf": [{"required": ["bundle"]}, {"required": ["predict"]}, {"required": ["forest"]}],
    "additionalProperties": False,
}
_SCHEMA = {
    "type": "object",
    "properties": {
        "extends": {"type": "string"},
        "title": {"type": "string"},
        "about": {"type": "string"},
        "rows": {"type": "object", "propertyNames": _NAME, "additionalProperties": _ROW},
        "select": _NAMES,
        "seeds": _NUMBERS,
        "folds": {"anyOf": [{"enum": ["all"]}, _NUMBERS]},
        "patients": _NUMBERS,
        "set": _KEYS,
        "loss_curves": {"type": "boolean"},
        "phantom_patients": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
    },
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Row:
    """A row of the table; ``keys`` are the bundle's keys that it sets, including those for the recipe."""

    name: str
    label: str
    bundle: str | None
    overlay: str | None
    start: str | None
    keys: Mapping[str, Any]
    predict: tuple[str, ...]
    flips: bool
    forest: str | None
    paper: Mapping[str, Any]

    def published(self, metric: str, patients: int | None = None) -> float | None:
        """The paper's value; None if it has none."""
        value = self.paper.get(metric)
        return value.get(str(patients)) if isinstance(value, dict) else value


@dataclass(frozen=True)
class Plan:
    """What a plan's file says, for one recipe.

    Args:
        name: the file's name without its ending.
        title, about: title and description of the table.
        rows: all rows, by name.
        select: the rows of the table, in its order; other rows are run if these need them.
        seeds: of the selected rows; the rows that they start from have the first one.
        folds: the folds used for testing; ``"all"``: all folds of the data; None: no cross-validation.
        patients: numbers of training patients of the selected rows; None: all patients.
        loss_curves: whether a figure of the loss curves is drawn.
        phantom_patients: data set → number of phantom patients, if it isn't the bundle's.
    """

    name: str
    title: str
    about: str
    rows: Mapping[str, Row]
    select: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    folds: str | tuple[int, ...] | None = None
    patients: tuple[int | None, ...] = (None,)
    loss_curves: bool = False
    phantom_patients: Mapping[str, int] = field(default_factory=dict)

    def dataset(self, row: Row) -> str:
        """A row's data set, by its name in the command ``prepare``."""
        if row.bundle is None:
            return self.dataset(self.rows[row.predict[0] if row.predict else str(row.forest)])
        return dataset_of(row.bundle)

    def needs(self, row: Row) -> tuple[str, ...]:
        """The rows whose models a row uses. If ``from`` doesn't name a row, it is a checkpoint or a shipped model."""
        return (*row.predict, *(name for name in (row.start, row.forest) if name is not None and name in self.rows))

    @property
    def datasets(self) -> list[str]:
        """Data sets of the selected rows, and of all rows that they need."""
        found, names = dict[str, None](), list(self.select)
        for name in names:
            found[self.dataset(self.rows[name])] = None
            names += [needed for needed in self.needs(self.rows[name]) if needed not in names]
        return list(found)


def plan_names() -> list[str]:
    """The plans that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_plan(plan: str | Path, recipe: str, changes: Mapping[str, Any] | None = None) -> Plan:
    """Read a plan.

    Args:
        plan: a shipped plan's name or a file.
        recipe: of the bundles.
        changes: keys that replace the plan's; ``set`` is added to the plan's ``set``.

    Raises:
        UserError: when there is no such plan, or it has a key or value that isn't allowed.
    """
    changes = dict(changes or {})
    content = _load(plan)
    everywhere = {**content.get("set", {}), **changes.pop("set", {})}
    content |= changes
    rows = {name: _row(name, row, recipe, everywhere) for name, row in content.get("rows", {}).items()}
    folds = content.get("folds")
    found = Plan(
        name=Path(plan).stem,
        title=content.get("title", Path(plan).stem),
        about=content.get("about", ""),
        rows=rows,
        select=tuple(content.get("select", rows)),
        seeds=tuple(content.get("seeds", (0,))),
        folds=tuple(folds) if isinstance(folds, list) else folds,
        patients=tuple(content.get("patients", (None,))),
        loss_curves=content.get("loss_curves", False),
        phantom_patients=content.get("phantom_patients", {}),
    )
    if not found.select:
        raise UserError(f"{plan}: it has no rows; add 'rows', or 'extends' with a plan that has some")
    named = [name for row in rows.values() for name in (*row.predict, row.forest) if name is not None]
    for name in [*found.select, *named]:
        if name not in rows:
            raise UserError(f"{plan}: no row '{name}': {did_you_mean(name, rows)}")
    for row in rows.values():
        if row.start is not None and row.bundle not in START:
            raise UserError(
                f"{plan}: row '{row.name}' has 'from', which is only for {' and '.join(START)}: leave it out"
            )
        if row.start is not None and row.start not in rows:
            find_model(row.start)  # raises unless it is a file or a shipped model
    return found


def _load(plan: str | Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A plan's content, including that of the plan which it extends."""
    from jsonschema import Draft202012Validator

    path = Path(plan) if Path(plan).suffix == ".json" else FOLDER / f"{plan}.json"
    if not path.is_file():
        what = "no such file" if path == Path(plan) else f"no such plan; {did_you_mean(plan, plan_names())}"
        raise UserError(f"{plan}: {what}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); correct it") from error
    found = next(Draft202012Validator(_SCHEMA).iter_errors(content), None)
    if found is not None:
        place = found.json_path.removeprefix("$").removeprefix(".") or "the plan"
        raise UserError(f"{path}: {place}: {_in_words(found)} (docs/experiments.md has the keys)")
    base: dict[str, Any] = {}
    if "extends" in content:
        if path.resolve() in extending:
            raise UserError(
                f"{path}: it extends itself, directly or through other plans; name another plan in 'extends'"
            )
        other = content.pop("extends")
        beside = path.parent / other if other.endswith(".json") else other
        base = _load(beside, (*extending, path.resolve()))
    rows = {**base.get("rows", {}), **content.pop("rows", {})}
    everywhere = {**base.get("set", {}), **content.pop("set", {})}
    return {**base, **content, "rows": rows, "set": everywhere}


def _in_words(error: Any) -> str:
    """What is wrong with a plan; for a misspelt key in clearer words than jsonschema's."""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return "; ".join(f"unknown key '{key}'; {did_you_mean(key, known)}" for key in error.instance.keys() - known)
    return str(error.message[:200])


def _row(name: str, row: Mapping[str, Any], recipe: str, everywhere: Mapping[str, Any]) -> Row:
    return Row(
        name=name,
        label=row.get("label", name),
        bundle=row.get("bundle"),
        overlay=row.get("overlay"),
        start=row.get("from"),
        keys={**everywhere, **row.get("set", {}), **row.get("recipes", {}).get(recipe, {})},
        predict=tuple(row.get("predict", ())),
        flips=row.get("flips", False),
        forest=row.get("forest"),
        paper=row.get("paper", {}),
    )
