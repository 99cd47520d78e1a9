"""Listing the images of any folder."""

import numpy as np
import pytest
from PIL import Image

from monai_e2e.data import list_mammograms
from monai_e2e.data.phantom import write_inbreast
from monai_e2e.errors import UserError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(path)


def test_films_of_one_name_in_several_folders_have_ids_of_their_own(tmp_path):
    picture(tmp_path / "case_a" / "1-1.png")
    picture(tmp_path / "case_b" / "1-1.png")
    assert [sample["image_id"] for sample in list_mammograms(tmp_path)] == ["case_a/1-1", "case_b/1-1"]


@pytest.mark.parametrize("suffix", [".png", ".TIF", ".tiff", ".jpg", ".JPEG"])
def test_pictures_are_found_by_their_suffix(suffix, tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / f"film{suffix}")
    assert [sample["image_id"] for sample in list_mammograms(tmp_path)] == ["film"]


def test_dicom_is_found_by_content_and_other_files_are_left_aside(tmp_path):
    write_inbreast(tmp_path / "download", patients=1, rows=256, workers=1)
    films = sorted((tmp_path / "download" / "AllDICOMs").iterdir())
    films[0].rename(films[0].with_suffix(""))  # hospitals' files often have no suffix
    (tmp_path / "download" / "notes.txt").write_text("not an image")
    listed = [sample["image"] for sample in list_mammograms(tmp_path / "download")]
    assert listed == sorted(str(path) for path in (tmp_path / "download" / "AllDICOMs").iterdir())


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_images_is_a_users_mistake(tmp_path, make):
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(UserError, match="empty"):
        list_mammograms(folder)
