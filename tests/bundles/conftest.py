"""Phantoms that the tests of the bundles share: they are drawn once for each test process."""

import pytest

from monai_e2e.data import phantom_dataset


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> str:
    """A prepared CBIS-DDSM of 30 patients, 128 × 96; what is written into it besides, such as patches, stays."""
    folder = tmp_path_factory.mktemp("phantoms")
    return phantom_dataset("cbis-ddsm", patients=30, image_size=(128, 96), folder=folder, workers=2)
