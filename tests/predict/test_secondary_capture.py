"""The picture as a Secondary Capture: what it shows, what it refers to, how it is shown undistorted."""

import numpy as np
import pydicom
import pytest
from made_dicom import ROW, picture, results, write_image
from pydicom import uid

from monai_e2e.predict.dicom_reference import DISCLAIMER
from monai_e2e.predict.dicom_results import write_dicom_results

pytest.importorskip("highdicom.sr")


def test_overlay_is_a_picture_derived_from_the_image(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    image = pydicom.dcmread(source)
    overlay, _ = results(tmp_path / "out", source)
    np.testing.assert_array_equal(overlay.pixel_array, picture())
    assert overlay.SOPClassUID == uid.SecondaryCaptureImageStorage
    assert overlay.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert (overlay.PhotometricInterpretation, overlay.ImageType[0]) == ("RGB", "DERIVED")
    assert overlay.Modality == "OT"
    assert overlay.SeriesInstanceUID != image.SeriesInstanceUID
    (reference,) = overlay.SourceImageSequence
    assert reference.ReferencedSOPClassUID == image.SOPClassUID
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert (overlay.ImageLaterality, overlay.PatientOrientation) == ("L", ["A", "FR"])
    assert overlay.ImageComments == f"{DISCLAIMER}. LEFT MLO."
    assert DISCLAIMER in overlay.SeriesDescription
    assert overlay.ContentQualification == "RESEARCH"


@pytest.mark.parametrize("value", ["YES", "NO"])
def test_what_the_images_pixels_show_or_lost_is_said_of_the_overlays(tmp_path, value):
    source = write_image(tmp_path / "image.dcm", BurnedInAnnotation=value, LossyImageCompression="01")
    overlay, _ = results(tmp_path / "out", source)
    assert (overlay.BurnedInAnnotation, overlay.LossyImageCompression) == (value, "01")


def test_overlay_of_another_shape_says_how_to_show_it_undistorted(tmp_path):
    source = write_image(tmp_path / "image.dcm")  # 24 rows, 16 columns
    for shape, ratio, preserved in (((12, 8), None, "NO"), ((24, 16), None, "YES"), ((12, 16), ["2", "1"], "NO")):
        path, _ = write_dicom_results(tmp_path / "out", "image", ROW, picture(*shape), source)
        overlay = pydicom.dcmread(path)
        assert overlay.get("PixelAspectRatio") == ratio
        assert overlay.SourceImageSequence[0].SpatialLocationsPreserved == preserved
