"""The words of data sets' tables."""

import pytest

from monai_e2e.data.records import Laterality, View
from monai_e2e.data.sources.cells import Refused, birads_label, parse_age, parse_density, parse_side, parse_view


@pytest.mark.parametrize(
    ("text", "age"),
    [("58", 58), ("58.0", 58), ("58,0", 58), ("058Y", 58), (" 61 ", 61), ("0", None), ("", None), ("x", None)],
)
def test_age(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize(
    ("text", "density"),
    [
        ("B", 2),
        ("2", 2),
        ("2.0", 2),
        ("DENSITY D", 4),
        ("ACR b", 2),
        ("BI-RADS C", 3),
        ("density c", 3),
        ("0", None),
        ("", None),
    ],
)
def test_density(text, density):
    assert parse_density(text) == density


def test_side_and_view_are_of_the_few_that_are_used():
    assert (parse_side(" Left "), parse_view("mlo")) == (Laterality.LEFT, View.MLO)
    with pytest.raises(Refused, match="view neither CC nor MLO: 'ML'"):
        parse_view("ML")
    with pytest.raises(Refused, match="side not understood"):
        parse_side("B")


def test_birads_between_negative_and_positive_is_left_out():
    assert [birads_label(category, "birads4") for category in (1, 2, 4, 5, 6)] == [0, 0, 1, 1, 1]
    assert birads_label(5, "birads5") == 1
    for category, rule in ((0, "birads4"), (3, "birads4"), (4, "birads5")):
        with pytest.raises(Refused, match=f"BI-RADS {category}"):
            birads_label(category, rule)
