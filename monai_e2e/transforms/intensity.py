"""The paper's intensity augmentation, which MONAI lacks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform


class RandShiftIntensityWithinRange(RandomizableTransform):
    """Add one random offset to an image and clip the result to the range that the image had before.

    So no pixel gets darker than the image's air or brighter than its brightest tissue, which MONAI's
    ``RandShiftIntensity`` does not ensure. All channels get the same offset, since they are copies of one grey image
    (the author's code draws one for each).

    Args:
        offset: the offset is drawn from ``[-offset, offset]``, in intensity units; the author's code uses 20 of 255.
        prob: probability of shifting.

    Shape: ``[C, H, W]`` in and out.

    Raises:
        ValueError: when ``offset`` is negative.
    """

    def __init__(self, offset: float, prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        if offset < 0:
            raise ValueError(f"offset must not be negative, got {offset}")
        self.offset = offset
        self._shift = 0.0

    def randomize(self, data: object | None = None) -> None:
        super().randomize(None)
        if self._do_transform:
            self._shift = self.R.uniform(-self.offset, self.offset)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        image = torch.as_tensor(img)
        if randomize:
            self.randomize()
        if not self._do_transform:
            return image
        darkest, brightest = image.aminmax()
        return (image + self._shift).clamp_(darkest, brightest)


class RandShiftIntensityWithinRanged(RandomizableTransform, MapTransform):
    """Dictionary version of :class:`RandShiftIntensityWithinRange`; all keys get the same offset.

    Args:
        keys: keys of the images.
        offset: see :class:`RandShiftIntensityWithinRange`.
        prob: probability of shifting.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self, keys: KeysCollection, offset: float, prob: float = 1.0, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.shifter = RandShiftIntensityWithinRange(offset, prob)

    def set_random_state(self, seed=None, state=None) -> RandShiftIntensityWithinRanged:
        super().set_random_state(seed, state)
        self.shifter.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        self.shifter.randomize()
        for key in self.key_iterator(d):
            d[key] = self.shifter(d[key], randomize=False)
        return d


RandShiftIntensityWithinRangeD = RandShiftIntensityWithinRangeDict = RandShiftIntensityWithinRanged
