"""One warp for flips, rotation, shear and zoom: what MONAI's transforms give one after the other."""

import numpy as np
import pytest
import torch
from monai.transforms import RandAffine

from monai_e2e.transforms import RandFlipAffine, RandFlipAffined

RANGES = {"rotate_range": np.deg2rad(25), "shear_range": (0.2, 0.0), "scale_range": (0.2, 0.2)}


def smooth(*size: int) -> torch.Tensor:
    """An image whose bilinear values hardly depend on the weights' last bits."""
    image = torch.rand(1, 1, *(side // 8 for side in size), generator=torch.Generator().manual_seed(1)) * 255
    return torch.nn.functional.interpolate(image, size=size, mode="bicubic")[0]


class Flipped(RandFlipAffine):
    """With flips that are given."""

    def randomize(self, data=None) -> None:
        super().randomize()
        self._signs = self.given


@pytest.mark.parametrize("out", [(96, 72), (64, 64), (97, 73)])
@pytest.mark.parametrize("signs", [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_it_gives_what_monais_transforms_give_for_the_same_draws(signs, out):
    image = smooth(96, 72)
    warp = Flipped(out, **RANGES).set_random_state(3)
    warp.given = signs
    theirs = RandAffine(prob=1.0, spatial_size=out, mode="bilinear", padding_mode="border", **RANGES)
    for _ in range(3):
        ours = warp(image)
        flipped = image.flip([axis for axis, sign in ((1, signs[0]), (2, signs[1])) if sign < 0])
        angle, *shears = warp._draws[:3]
        theirs.rand_affine_grid.rotate_params = [angle]
        theirs.rand_affine_grid.shear_params = shears
        theirs.rand_affine_grid.scale_params = [1 + draw for draw in warp._draws[3:]]
        theirs._do_transform = True
        expected = theirs(flipped, randomize=False)
        assert ours.shape == (1, *out)
        assert (ours - expected).abs().max() < 1.5  # of 255; weights are rounded to 1/32
        assert (ours - expected).abs().mean() < 0.15


def test_what_is_drawn_is_within_its_range_and_hangs_on_nothing_else_that_is_drawn():
    warp = RandFlipAffine((8, 8), **RANGES)
    draws = []
    for seed in range(600):
        warp.set_random_state(seed).randomize()
        draws.append([*warp._signs, *np.delete(warp._draws, 2)])
    assert np.all(np.abs(draws).max(0) <= [1, 1, np.deg2rad(25), 0.2, 0.2, 0.2])
    assert np.all(np.abs(draws).max(0) > 0.95 * np.array([1, 1, np.deg2rad(25), 0.2, 0.2, 0.2]))
    correlations = np.corrcoef(np.array(draws).T) - np.eye(6)
    assert np.abs(correlations).max() < 0.15


def test_flips_alone_are_exact():
    image = smooth(40, 30)
    warp = RandFlipAffine((40, 30), flip_prob=0.5).set_random_state(0)
    seen = set()
    for _ in range(40):
        found = warp(image)
        axes = [axis for axis, sign in zip((1, 2), warp._signs, strict=True) if sign < 0]
        torch.testing.assert_close(found, image.flip(axes), rtol=0, atol=1e-3)
        seen.add(tuple(axes))
    assert seen == {(), (1,), (2,), (1, 2)}


@pytest.mark.parametrize(("prob", "expected"), [(0.0, (1.0, 1.0)), (1.0, (-1.0, -1.0))])
def test_probabilities_of_flips(prob, expected):
    warp = RandFlipAffine((8, 8), flip_prob=prob)
    warp.randomize()
    assert warp._signs == expected


def test_draws_follow_from_the_seed_alone_and_all_keys_and_channels_are_warped_alike():
    image = smooth(48, 48)
    first, second = (RandFlipAffined(["a", "b"], (48, 48), **RANGES).set_random_state(5) for _ in range(2))
    for _ in range(3):
        data = {"a": image, "b": torch.cat([image, image]), "label": 1}
        one, two = first(data), second(data)
        assert torch.equal(one["a"], two["a"])
        assert torch.equal(one["b"], torch.cat([one["a"], one["a"]]))
        assert one["label"] == 1
    assert not torch.equal(first(data)["a"], one["a"])


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="flip_prob must be from 0 to 1, got 2"):
        RandFlipAffine((8, 8), flip_prob=2)
    with pytest.raises(ValueError, match=r"rows and columns, got \[8\]"):
        RandFlipAffine([8])
