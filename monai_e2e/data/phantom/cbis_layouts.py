"""Store a phantom's series in a form of CBIS-DDSM downloads: descriptive folders, classic folders, or JPEG."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from monai_e2e.data.phantom.storage import PHANTOM_NOTE, new_dataset, random_uid, save
from monai_e2e.data.records import Laterality, View

#: TCIA's UID root for CBIS-DDSM. Random digits and :data:`PHANTOM_NOTE` tell phantoms from the real files.
UID_ROOT = "1.3.6.1.4.1.9590.100.1.2."

LAYOUTS = ("descriptive", "classic", "jpeg")

FULL, MASK, CROP = "full mammogram images", "ROI mask images", "cropped images"

_INFO_COLUMNS = (
    "file_path,image_path,AccessionNumber,BitsAllocated,BitsStored,BodyPartExamined,Columns,ContentDate,ContentTime,"
    "ConversionType,HighBit,InstanceNumber,LargestImagePixelValue,Laterality,Modality,PatientBirthDate,PatientID,"
    "PatientName,PatientOrientation,PatientSex,PhotometricInterpretation,PixelRepresentation,ReferringPhysicianName,"
    "Rows,SOPClassUID,SOPInstanceUID,SamplesPerPixel,SecondaryCaptureDeviceManufacturer,"
    "SecondaryCaptureDeviceManufacturerModelName,SeriesDescription,SeriesInstanceUID,SeriesNumber,"
    "SmallestImagePixelValue,SpecificCharacterSet,StudyDate,StudyID,StudyInstanceUID,StudyTime"
)
#: Columns of the JPEG re-release's ``dicom_info.csv``, in its order.
DICOM_INFO_COLUMNS = _INFO_COLUMNS.split(",")
_QUALITY = 85
#: One JPEG in ten has the older form of the tags, as in the original: no description, and another PatientID.
_OLD_TAGS = 10


@dataclass
class Series:
    """Writes the series of one image, and collects their rows of ``dicom_info.csv``.

    Args:
        folder: folder of the data set.
        layout: one of :data:`LAYOUTS`.
        laterality: side of the image.
        view: view of the image.
        day: date of the study.
        rng: source of all randomness; draws are the same in all layouts.
        defect: one of :data:`.cbis_defects.DEFECTS`; empty for none.
        info: the rows, filled by :meth:`write`.
    """

    folder: Path
    layout: str
    laterality: Laterality
    view: View
    day: date
    rng: np.random.Generator
    defect: str = ""
    info: list[dict[str, str]] = field(default_factory=list)

    def write(self, name: str, files: list[tuple[str, np.ndarray]]) -> list[str]:
        """Save one series as a new study; ``files`` are the description and pixels of each of its files.

        Returns:
            The files' paths in the classic form, which the tables use.
        """
        study, series = random_uid(self.rng, UID_ROOT), random_uid(self.rng, UID_ROOT)
        classic = [f"{name}/{study}/{series}/{number:06d}.dcm" for number in range(len(files))]
        # A series of crop and mask has the mask's description.
        title = MASK if len(files) > 1 else files[0][0]
        described = f"{name}/{self.day:%m-%d-%Y}-DDSM-NA-{study[-5:]}/1.000000-{title}-{series[-5:]}"
        for number, (description, pixels) in enumerate(files):
            dataset = self._dataset(pixels, name, description, study, series, number + 1)
            if self.layout == "jpeg":
                path = self._jpeg(dataset, pixels, name)
            else:
                path = classic[number] if self.layout == "classic" else f"{described}/1-{number + 1}.dcm"
                path = f"CBIS-DDSM/{path}"
                if not self._lost(description):
                    save(dataset, self.folder / path)
            self._spoil(self.folder / path, description)
        return classic

    def _dataset(
        self, pixels: np.ndarray, name: str, description: str, study: UID, series: UID, number: int
    ) -> Dataset:
        instance = random_uid(self.rng, UID_ROOT)
        inverted = self.defect == "monochrome1" and description == FULL and self.layout != "jpeg"
        stored = np.iinfo(pixels.dtype).max - pixels if inverted else pixels
        dataset = new_dataset(SecondaryCaptureImageStorage, instance, stored, bits=8 * pixels.dtype.itemsize)
        if inverted:
            dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.StudyDate = dataset.ContentDate = f"{self.day:%Y%m%d}"
        dataset.StudyTime = dataset.ContentTime = f"{int(self.rng.integers(8, 18)):02d}0000"
        dataset.AccessionNumber = ""
        dataset.Modality = "MG"
        dataset.ConversionType = "WSD"
        dataset.ReferringPhysicianName = ""
        dataset.StudyDescription = f"DDSM ({PHANTOM_NOTE})"
        dataset.SeriesDescription = description
        dataset.PatientName = dataset.PatientID = name
        dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.BodyPartExamined = "BREAST"
        dataset.StudyInstanceUID = study
        dataset.SeriesInstanceUID = series
        dataset.StudyID = "DDSM"
        dataset.SeriesNumber = 1
        dataset.InstanceNumber = number
        dataset.PatientOrientation = self.view.value
        dataset.Laterality = self.laterality.value[0]
        return dataset

    def _jpeg(self, dataset: Dataset, pixels: np.ndarray, name: str) -> str:
        """Save a file of the JPEG re-release and collect its tags; return its path."""
        # The publisher chose the number after the dash; here it comes from the file's UID.
        digits = int(dataset.SOPInstanceUID[-6:])
        relative = f"{dataset.SeriesInstanceUID}/{dataset.InstanceNumber}-{digits % 300:03d}"
        values = {tag: str(dataset.get(tag, "")) for tag in DICOM_INFO_COLUMNS[2:]}
        description = dataset.SeriesDescription
        if digits % _OLD_TAGS == 0:
            patient = "_".join(name.split("_")[1:3])
            values |= {
                "PatientID": f"{name.split('_', 1)[1]}.dcm",
                "PatientName": f"{patient}^{patient}",
                "BodyPartExamined": f"{self.laterality.value.title()} Breast",
                **dict.fromkeys(("SeriesDescription", "StudyDate", "StudyTime", "Laterality"), ""),
            }
        outside = self.defect == "info_leaves_source" and description == FULL
        root = "../../elsewhere" if outside else "CBIS-DDSM"
        paths = {"file_path": f"{root}/dicom/{relative}.dcm", "image_path": f"{root}/jpeg/{relative}.jpg"}
        self.info.append(paths | values)
        path = f"jpeg/{relative}.jpg"
        if not outside and not self._lost(description):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            shift = 8 * (pixels.dtype.itemsize - 1)
            image = Image.fromarray((pixels >> shift).astype(np.uint8))
            image.save(self.folder / path, quality=_QUALITY, comment=PHANTOM_NOTE)
        return path

    def _lost(self, description: str) -> bool:
        """Whether the defect is that this file is missing."""
        lost = {"image_missing": (FULL,), "mask_missing": (MASK, CROP), "mask_missing_crop_left": (MASK,)}
        return description in lost.get(self.defect, ())

    def _spoil(self, path: Path, description: str) -> None:
        """Damage an image's file or copy it, if that is the defect."""
        if description != FULL:
            return
        if self.defect == "unreadable":
            path.write_bytes(b"not an image\n" * 100)
        elif self.defect == "stored_twice":
            path.with_name(f"{path.stem} (1){path.suffix}").write_bytes(path.read_bytes())
