"""Damaged and hostile files cost one file, and no text of a header gets out."""

import logging
import re
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, uid
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation
from test_dicom import ramp, write_dicom

from monai_e2e.data.images import dicom_files
from monai_e2e.data.images.dicom import decode_image, find_mask, read_pixels
from monai_e2e.data.images.dicom_files import is_dicom, one_file, quiet
from monai_e2e.data.images.headers import read_header
from monai_e2e.errors import UserError


@pytest.mark.parametrize("raised", [NotImplementedError, zlib.error, RecursionError, TypeError, MemoryError, KeyError])
def test_whatever_is_raised_names_the_file_and_the_kind_alone(raised):
    expected = rf"^image\.dcm: not readable \({raised.__name__}\); download"
    with pytest.raises(UserError, match=expected) as caught, one_file("image.dcm"):
        raise raised("DOE^JANE")
    assert "DOE" not in str(caught.value)


def test_what_a_user_ends_and_what_was_said_already_pass():
    with pytest.raises(KeyboardInterrupt), one_file("image.dcm"):
        raise KeyboardInterrupt
    with pytest.raises(UserError, match=r"^said$"), one_file("image.dcm"):
        raise UserError("said")


def test_nothing_is_warned_of_or_logged_while_a_file_is_read(recwarn, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pydicom"), "disabled", False)
    with quiet():
        warnings.warn("DOE^JANE", stacklevel=1)
        logging.getLogger("pydicom").warning("DOE^JANE")
    assert not recwarn.list
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "pydicom"):
        logging.getLogger("pydicom").warning("heard again")
    assert "heard again" in caplog.text


def test_readers_in_threads_leave_warnings_and_logs_as_they_were():
    logger, filters = logging.getLogger("pydicom"), list(warnings.filters)
    before = logger.disabled
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # the first reader ends while the second still reads
    assert logger.disabled
    second.__exit__(None, None, None)
    assert logger.disabled == before
    assert warnings.filters == filters


def test_a_flipped_bit_in_a_header_costs_at_most_the_file(tmp_path):
    path = write_dicom(tmp_path / "image.dcm", ramp(20, 20), ViewPosition="CC", WindowCenter=5, WindowWidth=9)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    header = whole.index(b"\xe0\x7f\x10\x00")
    for bit in rng.choice(8 * header, 100, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        read_header(path)
        for read in (lambda file: decode_image(file, voi_lut=True), find_mask):
            with suppress(UserError):
                read(path)


def test_elements_of_nested_items_are_not_repeated(tmp_path, capfd, recwarn):
    item = Dataset()
    item.add_new("LUTDescriptor", "LO", "PLANTED^NAME")
    item.add_new("LUTData", "LO", "PLANTED^NAME")
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        path = write_dicom(tmp_path / "image.dcm", ramp(), **{name: [item]})
        with pytest.raises(UserError) as caught:
            decode_image(path, voi_lut=True)
        assert "PLANTED" not in str(caught.value)
    assert "PLANTED" not in "".join(capfd.readouterr())
    assert not recwarn.list


@pytest.mark.parametrize(
    "keyword",
    [
        *("SOPClassUID", "PhotometricInterpretation", "Modality", "NumberOfFrames", "RescaleSlope", "WindowCenter"),
        *("PixelPaddingValue", "PresentationIntentType", "BitsStored", "HighBit", "Rows", "SamplesPerPixel"),
    ],
)
def test_no_value_of_a_header_is_in_a_message_or_on_the_console(tmp_path, keyword, capfd, recwarn):
    path = write_dicom(tmp_path / "image.dcm", ramp(), WindowWidth=5, WindowCenter=5)
    dataset = pydicom.dcmread(path)
    dataset.add_new(keyword, "LO", "19470203.99")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path)
    said = ""
    for read in (lambda file: decode_image(file, voi_lut=True), find_mask, read_pixels, read_header):
        try:
            read(path)
        except UserError as error:
            said += str(error)
    out, err = capfd.readouterr()
    assert not re.search("19470203", said + out + err)
    assert not recwarn.list


def test_a_file_without_preamble_is_dicom_by_its_first_element(tmp_path):
    path = write_dicom(tmp_path / "image.dcm", ramp())
    (tmp_path / "bare").write_bytes(path.read_bytes()[132:])
    assert is_dicom(tmp_path / "bare")
    np.testing.assert_array_equal(decode_image(tmp_path / "bare").pixels, decode_image(path).pixels)


def test_a_deflated_file_that_unpacks_to_more_than_an_image_is_refused(tmp_path, monkeypatch):
    pixels = np.zeros((2000, 2000), np.uint16)
    pixels[0, :50] = range(50)
    path = write_dicom(tmp_path / "image.dcm", pixels, syntax=uid.DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size < 20000
    assert decode_image(path).pixels.shape == (2000, 2000)
    monkeypatch.setattr(dicom_files, "_MAX_INFLATED", 1 << 20)
    with pytest.raises(UserError, match="decompresses to more than 1 MiB"):
        decode_image(path)
    assert read_header(path).study == ""


def test_more_pixels_than_an_image_has_are_refused_before_they_are_unpacked(tmp_path):
    path = write_dicom(tmp_path / "image.dcm", ramp(), Rows=65535, Columns=65535)
    with pytest.raises(UserError, match="more than 128 million pixels"):
        decode_image(path)


def test_any_modality_reads_and_flags_what_is_refused_otherwise(tmp_path):
    ct = write_dicom(tmp_path / "ct.dcm", ramp(), SOPClassUID=uid.CTImageStorage, Modality="CT")
    with pytest.raises(UserError, match=r"ct\.dcm: no mammogram, but CT Image Storage; leave it out, or use --any-mod"):
        decode_image(ct)
    assert decode_image(ct, any_modality=True).flags == ("no mammogram by its header",)
    poor = write_dicom(tmp_path / "poor.dcm", ramp(), SOPClassUID=None, Modality=None)
    with pytest.raises(UserError, match="no modality in the header"):
        decode_image(poor)
    assert decode_image(poor, any_modality=True).flags == ("no mammogram by its header",)


def test_masks_are_no_images_but_masks(tmp_path):
    mask = np.eye(5, 4, dtype=np.uint8) * 255
    path = write_dicom(tmp_path / "mask.dcm", mask, SOPClassUID=DigitalMammographyXRayImageStorageForPresentation)
    with pytest.raises(UserError, match="a lesion mask and no mammogram"):
        decode_image(path)
    assert find_mask(path).sum() == 4
