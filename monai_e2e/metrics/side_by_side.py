"""Several models on the same images in one report: their curves in one figure, and every pair compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError, naming
from monai_e2e.metrics.comparison import (
    COMPARISON_LEGEND,
    check_same_images,
    compare_rows,
    comparison_table,
    correct_by_holm,
)
from monai_e2e.metrics.facts import describe_in_words
from monai_e2e.metrics.files import Scored, score_table
from monai_e2e.metrics.html_page import (
    auc_cells,
    figures,
    format_difference,
    format_limits,
    format_number,
    format_p,
    make_list,
    make_table,
    page,
)
from monai_e2e.metrics.plots import plot_pr, plot_roc
from monai_e2e.metrics.report import write_score
from monai_e2e.metrics.samples import LEVELS, levels_of
from monai_e2e.metrics.tables import read_predictions
from monai_e2e.work.files import write_text

#: A name is also that of a folder.
_NAME = re.compile(r"[^\W_][\w .+-]*")
_HEADLINE = ("n", "positive", "patients", "auc", "auc_ci_bootstrap", "auc_ci_delong", "average_precision")


def score_models(tables: Mapping[str, Sequence[str | Path]], out: str | Path, **settings: Any) -> dict[str, Any]:
    """Score several models on the same images, and compare every two of them.

    Each model has a folder of its name in ``out``, with all that :func:`~monai_e2e.metrics.score_file` writes. ``out``
    itself has ``score.json``, ``report.html``, and of each level a figure of all ROC curves and one of all
    precision–recall curves.

    Args:
        tables: by the model's name its predictions; several are the folds of a cross-validation and are pooled.
        out: folder of the results.
        settings: other arguments of :func:`~monai_e2e.metrics.score_file`.

    Returns:
        What ``score.json`` holds: ``models`` with the facts and headlines of each, and ``pairs``, each with the names
        ``first`` and ``second`` and what :func:`~monai_e2e.metrics.compare_rows` returns.

    Raises:
        UserError: as :func:`~monai_e2e.metrics.score_file`, when there are fewer than two names or one can't be a
            folder's, or the images of two models differ.
    """
    out = Path(out)
    if len(tables) < 2:
        raise UserError("--name: give two models or more, as --name A=a.csv --name B=b.csv")
    if wrong := [name for name in tables if not _NAME.fullmatch(name)]:
        raise UserError(f"--name {wrong[0]!r}: use letters, digits, blanks and . + - _, a letter or digit first")
    if not settings.get("drop_unlabelled"):  # else they may differ in those that are left out
        _check_images(tables)
    found = {}
    for name, paths in tables.items():
        with naming(name):
            found[name] = score_table(paths, out=out / name, name=name, **settings)
    shared = next(iter(found.values())).score["settings"]
    bootstrap = shared["aggregate"], shared["seed"], shared["resamples"]
    pairs: list[dict[str, Any]] = []
    for (first, one), (second, two) in combinations(found.items(), 2):
        with naming(f"{first} and {second}"):
            compared = compare_rows(one.rows, two.rows, *bootstrap, one.levels)
        pairs.append({"first": first, "second": second, **compared})
    correct_by_holm(pairs)
    result = {
        "models": {name: {"about": one.score["about"], **_headlines(one.score)} for name, one in found.items()},
        "pairs": pairs,
        "settings": {key: shared[key] for key in ("aggregate", "confidence", "seed", "resamples", "version", "notice")},
    }
    write_score(out / "score.json", result)
    pictures = _plot(out, found)
    write_text(out / "report.html", _page(result, pictures, found))
    return result


def _check_images(tables: Mapping[str, Sequence[str | Path]]) -> None:
    """Raise :class:`UserError` where images differ, before anything is computed and written."""
    read = {name: [row for path in paths for row in read_predictions(path)] for name, paths in tables.items()}
    for (first, one), (second, two) in combinations(read.items(), 2):
        with naming(f"{first} and {second}"):
            check_same_images(one, two)


def format_models(result: Mapping[str, Any]) -> str:
    """The comparison for the terminal."""
    width = max(map(len, ["model", *result["models"]]))
    lines = [f"{'per':<7} {'model':<{width}}  AUC    95 %, bootstrap"]
    for level in LEVELS:
        for name, model in result["models"].items():
            if level in model:
                score = model[level]
                limits = format_limits(score["auc_ci_bootstrap"])
                lines.append(f"{level:<7} {name:<{width}}  {score['auc']:.3f}  {limits}")
    for pair in result["pairs"]:
        for level in levels_of(pair):
            test = pair[level]
            ps = format_p(test["p_patients"])
            ps += f", corrected {format_p(test['p_holm'])}" if len(result["pairs"]) > 1 else ""
            lines.append(f"per {level} {pair['first']} − {pair['second']}: {format_difference(test)}, {ps}")
    return "\n".join([*lines, result["settings"]["notice"]])


def _headlines(score: Mapping[str, Any]) -> dict[str, Any]:
    return {level: {key: score[level][key] for key in _HEADLINE} for level in levels_of(score)}


def _plot(out: Path, found: Mapping[str, Scored]) -> dict[str, tuple[Path, str]]:
    pictures = {}
    for level in LEVELS:
        curves = {
            name: (one.levels[level].labels, one.levels[level].ranks)
            for name, one in found.items()
            if level in one.levels
        }
        if curves:
            plot_roc(curves, out / f"roc_{level}.png")
            plot_pr(curves, out / f"pr_{level}.png")
            pictures[f"ROC curves per {level}"] = out / f"roc_{level}.png", f"ROC curves per {level}."
            pictures[f"PR curves per {level}"] = out / f"pr_{level}.png", f"Precision and recall per {level}."
    return pictures


def _page(result: Mapping[str, Any], pictures: Mapping[str, tuple[Path, str]], found: Mapping[str, Scored]) -> str:
    abouts = {name: model["about"] for name, model in result["models"].items()}
    models = [[name, describe_in_words(own | {"name": None}), str(own["labels"])] for name, own in abouts.items()]
    rows = []
    for level in LEVELS:
        for name, model in result["models"].items():
            if level in model:
                rows.append([level, name, *auc_cells(model[level]), format_number(model[level]["average_precision"])])
    drawn = next(iter(found.values())).score["image"]["drawn"]
    header = ["per", "model", "n", "malignant", "AUC", f"95 %, bootstrap of {drawn}", "95 %, DeLong"]
    header.append("average precision (AP)")
    parts = [make_table(["name", "what was predicted", "labels"], models), make_table(header, rows)]
    parts += ["<h2>Curves</h2>", figures(pictures), "<h2>Every pair</h2>"]
    for pair in result["pairs"]:
        parts.append(f"<h3>{escape(pair['first'])} and {escape(pair['second'])}</h3>")
        parts.append(comparison_table(pair, drawn, pair["first"], pair["second"]))
    parts.append(f'<p class="soft">{COMPARISON_LEGEND}</p>')
    notes = {name: one.score["notes"] for name, one in found.items()}
    shared = [note for note in next(iter(notes.values())) if all(note in own for own in notes.values())]
    parts.append(make_list("Notes on all", shared))
    for name, own in notes.items():
        parts.append(make_list(f"Notes on {escape(name)}", [note for note in own if note not in shared]))
    return page(" against ".join(result["models"]), "\n".join(parts))
