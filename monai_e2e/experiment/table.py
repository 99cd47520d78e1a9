"""The table of an experiment: ``table.csv``, ``.md`` and ``.tex``, figures, and a page with the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from monai_e2e.describe.network import from_checkpoint
from monai_e2e.experiment.figures import plot_losses, plot_patients, plot_values
from monai_e2e.experiment.runs import Expansion, Line, Run
from monai_e2e.metrics import plot_roc, read_predictions, wilson_interval, write_table
from monai_e2e.metrics.html_page import figures, make_table, page
from monai_e2e.work.files import read_json, write_text

#: Columns of ``table.csv``.
COLUMNS = (
    "row", "label", "patients", "metric", "value", "low", "high", "mean", "sd", "runs", "over", "paper", "images",
    "epoch", "paper_epoch", "minutes", "parameters", "peak_memory_mib",
)  # fmt: skip
#: Signs → how LaTeX writes them.
_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "–": "--", "×": r"$\times$"}
)
_LEGEND = (
    "Value: of the first seed; with folds, of their pooled predictions. 95 % intervals: for an AUC by a bootstrap of "
    "patients, for an accuracy Wilson's, which treats patches as independent. Mean and standard deviation: over the "
    "seeds, or over the folds if there is one seed. Epoch: of the best validation, whose model was kept. Minutes: of "
    "the training or the prediction. Epoch and minutes are means if there are several runs. Memory: highest peak of "
    "the training's process; on a GPU, of what PyTorch allocated there."
)


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``, without one that is being written."""
    path, lines = folder / "metrics.jsonl", []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(dict(json.loads(text)))
        except ValueError:
            continue
    return lines


def table_row(line: Line, seconds: Mapping[str, float | None]) -> dict[str, Any]:
    """A dict with :data:`COLUMNS`; what isn't known yet is None.

    Args:
        line: a line of the plan.
        seconds: step's name → seconds of its command, if it has finished.
    """
    every = [run for runs in line.runs.values() for run in runs]
    whole = [_of_seed(line, seed) for seed in line.runs]
    if len(whole) > 1:
        repeated, over = whole, "seeds"
    else:
        repeated, over = [_result(run.score) for run in _first(line)], "folds"
    values = [result["value"] for result in repeated if result]
    expected = "accuracy" if line.row.bundle == "ddsm_patch" else "auc"
    metric = next((result["metric"] for result in [whole[0], *repeated] if result), expected)
    return {
        **dict.fromkeys(COLUMNS),
        "row": line.row.name,
        "label": line.row.label,
        "patients": line.patients,
        "metric": metric,
        **{key: whole[0].get(key) for key in ("value", "low", "high", "images")},
        "mean": mean(values) if len(repeated) > 1 and values else None,
        "sd": stdev(values) if len(values) > 1 else None,
        "runs": len(values),
        "over": over if len(repeated) > 1 else None,
        "paper": line.row.published(metric, line.patients),
        "epoch": _mean([_best_epoch(run) for run in every]),
        "paper_epoch": line.row.paper.get("epoch"),
        "minutes": _mean([_minutes(run, seconds) for run in every]),
        "parameters": _parameters(every[0]),
        "peak_memory_mib": max(
            (line["peak_memory_mib"] for run in every for line in read_epochs(run.folder)), default=None
        ),
    }


def _of_seed(line: Line, seed: int) -> dict[str, Any]:
    """The result of a seed's only run, or of its folds' pooled predictions; empty if there is none."""
    runs, pooled = line.runs[seed], line.pooled[seed]
    if pooled is not None and pooled.makes is not None:
        return _result(pooled.makes)
    return _result(runs[0].score) if len(runs) == 1 else {}


def _result(path: Path) -> dict[str, Any]:
    """Value, interval and number of images in a ``score.json``; empty if the file is missing."""
    if not (score := read_json(path)):
        return {}
    if "patch" in score:
        patch = score["patch"]
        limits: Sequence[float | None] | None = wilson_interval(round(patch["accuracy"] * patch["n"]), patch["n"])
        metric, value, images = "accuracy", patch["accuracy"], patch["n"]
    else:
        image = score["image"]
        limits, metric, value, images = image["auc_ci_bootstrap"], "auc", image["auc"], image["n"]
    low, high = limits or (None, None)
    return {"metric": metric, "value": value, "low": low, "high": high, "images": images}


def _best_epoch(run: Run) -> int | None:
    return read_json(run.folder / "run.json").get("best", {}).get("best_metric_epoch")


def _minutes(run: Run, seconds: Mapping[str, float | None]) -> float | None:
    epochs = [line["seconds"] for line in read_epochs(run.folder)]
    took = sum(epochs) if epochs else seconds.get(run.steps[0].name)
    return None if took is None else took / 60


def _parameters(run: Run) -> int | None:
    """Parameters of the run's network, or of all networks that it averages; None for a forest."""
    if run.row.forest is not None:
        return None
    steps = run.steps[0].after if run.row.predict else run.steps[:1]
    models = [step.makes for step in steps if step.makes is not None and step.makes.is_file()]
    return sum(from_checkpoint(model).parameters for model in models) or None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def write_results(out: Path, expansion: Expansion, seconds: Mapping[str, float | None], data: Sequence[str]) -> Path:
    """Write the table, its figures and the page.

    Args:
        out: folder.
        expansion: the runs of the plan.
        seconds: step's name → seconds of its command; None for one that isn't done.
        data: sentences about the data.

    Returns:
        The page.
    """
    rows = [table_row(line, seconds) for line in expansion.lines]
    write_table(out / "table.csv", rows, COLUMNS)
    header, cells = text_table(rows)
    write_text(out / "table.md", _markdown(header, cells))
    write_text(out / "table.tex", _latex(header, cells))
    pictures = _figures(out, expansion, rows)
    path = out / "index.html"
    write_text(path, _page(expansion, make_table(header, cells), pictures, seconds, data))
    return path


def text_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells as text; columns without any value are left out."""
    metric = " / ".join(
        dict.fromkeys({"auc": "AUC"}.get(row["metric"], row["metric"]) for row in rows if row["metric"])
    )
    columns = {
        "": [row["label"] for row in rows],
        "patients": [_number(row["patients"], "d") for row in rows],
        f"{metric or 'value'} (95 % interval)": [_with_interval(row) for row in rows],
        "mean ± SD": [_with_sd(row) for row in rows],
        "paper": [_number(row["paper"], ".2f") for row in rows],
        "epoch": [_number(row["epoch"], ".0f") for row in rows],
        "paper's epoch": [_number(row["paper_epoch"], "d") for row in rows],
        "minutes": [_number(row["minutes"], ".1f") for row in rows],
        "parameters": [_number(row["parameters"], ",d") for row in rows],
        "memory, MiB": [_number(row["peak_memory_mib"], ",d") for row in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return list(kept), [list(cells) for cells in zip(*kept.values(), strict=True)]


def _number(value: Any, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _with_interval(row: Mapping[str, Any]) -> str:
    limits = "" if row["low"] is None else f" ({row['low']:.3f}–{row['high']:.3f})"
    return "" if row["value"] is None else f"{row['value']:.3f}{limits}"


def _with_sd(row: Mapping[str, Any]) -> str:
    sd = "" if row["sd"] is None else f" ± {row['sd']:.3f}"
    return "" if row["mean"] is None else f"{row['mean']:.3f}{sd} ({row['runs']} {row['over']})"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_latex_text(cell) for cell in cells) + r" \\"

    head = [r"\begin{tabular}{l" + "r" * (len(header) - 1) + "}", r"\toprule", line(header), r"\midrule"]
    return "\n".join([*head, *map(line, rows), r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_text(text: str) -> str:
    text = text.translate(_LATEX)
    return f"{{}}{text}" if text.startswith("[") else text  # after \\ LaTeX would read a bracket as an option


def _figures(out: Path, expansion: Expansion, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """PNG files beside the table."""
    plan, lines, made = expansion.plan, expansion.lines, []
    if any(row["value"] is not None or row["mean"] is not None for row in rows):
        made.append(plot_values(rows, out / "values.png"))
    if len(plan.patients) > 1:
        made.append(plot_patients(rows, out / "patients.png"))
    if plan.loss_curves:
        losses = {line.row.label: read_epochs(_first(line)[0].folder) for line in lines}
        made.append(plot_losses(losses, out / "loss.png"))
    curves = {}
    for line, row in zip(lines, rows, strict=True):
        if row["metric"] == "auc" and row["value"] is not None:
            tables = [read_predictions(run.folder / "predictions.csv") for run in _first(line)]
            name = line.row.label if line.patients is None else f"{line.row.label}, {line.patients} patients"
            curves[name] = ([r["label"] for t in tables for r in t], [r["logit"] for t in tables for r in t])
    if curves:
        plot_roc(curves, out / "roc.png")
        made.append(out / "roc.png")
    return made


def _first(line: Line) -> Sequence[Run]:
    """The first seed's runs."""
    return next(iter(line.runs.values()))


def _runs(lines: Sequence[Line]) -> list[list[str]]:
    """Label, report and value of each run, and of all folds of a seed together, as HTML."""
    scores = [(line.row.label, run.score) for line in lines for runs in line.runs.values() for run in runs]
    scores += [(line.row.label, step.makes) for line in lines for step in line.pooled.values() if step and step.makes]
    rows = []
    for label, score in scores:
        name = escape(score.parent.name)
        report = f'<a href="../{name}/report.html">{name}</a>' if (score.parent / "report.html").is_file() else name
        rows.append([escape(label), report, _with_interval({**dict.fromkeys(COLUMNS), **_result(score)})])
    return rows


def _page(
    expansion: Expansion,
    table: str,
    pictures: Sequence[Path],
    seconds: Mapping[str, float | None],
    data: Sequence[str],
) -> str:
    runs = make_table(["", "report", "value (95 % interval)"], _runs(expansion.lines), raw=True)
    commands = []
    for step in expansion.steps:
        took = seconds[step.name]
        when = "not run yet" if took is None else f"{took:.0f} s"
        commands.append(escape(f"# {step.name}: {when}\n{step.command}"))
    listed = "\n".join(commands)
    facts = "".join(f"<p>{escape(sentence)}</p>" for sentence in [expansion.plan.about, *data] if sentence)
    return page(
        expansion.plan.title,
        f'{facts}<div class="names">{table}<p class="soft">{escape(_LEGEND)}</p>'
        f"{figures({path.stem: (path, '') for path in pictures})}"
        f"<h2>The runs</h2>{runs}</div>"
        f'<h2>The commands</h2><pre class="wide soft">{listed}</pre>',
    )
