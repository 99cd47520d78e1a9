"""A result as a Structured Report: the score, for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.sr.codedict import codes

from monai_e2e import __version__
from monai_e2e.data.images.headers import sop_class_name
from monai_e2e.errors import UserError
from monai_e2e.predict.dicom_reference import (
    LATERALITY,
    NAME,
    comment,
    common_arguments,
    read_reference,
    require_highdicom,
    result_uid,
    save_result,
)


def write_structured_report(
    prediction: Mapping[str, Any], source: Path, out: Path, keep_identity: bool = False, number: int = 1
) -> None:
    """Write the image's score as a Comprehensive SR with a Measurement Report (PS3.16, TID 1500).

    One measurement of the whole image: Probability of cancer (111047, DCM) in percent, the concept and unit of
    mammography CAD reports, with the image as its source and the algorithm's name, version, model and threshold
    (TID 4019). The report is complete, preliminary and unverified.

    Args:
        prediction: the image's row of predictions.csv.
        source: the image's DICOM file.
        out: file to write.
        keep_identity: copy patient and study from the image.
        number: Instance Number.

    Raises:
        UserError: as :func:`~monai_e2e.predict.dicom_results.write_dicom_results`.
    """
    require_highdicom()
    from highdicom import sr

    percent = 100 * _probability(prediction, source)
    mammogram, identity = read_reference(source, prediction, keep_identity)
    side = LATERALITY.get(prediction.get("laterality") or "")
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
    group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, comment(prediction), relation))
    observer = sr.DeviceObserverIdentifyingAttributes(result_uid("device"), name=NAME, manufacturer_name=NAME)
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, observer),
        ),
        procedure_reported=codes.SCT.Mammography,
        imaging_measurements=[group],
    )
    common = common_arguments("report", mammogram, identity, prediction, number)
    try:
        report = sr.ComprehensiveSR(evidence=[mammogram], content=content, is_complete=True, **common)
    except KeyError as error:  # from highdicom's table of the standard's classes
        raise UserError(
            f"{source}: a report can't refer to its SOP class ({sop_class_name(mammogram)}); "
            f"convert the image to a mammography class, or do without DICOM results"
        ) from error
    if not keep_identity:  # the image is of another study than the report
        report.PertinentOtherEvidenceSequence = report.CurrentRequestedProcedureEvidenceSequence
        del report.CurrentRequestedProcedureEvidenceSequence
    save_result(report, identity, out)


def _probability(prediction: Mapping[str, Any], source: Path) -> float:
    value = prediction.get("p_malignant")
    try:
        probability = float(value)  # type: ignore[arg-type]  # None raises TypeError
    except (TypeError, ValueError):
        probability = math.nan
    if not 0 <= probability <= 1:
        raise UserError(f"{source}: p_malignant must be from 0 to 1, got {value!r}; predict the image again")
    return probability
