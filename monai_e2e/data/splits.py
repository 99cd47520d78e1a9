"""Partitions: by patient, stratified by the patient's cancer status (paper §3.1.1 and §3.2.1).

Two protocols for CBIS-DDSM, since figures from the one don't compare with figures from the other:

- ``paper``: TCIA's training half alone, 85 % of its patients against 15 % for testing, then 10 % of the training
  patients for validation. The paper's counts come from that half; its patient lists were never published.
- ``official``: TCIA's test half for testing and 10 % of the training half's patients for validation. Patients in
  both halves are dropped from training.

INbreast: 70 % against 30 % of the patients. The paper selects its models on those 30 %; here a further 15 % of the
training patients become the validation partition, so that model selection never looks at the test partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from monai_e2e.data.records import Catalogue, Excluded, Mammogram
from monai_e2e.errors import UserError

CBIS_PROTOCOLS = ("paper", "official")
INBREAST_PROTOCOL = "paper-70-30"
#: 85 % of the patients, of which 10 % for validation.
_PAPER = {"training": 0.85 * 0.9, "validation": 0.85 * 0.1, "test": 0.15}
_OFFICIAL = {"training": 0.9, "validation": 0.1}
_INBREAST = {"training": 0.7 * 0.85, "validation": 0.7 * 0.15, "test": 0.3}

Partitions = dict[str, list[Mammogram]]


def split_patients(mammograms: Iterable[Mammogram], fractions: Mapping[str, float], seed: int) -> Partitions:
    """Divide mammograms into partitions so that no patient is in two of them.

    Patients with a positive mammogram and patients without are divided separately, hence each partition has the
    same share of both (at least one patient of each).

    Args:
        mammograms: films of any number of patients.
        fractions: share of the patients by partition, adding up to 1. The last partition is drawn first.
        seed: same seed, patients and fractions → same partitions, whatever the order of the mammograms.

    Returns:
        Mammograms by partition, in the order of ``fractions``, each sorted by ``image_id``.

    Raises:
        UserError: when the fractions don't add up to 1, or a stratum has fewer patients than there are partitions.
    """
    # Half a second that every worker process of the preparation would pay at the top of the module.
    from sklearn.model_selection import train_test_split

    if abs(sum(fractions.values()) - 1) > 1e-6 or not all(0 < fraction <= 1 for fraction in fractions.values()):
        raise UserError(f"split {dict(fractions)}: fractions must be positive and add up to 1")
    films: dict[str, list[Mammogram]] = defaultdict(list)
    for mammogram in mammograms:
        films[mammogram.patient_id].append(mammogram)
    strata: dict[int, list[str]] = {0: [], 1: []}
    for patient, own in sorted(films.items()):
        strata[max(film.label for film in own)].append(patient)

    first, *others = fractions
    chosen: dict[str, list[str]] = {name: [] for name in fractions}
    for label, patients in strata.items():
        if len(patients) < len(fractions):
            kind = "with" if label else "without"
            raise UserError(
                f"{len(patients)} patient(s) {kind} a positive mammogram, but {len(fractions)} partitions "
                f"({', '.join(fractions)}) need one each; add data"
            )
        rest, total = patients, len(patients)
        for place, name in enumerate(reversed(others), start=1):
            # Leaves at least one patient to each partition that is still to be filled.
            count = min(max(1, round(fractions[name] * total)), len(rest) - (len(fractions) - place))
            rest, drawn = train_test_split(rest, test_size=count, random_state=seed)
            chosen[name] += drawn
        chosen[first] += rest
    return {
        name: sorted((film for patient in patients for film in films[patient]), key=lambda film: film.image_id)
        for name, patients in chosen.items()
    }


def check_protocol(protocol: str) -> None:
    """Raise :class:`UserError` unless ``protocol`` is one of :data:`CBIS_PROTOCOLS`."""
    if protocol not in CBIS_PROTOCOLS:
        raise UserError(f"protocol {protocol!r}: choose one of {', '.join(CBIS_PROTOCOLS)}")


def split_cbis_ddsm(catalogue: Catalogue, protocol: str, seed: int) -> tuple[Partitions, list[Excluded]]:
    """Apply one of CBIS-DDSM's two protocols (see the module's docstring).

    Returns:
        The partitions, and the mammograms that the protocol leaves out.

    Raises:
        UserError: when the protocol is unknown, a half is missing or has too few patients.
    """
    check_protocol(protocol)
    halves: Partitions = {"training": [], "test": []}
    for mammogram in catalogue.mammograms:
        halves[mammogram.partition or "training"].append(mammogram)
    for half in ("training", "test") if protocol == "official" else ("training",):
        if not halves[half]:
            raise UserError(f"protocol {protocol!r} needs TCIA's {half} half, whose films or tables aren't there")
    if protocol == "paper":
        left_out = [Excluded(film.image_id, "TCIA's test half: not used by protocol paper") for film in halves["test"]]
        partitions = split_patients(halves["training"], _PAPER, seed)
    else:
        tested = {film.patient_id for film in halves["test"]}
        left_out = [
            Excluded(film.image_id, "patient in both of TCIA's halves: kept for testing only")
            for film in halves["training"]
            if film.patient_id in tested
        ]
        kept = [film for film in halves["training"] if film.patient_id not in tested]
        partitions = split_patients(kept, _OFFICIAL, seed)
        partitions["test"] = sorted(halves["test"], key=lambda film: film.image_id)
    assert_disjoint(partitions)
    return partitions, left_out


def split_inbreast(catalogue: Catalogue, seed: int) -> tuple[Partitions, list[Excluded]]:
    """Divide INbreast 70:30 by patient and set validation patients aside (see the module's docstring)."""
    partitions = split_patients(catalogue.mammograms, _INBREAST, seed)
    assert_disjoint(partitions)
    return partitions, []


def assert_disjoint(partitions: Mapping[str, Iterable[Mammogram]]) -> None:
    """Raise :class:`UserError` when a patient is in two partitions."""
    check_patients({name: (film.patient_id for film in films) for name, films in partitions.items()})


def check_patients(patients: Mapping[str, Iterable[str]]) -> None:
    """Raise :class:`UserError` when a patient identifier occurs in two partitions."""
    seen: dict[str, str] = {}
    for name, identifiers in patients.items():
        for identifier in identifiers:
            if seen.setdefault(identifier, name) != name:
                raise UserError(
                    f"patient {identifier} is in both {seen[identifier]} and {name}; "
                    f"split by patient (`monai-e2e prepare` does)"
                )
