"""Predictions for the tests of this folder."""

import numpy as np

#: Of the bootstrap: few, since most tests look at something else.
RESAMPLES = 200


def make_rows(seed: int = 0, patients: int = 40, noise: float = 0.5) -> list[dict]:
    """Patients with two breasts of two views; one breast of every third is malignant."""
    truth, other = np.random.default_rng(seed), np.random.default_rng([seed, int(noise * 10)])
    rows = []
    for patient in range(patients):
        shared = truth.normal()
        for side in ("LEFT", "RIGHT"):
            label = int(patient % 3 == 0 and side == "LEFT")
            for view in ("CC", "MLO"):
                logit = float(shared + 1.5 * label + noise * other.normal())
                rows.append(
                    {
                        "image": f"P{patient}_{side}_{view}",
                        "patient_id": f"P{patient}",
                        "laterality": side,
                        "view": view,
                        "label": label,
                        "density": patient % 4 + 1,
                        "lesion_type": ("mass", "calcification", "calcification+mass")[patient % 9 // 3] * label,
                        "logit": logit,
                        "p_malignant": 1 / (1 + np.exp(-logit)),
                        "flags": "",
                    }
                )
    return rows


def renamed(rows: list[dict], prefix: str) -> list[dict]:
    """The same predictions of other images of other patients."""
    return [row | {key: prefix + row[key] for key in ("image", "patient_id")} for row in rows]
