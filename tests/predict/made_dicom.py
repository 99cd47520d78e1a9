"""A mammogram with a hospital's header, and its DICOM results, for the tests of this folder."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

from monai_e2e.predict.dicom_results import write_dicom_results

ROW = {
    "image": "P_1/L_MLO",
    "patient_id": "P_1",
    "exam_id": "",
    "laterality": "LEFT",
    "view": "MLO",
    "p_malignant": "0.731000",
    "logit": "0.999500",
    "threshold": "0.400000",
    "model": "ddsm_whole",
    "flags": "",
}
#: Text that no result may hold by default, by the element it is planted in.
PLANTED = {
    "PatientName": "PLANTEDNAME^JANE",
    "PatientID": "PLANTEDID",
    "PatientBirthDate": "19510203",
    "PatientSex": "F",
    "PatientAge": "072Y",
    "StudyDate": "20030405",
    "StudyTime": "060708",
    "StudyID": "PLANTEDSTUDY",
    "StudyDescription": "PLANTEDDESCRIPTION",
    "AccessionNumber": "PLANTEDNUMBER",
    "ReferringPhysicianName": "PLANTEDDOCTOR^A",
}


def write_image(path: Path, syntax: uid.UID = uid.ExplicitVRLittleEndian, **attributes: object) -> Path:
    """A digital mammogram for presentation with a hospital's header; ``attributes`` override (None deletes)."""
    pixels = np.arange(24 * 16, dtype=np.int16).reshape(24, 16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (generate_uid() for _ in range(3))
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for name, value in PLANTED.items():
        setattr(dataset, name, value)
    dataset.IssuerOfPatientID = "PLANTEDISSUER"
    dataset.InstitutionName = "PLANTEDHOSPITAL"
    dataset.Manufacturer, dataset.ManufacturerModelName = "PLANTEDMAKER", "PLANTEDMODEL"
    dataset.PatientOrientation = ["A", "FR"]
    dataset.InstanceNumber = 3
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.PixelData = encapsulate([pixels.tobytes()]) if syntax.is_encapsulated else pixels.tobytes()
    dataset["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def picture(rows: int = 12, columns: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def results(folder: Path, source: Path, keep_identity: bool = False, **row: object) -> tuple[Dataset, Dataset]:
    paths = write_dicom_results(folder, "image", ROW | row, picture(), source, keep_identity)
    return tuple(pydicom.dcmread(path) for path in paths)
