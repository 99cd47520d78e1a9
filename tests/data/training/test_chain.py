import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandAffined, RandCropByPosNegLabeld, RandFlip, RandFlipd

from monai_e2e.data.training.chain import Chain


def sample():
    image = torch.arange(64.0).reshape(1, 8, 8)
    return {"image": MetaTensor(image, affine=torch.eye(3)), "label": (image > 30).float()}


def crops():
    return RandCropByPosNegLabeld(["image", "label"], "label", [4, 4], num_samples=3)


def flips():
    return RandFlipd("image", prob=0.5)


def turn(lazy=False):
    return RandAffined("image", prob=1.0, rotate_range=0.4, lazy=lazy)


@pytest.mark.parametrize(
    ("transforms", "lazy"),
    [
        (lambda: [flips(), lambda one: {**one, "label": 1}], False),
        *((lambda: [turn(), turn()], lazy) for lazy in (False, None, True)),
        (lambda: [turn(lazy=True), turn()], None),
        (lambda: [crops(), flips()], False),
        (lambda: [Compose([crops(), crops()], map_items=2)], False),
    ],
    ids=["plain", "put off by none", "by some", "by all", "by one", "lists", "nested"],
)
def test_gives_what_compose_gives(transforms, lazy):
    def images(made):
        made = made if isinstance(made, list) else [made]
        return [image for one in made for image in (images(one) if isinstance(one, list) else [one["image"]])]

    compose = Compose(transforms(), lazy=lazy)
    expected = images(compose.set_random_state(3)(sample()))
    drawn = images(Chain(compose.set_random_state(3))(sample()))
    assert len(drawn) == len(expected)
    for one, other in zip(drawn, expected, strict=True):
        assert torch.equal(one, other)


def test_takes_the_transforms_generators_as_they_are():
    flip = RandFlip(prob=0.5).set_random_state(5)
    chain = Chain(Compose([lambda one: {"image": flip(one["image"])}]))
    flip.set_random_state(5)
    chain(sample())
    assert flip.R.random_sample() == np.random.RandomState(5).random_sample(2)[1]


def test_an_error_names_the_transform():
    with pytest.raises(RuntimeError, match="applying transform") as caught:
        Chain(Compose([RandFlipd("other")]))(sample())
    assert isinstance(caught.value.__cause__, KeyError)
