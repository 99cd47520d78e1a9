"""What the cells of hospitals' tables mean: labels by a mapping that is shown, sides, views, densities and dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from monai_e2e.data.records import GROUP_FACTS
from monai_e2e.data.sources.cells import BIRADS_RULES
from monai_e2e.data.sources.hospital.words import (
    DENSITIES,
    LABEL_WORDS,
    MISSING,
    MONTHS,
    SIDES,
    VIEWS,
    YES_NO,
    value_key,
    word_key,
)
from monai_e2e.errors import UserError

_CATEGORY = re.compile(r"(birads|acr|kategorie|category|categorie|categoria|cat|分类)?([0-6])([abc])?(类|级)?")
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}
_ROMAN_CATEGORY = re.compile(r"(|birads|acr|kategorie|category|categorie|categoria|cat)(i{1,3}|iv|vi?)([abc]?)")
_ICD10 = (("c50", 1), ("d051", 1), ("d24", 0), ("n60", 0))
_SIDED_VIEW = re.compile(r"(?P<l>l|r)?(?P<view>cc|mlo|ml|lm|lmo|fb|sio|iso|xccl|xccm)(?P<r>l|r)?")
#: A view that isn't understood.
UNKNOWN_VIEW = "?"
#: Years, perhaps with a word for them; neither a date nor a range.
_AGE = re.compile(r"0*(\d{1,3})([.,]\d+)?\s*[^\W\d]*\.?")
_EXCEL_DAY_0 = date(1899, 12, 30)
#: Days that Excel counts for 1955 to 2064; other numbers are no dates.
_EXCEL_DAYS = range(20000, 60001)
#: Values that a message lists, and characters of each.
_LISTED, _LENGTH = 15, 40


def map_labels(
    where: str, cells: Mapping[str, int], is_birads: bool, positive: str | None, given: Mapping[str, str]
) -> tuple[dict[str, int | None], str]:
    """The label of each different cell, None where the image is left out, and the rule of BI-RADS categories in words.

    Args:
        where: table and column, for messages.
        cells: how often each text occurs.
        is_birads: whether the column's name says that these are BI-RADS categories.
        positive: a key of :data:`~monai_e2e.data.sources.cells.BIRADS_RULES`, None: ``birads4`` where the column's name
            or its cells say BI-RADS.
        given: what the user says: text → ``0``, ``1`` or ``drop``.

    Raises:
        UserError: when a value is none that is known, or the numbers may be BI-RADS categories or not.
    """
    own = {value_key(text): {"0": 0, "1": 1, "drop": None}[label] for text, label in given.items()}
    rest = [text for text in cells if value_key(text) not in own and value_key(text) not in ("", *MISSING)]
    categories = [text for text in rest if (_category(text) or 0) > 1]
    named = is_birads or any("birads" in value_key(text) for text in categories)
    if categories and not named and positive is None:
        raise UserError(
            f"{where}: {_listed(categories, cells)} may be BI-RADS categories, of which 1 is negative: say so by "
            "--positive birads4, or what they mean by --value 2=1 --value 1=0 …"
        )
    rule = BIRADS_RULES[positive or "birads4"] if named or categories else None
    mapped: dict[str, int | None] = {}
    unknown = []
    for text in cells:
        key = value_key(text)
        category = _category(text)
        icd = [label for prefix, label in _ICD10 if re.fullmatch(rf"{prefix}\d*", key)]
        if key in own:
            mapped[text] = own[key]
        elif key in ("", *MISSING):
            mapped[text] = None
        elif rule is not None and category is not None:
            mapped[text] = rule.get(category)
        elif key in LABEL_WORDS and not (rule is not None and key.isdecimal()):
            mapped[text] = LABEL_WORDS[key]
        elif icd:
            mapped[text] = icd[0]
        else:
            unknown.append(text)
    if unknown:
        raise UserError(
            f"{where}: {len(unknown)} value(s) of unknown meaning: {_listed(unknown, cells)}; say what each "
            f"means, such as --value {unknown[0][:_LENGTH]!r}=1, =0, or =drop to leave its images out"
        )
    return mapped, _rule_words(positive or "birads4", given) if rule is not None else ""


def _category(text: str) -> int | None:
    """The BI-RADS category that a cell may be, of ``4``, ``BI-RADS 4a`` or ``IVa``."""
    key = value_key(text)
    if roman := _ROMAN_CATEGORY.fullmatch(key):
        return int(_ROMAN[roman[2]])
    found = _CATEGORY.fullmatch(key)
    return int(found[2]) if found else None


def _rule_words(positive: str, given: Mapping[str, str]) -> str:
    """How BI-RADS categories were read, those that the user says otherwise included."""
    others = [f"{text} as {given[text]}" for text in given if _category(text) is not None]
    words = {"birads4": "BI-RADS 4 to 6", "birads5": "BI-RADS 5 and 6"}[positive]
    return ", but ".join([f"{words} positive, 1 and 2 negative, others left out", *filter(None, [", ".join(others)])])


def parse_side(where: str, text: str) -> str:
    """LEFT, RIGHT, BOTH or empty; raises :class:`UserError` for other words."""
    key = value_key(text)
    if key in ("", *MISSING):
        return ""
    if key not in SIDES:
        raise UserError(f"{where}: side {text[:_LENGTH]!r} isn't known; write L, R or B (both), or empty the cell")
    return SIDES[key]


def parse_view(text: str) -> tuple[str, str]:
    """Side and view of a cell such as ``MLO``, ``R-CC``, ``CC L`` or ``schräg``, both empty where it says nothing."""
    key = value_key(text)
    if key in VIEWS or key in ("", *MISSING):
        return "", VIEWS.get(key, "")
    found = _SIDED_VIEW.fullmatch(key)
    if found and bool(found["l"]) != bool(found["r"]):
        return SIDES[found["l"] or found["r"]], VIEWS[found["view"]]
    return "", UNKNOWN_VIEW


def parse_density(text: str) -> str:
    """``1`` to ``4``, or empty where the cell is none of the four."""
    return str(DENSITIES.get(value_key(text).removeprefix("birads").removeprefix("acr").removeprefix("typ"), ""))


def parse_facts(cells: Mapping[str, str]) -> dict[str, str]:
    """What subgroups are made of, by role, as ``prepare folder`` reads it; empty where a cell says nothing."""
    years = _AGE.fullmatch(cells["age"].strip())
    known = {"age": years[1] if years else "", "implant": YES_NO.get(value_key(cells["implant"]), "")}
    words = {name: cells[name] for name in GROUP_FACTS if value_key(cells[name]) not in MISSING}
    return {**words, **known}


def parse_dates(texts: Iterable[str], days_first: bool) -> dict[str, str]:
    """Dates as DICOM writes them, ``20210131``, by cell; cells that are no date are empty.

    Understood are ``2021-01-31`` and ``2021/1/31`` in any writing with the year first, ``20210131``, the days that
    Excel counts, day, month and year, and months by their names.

    Args:
        texts: the cells.
        days_first: whether of day and month the day stands first.
    """
    return {text: _date(text, days_first) for text in texts}


def has_ambiguous_dates(texts: Sequence[str]) -> bool:
    """Whether the order of day and month makes a difference."""
    return parse_dates(texts, True) != parse_dates(texts, False)


def _date(text: str, days_first: bool) -> str:
    text = text.strip()
    if re.fullmatch(r"\d{5}([.,]\d+)?", text) and int(text[:5]) in _EXCEL_DAYS:
        return f"{_EXCEL_DAY_0 + timedelta(days=int(text[:5])):%Y%m%d}"
    text = re.split(r"[T ]\d{1,2}:", text)[0]
    numbers = re.findall(r"\d+", text)
    if len(numbers) == 2 and (month := _month(text)):
        numbers.insert(1, month)
        days_first = True
    if len(numbers) == 1 and len(numbers[0]) == 8:
        parts = [numbers[0][:4], numbers[0][4:6], numbers[0][6:]]
    elif len(numbers) == 3 and len(numbers[0]) == 4:
        parts = numbers
    elif len(numbers) == 3:
        day, month, year = numbers if days_first or int(numbers[1]) > 12 else (numbers[1], numbers[0], numbers[2])
        if int(month) > 12:
            day, month = month, day
        parts = [year if len(year) == 4 else f"20{year}", month, day]
    else:
        return ""
    try:
        return f"{date(*map(int, parts)):%Y%m%d}"
    except ValueError:
        return ""


def _month(text: str) -> str:
    """Number of the month that a text names, or empty."""
    words = [word_key(word) for word in re.findall(r"[^\W\d_]+", text)]
    return next((str(month) for word in words for start, month in MONTHS.items() if word.startswith(start)), "")


def _listed(texts: Sequence[str], cells: Mapping[str, int]) -> str:
    shown = ", ".join(f"{text[:_LENGTH]!r} ({cells[text]})" for text in texts[:_LISTED])
    return shown + (f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else "")
