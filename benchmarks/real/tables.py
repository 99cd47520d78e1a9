"""Print the Markdown tables of docs/real.md: ``python benchmarks/real/tables.py RUN …``.

A RUN is a folder with the ``score.json`` of ``monai-e2e score``, ``monai-e2e forest`` or a bundle's ``evaluating``, or
such a file by another name. Its name is the arm and, if it ends in digits, the seed: ``A0``, ``A1``, ``D0``,
``A-flips``. An arm of several seeds also gets their mean and, after ±, their standard deviation, which is that of
trainings; the intervals are of patients. Of a patch classifier's run the accuracy and the confusion matrix are printed,
of a comparison (``score --compare``) only the differences.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

LEVELS = ("image", "breast", "exam")
SPECIFICITIES = ("0.8", "0.9")
SUBGROUPS = {"view": "View", "density": "Density", "lesion_type": "Lesions, against all negatives"}

Score = Mapping[str, Any]
#: How one value of a score is found, with its interval where it has one; None where the score lacks it.
Value = Callable[[Score], tuple[float, Sequence[float] | None] | None]


def name_of(run: Path) -> tuple[str, str]:
    """Arm and seed, the seed empty where the name has none."""
    arm, seed = re.fullmatch(r"(.*?)(\d*)", run.resolve().stem).groups()  # type: ignore[union-attr]
    return (arm.rstrip("-_"), seed) if arm else (seed, "")


def auc_at(level: str) -> Value:
    def value(score: Score) -> tuple[float, Sequence[float] | None] | None:
        return (score[level]["auc"], score[level]["auc_ci_bootstrap"]) if level in score else None

    return value


def sensitivity_at(specificity: str) -> Value:
    def value(score: Score) -> tuple[float, Sequence[float] | None]:
        point = score["image"]["sensitivity_at_specificity"][specificity]
        return point["sensitivity"], point["sensitivity_ci"]

    return value


def subgroup_auc(name: str, word: str) -> Value:
    def value(score: Score) -> tuple[float, Sequence[float] | None] | None:
        group = score["subgroups"].get(name, {}).get(word, {})
        return None if group.get("auc") is None else (group["auc"], group["auc_ci_bootstrap"])

    return value


def calibration(score: Score) -> tuple[float, None]:
    return score["image"]["calibration"]["expected_calibration_error"], None


def brier(score: Score) -> tuple[float, None]:
    return score["image"]["brier"], None


def cell(found: tuple[float, Sequence[float] | None] | None, form: str = ".3f") -> str:
    if found is None:
        return "–"
    value, limits = found
    interval = f" ({limits[0]:{form}} to {limits[1]:{form}})" if limits else ""
    return f"{value:{form}}{interval}".replace("-", "−")


def over_seeds(found: Sequence[tuple[float, Sequence[float] | None] | None]) -> str:
    values = [value[0] for value in found if value is not None]
    return f"**{mean(values):.3f} ± {stdev(values):.3f}**" if len(values) == len(found) else "–"


def table(title: str, runs: Mapping[Path, Score], columns: Mapping[str, Value], note: str = "") -> str:
    """A heading and a row per run, with a row of the mean after those of an arm of several seeds."""
    arms: dict[str, list[Path]] = defaultdict(list)
    for run in runs:
        arms[name_of(run)[0]].append(run)
    lines = [f"### {title}", "", *([note, ""] if note else [])]
    lines += [markdown(["arm", "seed", *columns]), markdown(["---"] * (2 + len(columns)))]
    for arm, members in arms.items():
        values = {run: [value(runs[run]) for value in columns.values()] for run in members}
        lines += [markdown([arm, name_of(run)[1] or "–", *map(cell, values[run])]) for run in members]
        if len(members) > 1:
            means = map(over_seeds, zip(*values.values(), strict=True))
            lines.append(markdown([arm, f"mean of {len(members)}", *means]))
    return "\n".join(lines)


def markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def counts(groups: Sequence[Mapping[str, Any] | None]) -> str:
    """How many there are, where that is the same in all runs."""
    found = {f" ({group['n']}, {group['positive']} malignant)" for group in groups if group is not None}
    return found.pop() if len(found) == 1 else ""


def subgroup_tables(runs: Mapping[Path, Score]) -> list[str]:
    tables = []
    for name, title in SUBGROUPS.items():
        groups = [score["subgroups"].get(name, {}) for score in runs.values()]
        words = sorted({word for group in groups for word in group})
        columns = {word + counts([group.get(word) for group in groups]): subgroup_auc(name, word) for word in words}
        if len(words) > 1:
            tables.append(table(f"{title}: AUC per image", runs, columns))
    return tables


def comparison_table(runs: Mapping[Path, Score]) -> list[str]:
    lines = []
    for run, score in runs.items():
        for comparison in score.get("comparisons", []):
            differences = [
                cell((comparison[level]["difference"], comparison[level]["difference_ci_bootstrap"]), "+.3f")
                if level in comparison
                else "–"
                for level in LEVELS
            ]
            lines.append(markdown([run.resolve().stem, *differences]))
    if not lines:
        return []
    header = [markdown(["run", *LEVELS]), markdown(["---"] * 4)]
    return ["\n".join(["### Differences of AUC, paired bootstrap of patients", "", *header, *lines])]


def patch_tables(runs: Mapping[Path, Score]) -> list[str]:
    """Accuracy and confusion matrix of each patch classifier, without the classes that have no patch."""
    tables = []
    for run, score in runs.items():
        patch = score["patch"]
        names, confusion = patch["classes"], patch["confusion"]
        there = [k for k in range(len(names)) if any(confusion[k]) or any(row[k] for row in confusion)]
        title = f"### {run.resolve().stem}: accuracy {patch['accuracy']:.3f} on {patch['n']} patches"
        header = ["patches of", *(f"classified as {names[k]}" for k in there)]
        rows = [markdown([names[k], *(str(confusion[k][other]) for other in there)]) for k in there]
        tables.append("\n".join([title, "", markdown(header), markdown(["---"] * len(header)), *rows]))
    return tables


def image_tables(runs: Mapping[Path, Score]) -> list[str]:
    first = next(iter(runs.values()))
    compared = {run: score for run, score in runs.items() if score.get("comparisons")}
    runs = {run: score for run, score in runs.items() if run not in compared} or runs
    if len({score["image"]["n"] for score in runs.values()}) > 1:
        raise SystemExit("the runs are of different numbers of images: make a table of each test set")
    aucs = {f"per {level}{counts([score.get(level) for score in runs.values()])}": auc_at(level) for level in LEVELS}
    sensitivities = {f"specificity {specificity}": sensitivity_at(specificity) for specificity in SPECIFICITIES}
    return [
        table("AUC", runs, aucs, f"Intervals: 95 %, bootstrap of {first['image']['drawn']}."),
        table("Sensitivity per image", runs, sensitivities, "From the curve of these images. Intervals: 95 %, Wilson."),
        table("Calibration per image", runs, {"Brier score": brier, "expected calibration error": calibration}),
        *subgroup_tables(runs),
        *comparison_table(compared),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with score.json, or the file")
    arguments = parser.parse_args()
    files = {run: run / "score.json" if run.is_dir() else run for run in arguments.runs}
    runs = {run: json.loads(file.read_text(encoding="utf-8")) for run, file in files.items()}
    patches = {run: score for run, score in runs.items() if "patch" in score}
    images = {run: score for run, score in runs.items() if "patch" not in score}
    print("\n\n".join([*patch_tables(patches), *(image_tables(images) if images else [])]))


if __name__ == "__main__":
    main()
