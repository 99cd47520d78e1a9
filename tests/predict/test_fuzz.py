"""Damaged images, 500 as DICOM and 200 as pictures: each is a result or a reason, and nothing hangs or is lost."""

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.phantom.storage import new_dataset, save
from monai_e2e.predict.reading import ImageReader, ReadImage
from monai_e2e.predict.worklist import list_images
from monai_e2e.transforms import LoadMammogramd
from monai_e2e.work.streaming import stream_parallel

SECRET = "PLANTED"


def breast() -> np.ndarray:
    down, right = np.mgrid[:64, :48]
    return np.where((right / 30) ** 2 + ((down - 32) / 28) ** 2 < 1, 200 - right, 0).astype(np.uint16) * 16


def dicom_files(folder: Path) -> list[bytes]:
    """The same image uncompressed, deflated and compressed in several ways."""
    dataset = new_dataset(DigitalMammographyXRayImageStorageForPresentation, "1.2.3", breast(), 12)
    dataset.Modality, dataset.ImageLaterality, dataset.ViewPosition = "MG", "L", "CC"
    dataset.StudyInstanceUID = "1.2.4"
    dataset.PatientName = dataset.PatientID = dataset.InstitutionName = SECRET
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = 1000, 900, 1, 0
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTExplanation = [4096, 0, 16], SECRET
    item.add_new("LUTData", "OW", np.arange(0, 65536, 16, dtype="<u2").tobytes())
    dataset.VOILUTSequence = [item]
    save(dataset, folder / "plain.dcm")
    made = []
    for syntax in (None, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless):
        changed = pydicom.dcmread(folder / "plain.dcm")
        if syntax is not None and syntax.is_compressed:
            try:
                changed.compress(syntax)
            except RuntimeError:
                continue  # no encoder installed
        elif syntax is not None:
            changed.file_meta.TransferSyntaxUID = syntax
        stream = io.BytesIO()
        changed.save_as(stream)
        made.append(stream.getvalue())
    jpeg, stream = io.BytesIO(), io.BytesIO()
    Image.fromarray((breast() // 16).astype(np.uint8)).save(jpeg, "JPEG")
    changed = pydicom.dcmread(folder / "plain.dcm")
    changed.BitsAllocated, changed.BitsStored, changed.HighBit = 8, 8, 7
    changed.PixelData = encapsulate([jpeg.getvalue()])
    changed["PixelData"].VR = "OB"
    changed.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    changed.save_as(stream)
    (folder / "plain.dcm").unlink()
    return [*made, stream.getvalue()]


def pictures() -> list[bytes]:
    made = []
    for pixels, kind, options in (
        (breast(), "PNG", {}),
        (breast(), "TIFF", {}),
        (breast(), "TIFF", {"compression": "tiff_lzw"}),
        ((breast() // 16).astype(np.uint8), "JPEG", {"quality": 90}),
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        made.append(stream.getvalue())
    return made


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with one to eight faults, mostly in its header: bits flipped, bytes replaced, a part lost or doubled."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        end = min(len(found), 1500) if rng.random() < 0.7 else len(found)
        place = int(rng.integers(0, max(end, 1)))
        kind = rng.integers(0, 10)
        if kind < 6 and found:
            found[place] ^= 1 << int(rng.integers(0, 8))
        elif kind < 8:
            found[place : place + 4] = rng.bytes(4)
        elif kind == 8:
            del found[place : place + int(rng.integers(1, 200))]
        else:
            found[place:place] = found[place : place + int(rng.integers(1, 200))]
    return bytes(found if rng.random() < 0.9 else found[: int(rng.integers(0, len(found) + 1))])


@pytest.mark.fuzz
def test_damaged_images_are_read_or_have_a_reason_and_none_is_lost(tmp_path, capfd):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    made = [("dcm", dicom_files(tmp_path), 500), ("png", pictures(), 200)]
    for suffix, files, number in made:
        for index in range(number):
            path = tmp_path / "images" / f"{suffix}{index:03d}.{suffix}"
            path.write_bytes(damaged(files[index % len(files)], rng))
    reader = ImageReader([LoadMammogramd("image", (64, 48), voi_lut=True)], pictures=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = list_images(tmp_path / "images")
        results = list(stream_parallel(reader, images, workers=1))
    assert [image for image, _ in results] == images
    assert len(images) == 700
    reads = [read for _, read in results]
    reasons = [read for read in reads if isinstance(read, str)]
    assert sum(isinstance(read, ReadImage) for read in reads) > 100
    assert len(reasons) > 100
    said = "\n".join([*reasons, *(flag for image in images for flag in image.flags), *capfd.readouterr()])
    assert "Traceback" not in said
    assert SECRET not in said
    assert all(isinstance(read, (ReadImage, str)) for read in reads)  # no decoder ended the process
