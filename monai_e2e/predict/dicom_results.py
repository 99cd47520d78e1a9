"""Results as DICOM files for a PACS: the overlay as a Secondary Capture, the score as a Structured Report.

Both refer to the image that they are about by its UIDs. The overlays of an exam are one series, its reports another.
What they take from the image's header is listed by name in :mod:`monai_e2e.predict.dicom_reference`.

By default a result names no patient: its Patient ID is that of the predictions' table, and name, birth date, accession
number and the study's date are empty. It stands in a study of its own, since no PACS may have one study under two
patients. Such files are for research archives. For a PACS that holds the images, ``keep_identity`` copies patient and
study from them.

UIDs are made from what a result says: the same image, model and score give the same UIDs, and a PACS takes the files of
a repeated run for the ones that it has instead of piling up copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_e2e.errors import UserError
from monai_e2e.predict.dicom_reference import read_reference
from monai_e2e.predict.secondary_capture import write_secondary_capture
from monai_e2e.predict.structured_report import write_structured_report


def write_dicom_results(
    folder: Path,
    image_id: str,
    prediction: Mapping[str, Any],
    overlay: np.ndarray,
    source: Path,
    keep_identity: bool = False,
    number: int = 1,
) -> tuple[Path, Path]:
    """Write both results of one image, ``<image_id>_overlay.dcm`` and ``<image_id>_report.dcm``.

    Args:
        folder: where to write; folders within ``image_id`` are made.
        image_id: the image's id in predictions.csv; it may contain ``/``.
        prediction: the image's row of predictions.csv.
        overlay: see :func:`~monai_e2e.predict.secondary_capture.write_secondary_capture`.
        source: the image's DICOM file.
        keep_identity: copy patient and study from the image, see the module's text.
        number: of the image among those of its exam, from 1; the results' Instance Number.

    Returns:
        The paths of the Secondary Capture and of the Structured Report.

    Raises:
        UserError: when highdicom isn't installed, the image is no DICOM file, or its header or the row doesn't allow a
            result; no file is left half-written.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise UserError('DICOM results need a further package: run `pip install "monai-e2e[dicom]"`') from error
    overlay_path, report_path = (Path(folder, f"{image_id}_{kind}.dcm") for kind in ("overlay", "report"))
    if not overlay_path.resolve().is_relative_to(Path(folder).resolve()):
        raise UserError(f"{source}: the image id {image_id!r} leads out of {folder}; change it in the table")
    reference = read_reference(source, prediction, keep_identity, number)
    write_structured_report(reference, report_path)
    write_secondary_capture(reference, overlay, overlay_path)
    return overlay_path, report_path
