"""The score as a Structured Report: what it says of the image, and who computed it."""

import pydicom
import pytest
from made_dicom import results, write_image
from pydicom.sr.codedict import codes

from monai_e2e import __version__
from monai_e2e.predict.dicom_reference import DISCLAIMER

sr = pytest.importorskip("highdicom.sr")


def test_report_gives_the_images_probability_of_cancer_and_who_computed_it(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    image = pydicom.dcmread(source)
    _, report = results(tmp_path / "out", source)
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    document = sr.ComprehensiveSR.from_dataset(report)
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (evidence,) = document.get_evidence()
    assert "CurrentRequestedProcedureEvidenceSequence" not in report  # the image's study is another
    assert evidence == (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID, image.SOPClassUID)
    (group,) = document.content.get_image_measurement_groups(referenced_sop_instance_uid=image.SOPInstanceUID)
    (measurement,) = group.get_measurements(codes.DCM.ProbabilityOfCancer)
    assert (measurement.value, measurement.unit) == (73.1, codes.UCUM.Percent)
    (site,) = group.finding_sites
    assert (site.value, site.laterality) == (codes.SCT.Breast, codes.SCT.Left)
    assert texts(group)[1:] == [
        "monai-e2e",
        __version__,
        "model: ddsm_whole",
        "threshold: 0.4",
        f"{DISCLAIMER}. LEFT MLO.",
    ]


def test_a_probability_has_no_more_digits_than_it_deserves(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    _, report = results(tmp_path / "out", source, p_malignant="0.123456")
    (group,) = sr.ComprehensiveSR.from_dataset(report).content.get_image_measurement_groups()
    assert group.get_measurements(codes.DCM.ProbabilityOfCancer)[0].value == 12.3


def test_a_threshold_of_0_is_named_too(tmp_path):
    _, report = results(tmp_path / "out", write_image(tmp_path / "image.dcm"), threshold=0.0)
    (group,) = sr.ComprehensiveSR.from_dataset(report).content.get_image_measurement_groups()
    assert "threshold: 0" in texts(group)


def texts(group) -> list[str]:
    return [item.TextValue for item in group[0].ContentSequence if item.ValueType == "TEXT"]
