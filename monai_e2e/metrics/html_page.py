"""Pages that open offline, in one style, and the parts that they are made of."""

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
.curves {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.6rem 2rem }}
.sheet {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1.4rem 1rem }}
.sheet img {{ width: auto; max-width: 100%; height: 11rem; object-fit: contain; object-position: left }}
.flags {{ color: #a33b00 }}
.gallery {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr));
  gap: 1.6rem 1.2rem }}
figure {{ margin: 0; overflow-wrap: anywhere }} figure img {{ width: 100% }}
figcaption {{ font-size: .85rem; color: var(--soft) }}
.wide {{ overflow-x: auto; background: linear-gradient(90deg, #fff 30%, #fff0) 0 0 / 2.5rem 100% no-repeat local,
  linear-gradient(-90deg, #fff 30%, #fff0) 100% 0 / 2.5rem 100% no-repeat local,
  linear-gradient(90deg, #0003, #0000) 0 0 / .9rem 100% no-repeat,
  linear-gradient(-90deg, #0003, #0000) 100% 0 / .9rem 100% no-repeat }}
table {{ border-collapse: collapse; font-size: .93rem; margin: .4rem 0 1rem }}
th, td {{ text-align: left; padding: .32rem 1.1rem .32rem 0; border-bottom: 1px solid var(--line); white-space: nowrap;
  font-variant-numeric: tabular-nums }}
th {{ color: var(--soft); font-weight: 600; font-size: .85rem; white-space: normal; vertical-align: bottom }}
td:nth-child(2):last-child {{ white-space: normal; overflow-wrap: anywhere }}
td:last-child, th:last-child {{ padding-right: 0 }}
@media (max-width: 40rem) {{ .names td:first-child {{ white-space: normal; min-width: 8rem }} }}
tr.group td {{ font-weight: 600; padding-top: .8rem }}
svg {{ vertical-align: middle }}
pre {{ background: #f3f5f7; padding: .8rem; overflow-x: auto; font-size: .78rem; line-height: 1.6 }}
li {{ max-width: 46rem; margin: .25rem 0; overflow-wrap: anywhere }}
</style></head><body>
<h1>{title}</h1>
<div class="notice"><strong>{notice}</strong></div>
{body}
</body></html>
"""


def page(title: str, body: str) -> str:
    """A page that opens offline, in the style of the report.

    Args:
        title: plain text.
        body: HTML, whose pictures are ``data:`` addresses; no others are shown.
    """
    return _PAGE.format(title=escape(title), notice=escape(NOTICE), body=body)


def format_p(p: float | None) -> str:
    """A p value with four decimals; a smaller one isn't zero, and there may be none."""
    if p is None:
        return "–"
    return f"p {p:.4f}" if p >= 1e-4 else "p < 0.0001"


def make_list(title: str, lines: Sequence[str]) -> str:
    """Lines of text under a heading; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if lines else ""


def figures(pictures: Mapping[str, tuple[Path, str]]) -> str:
    """Pictures side by side.

    Args:
        pictures: alternative text → PNG and caption, the latter HTML.
    """
    shown = "".join(
        f'<figure><img alt="{escape(name)}" src="{embed(path.read_bytes())}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for name, (path, caption) in pictures.items()
    )
    return f'<div class="curves">{shown}</div>'


def embed(picture: bytes, kind: str = "png") -> str:
    """A picture as the address of an image, which the page then holds."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def make_table(header: Sequence[str], rows: Sequence[Sequence[str]], raw: bool = False) -> str:
    """A table; cells are text, or with ``raw`` HTML."""
    body = "".join(table_row(row if raw else map(escape, row)) for row in rows)
    return f'<div class="wide"><table>{table_row(map(escape, header), "th")}{body}</table></div>'


def table_row(cells: Iterable[str], tag: str = "td") -> str:
    """A row of cells that are HTML."""
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def format_number(value: float | None, form: str = ".3f") -> str:
    """A number with the sign − for minus; a dash for none."""
    return "–" if value is None else f"{value:{form}}".replace("-", "−")


def format_limits(limits: Sequence[float] | None, form: str = ".3f") -> str:
    """``0.741 to 0.851``; a dash for none."""
    return "–" if limits is None else " to ".join(format_number(limit, form) for limit in limits)


def format_interval(limits: Sequence[float] | None, form: str = ".3f") -> str:
    """``(0.741 to 0.851)``; a dash for none."""
    return "–" if limits is None else f"({format_limits(limits, form)})"


def format_rate(value: float | None, limits: Sequence[float] | None, form: str = ".3f") -> str:
    """A value with its interval: ``0.801 (0.741 to 0.851)``; a dash for none."""
    number = format_number(value, form)
    return number if limits is None else f"{number} {format_interval(limits, form)}"


def format_difference(test: Mapping[str, Any]) -> str:
    """A difference of AUCs with the bootstrap's interval: ``+0.031 (−0.007 to +0.070)``."""
    return f"{format_number(test['difference'], '+.3f')} {format_interval(test['difference_ci_bootstrap'], '+.3f')}"


def auc_cells(score: Mapping[str, Any]) -> list[str]:
    """Cells of n, malignant, AUC and its two intervals, the bootstrap's and DeLong's."""
    intervals = (format_interval(score[f"auc_ci_{kind}"]) for kind in ("bootstrap", "delong"))
    return [str(score["n"]), str(score["positive"]), format_number(score["auc"]), *intervals]


def percent(share: float) -> str:
    """``5 %``."""
    return f"{share:.0%}".replace("%", " %")


def draw_bar(value: float, low: float, high: float, width: int = 180) -> str:
    """An interval from 0 to 1 as a picture, with a tick at one half."""
    x, left, right = (4 + (width - 8) * number for number in (value, low, high))
    return (
        f'<svg width="{width}" height="18" role="img" aria-label="{value:.2f}, {low:.2f} to {high:.2f}">'
        f'<path d="M4 9H{width - 4}M{width / 2} 3V15" stroke="#dfe5ea"/>'
        f'<path d="M{left:.1f} 9H{right:.1f}" stroke="#1f77b4" stroke-width="3"/>'
        f'<circle cx="{x:.1f}" cy="9" r="4.5" fill="#1f77b4"/></svg>'
    )
