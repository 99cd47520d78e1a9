"""The report of a score: one HTML file that opens offline, pictures included."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from monai_e2e import NOTICE

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
:root {{ --ink: #1b2733; --soft: #5c6b7a; --line: #dfe5ea; --accent: #1f77b4 }}
* {{ box-sizing: border-box }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 72rem; margin: 2rem auto 4rem;
  padding: 0 1.2rem }}
h1 {{ font-size: 1.6rem; margin: 0; overflow-wrap: anywhere }}
h2 {{ font-size: 1.15rem; margin: 2.4rem 0 .6rem }}
p {{ max-width: 46rem }}
.soft {{ color: var(--soft); font-size: .9rem }}
.notice {{ background: #fff4d6; padding: .5rem .9rem; border-radius: .4rem; display: inline-block; margin: .8rem 0 }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; margin: 1.2rem 0 }}
.card {{ border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.2rem }}
.card b {{ display: block; font-size: 2.2rem; line-height: 1.2; font-variant-numeric: tabular-nums }}
.card span {{ display: block; font-size: .9rem; color: var(--soft); font-variant-numeric: tabular-nums }}
.curves {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem }}
.gallery {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr));
  gap: 1.6rem 1.2rem }}
figure {{ margin: 0; overflow-wrap: anywhere }} figure img {{ width: 100% }}
figcaption {{ font-size: .85rem; color: var(--soft) }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: .93rem; margin: .4rem 0 1rem }}
th, td {{ text-align: left; padding: .32rem 1.1rem .32rem 0; border-bottom: 1px solid var(--line); white-space: nowrap;
  font-variant-numeric: tabular-nums }}
th {{ color: var(--soft); font-weight: 600; font-size: .85rem }}
td:last-child, th:last-child {{ padding-right: 0 }}
tr.group td {{ font-weight: 600; padding-top: .8rem }}
svg {{ vertical-align: middle }}
li {{ max-width: 46rem; margin: .25rem 0; overflow-wrap: anywhere }}
</style></head><body>
<h1>{title}</h1>
<div class="notice"><strong>{notice}</strong></div>
{body}
</body></html>
"""
_LIMITS = (
    "They are of these images alone: another population, scanner or share of cancers gives others.",
    "DeLong's interval, computed on the logit scale, and DeLong's test take images as independent, which the images of "
    "one patient are not. The bootstrap draws whole patients: where patients have several images, quote its interval.",
    "The operating points at fixed rates are read off these data and are no thresholds to work at. A threshold to work "
    "at is chosen on validation data.",
    "Predictive values are those of the share of positives here, which in screening is far smaller.",
    "Probabilities are as the network gives them. One trained on classes of equal weight says too much of a rare "
    "class: calibration tells by how much, and the AUC doesn't depend on it.",
)


def write_html(path: str | Path, scored: Mapping[str, Any], title: str, pictures: Mapping[str, Path]) -> None:
    """Write the report.

    Args:
        path: file to write.
        scored: what ``score.json`` holds.
        title: name of the predictions.
        pictures: PNG files ``roc``, ``pr`` and ``calibration``, which are embedded.
    """
    levels = [level for level in ("image", "breast", "exam") if level in scored]
    parts = [
        _cards(scored, levels),
        _curves(pictures),
        _threshold(scored, levels),
        _fixed_rates(scored, levels),
        _calibration(scored, levels),
        _subgroups(scored["subgroups"]),
        _folds(scored.get("folds", {})),
        *(_comparison(comparison, scored["image"]["drawn"]) for comparison in scored.get("comparisons", [])),
        _list("Notes", scored["notes"]),
        _list("What these figures are not", _LIMITS),
        _settings(scored["settings"]),
    ]
    Path(path).write_text(page(f"Score of {title}", "\n".join(parts)), encoding="utf-8")


def page(title: str, body: str) -> str:
    """A page that opens offline, in the style of the report.

    Args:
        title: plain text.
        body: HTML, whose pictures are ``data:`` addresses; no others are shown.
    """
    return _PAGE.format(title=escape(title), notice=escape(NOTICE), body=body)


def _cards(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    cards = []
    for level in levels:
        score = scored[level]
        cards.append(
            f'<div class="card">AUC per {level}<b>{score["auc"]:.3f}</b>'
            f"<span>{_interval(score['auc_ci_bootstrap'])} bootstrap of {score['drawn']}</span>"
            f"<span>{_interval(score['auc_ci_delong'])} DeLong, logit scale</span>"
            f"<span>{score['n']} {level}s, {score['positive']} malignant, "
            f"{'unknown' if score['patients'] is None else score['patients']} patients</span>"
            f"<span>average precision {score['average_precision']:.3f} "
            f"{_interval(score['average_precision_ci_bootstrap'])}</span></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div><p class="soft">Intervals throughout: 95 %.</p>'


def _curves(pictures: Mapping[str, Path]) -> str:
    captions = {
        "roc": "ROC curve. Dots: the threshold, if there is one.",
        "pr": "Precision and recall; AP: average precision. Dashed: the share of positives, that of chance.",
        "calibration": "Reliability. Bars: Wilson's intervals of the shares; on the dashed line a probability means "
        "what it says.",
    }
    figures = "".join(
        f'<figure><img alt="{escape(name)} curve" src="data:image/png;base64,'
        f'{base64.b64encode(pictures[name].read_bytes()).decode()}"><figcaption>{caption}</figcaption></figure>'
        for name, caption in captions.items()
    )
    return f'<h2>Curves</h2><div class="curves">{figures}</div>'


def _threshold(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows = []
    for level in levels:
        point = scored[level].get("at_threshold")
        if point is not None:
            rates = [_rate(point[name], point[f"{name}_ci"]) for name in ("sensitivity", "specificity", "ppv", "npv")]
            counts = [str(point[f"{word}"]) for word in ("true_positive", "false_negative", "false_positive")]
            threshold = "by fold" if point["threshold"] is None else f"{point['threshold']:.4g}"
            rows.append([level, threshold, *counts, str(point["true_negative"]), *rates])
    if not rows:
        return (
            "<h2>At the threshold</h2><p>These predictions carry no threshold. Give one by <code>--threshold</code>, "
            "or let it be chosen on validation data by <code>--threshold-from</code>.</p>"
        )
    header = ["per", "threshold", "TP", "FN", "FP", "TN", "sensitivity", "specificity", "PPV", "NPV"]
    table = _table(header, rows)
    source = escape(str(scored["settings"]["threshold_source"] or "given"))
    legend = "TP, FN: malignant, found and missed; FP, TN: the others, called malignant and not. Intervals: Wilson."
    return f'<h2>At the threshold</h2>{table}<p class="soft">Threshold: {source}. {legend}</p>'


def _fixed_rates(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows = []
    for level in levels:
        for name, fixed in (("sensitivity", "specificity"), ("specificity", "sensitivity")):
            points = scored[level][f"{name}_at_{fixed}"].values()
            rows.append([level, f"{name} at {fixed}", *(_rate(point[name], point[f"{name}_ci"]) for point in points)])
    wanted = [f"{float(rate):.0%}" for rate in scored[levels[0]]["sensitivity_at_specificity"]]
    return f'<h2>At fixed rates</h2>{_table(["per", "", *wanted], rows)}<p class="soft">Intervals: Wilson.</p>'


def _calibration(scored: Mapping[str, Any], levels: Sequence[str]) -> str:
    rows = [
        [level, f"{scored[level]['brier']:.4f}", f"{scored[level]['calibration']['expected_calibration_error']:.4f}"]
        for level in levels
    ]
    return f"<h2>Calibration</h2>{_table(['per', 'Brier score', 'expected calibration error'], rows)}"


def _subgroups(subgroups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    if not subgroups:
        return ""
    names = {"view": "View", "density": "Breast density", "lesion_type": "Lesion type (against all negatives)"}
    lines = []
    for name, groups in subgroups.items():
        lines.append(f'<tr class="group"><td colspan="7">{names[name]}</td></tr>')
        for word, score in groups.items():
            cells = [word, str(score["n"]), str(score["positive"])]
            if score["auc"] is None:
                cells += ["–", score["reason"], "", ""]
                lines.append(_row(map(escape, cells)))
                continue
            limits = score["auc_ci_bootstrap"] or score["auc_ci_delong"]
            intervals = [_interval(score["auc_ci_bootstrap"]), _interval(score["auc_ci_delong"])]
            lines.append(_row([*map(escape, cells), f"{score['auc']:.3f}", *intervals, _bar(score["auc"], *limits)]))
    header = _row(["", "images", "malignant", "AUC", "bootstrap", "DeLong", "0 – ½ – 1"], "th")
    return f'<h2>Subgroups of images</h2><div class="wide"><table>{header}{"".join(lines)}</table></div>'


def _folds(folds: Mapping[str, Mapping[str, Any]]) -> str:
    if not folds:
        return ""
    rows = []
    for level, scores in folds.items():
        for fold, one in scores["by_fold"].items():
            auc = "–" if one["auc"] is None else f"{one['auc']:.3f} {_interval(one['auc_ci_delong'])}"
            rows.append([level, fold, str(one["n"]), str(one["positive"]), auc])
        if scores["mean"] is not None:
            rows.append([level, "mean ± SD", "", "", f"{scores['mean']:.3f} ± {scores['sd'] or 0:.3f}"])
    return f"<h2>Folds</h2>{_table(['per', 'fold', 'n', 'malignant', 'AUC (DeLong)'], rows)}"


def _comparison(comparison: Mapping[str, Any], drawn: str) -> str:
    rows = []
    for level in ("image", "breast", "exam"):
        if level in comparison:
            test = comparison[level]
            p = "–" if test["p"] is None else escape(format_p(test["p"]).removeprefix("p "))
            z = "–" if test["z"] is None else f"{test['z']:.2f}".replace("-", "−")
            difference = [f"{test['difference']:+.3f}".replace("-", "−"), _interval(test["difference_ci"], "+.3f")]
            aucs = [f"{test['auc_first']:.3f}", f"{test['auc_second']:.3f}"]
            rows.append([level, *aucs, *difference, z, p, _interval(test["difference_ci_bootstrap"], "+.3f")])
    header = ["per", "AUC here", "AUC there", "difference", "DeLong", "z", "p", f"bootstrap of {drawn}"]
    name = escape(comparison["predictions"])
    return f"<h2>Compared with {name}</h2>{_table(header, rows, raw=True)}" + (
        '<p class="soft">z and p: DeLong\'s paired test, two-sided, which takes images as independent; where patients '
        "have several, go by the bootstrap.</p>"
    )


def format_p(p: float) -> str:
    """A p value with four decimals; a smaller one isn't zero."""
    return f"p {p:.4f}" if p >= 1e-4 else "p < 0.0001"


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if lines else ""


def _settings(settings: Mapping[str, Any]) -> str:
    return (
        f'<p class="soft">Breasts: {escape(str(settings["aggregate"]))} of the views; exams: the higher breast. '
        f"Bootstrap: {settings['resamples']} resamples, seed {settings['seed']}. "
        f"{escape(settings['version'])}.</p>"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], raw: bool = False) -> str:
    body = "".join(_row(row if raw else map(escape, row)) for row in rows)
    return f'<div class="wide"><table>{_row(map(escape, header), "th")}{body}</table></div>'


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _interval(limits: Sequence[float] | None, form: str = ".3f") -> str:
    return "–" if limits is None else f"({limits[0]:{form}} to {limits[1]:{form}})".replace("-", "−")


def _rate(value: float | None, limits: Sequence[float] | None) -> str:
    return "–" if value is None else f"{value:.3f} {_interval(limits)}"


def _bar(value: float, low: float, high: float, width: int = 180) -> str:
    """An interval from 0 to 1 as a picture, with a tick at one half."""
    x, left, right = (4 + (width - 8) * number for number in (value, low, high))
    return (
        f'<svg width="{width}" height="18" role="img" aria-label="{value:.2f}, {low:.2f} to {high:.2f}">'
        f'<path d="M4 9H{width - 4}M{width / 2} 3V15" stroke="#dfe5ea"/>'
        f'<path d="M{left:.1f} 9H{right:.1f}" stroke="#1f77b4" stroke-width="3"/>'
        f'<circle cx="{x:.1f}" cy="9" r="4.5" fill="#1f77b4"/></svg>'
    )
