"""Listing the images of any folder."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from monai_e2e.data import list_mammograms
from monai_e2e.data.images.headers import survey
from monai_e2e.data.phantom import write_inbreast
from monai_e2e.data.prepared.folder import find_images
from monai_e2e.errors import UserError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(path)


def test_images_of_one_name_in_several_folders_have_ids_of_their_own(tmp_path):
    picture(tmp_path / "case_a" / "1-1.png")
    picture(tmp_path / "case_b" / "1-1.png")
    assert [sample["image_id"] for sample in list_mammograms(tmp_path)] == ["case_a/1-1", "case_b/1-1"]


@pytest.mark.parametrize("suffix", [".png", ".TIF", ".tiff", ".jpg", ".JPEG"])
def test_pictures_are_found_by_their_suffix(suffix, tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / f"image{suffix}")
    assert [sample["image_id"] for sample in list_mammograms(tmp_path)] == ["image"]


def test_dicom_is_found_by_content_and_other_files_are_left_aside(tmp_path):
    write_inbreast(tmp_path / "download", patients=1, rows=256, workers=1)
    images = sorted((tmp_path / "download" / "AllDICOMs").iterdir())
    images[0].rename(images[0].with_suffix(""))  # hospitals' files often have no suffix
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


def test_images_in_an_archive_and_results_among_images_are_mistakes_that_are_named(tmp_path):
    (tmp_path / "export.zip").touch()
    with pytest.raises(UserError, match=r"1 others; unpack export\.zip first"):
        find_images(tmp_path)
    with pytest.raises(UserError, match=r"export\.zip: a file; unpack export\.zip first; name"):
        find_images(tmp_path / "export.zip")
    picture(tmp_path / "image.png")
    with pytest.raises(UserError, match="is the folder of the images: name another one for the results"):
        find_images(tmp_path, [tmp_path])


def test_images_named_by_uids_keep_the_whole_name(tmp_path):
    write_inbreast(tmp_path / "download", patients=1, rows=256, workers=1)
    images = sorted((tmp_path / "download" / "AllDICOMs").iterdir())[:2]
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        image.rename(tmp_path / "images" / f"1.2.840.{number}")
    assert list(find_images(tmp_path / "images")) == ["1.2.840.0", "1.2.840.1"]


def test_two_files_of_one_name_keep_their_endings(tmp_path):
    picture(tmp_path / "a" / "image.png")
    picture(tmp_path / "a" / "image.tif")
    picture(tmp_path / "b" / "image.png")
    assert list(find_images(tmp_path)) == ["a/image.png", "a/image.tif", "b/image"]


def test_links_in_a_circle_end_and_linked_folders_are_read_once(tmp_path):
    picture(tmp_path / "elsewhere" / "image.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images", target_is_directory=True)
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images" / "loop")
    (tmp_path / "images" / "one").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "images" / "two").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert list(find_images(tmp_path / "images")) == ["one/image"]


def test_hidden_files_tables_of_contents_and_the_results_are_left_out(tmp_path):
    for name in ("image.png", "._image.png", "results/overlays/image.png", ".cache/image.png"):
        picture(tmp_path / name)
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert list(find_images(tmp_path, [tmp_path / "results"])) == ["image"]


def test_a_damaged_dicom_file_is_listed_for_its_ending_so_that_it_is_not_lost_silently(tmp_path):
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert list(find_images(tmp_path)) == ["empty"]


def test_files_without_permission_are_listed_so_that_they_are_not_lost_silently(tmp_path, monkeypatch):
    """Whoever runs the tests may be allowed to read anything."""
    for name in ("IM1", "1.2.840.7", "2.dcm", "notes.txt"):
        (tmp_path / name).write_bytes(b"locked")
    unlocked = open

    def refuse(path, *arguments, **options):
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return unlocked(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    assert list(find_images(tmp_path)) == ["1.2.840.7", "2", "IM1"]
    with pytest.raises(UserError, match="header not readable"):
        survey(tmp_path / "IM1")


def test_names_that_are_not_utf8_have_an_id_that_can_be_written(tmp_path):
    for name in (b"m\xfcller.png", b"a.png", "müller.png".encode()):
        picture(tmp_path / "plain.png")
        os.rename(tmp_path / "plain.png", os.path.join(os.fsencode(tmp_path), name))
    found = find_images(tmp_path)
    assert list(found) == ["a", "müller", "m\\xfcller"]
    for image_id, path in found.items():
        assert image_id.encode("utf-8")
        assert path.is_file()


@pytest.mark.parametrize("marks", [("datalist.json", "images/image.png"), ("run.json", "predictions.csv")])
def test_folders_that_this_package_wrote_are_left_out_with_a_note(tmp_path, caplog, marks):
    for name in ("image.png", "data/own/masks/image_1.png", "data/own/patches/image_1.png"):
        picture(tmp_path / name)
    for name in marks:
        place = tmp_path / "data" / "own" / name
        place.parent.mkdir(exist_ok=True)
        place.touch()
    assert list(find_images(tmp_path)) == ["image"]
    assert f"{tmp_path / 'data' / 'own'} is left out" in caplog.text
    assert len(find_images(tmp_path / "data" / "own")) > 1  # who names it means it


def test_images_of_other_kinds_are_counted_in_the_log(tmp_path, caplog):
    picture(tmp_path / "image.png")
    for name in ("a.BMP", "b.bmp", "notes.txt"):
        (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == ["image"]
    assert "left out: 2 .bmp" in caplog.text


def test_names_of_several_lines_have_an_id_of_one(tmp_path):
    picture(tmp_path / "a\nb\tc\x1b[31m\u2028.png")
    (image_id,) = find_images(tmp_path)
    assert image_id == r"a\nb\tc\x1b[31m\u2028"
