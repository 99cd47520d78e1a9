"""Classifiers against each other on the same images, with patients as the units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from monai_e2e.errors import UserError, some
from monai_e2e.metrics.auc import compare_aucs, compare_clustered
from monai_e2e.metrics.bootstrap import Statistics, limits_of, patient_bootstrap, weighted_areas
from monai_e2e.metrics.html_page import format_interval, format_number, format_p, make_table
from monai_e2e.metrics.samples import Row, Samples, level_samples, levels_of, owners_of

#: What a row says of its image, by whose flags some are left out of a breast's score; and what a model says of it.
_PLACE = ("image", "patient_id", "exam_id", "laterality", "view", "label", "flags")
_SCORE = ("logit", "p_malignant")
#: What the columns of :func:`comparison_table` mean.
COMPARISON_LEGEND = (
    "Difference: the first AUC minus the second, with 95 % intervals. The tests are two-sided, on the same images. "
    "DeLong's treats images as independent, which those of one patient are not; Obuchowski's treats a patient's images "
    "as a cluster. Quote the last p: Obuchowski's, with Holm's correction for the number of comparisons per level."
)


def compare_rows(
    rows: Sequence[Row],
    others: Sequence[Row],
    how: str = "mean",
    seed: int = 0,
    resamples: int = 2000,
    levels: Mapping[str, Samples] | None = None,
) -> dict[str, Any]:
    """Paired comparison with another classifier on the same images: DeLong's test and the patients' bootstrap.

    Labels, patients, sides, views and flags are those of ``rows``; of ``others`` only the scores count.

    Args:
        rows: labelled predictions, as for :func:`score_rows`.
        others: predictions of exactly the same images.
        how: how the views of a breast become one score.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        levels: the samples of the rows, where they are known already.

    Returns:
        For each level what :func:`~monai_e2e.metrics.compare_aucs` and
        :func:`~monai_e2e.metrics.compare_clustered` return, and ``difference_ci_bootstrap``.

    Raises:
        UserError: when the images differ, or labels of ``others`` contradict those of ``rows``.
    """
    check_same_images(rows, others)
    by_image = {str(row["image"]): row for row in others}
    against = [row["image"] for row in rows if by_image[str(row["image"])].get("label") not in (None, "", row["label"])]
    if against:
        raise UserError(
            f"{len(against)} images have different labels in the two tables: {some(against)}; correct one of them"
        )
    replaced = [
        {key: row.get(key) for key in _PLACE} | {key: by_image[str(row["image"])].get(key) for key in _SCORE}
        for row in rows
    ]
    first = levels or level_samples(rows, how)[0]
    second = level_samples(replaced, how)[0]

    def difference(level: str) -> Statistics:
        labels, owners = first[level].labels, first[level].owners
        ours, theirs = (weighted_areas(labels, samples[level].ranks, owners) for samples in (first, second))
        return lambda counts: ours(counts) - theirs(counts)

    intervals = patient_bootstrap(owners_of(first), [difference(level) for level in first], seed, resamples)
    return {
        level: compare_aucs(sample.labels, sample.ranks, second[level].ranks)
        | {"difference_ci_bootstrap": limits_of(of_area)}
        | compare_clustered(sample.labels, sample.ranks, second[level].ranks, sample.owners)
        for (level, sample), (of_area,) in zip(first.items(), intervals, strict=True)
    }


def check_same_images(rows: Sequence[Row], others: Sequence[Row]) -> None:
    """Raise :class:`UserError` unless both are predictions of the same images."""
    first, second = ([str(row["image"]) for row in own] for own in (rows, others))
    known = set(second)
    missing, extra = [image for image in first if image not in known], known - set(first)
    if missing or extra:
        raise UserError(
            f"the two sets of images differ: {len(missing)} are without prediction ({some(missing) or 'none'}), "
            f"{len(extra)} are in the other set alone ({some(sorted(extra)) or 'none'}); a paired test needs the same "
            "images: predict the same images with both models"
        )


def correct_by_holm(comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Add ``p_holm`` to each level of several comparisons: ``p_patients`` corrected for as many as have the level.

    Args:
        comparisons: of :func:`compare_rows`, changed in place.
    """
    for level in {key for comparison in comparisons for key, test in comparison.items() if _is_test(test)}:
        tests = [comparison[level] for comparison in comparisons if level in comparison]
        known = [test for test in tests if test["p_patients"] is not None]
        for test in tests:
            test["p_holm"] = None
        for test, p in zip(known, holm([test["p_patients"] for test in known]), strict=True):
            test["p_holm"] = p


def comparison_table(comparison: Mapping[str, Any], drawn: str, first: str, second: str) -> str:
    """The levels of a paired comparison, of :func:`~monai_e2e.metrics.compare_rows`.

    Args:
        comparison: by level.
        drawn: what the bootstrap draws.
        first, second: what the two are called.
    """
    rows = []
    for level in levels_of(comparison):
        test = comparison[level]
        aucs = [format_number(test["auc_first"]), format_number(test["auc_second"])]
        intervals = [format_interval(test[key], "+.3f") for key in ("difference_ci_bootstrap", "difference_ci")]
        ps = [escape(format_p(test.get(key)).removeprefix("p ")) for key in ("p", "p_patients", "p_holm")]
        rows.append([level, *aucs, format_number(test["difference"], "+.3f"), *intervals, *ps])
    header = ["per", f"AUC {first}", f"AUC {second}", "difference", f"bootstrap of {drawn}", "DeLong"]
    return make_table([*header, "p, DeLong", f"p, {drawn} as clusters", "p, Holm"], rows, raw=True)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, step by step from the smallest (Holm, Scand. J. Stat. 1979)."""
    result, largest = [0.0] * len(p_values), 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[index]))
        result[index] = largest
    return result


def _is_test(value: Any) -> bool:
    return isinstance(value, Mapping) and "p_patients" in value
