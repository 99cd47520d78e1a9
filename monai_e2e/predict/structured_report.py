"""A result as a Structured Report: the score, for programs."""

from __future__ import annotations

from pathlib import Path

from pydicom.sr.codedict import codes

from monai_e2e import __version__
from monai_e2e.data.images.headers import sop_class_name
from monai_e2e.errors import UserError
from monai_e2e.predict.dicom_reference import NAME, Reference, common_arguments, result_uid, save_result


def write_structured_report(reference: Reference, out: Path) -> None:
    """Write the image's score as a Comprehensive SR with a Measurement Report (PS3.16, TID 1500).

    One measurement of the whole image: Probability of cancer (111047, DCM) in percent, the concept and unit of
    mammography CAD reports, with the image as its source and the algorithm's name, version, model and threshold
    (TID 4019). The report is complete, preliminary and unverified.

    Raises:
        UserError: when the image is of a class that no report can refer to.
    """
    from highdicom import sr

    mammogram, prediction, side = reference.mammogram, reference.prediction, reference.side
    percent = 100 * float(prediction["p_malignant"])
    parameters = [f"model: {prediction['model']}"] if prediction.get("model") else []
    if prediction.get("threshold") not in (None, ""):
        parameters.append(f"threshold: {float(prediction['threshold']):.3g}")
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(result_uid("measurement", mammogram.SOPInstanceUID), "whole image"),
        algorithm_id=sr.AlgorithmIdentification(NAME, __version__, parameters),
        finding_sites=[sr.FindingSite(codes.SCT.Breast, laterality=side[1] if side else None)],
        measurements=[sr.Measurement(codes.DCM.ProbabilityOfCancer, round(percent, 1), codes.UCUM.Percent)],
        source_images=[sr.SourceImageForMeasurementGroup(mammogram.SOPClassUID, mammogram.SOPInstanceUID)],
    )
    relation = sr.RelationshipTypeValues.CONTAINS
    group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, reference.comment, relation))
    observer = sr.DeviceObserverIdentifyingAttributes(result_uid("device"), name=NAME, manufacturer_name=NAME)
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, observer),
        ),
        procedure_reported=codes.SCT.Mammography,
        imaging_measurements=[group],
    )
    common = common_arguments("report", reference)
    try:
        report = sr.ComprehensiveSR(evidence=[mammogram], content=content, is_complete=True, **common)
    except KeyError as error:  # from highdicom's table of the standard's classes
        raise UserError(
            f"{reference.source}: a report can't refer to its SOP class ({sop_class_name(mammogram)}); "
            f"convert the image to a mammography class, or do without DICOM results"
        ) from error
    if "StudyInstanceUID" in reference.identity:  # the image is of another study than the report
        report.PertinentOtherEvidenceSequence = report.CurrentRequestedProcedureEvidenceSequence
        del report.CurrentRequestedProcedureEvidenceSequence
    save_result(report, reference, out)
