"""The intensity shift of the paper's augmentation: one offset, never beyond the image's own range."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_e2e import transforms
from monai_e2e.transforms import RandShiftIntensityWithinRange, RandShiftIntensityWithinRanged


def ramp(low: float = 50.0, high: float = 200.0, channels: int = 1) -> torch.Tensor:
    return torch.linspace(low, high, 64).reshape(1, 8, 8).repeat(channels, 1, 1)


def shift_of(image: torch.Tensor, shifted: torch.Tensor) -> float:
    """The offset, read from the middle gray, which no clipping reaches."""
    return (shifted - image).flatten()[image.numel() // 2].item()


def test_every_pixel_moves_by_the_offset_or_stops_at_the_images_range():
    transform = RandShiftIntensityWithinRange(20).set_random_state(0)
    image = ramp()
    offsets = []
    for _ in range(50):
        shifted = transform(image)
        offsets.append(shift_of(image, shifted))
        torch.testing.assert_close(shifted, (image + offsets[-1]).clamp(50, 200), rtol=0, atol=1e-3)
    assert -20 <= min(offsets) < -15
    assert 15 < max(offsets) <= 20


def test_air_and_burnt_out_image_stay_what_they_are():
    image = ramp()
    transform = RandShiftIntensityWithinRange(20).set_random_state(1)
    darkest, *_, brightest = sorted((transform(image) for _ in range(20)), key=torch.sum)
    assert darkest.flatten()[0] == darkest.min() == 50
    assert brightest.flatten()[-1] == brightest.max() == 200
    assert shift_of(image, darkest) < 0 < shift_of(image, brightest)


def test_all_channels_get_one_offset():
    shifted = RandShiftIntensityWithinRange(20).set_random_state(0)(ramp(channels=3))
    assert torch.equal(shifted[0], shifted[1])
    assert torch.equal(shifted[0], shifted[2])


def test_the_random_state_decides():
    def draw(seed: int) -> list[float]:
        transform = RandShiftIntensityWithinRange(20, prob=0.5).set_random_state(seed)
        return [shift_of(ramp(), transform(ramp())) for _ in range(5)]

    assert draw(3) == draw(3) != draw(4)


@pytest.mark.parametrize(("prob", "expected"), [(0.0, 0), (1.0, 40), (0.25, 10)])
def test_probability(prob, expected):
    transform = RandShiftIntensityWithinRange(20, prob=prob).set_random_state(0)
    changed = sum(not torch.equal(transform(ramp()), ramp()) for _ in range(40))
    assert changed == pytest.approx(expected, abs=5 if 0 < prob < 1 else 0)


def test_randomize_false_repeats_the_last_offset():
    transform = RandShiftIntensityWithinRange(20).set_random_state(0)
    first = transform(ramp())
    assert torch.equal(transform(ramp(), randomize=False), first)
    assert not torch.equal(transform(ramp()), first)


def test_arrays_come_out_as_tensors_and_meta_data_is_kept():
    transform = RandShiftIntensityWithinRange(20).set_random_state(0)
    assert isinstance(transform(ramp().numpy().astype(np.float32)), torch.Tensor)
    image = MetaTensor(ramp(), meta={"filename_or_obj": "image.png"})
    assert transform(image).meta["filename_or_obj"] == "image.png"
    assert torch.equal(image.as_tensor(), ramp())  # the input is left as it was


def test_negative_offset_is_refused():
    with pytest.raises(ValueError, match="-1"):
        RandShiftIntensityWithinRange(-1)


class TestDictionary:
    def test_shifts_as_the_array_version_does_and_leaves_other_keys(self):
        data = {"image": ramp(), "other": ramp(), "label": 1}
        out = RandShiftIntensityWithinRanged("image", 20).set_random_state(0)(data)
        assert -20 <= shift_of(ramp(), out["image"]) <= 20
        assert not torch.equal(out["image"], ramp())
        assert out["other"] is data["other"]
        assert out["label"] == 1
        assert torch.equal(data["image"], ramp())

    def test_all_keys_get_one_offset(self):
        out = RandShiftIntensityWithinRanged(["a", "b"], 20).set_random_state(0)({"a": ramp(), "b": ramp()})
        assert torch.equal(out["a"], out["b"])
        assert not torch.equal(out["a"], ramp())

    def test_a_composition_hands_its_random_state_down(self):
        def draw(seed: int) -> torch.Tensor:
            return Compose([RandShiftIntensityWithinRanged("image", 20)]).set_random_state(seed)({"image": ramp()})[
                "image"
            ]

        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))

    def test_probability_zero_changes_nothing(self):
        out = RandShiftIntensityWithinRanged("image", 20, prob=0.0)({"image": ramp()})
        assert torch.equal(out["image"], ramp())

    def test_missing_key(self):
        with pytest.raises(KeyError, match="image"):
            RandShiftIntensityWithinRanged("image", 20)({"label": 1})
        assert RandShiftIntensityWithinRanged("image", 20, allow_missing_keys=True)({"label": 1}) == {"label": 1}


@pytest.mark.parametrize("name", ["LoadMammogram", "RandShiftIntensityWithinRange"])
def test_dictionary_versions_have_monais_three_names(name):
    small_d = getattr(transforms, f"{name}d")
    assert getattr(transforms, f"{name}D") is small_d
    assert getattr(transforms, f"{name}Dict") is small_d
