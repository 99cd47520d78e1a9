"""From files to files: what the command ``score`` and the handler of the bundles do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai_e2e.errors import UserError
from monai_e2e.metrics.cohort import cohort_notes, describe_cohort
from monai_e2e.metrics.comparison import compare_rows, correct_by_holm
from monai_e2e.metrics.facts import (
    describe_in_words,
    describe_predictions,
    known_folds,
    notes_of_run,
    prepared_folder,
    table_name,
)
from monai_e2e.metrics.html_page import format_difference, format_limits, format_p
from monai_e2e.metrics.labels import join_labels, read_labels, require_labels
from monai_e2e.metrics.pooled import (
    add_folds,
    fold_thresholds,
    format_spread,
    group_tables,
    pool_rows,
    summarize,
    summary_page,
)
from monai_e2e.metrics.recalibration import recalibrate_rows, write_recalibration
from monai_e2e.metrics.report import score_rows
from monai_e2e.metrics.results import write_results
from monai_e2e.metrics.samples import Row, Samples, level_samples, levels_of
from monai_e2e.metrics.tables import read_predictions, write_predictions
from monai_e2e.metrics.validation import find_recalibration, find_threshold
from monai_e2e.work.files import write_json


class Scored(NamedTuple):
    """A table with its score.

    Args:
        score: what ``score.json`` holds.
        rows: what was scored.
        levels: their samples by level.
    """

    score: dict[str, Any]
    rows: Sequence[Mapping[str, Any]]
    levels: Mapping[str, Samples]


def score_file(predictions: str | Path, labels: str | Path | None = None, **settings: Any) -> dict[str, Any]:
    """Score one table of predictions, see :func:`score_table`; returns what ``score.json`` holds."""
    return score_table([predictions], labels, **settings).score


def score_table(
    predictions: Sequence[str | Path],
    labels: str | Path | None = None,
    compare: Sequence[str | Path] = (),
    out: str | Path | None = None,
    how: str = "mean",
    threshold: float | None = None,
    threshold_from: str | Path | None = None,
    drop_unlabelled: bool = False,
    seed: int = 0,
    resamples: int = 2000,
    name: str | None = None,
    about: Mapping[str, Any] | None = None,
    prevalence: float | None = None,
    recalibrate: str | Path | None = None,
    recalibrate_from: str | Path | None = None,
    localisation: Mapping[str, Any] | None = None,
    prepared: str | Path | None = None,
) -> Scored:
    """Score a table of predictions and write the results beside it, see :func:`write_results`.

    The threshold is ``threshold``, else chosen on ``threshold_from`` (for images, breasts and exams each), else the one
    that the predictions carry, each fold its own, else there is none. It is never chosen on the predictions that are
    scored. Rows of several folds are pooled, and each fold is scored too.

    Args:
        predictions: table, see :func:`~monai_e2e.metrics.read_predictions`; several are folds, whose rows are pooled
            and written to ``pooled.csv`` in ``out``.
        labels: CSV or prepared folder, see :func:`~monai_e2e.metrics.read_labels`; None: the table has labels.
        compare: tables of other models on the same images.
        out: folder for the results; None: that of the predictions.
        how: how the views of a breast become one score, ``"mean"`` or ``"max"``.
        threshold: probability between 0 and 1.
        threshold_from: labelled predictions of the validation images.
        drop_unlabelled: leave out images without label, instead of refusing.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        name: what the report calls the model.
        about: what the caller knows of the predictions, see :func:`~monai_e2e.metrics.facts.describe_predictions`.
        prevalence: share of positives where the model is to be used, see :func:`~monai_e2e.metrics.score_rows`.
        recalibrate: ``"temperature"``, ``"platt"`` or ``"isotonic"``, fitted on ``recalibrate_from`` and written to
            ``recalibration.json``; or such a file. What is scored then are the recalibrated predictions, which are
            written to ``recalibrated.csv``, there at the prevalence if one is given; thresholds move along.
        recalibrate_from: labelled predictions of the validation images; None: ``threshold_from``.
        localisation: of :func:`monai_e2e.predict.localisation.localisation_of`, to be reported too.
        prepared: prepared folder of the images, whose report tells of exclusions; None: as labels or ``run.json`` say.

    Raises:
        UserError: when a table is unfit, labels are missing, both thresholds are given, the validation's images or
            patients are among those scored, there is nothing to recalibrate on, or a patient is in two folds.
    """
    paths = [Path(path) for path in predictions]
    out = paths[0].parent if out is None else Path(out)
    table = _read(paths, out, labels, drop_unlabelled)
    rows, changed, notes = table.rows, None, table.notes
    if recalibrate is None and recalibrate_from is not None:
        raise UserError("--recalibrate-from without --recalibrate: add a method, such as platt")
    if recalibrate is not None:
        changed = find_recalibration(rows, recalibrate, recalibrate_from or threshold_from)
        write_recalibration(out / "recalibration.json", changed)
        write_predictions(out / "recalibrated.csv", recalibrate_rows(table.everything, changed, prevalence))
        rows, notes = recalibrate_rows(rows, changed), [*notes, *changed.notes()]
    by_fold = fold_thresholds(rows) if threshold is None and threshold_from is None else None
    limit, source, more = (None, "", []) if by_fold else find_threshold(rows, threshold, threshold_from, how, changed)
    try:
        levels = level_samples(rows, how)
    except UserError as error:
        raise UserError(f"{table.path}: {error}") from error
    scored: dict[str, Any] = {"about": describe_predictions(paths[0], rows, labels, name, about)}
    present = None if changed is None or prevalence is None else changed.positive / changed.n
    scored |= score_rows(rows, limit, how, seed, resamples, source, levels, prevalence, present)
    scored["settings"]["recalibration"] = None if changed is None else changed.in_words()
    scored["cohort"] = describe_cohort(rows, prepared or prepared_folder(paths[0], labels))
    samples = levels[0]
    add_folds(scored, rows, samples, by_fold, known_folds(paths[0]))
    scored["notes"] = notes + table.dropped + more + cohort_notes(scored["cohort"]) + scored["notes"]
    if compare:
        scored["comparisons"] = _compare(table, rows, samples, list(map(Path, compare)), how, seed, resamples)
    if localisation is not None:
        scored["localisation"] = dict(localisation)
    write_results(out, scored, samples, table.path.name)
    return Scored(scored, rows, samples)


class _Table(NamedTuple):
    """What is to be scored.

    Args:
        path: of the table, which messages name.
        everything: its rows.
        rows: those with a label.
        notes: what is to be told of the predictions and of the labels.
        dropped: what is to be told of rows without a label.
    """

    path: Path
    everything: Sequence[Row]
    rows: Sequence[Row]
    notes: list[str]
    dropped: list[str]


def _read(paths: Sequence[Path], out: Path, labels: str | Path | None, drop_unlabelled: bool) -> _Table:
    path = paths[0]
    if len(paths) > 1:
        path = out / "pooled.csv"
        write_predictions(path, pool_rows([read_predictions(one) for one in paths]))
    everything, notes = read_predictions(path), list[str]()
    if labels is not None:
        everything, notes = join_labels(everything, read_labels(labels), labels)
    rows, dropped = require_labels(everything, path, drop_unlabelled)
    return _Table(path, everything, rows, [*(note for one in paths for note in notes_of_run(one)), *notes], dropped)


def _compare(
    table: _Table,
    rows: Sequence[Row],
    samples: Mapping[str, Samples],
    others: Sequence[Path],
    how: str,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """The comparison with each other table, which may have the images that were dropped here."""
    unlabelled = {row["image"] for row in table.everything} - {row["image"] for row in rows}
    comparisons = []
    for other in others:
        found = [row for row in read_predictions(other) if row["image"] not in unlabelled]
        try:
            compared = compare_rows(rows, found, how, seed, resamples, samples)
        except UserError as error:
            raise UserError(f"{table.path} and {other}: {error}") from error
        called = describe_in_words(describe_predictions(other, found)) or table_name(other)
        comparisons.append({"predictions": table_name(other), "name": called, **compared})
    correct_by_holm(comparisons)
    return comparisons


def score_files(
    predictions: Sequence[str | Path], out: str | Path, labels: str | Path | None = None, **settings: Any
) -> dict[str, Any]:
    """Score several tables: those of one seed without a common image, as folds, are pooled; others stand side by side.

    Pooled rows are written to ``pooled.csv``. Of several seeds or models each gets a folder in ``out``, with all that
    :func:`score_table` writes; ``score.json`` and ``report.html`` have their AUCs with mean and standard deviation.

    Args:
        predictions: tables.
        out: folder of the results.
        labels: as of :func:`score_table`.
        settings: other arguments of :func:`score_table`.

    Returns:
        What ``score.json`` holds.

    Raises:
        UserError: as :func:`score_table`.
    """
    paths, out = [Path(path) for path in predictions], Path(out)
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a table is named twice; name each once")
    tables = {path: read_predictions(path) for path in paths}
    groups = group_tables(tables)
    folders = [out] if len(groups) == 1 else [out / str(number) for number in range(len(groups))]
    scores: dict[str, dict[str, Any]] = {}
    named: dict[str, Path] = {}
    for members, folder in zip(groups, folders, strict=True):
        name = _group_name(members, tables)
        name = f"{name} ({folder.name})" if name in scores else name
        scores[name], named[name] = score_table(members, labels, out=folder, **settings).score, folder
    if len(groups) == 1:
        return next(iter(scores.values()))
    summary = summarize(scores)
    write_json(out / "score.json", summary, allow_nan=False)
    (out / "report.html").write_text(summary_page(summary, named), encoding="utf-8")
    return summary


def _group_name(members: Sequence[Path], tables: Mapping[Path, Sequence[Mapping[str, Any]]]) -> str:
    seeds, first = {row["seed"] for row in tables[members[0]]}, members[0]
    shared = any(path.parent == first.parent for path in tables if path not in members)
    named = first.stem if shared else first.resolve().parent.name
    known = f"seed {seeds.pop()}" if len(seeds) == 1 and None not in seeds else named
    return known if len(members) == 1 else f"{known}, {len(members)} folds"


def format_scores(scored: Mapping[str, Any]) -> str:
    """The table that the command prints: AUCs with their intervals, comparisons and notes.

    A comparison's p value is Obuchowski's, for which the samples of a patient are a cluster.
    """
    lines = [f"{'per':<7} {'n':>6} {'malignant':>9}  AUC    95 %, {_drawn(scored):<21}  95 %, DeLong"]
    for level in levels_of(scored):
        score = scored[level]
        bootstrap, delong = (format_limits(score[f"auc_ci_{kind}"]) for kind in ("bootstrap", "delong"))
        counts = f"{level:<7} {score['n']:>6} {score['positive']:>9}"
        lines.append(f"{counts}  {score['auc']:.3f}  {bootstrap:<27}  {delong}")
    for level, folds in scored.get("folds", {}).items():
        if folds["mean"] is not None:
            each = ", ".join("–" if one["auc"] is None else f"{one['auc']:.3f}" for one in folds["by_fold"].values())
            lines.append(f"per {level}, folds: {each}; mean ± SD {format_spread(folds['mean'], folds['sd'])}")
    for comparison in scored.get("comparisons", []):
        for level in levels_of(comparison):
            test = comparison[level]
            line = f"per {level} against {comparison['predictions']} ({test['auc_second']:.3f}): "
            line += f"{format_difference(test)}, {_drawn(scored)}"
            if test["p_patients"] is not None:
                line += f", {format_p(test['p_patients'])}"
                line += f", corrected {format_p(test['p_holm'])}" if len(scored["comparisons"]) > 1 else ""
            lines.append(line)
    return "\n".join([*lines, *(f"Note: {note}" for note in scored["notes"]), scored["settings"]["notice"]])


def _drawn(scored: Mapping[str, Any]) -> str:
    return f"bootstrap of {scored['image']['drawn']}"
