"""A plan of stages in another number of epochs, as a federation's round has it."""

import pytest

from monai_e2e.errors import UserError
from monai_e2e.handlers.stage_plan import check_stage, check_stages, fit_plan


def plan(*epochs, **last):
    stages = [{"name": str(number), "trainable": ["*"], "lr": 0.1, "epochs": e} for number, e in enumerate(epochs)]
    stages[-1] |= last
    return [check_stage(stage, index) for index, stage in enumerate(stages)]


@pytest.mark.parametrize(
    ("epochs", "into", "fitted"),
    [
        ((3, 5), 8, {"0": 3, "1": 5}),
        ((3, 5), 16, {"0": 6, "1": 10}),
        ((3, 5), 4, {"0": 2, "1": 2}),
        ((6, 2), 4, {"0": 3, "1": 1}),
        ((30, 20), 1, {"1": 1}),
        ((9, 1), 2, {"0": 1, "1": 1}),
        ((3, 10, 37), 5, {"1": 1, "2": 4}),
        ((1,), 3, {"0": 3}),
    ],
)
def test_stages_keep_their_share_of_the_epochs_and_the_last_has_one_at_least(epochs, into, fitted):
    assert {stage["name"]: stage["epochs"] for stage in fit_plan(plan(*epochs), into)} == fitted


def test_a_warmup_keeps_its_share_of_its_stage():
    (stage,) = fit_plan(plan(8, warmup=2.0, schedule="cosine"), 2)
    assert stage["warmup"] == 0.5
    assert check_stage(stage, 1) == stage


@pytest.mark.parametrize("stages", ["all", {"name": "all"}])
def test_stages_that_are_no_list_are_told_as_typed(stages):
    with pytest.raises(UserError, match=r"stages must be a list of dicts with name, .*, got .*all'"):
        check_stages(stages)
