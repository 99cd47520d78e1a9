"""Partitions: by patient, stratified by the patient's cancer status (paper §3.1.1 and §3.2.1).

CBIS-DDSM has three protocols; results of one can't be compared with results of another:

- ``paper``: TCIA's training half alone, 85 % of its patients against 15 % for testing, then 10 % of the training
  patients for validation. The paper's counts come from that half; its patient lists were never published.
- ``official``: TCIA's test half for testing, labelled by that half's tables as in published figures, and 10 % of the
  training half's patients for validation. Patients in both halves are dropped from training,
  also where their test images are missing.
- ``kfold``: cross-validation over all patients of both halves.

INbreast: 70 % against 30 % of the patients. The paper selects its models on those 30 %; here a further 15 % of the
training patients become the validation partition, so that model selection never looks at the test partition. Own
images and the other public sets: 70 : 15 : 15. Each can be split into folds too.

``given``: a public set's own test patients are for testing, and 10 % of the others for validation, unless the set has
validation patients of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from monai_e2e.data.prepared.schema import PARTITIONS
from monai_e2e.data.records import Catalogue, Excluded, Mammogram
from monai_e2e.errors import UserError

#: One fold for testing, one for validation, one for training at least.
MIN_FOLDS = 3
#: 85 % of the patients, of which 10 % for validation.
_PAPER = {"training": 0.85 * 0.9, "validation": 0.85 * 0.1, "test": 0.15}
_OFFICIAL = {"training": 0.9, "validation": 0.1}
_INBREAST = {"training": 0.7 * 0.85, "validation": 0.7 * 0.15, "test": 0.3}
_OWN = {"training": 0.7, "validation": 0.15, "test": 0.15}

Partitions = dict[str, list[Mammogram]]


def split_patients(mammograms: Iterable[Mammogram], fractions: Mapping[str, float], seed: int) -> Partitions:
    """Split mammograms into partitions so that no patient is in two of them.

    Patients with a positive mammogram and patients without are split separately, so each partition has the same
    share of both (at least one patient of each).

    Args:
        mammograms: images of any number of patients.
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
    images: dict[str, list[Mammogram]] = defaultdict(list)
    for mammogram in mammograms:
        images[mammogram.patient_id].append(mammogram)
    strata: dict[int, list[str]] = {0: [], 1: []}
    for patient, own in sorted(images.items()):
        strata[max(image.label for image in own)].append(patient)

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
        name: _sorted(image for patient in patients for image in images[patient]) for name, patients in chosen.items()
    }


def _sorted(images: Iterable[Mammogram]) -> list[Mammogram]:
    return sorted(images, key=lambda image: image.image_id)


def _as_assigned(images: Iterable[Mammogram], partition_of: Callable[[Mammogram], str]) -> Partitions:
    partitions: Partitions = {name: [] for name in PARTITIONS}
    for image in _sorted(images):
        partitions[partition_of(image)].append(image)
    return partitions


@dataclass(frozen=True)
class Split:
    """A split of a data set's images.

    Args:
        partitions: images by partition; with folds, those of fold 0.
        left_out: what the protocol leaves out, with the reason.
        folds: number of folds, None without cross-validation.
        fold_of: fold of each patient, empty without cross-validation.
        given: whether the data set's own tables name the partitions, so that neither protocol nor seed matters.
    """

    partitions: Partitions
    left_out: list[Excluded] = field(default_factory=list)
    folds: int | None = None
    fold_of: dict[str, int] = field(default_factory=dict)
    given: bool = False

    def __post_init__(self) -> None:
        assert_disjoint(self.partitions)


def check_protocol(protocol: str, known: Sequence[str], folds: int | None) -> None:
    """Raise :class:`UserError` unless ``protocol`` is one of ``known`` and ``folds`` goes with it."""
    if protocol not in known:
        words = ", ".join(name.partition("-")[0] for name in known)  # as the command takes them
        raise UserError(f"protocol {protocol!r}: choose one of {words}")
    if protocol == "kfold" and (folds is None or folds < MIN_FOLDS):
        raise UserError(f"protocol 'kfold' needs --folds {MIN_FOLDS} or more, got {folds}")
    if protocol != "kfold" and folds is not None:
        raise UserError(
            f"folds {folds} go with protocol 'kfold', not with {protocol!r}: add --protocol kfold, or leave out --folds"
        )


def partition_of_fold(fold: int, tested: int, folds: int) -> str:
    """Partition of the patients of one fold when fold ``tested`` is tested: the next fold is for validation."""
    return {0: "test", 1: "validation"}.get((fold - tested) % folds, "training")


def split_kfold(mammograms: Iterable[Mammogram], folds: int, seed: int) -> Split:
    """Split patients into folds of the same share of positive ones, for cross-validation.

    With fold *k* tested, fold *k* + 1 is for validation and all others are for training.

    Raises:
        UserError: when there are fewer patients of a kind than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    images = list(mammograms)
    positive: dict[str, int] = {}
    for image in sorted(images, key=lambda image: image.patient_id):
        positive[image.patient_id] = max(image.label, positive.get(image.patient_id, 0))
    patients, labels = list(positive), list(positive.values())
    rarest = min(labels.count(0), labels.count(1))
    if rarest < folds:
        raise UserError(
            f"{folds} folds need {folds} patients with and {folds} without a positive mammogram, found "
            f"{rarest}: take fewer folds"
        )
    fold_of: dict[str, int] = {}
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(patients, labels)
    for fold, (_, members) in enumerate(parts):
        fold_of |= {patients[index]: fold for index in members}
    partitions = _as_assigned(images, lambda image: partition_of_fold(fold_of[image.patient_id], 0, folds))
    return Split(partitions, folds=folds, fold_of=fold_of)


def split_images(catalogue: Catalogue, protocol: str, seed: int, folds: int | None = None) -> Split:
    """Split a data set's images by one of its protocols (see the module's docstring), or as a hospital's table says.

    Raises:
        UserError: when the protocol needs images or partitions that the data set lacks, a hospital's table names
            partitions and folds are asked for, or a patient is in two partitions.
    """
    if catalogue.name == "folder" and any(image.partition for image in catalogue.mammograms):
        if folds is not None:
            raise UserError(
                "the labels have a column 'partition', which folds would ignore: leave out the column or --folds"
            )
        return Split(_as_assigned(catalogue.mammograms, lambda image: image.partition or "training"), given=True)
    if folds is not None:
        return split_kfold(catalogue.mammograms, folds, seed)
    if protocol in ("paper", "official"):
        return _split_cbis_ddsm(catalogue, protocol, seed)
    if protocol == "given":
        return Split(_as_published(catalogue.mammograms, seed))
    fractions = _INBREAST if protocol == "paper-70-30" else _OWN
    return Split(split_patients(catalogue.mammograms, fractions, seed))


def _split_cbis_ddsm(catalogue: Catalogue, protocol: str, seed: int) -> Split:
    halves: Partitions = {"training": [], "test": []}
    for mammogram in catalogue.mammograms:
        halves[mammogram.partition or "training"].append(mammogram)
    for half in ("training", "test") if protocol == "official" else ("training",):
        if not halves[half]:
            raise UserError(
                f"protocol {protocol!r} needs TCIA's {half} half, which isn't there: download its tables and images"
            )
    if protocol == "paper":
        reason = "TCIA's test half: not used by protocol paper"
        left_out = [Excluded(image.image_id, reason, image.rows) for image in halves["test"]]
        return Split(split_patients(halves["training"], _PAPER, seed), left_out)
    tested = catalogue.test_patients | {image.patient_id for image in halves["test"]}
    kept = [image for image in halves["training"] if image.patient_id not in tested]
    partitions = split_patients(kept, _OFFICIAL, seed) | {"test": _sorted(halves["test"])}
    both = [image for image in halves["training"] if image.patient_id in tested]
    return Split(partitions, _left_to_the_test_half(both, halves["test"]))


def _left_to_the_test_half(images: Iterable[Mammogram], test_half: Iterable[Mammogram]) -> list[Excluded]:
    """Why each of these training images is left out, whose patients are in the test half too."""
    labels: dict[str, int] = defaultdict(int)
    for image in test_half:
        labels[_view_of(image)] = max(labels[_view_of(image)], image.label)
    left_out = []
    for image in images:
        against = image.label > labels.get(_view_of(image), image.label)
        more = "; malignant by these rows, benign by the test half's, which count" if against else ""
        reason = f"patient in both of TCIA's halves: kept for testing only{more}"
        left_out.append(Excluded(image.image_id, reason, image.rows))
    return left_out


def _view_of(image: Mammogram) -> str:
    """Name of the view, whichever of its image files a sample is."""
    return replace(image, suffix="").image_id


def _as_published(images: Iterable[Mammogram], seed: int) -> Partitions:
    """A public set's own partitions, with validation patients out of training's where it has none."""

    def own(image: Mammogram) -> str:
        if image.partition is None:
            raise UserError(
                f"protocol 'given': {image.image_id} has no partition in the data set; use another protocol"
            )
        return image.partition

    partitions = _as_assigned(images, own)
    return (
        partitions if partitions["validation"] else partitions | split_patients(partitions["training"], _OFFICIAL, seed)
    )


def assert_disjoint(partitions: Mapping[str, Iterable[Mammogram]]) -> None:
    """Raise :class:`UserError` when a patient is in two partitions."""
    check_patients({name: (image.patient_id for image in images) for name, images in partitions.items()})


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
