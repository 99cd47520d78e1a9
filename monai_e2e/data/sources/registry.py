"""The data sets that `monai-e2e prepare` reads: one entry each, with what users and reports must know about it.

An entry names its reader, a function ``read(src, tables_only=False, **options)`` that returns a
:class:`~monai_e2e.data.records.Catalogue`; it is imported when it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from monai_e2e.data.records import Catalogue
from monai_e2e.data.sources.cells import BIRADS_RULES
from monai_e2e.errors import UserError

#: Protocols of a data set that has no split of its own.
OURS = ("patients-70-15-15", "kfold")
_BIRADS_CLASSES = ("BI-RADS 1-2", "BI-RADS 4-6")
_BIRADS_5_CLASSES = ("BI-RADS 1-2", "BI-RADS 5-6")


@dataclass(frozen=True)
class Source:
    """A data set.

    Args:
        title: its name as people write it.
        reader: module below :mod:`monai_e2e.data.sources` and function.
        label_source: what the labels rest on: ``pathology``, ``BI-RADS``, ``registry`` (of cancers), or the table.
        label_unit: what one label stands for, shared by all its images: ``image``, ``breast``, ``exam``, ``patient``.
        label_rule: what is positive, negative and left out with the usual options, in one sentence.
        licence: its terms in a few words; the data set's own text counts.
        citation: what to cite; empty: nothing.
        classes: names of labels 0 and 1.
        protocols: splits that it can be prepared with, the usual one first, see
            :mod:`monai_e2e.data.prepared.splits`.
        options: the reader's options and the values that each can have, the usual one first; none: any value.
        variants: what differs, such as ``label_rule``, with another value of an option, by option and value.
        needed: options without which nothing can be read.
        patients_known: False where each image counts as a patient, since nobody knows whose it is.
        models_may_be_passed_on: False where the licence forbids passing on models that were trained on it.
        has_a_name: False where it is called as the folder that it is prepared to.
        met: what of a real download the reader has met; empty: nothing, it was made from descriptions.
    """

    title: str
    reader: str
    label_source: str
    label_unit: str
    label_rule: str
    licence: str
    citation: str
    classes: tuple[str, str] = ("not malignant", "malignant")
    protocols: tuple[str, ...] = OURS
    options: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    variants: Mapping[tuple[str, object], Mapping[str, Any]] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    patients_known: bool = True
    models_may_be_passed_on: bool = True
    has_a_name: bool = True
    met: str = ""

    def under(self, options: Mapping[str, object]) -> Source:
        """The data set as these options of its reader make it."""
        changes = [self.variants.get(option, {}) for option in options.items()]
        return replace(self, **{name: value for change in changes for name, value in change.items()})

    def read(self) -> Callable[..., Catalogue]:
        """The reader."""
        module, function = self.reader.split(":")
        return getattr(import_module(f"monai_e2e.data.sources.{module}"), function)


SOURCES: dict[str, Source] = {
    "cbis-ddsm": Source(
        title="CBIS-DDSM",
        reader="cbis_ddsm.reader:read_cbis_ddsm",
        label_source="pathology",
        label_unit="image",
        label_rule="malignant if any lesion of the image is; all images have lesions",
        licence="CC BY 3.0",
        citation="Lee et al., Scientific Data 4:170177, 2017; The Cancer Imaging Archive",
        protocols=("paper", "official", "kfold"),
        options={"samples": ("views", "files"), "merge_halves": (False, True)},
        met="tables of the training half, single images",
    ),
    "inbreast": Source(
        title="INbreast",
        reader="inbreast.reader:read_inbreast",
        label_source="BI-RADS",
        label_unit="image",
        label_rule="BI-RADS 4a to 6 positive, 1 and 2 negative, 3 left out",
        licence="own agreement",
        citation="Moreira et al., Academic Radiology 19, 2012",
        classes=("BI-RADS 1-2", "BI-RADS 4a-6"),
        protocols=("paper-70-30", "kfold"),
        met="the table",
    ),
    "folder": Source(
        title="a hospital's own images",
        reader="own.reader:read_own",
        label_source="the table",
        label_unit="image",
        label_rule="1, positive or malignant against 0, negative or benign",
        licence="the hospital's own",
        citation="",
        classes=("negative", "positive"),
        options={"labels": (), "lesions": ()},
        needed=("labels",),
        has_a_name=False,
    ),
    "cmmd": Source(
        title="CMMD",
        reader="cmmd:read_cmmd",
        label_source="pathology",
        label_unit="breast",
        label_rule="malignant by biopsy positive, benign by biopsy negative; the other breast, of which the table says "
        "nothing, negative and flagged `unverified normal`",
        licence="CC BY 4.0",
        citation="Cui et al., The Chinese Mammography Database (CMMD), The Cancer Imaging Archive, 2021, "
        "doi 10.7937/tcia.eqde-4b16",
        options={"exclude_contralateral": (False, True)},
        variants={
            ("exclude_contralateral", True): {
                "label_rule": "malignant by biopsy positive, benign by biopsy negative; the other breast, of which the "
                "table says nothing, left out"
            }
        },
    ),
    "vindr": Source(
        title="VinDr-Mammo",
        reader="vindr:read_vindr",
        label_source="BI-RADS",
        label_unit="breast",
        label_rule="BI-RADS 4 and 5 positive, 1 and 2 negative, 3 left out",
        licence="PhysioNet Restricted Health Data License 1.5.0; no passing on",
        citation="Nguyen et al., Scientific Data 10:277, 2023; PhysioNet",
        classes=_BIRADS_CLASSES,
        protocols=("given", *OURS),
        options={"positive": tuple(BIRADS_RULES)},
        variants={
            ("positive", "birads5"): {
                "label_rule": "BI-RADS 5 positive, 1 and 2 negative, 3 and 4 left out",
                "classes": _BIRADS_5_CLASSES,
            }
        },
    ),
    "rsna": Source(
        title="RSNA Screening Mammography Breast Cancer Detection",
        reader="rsna:read_rsna",
        label_source="pathology",
        label_unit="breast",
        label_rule="column cancer",
        licence="competition rules: non-commercial, no passing on",
        citation="Carr et al., RSNA Screening Mammography Breast Cancer Detection, Kaggle, 2022",
    ),
    "embed": Source(
        title="EMBED Open Data",
        reader="embed:read_embed",
        label_source="pathology",
        label_unit="breast",
        label_rule="cancer in a biopsy of this breast at the exam or within 180 days after it positive; biopsied "
        "without cancer, or BI-RADS 1 and 2 without a cancer within a year, negative; other exams left out",
        licence="EMBED data use agreement: research only, no passing on of data or of models trained on it",
        citation="Jeong et al., Radiology: Artificial Intelligence 5(1):e220047, 2023",
        protocols=(*OURS, "given"),
        models_may_be_passed_on=False,
    ),
    "csaw-cc": Source(
        title="CSAW-CC",
        reader="csaw_cc:read_csaw_cc",
        label_source="registry",
        label_unit="breast",
        label_rule="breast with a cancer that this exam found positive; the other breast and controls negative; "
        "earlier exams of the breast with cancer left out",
        licence="CC BY 4.0 by the catalogue; images on request",
        citation="Strand, CSAW-CC (mammography), Karolinska Institutet, 2022, doi 10.5878/45vm-t798",
        options={"positive": ("screen-detected", "interval")},
        variants={
            ("positive", "interval"): {
                "label_rule": "breast with a cancer that this exam found, or that was found within two years after it, "
                "positive; the other breast and controls negative; earlier exams of the breast with cancer left out"
            }
        },
    ),
    "cdd-cesm": Source(
        title="CDD-CESM",
        reader="cdd_cesm:read_cdd_cesm",
        label_source="pathology",
        label_unit="image",
        label_rule="Malignant positive, Benign and Normal negative; low-energy images alone",
        licence="CC BY 4.0",
        citation="Khaled et al., Scientific Data 9:122, 2022; The Cancer Imaging Archive",
    ),
    "dmid": Source(
        title="DMID",
        reader="dmid:read_dmid",
        label_source="pathology",
        label_unit="image",
        label_rule="malignant if any row of the image is; patients aren't known, so each image counts as one",
        licence="CC BY 4.0",
        citation="Oza et al., Biomedical Engineering Letters 14, 2024; figshare, doi 10.6084/m9.figshare.24522883",
        patients_known=False,
    ),
    "mias": Source(
        title="mini-MIAS",
        reader="mias:read_mias",
        label_source="pathology",
        label_unit="image",
        label_rule="malignant if any row of the image is; benign and normal negative",
        licence="MIAS agreement: research use, cite, no sale; the Cambridge repository's copy CC BY",
        citation="Suckling et al., Excerpta Medica International Congress Series 1069, 1994",
        met="all images",
    ),
    "kau-bcmd": Source(
        title="KAU-BCMD",
        reader="kau_bcmd:read_kau_bcmd",
        label_source="BI-RADS",
        label_unit="patient",
        label_rule="BI-RADS 4 and 5 positive, 1 negative, 3 left out; both breasts have the patient's BI-RADS, so "
        "healthy ones count as positive",
        licence="unverified: research and education by the Kaggle page",
        citation="Alsolami et al., Data 6(11):111, 2021",
        classes=_BIRADS_CLASSES,
        options={"positive": tuple(BIRADS_RULES)},
        variants={
            ("positive", "birads5"): {
                "label_rule": "BI-RADS 5 positive, 1 negative, 3 and 4 left out; both breasts have the patient's "
                "BI-RADS, so healthy ones count as positive",
                "classes": _BIRADS_5_CLASSES,
            }
        },
    ),
    "nlbs": Source(
        title="NLBS (NL-Breast-Screening)",
        reader="nlbs:read_nlbs",
        label_source="pathology",
        label_unit="breast",
        label_rule="column Cancer",
        licence="CC BY 4.0",
        citation="Kendall et al., Scientific Data 12, 2025; FRDR, doi 10.20383/103.01349",
    ),
    "mini-ddsm": Source(
        title="mini-DDSM",
        reader="mini_ddsm:read_mini_ddsm",
        label_source="pathology",
        label_unit="image",
        label_rule="an image with a contour, of a patient with cancer, positive; all others negative",
        licence="unverified, see the Kaggle page; DDSM is free for research",
        citation="Lekamlage et al., Mini-DDSM, DMIP 2020, doi 10.1145/3441369.3441370; Heath et al., IWDM 2000",
    ),
}


def find_source(name: str) -> Source:
    """The data set of a name; raises :class:`UserError`."""
    if name not in SOURCES:
        raise UserError(f"data set {name!r}: choose one of {', '.join(SOURCES)}")
    return SOURCES[name]
