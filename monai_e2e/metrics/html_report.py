"""The report of a score, section by section: one HTML file that opens offline, pictures included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from monai_e2e.metrics.cohort import cohort_section
from monai_e2e.metrics.comparison import COMPARISON_LEGEND, comparison_table
from monai_e2e.metrics.facts import describe_in_words
from monai_e2e.metrics.html_page import (
    draw_bar,
    figures,
    format_interval,
    format_number,
    format_p,
    format_rate,
    make_list,
    make_table,
    page,
    percent,
    table_row,
)
from monai_e2e.metrics.pooled import format_spread
from monai_e2e.metrics.samples import levels_of
from monai_e2e.metrics.subgroups import SUBGROUPS
from monai_e2e.work.files import write_text

_LIMITS = (
    "They describe these images only. Another population, scanner or share of cancers gives other figures.",
    "DeLong's interval, computed on the logit scale, DeLong's test, and Wilson's and Wald's intervals treat images as "
    "independent, which the images of one patient are not. The bootstrap draws whole patients. If patients have "
    "several images, quote its intervals: the others are too narrow.",
    "The operating points at fixed rates are read from these data. They are not thresholds to use: choose a threshold "
    "on validation data.",
    "PPV and NPV depend on the share of positives, which in screening is far smaller than here.",
)
_AS_GIVEN = (
    "Probabilities are as the network gives them. A network trained with equal class weights gives a rare class too "
    "high a probability. The calibration shows by how much; the AUC doesn't depend on it."
)
_CAPTIONS = {
    "roc": "ROC curve. Dots: the threshold, if there is one.",
    "pr": "Precision and recall; AP: average precision. Dashed: the share of positives, that of chance.",
    "calibration": "Reliability; error: expected calibration error. Bars: Wilson's intervals of the shares; on the "
    "dashed line a probability means what it says.",
    "froc": "FROC curve: malignant lesions found by false positives per image.",
    "decision": "Net benefit per image, breast or exam, by threshold. Dashed: recalling everybody; 0: nobody.",
}


def write_html(path: str | Path, scored: Mapping[str, Any], title: str, pictures: Mapping[str, Path]) -> None:
    """Write the report.

    Args:
        path: file to write.
        scored: what ``score.json`` holds.
        title: name of the predictions.
        pictures: PNG files by the names in :data:`_CAPTIONS`, which are embedded.
    """
    levels = levels_of(scored)
    about, recalibrated = scored.get("about", {}), scored["settings"].get("recalibration") is not None
    parts = [
        _about(about),
        _cards(scored, levels),
        cohort_section(scored["cohort"]) if "cohort" in scored else "",
        _curves(pictures),
        _threshold(scored, levels),
        _fixed_rates(scored, levels),
        _calibration(scored, levels),
        _further(scored, levels),
        _net_benefit(scored, levels),
        _subgroups(scored["subgroups"], scored.get("heterogeneity", {})),
        _localisation(scored.get("localisation")),
        _folds(scored.get("folds", {})),
        _comparisons(scored),
        make_list("Notes", scored["notes"]),
        make_list("What these figures are not", [*_LIMITS, *([] if recalibrated else [_AS_GIVEN])]),
        _settings(scored["settings"]),
    ]
    write_text(Path(path), page(f"Score of {describe_in_words(about) or title}", "\n".join(parts)))


def _about(about: Mapping[str, Any]) -> str:
    """What was predicted by what; facts that aren't known are left out."""
    rows = [[name, str(value)] for name, value in about.items() if value is not None]
    return make_table(["what is scored", ""], rows) if rows else ""


def _cards(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    cards = []
    for level in levels:
        score = scored[level]
        cards.append(
            f'<div class="card">AUC per {level}<b>{score["auc"]:.3f}</b>'
            f"<span>{format_interval(score['auc_ci_bootstrap'])} bootstrap of {score['drawn']}</span>"
            f"<span>{format_interval(score['auc_ci_delong'])} DeLong, logit scale</span>"
            f"<span>{score['n']} {level}s, {score['positive']} malignant, "
            f"{'unknown' if score['patients'] is None else score['patients']} patients</span>"
            f"<span>average precision {score['average_precision']:.3f} "
            f"{format_interval(score['average_precision_ci_bootstrap'])}</span></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div><p class="soft">Intervals throughout: 95 %.</p>'


def _curves(pictures: Mapping[str, Path]) -> str:
    shown = {f"{name} curve": (path, _CAPTIONS[name]) for name, path in pictures.items()}
    return f"<h2>Curves</h2>{figures(shown)}"


def _threshold(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows, there, share = [], [], scored["settings"].get("prevalence")
    for level in levels:
        point = scored[level].get("at_threshold")
        if point is not None:
            rates = [
                format_rate(point[name], point[f"{name}_ci"]) for name in ("sensitivity", "specificity", "ppv", "npv")
            ]
            if share is not None:
                values = [point[f"{name}_at_prevalence"] for name in ("ppv", "npv")]
                # Where cancer is rare, nearly all NPVs are 1.000.
                there.append([level, *("–" if value is None else f"{value:.4f}" for value in values)])
            counts = [
                str(point[word]) for word in ("true_positive", "false_negative", "false_positive", "true_negative")
            ]
            threshold = "by fold" if point["threshold"] is None else f"{point['threshold']:.4g}"
            rows.append([level, threshold, *counts, *rates])
    if not rows:
        return (
            "<h2>At the threshold</h2><p>These predictions carry no threshold. Give one by <code>--threshold</code>, "
            "or let it be chosen on validation data by <code>--threshold-from</code>.</p>"
        )
    header = ["per", "threshold", "TP", "FN", "FP", "TN", "sensitivity", "specificity", "PPV", "NPV"]
    table = make_table(header, rows)
    wanted = (
        make_table(["per", f"PPV at prevalence {share:.4g}", f"NPV at prevalence {share:.4g}"], there) if there else ""
    )
    source = escape(str(scored["settings"]["threshold_source"] or "given"))
    legend = "TP, FN: malignant, found and missed; FP, TN: the others, called malignant and not. Intervals: Wilson."
    return f'<h2>At the threshold</h2>{table}<p class="soft">Threshold: {source}. {legend}</p>{wanted}'


def _fixed_rates(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows = []
    for level in levels:
        for name, fixed in (("sensitivity", "specificity"), ("specificity", "sensitivity")):
            points = scored[level][f"{name}_at_{fixed}"].values()
            rows.append(
                [level, f"{name} at {fixed}", *(format_rate(point[name], point[f"{name}_ci"]) for point in points)]
            )
    wanted = [percent(float(rate)) for rate in scored[levels[0]]["sensitivity_at_specificity"]]
    return f'<h2>At fixed rates</h2>{make_table(["per", "", *wanted], rows)}<p class="soft">Intervals: Wilson.</p>'


def _calibration(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows = []
    for level in levels:
        score, line = scored[level], scored[level]["calibration_line"]
        brier = format_rate(score["brier"], score["brier_ci_bootstrap"])
        lines = [format_rate(line[name], line[f"{name}_ci"]) for name in ("slope", "intercept")]
        rows.append([level, brier, f"{score['calibration']['expected_calibration_error']:.3f}", *lines])
    table = make_table(["per", "Brier score", "expected calibration error", "slope", "intercept"], rows)
    changed = scored["settings"].get("recalibration")
    note = "" if changed is None else f" Probabilities were recalibrated: {escape(changed)}."
    return (
        f'<h2>Calibration</h2>{table}<p class="soft">Brier score and error: 0 is best. Slope: 1 is best, below it '
        "probabilities are too extreme, above it too similar. Intercept: 0 is best, below it they are too "
        f"high on the whole, above it too low. Intervals: bootstrap; Wald for slope and intercept.{note}</p>"
    )


def _further(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    """F1, partial AUC and sensitivity at recall rates."""
    first, rows = scored[levels[0]], []
    for level in levels:
        score, f1 = scored[level], scored[level]["probabilistic_f1"]
        values = [score["best_f1"]["value"], *score["partial_auc"].values()]
        values += [one["sensitivity"] for one in score["sensitivity_at_recall_rate"].values()]
        rows.append([level, format_rate(f1["value"], f1["value_ci_bootstrap"]), *map(format_number, values)])
    header = ["per", "probabilistic F1", "best F1"]
    header += [f"partial AUC, false positives ≤ {percent(float(x))}" for x in first["partial_auc"]]
    header += [f"sensitivity, recalled ≤ {percent(float(x))}" for x in first["sensitivity_at_recall_rate"]]
    return (
        f"<h2>Further figures</h2>{make_table(header, rows)}"
        '<p class="soft">Best F1: at the threshold that is best on these data. Partial AUC is scaled: chance has '
        "0.5. Intervals: bootstrap.</p>"
    )


def _net_benefit(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows = []
    for level in levels:
        benefit = scored[level]["net_benefit"]
        limits = [one["model_ci_bootstrap"] or () for one in benefit]
        rows.append([level, "model", *(_per_thousand(one["model"]) for one in benefit)])
        rows.append(["", "95 %", *(" to ".join(map(_per_thousand, ends)) or "–" for ends in limits)])
        rows.append(["", "recall everybody", *(_per_thousand(one["all"]) for one in benefit)])
    header = ["per", "strategy", *(percent(one["threshold"]) for one in scored[levels[0]]["net_benefit"])]
    share = scored["settings"].get("prevalence")
    where = "that of these data" if share is None else f"{share:.4g}"
    if share is not None and scored["settings"].get("calibrated_at") is None:
        where += ", but probabilities are as they are: recalibrate them, or thresholds aren't what they say"
    return (
        f"<h2>Net benefit per 1,000, by threshold</h2>{make_table(header, rows)}"
        '<p class="soft">True positives minus false positives, these weighted by the odds of the threshold, in 1,000 '
        "images, breasts or exams; recalling nobody has 0. For net benefit and the recalled shares, the share of "
        f"positives is {where}.</p>"
    )


def _per_thousand(benefit: float) -> str:
    """A net benefit with one decimal, never −0.0."""
    return format_number(round(1000 * benefit, 1) + 0.0, ".1f")


def _subgroups(
    subgroups: Mapping[str, Mapping[str, Mapping[str, Any]]], differing: Mapping[str, Mapping[str, Any] | None]
) -> str:
    if not subgroups:
        return ""
    lines = []
    for name, groups in subgroups.items():
        test = differing.get(name)
        words = "" if test is None else f": {escape(format_p(test['p']))} for no difference, I² {percent(test['i2'])}"
        lines.append(f'<tr class="group"><td colspan="7">{SUBGROUPS[name]}{words}</td></tr>')
        for word, score in groups.items():
            cells = [word, str(score["n"]), str(score["positive"])]
            if score["auc"] is None:
                cells += ["–", score["reason"], "", ""]
                lines.append(table_row(map(escape, cells)))
                continue
            drawn = score["auc_ci_bootstrap"]
            drawn = None if drawn is None or drawn[0] == drawn[1] else drawn  # without width it says nothing
            limits = drawn or score["auc_ci_delong"]
            intervals = [format_interval(drawn), format_interval(score["auc_ci_delong"])]
            cells = [*map(escape, cells), f"{score['auc']:.3f}"]
            lines.append(table_row([*cells, *intervals, draw_bar(score["auc"], *limits)]))
    header = table_row(["", "images", "malignant", "AUC", "bootstrap", "DeLong", "0 – ½ – 1"], "th")
    legend = (
        "Difference between groups: Cochran's Q of log-odds of AUC by DeLong's variance. It takes images and groups as "
        "independent, and isn't corrected for the number of tests: a guide, and no proof. I²: the spread's share "
        "that chance doesn't explain. Bars: the bootstrap's interval; it has no width at perfect separation, "
        "then DeLong's."
    )
    table = f'<div class="wide"><table>{header}{"".join(lines)}</table></div>'
    return f'<h2>Subgroups of images</h2>{table}<p class="soft">{legend}</p>'


def _localisation(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    words = {"peak": "peak in a lesion", "pointing_game": f"peak within {found['pointing_game']['tolerance']} pixels"}
    rows = [[text, format_rate(found[key]["rate"], found[key]["rate_ci"])] for key, text in words.items()]
    rows += [
        [f"lesions found at {number} false positives per image", f"{value:.3f}"]
        for number, value in found["froc"]["sensitivity"].items()
    ]
    iou = found["iou"]
    rows.append([f"IoU of lesions and region of probability ≥ {iou['cutoff']:g}, mean", f"{iou['mean']:.3f}"])
    counts = f"{found['lesions']} malignant lesions on {found['images_with_lesion']} of {found['images']} images"
    unmarked = f"; {found['left_out']} malignant images with unmarked lesions left out" if found["left_out"] else ""
    legend = (
        f"{counts}{unmarked}. The mean over the false positives is the FROC score, {found['froc']['score']:.3f}; a "
        "detection in a benign lesion is a false positive. Peak and IoU: of images with lesion."
    )
    return f'<h2>Localisation by the heatmap</h2>{make_table(["", ""], rows)}<p class="soft">{legend}</p>'


def _folds(folds: Mapping[str, Mapping[str, Any]]) -> str:
    if not folds:
        return ""
    rows = []
    for level, scores in folds.items():
        for fold, one in scores["by_fold"].items():
            auc = format_rate(one["auc"], one["auc_ci_delong"])
            rows.append([level, fold, str(one["n"]), str(one["positive"]), auc])
        if scores["mean"] is not None:
            rows.append([level, "mean ± SD", "", "", format_spread(scores["mean"], scores["sd"])])
    return f"<h2>Folds</h2>{make_table(['per', 'fold', 'n', 'malignant', 'AUC (DeLong)'], rows)}"


def _comparisons(scored: Mapping[str, Any]) -> str:
    parts, own = [], describe_in_words(scored.get("about", {})) or "here"
    for comparison in scored.get("comparisons", []):
        name = comparison.get("name") or comparison["predictions"]
        table = comparison_table(comparison, scored["image"]["drawn"], own, "there" if name == own else name)
        parts.append(f"<h2>Compared with {escape(name)}</h2>{table}")
    return "".join([*parts, f'<p class="soft">{COMPARISON_LEGEND}</p>']) if parts else ""


def _settings(settings: Mapping[str, Any]) -> str:
    return (
        f'<p class="soft">Breasts: {escape(str(settings["aggregate"]))} of the views; exams: the higher breast. '
        f"Bootstrap: {settings['resamples']} resamples, seed {settings['seed']}. "
        f"{escape(settings['version'])}.</p>"
    )
