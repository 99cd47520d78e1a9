"""The contact sheet of a check: one HTML file with thumbnails of the images, the flagged ones first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from monai_e2e.metrics.html_page import make_list, page
from monai_e2e.work.files import write_text

if TYPE_CHECKING:
    from monai_e2e.check.run import CheckedImage

#: Most thumbnails on a page: a browser shows them without delay, and they take some 10 MB.
MOST = 1500
_ORDER = ("not usable", "look", "ok")
_TITLES = {"not usable": "Not usable", "look": "To look at", "ok": "Nothing unusual"}


def write_page(path: Path, images: Sequence[CheckedImage], title: str, remarks: Sequence[str] = ()) -> None:
    """Write the page; ``remarks`` are about all images together."""
    parts, left = ["<p>This page contains copies of patients' images: store it as safely as the images.</p>"], MOST
    parts.append(make_list("All images together", remarks))
    for verdict in _ORDER:
        own = [image for image in images if image.verdict == verdict]
        if not own:
            continue
        if verdict == "not usable":
            parts.append(make_list(f"{_TITLES[verdict]}: {len(own)}", [f"{i.listed.image}: {i.reason}" for i in own]))
            continue
        shown, left = own[:left], max(0, left - len(own))
        more = "" if len(shown) == len(own) else f", {len(shown)} of them shown"
        figures = "".join(map(_figure, shown))
        parts.append(f'<h2>{_TITLES[verdict]}: {len(own)}{more}</h2><div class="sheet">{figures}</div>')
    write_text(path, page(f"Check of {title}", "\n".join(parts)))


def _figure(image: CheckedImage) -> str:
    listed = image.listed
    place = " ".join(filter(None, (listed.patient_id, listed.exam_id, listed.laterality, listed.view)))
    return (
        f'<figure><img alt="" src="{image.thumbnail}">'
        f"<figcaption><strong>{escape(listed.image)}</strong><br>{escape(place)}"
        f'<div class="flags">{escape(", ".join(image.flags))}</div></figcaption></figure>'
    )
