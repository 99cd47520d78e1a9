"""Subgroups of images: who is in which, and whether the AUC differs between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import logit
from scipy.stats import chi2, norm

from monai_e2e.metrics.samples import Row

#: What images are grouped by, with the heading in the report.
SUBGROUPS = {
    "view": "View",
    "density": "Breast density (1 to 4: BI-RADS A to D)",
    "age": "Age in years",
    "vendor": "Vendor",
    "machine": "Machine",
    "site": "Site",
    "implant": "Implant",
    "lesion_type": "Lesion type (against all negatives)",
    "subtype": "Subtype (against all negatives)",
    "lesion_size": "Lesion size in mm (against all negatives)",
}
#: The subgroups that are of positives, each against all negatives.
OF_POSITIVES = ("lesion_type", "subtype", "lesion_size")
#: Lower ends of the bands of a number: decades of age, and the sizes at which the T stage of a tumour changes.
_BANDS = {"age": (40.0, 50.0, 60.0, 70.0), "lesion_size": (10.0, 20.0, 50.0)}
_UNKNOWN = {"lesion_type": "none annotated"}


def subgroup_members(rows: Sequence[Row]) -> dict[str, dict[str, np.ndarray]]:
    """The numbers of each subgroup's images, of those in :data:`OF_POSITIVES` of the positives.

    A positive with lesions of two types, ``mass+calcification``, is in both.
    """
    members: dict[str, dict[str, np.ndarray]] = {}
    for name in SUBGROUPS:
        if all(row.get(name) in (None, "") for row in rows):
            continue
        places: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            if name not in OF_POSITIVES or row["label"] == 1:
                for word in _words(name, row.get(name)):
                    places.setdefault(word, []).append(number)
        bands = _band_names(name)
        order = sorted(places, key=lambda word: (bands.index(word) if word in bands else len(bands), word))
        members[name] = {word: np.array(places[word]) for word in order}
    return members


def heterogeneity(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Does the AUC differ between subgroups? Cochran's Q of their log-odds, weighted by DeLong's variance.

    It takes images and subgroups as independent, so it is a guide where patients have several images, are in several
    subgroups, or subgroups share negatives: p then is too small, or with shared negatives too large.

    Args:
        groups: by word, with ``auc`` and ``auc_ci_delong``.

    Returns:
        ``groups`` that could be compared, ``q``, ``df``, ``p``, and ``i2``, the share of the spread that chance doesn't
        explain; None where fewer than two have an AUC with a finite interval.
    """
    known = [(group["auc"], *group["auc_ci_delong"]) for group in groups.values() if group["auc"] is not None]
    inside = np.array([values for values in known if min(values) > 0 and max(values) < 1])
    if len(inside) < 2:
        return None
    auc, low, high = logit(inside).T
    weights = (2 * norm.ppf(0.975) / (high - low)) ** 2
    q = float((weights * (auc - np.average(auc, weights=weights)) ** 2).sum())
    df = len(inside) - 1
    unexplained = max(0.0, 1 - df / q) if q else 0.0
    return {"groups": len(inside), "q": q, "df": df, "p": float(chi2.sf(q, df)), "i2": unexplained}


def _words(name: str, value: Any) -> list[str]:
    if value in (None, ""):
        return [_UNKNOWN.get(name, "unknown")]
    if name in _BANDS:
        return [_band_names(name)[bisect_right(_BANDS[name], value)]]
    return str(value).split("+") if name in OF_POSITIVES else [str(value)]


def _band_names(name: str) -> list[str]:
    """``below 40``, ``40 to 49`` … of whole years, ``10 to below 20`` of sizes, the last one open."""
    edges = _BANDS.get(name, ())
    if not edges:
        return []
    between = [
        f"{low:g} to {high - 1:g}" if name == "age" else f"{low:g} to below {high:g}" for low, high in pairwise(edges)
    ]
    return [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more"]
