"""Polarity, orientation, scaling, compression and refusals of the DICOM reader, on files written here."""

import base64
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from monai_e2e.data.images import dicom
from monai_e2e.data.images.dicom import decode_image, find_mask, read_mammogram, read_mask, read_pixels
from monai_e2e.data.images.dicom_files import is_dicom
from monai_e2e.errors import UserError

NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]
LOSSLESS = [uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]


def write_dicom(path: Path, pixels: np.ndarray, syntax: uid.UID = ExplicitVRLittleEndian, **attributes: object) -> Path:
    """Write a minimal mammography file, uncompressed; ``attributes`` override header elements (None deletes)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    encoding = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, **encoding)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientName = "Doe^Jane"
    dataset.Modality = "MG"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = (pixels if syntax.is_little_endian else pixels.byteswap()).tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ramp(rows: int = 6, columns: int = 4, low: int = 100, high: int = 4000) -> np.ndarray:
    return np.linspace(low, high, rows * columns).reshape(rows, columns).astype(np.uint16)


def test_image_is_scaled_to_its_own_range(tmp_path):
    image = read_mammogram(write_dicom(tmp_path / "a.dcm", ramp()))
    assert image.dtype == np.float32
    assert image.shape == (6, 4)
    assert (image.min(), image.max()) == (0, 1)
    np.testing.assert_allclose(image, (ramp() - 100) / 3900, atol=1e-6)


def test_monochrome1_is_inverted(tmp_path):
    plain = read_mammogram(write_dicom(tmp_path / "a.dcm", ramp()))
    inverted = read_mammogram(write_dicom(tmp_path / "b.dcm", ramp(), PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(inverted, 1 - plain, atol=1e-6)


def test_negative_rescale_slope_inverts_like_monochrome1(tmp_path):
    plain = read_mammogram(write_dicom(tmp_path / "a.dcm", ramp()))
    sloped = read_mammogram(write_dicom(tmp_path / "b.dcm", ramp(), RescaleSlope="-2", RescaleIntercept="5"))
    np.testing.assert_allclose(sloped, 1 - plain, atol=1e-6)


def test_signed_pixels_are_read_with_their_sign(tmp_path):
    pixels = np.array([[-100, 0], [50, 100]], dtype=np.int16)
    image = read_mammogram(write_dicom(tmp_path / "a.dcm", pixels))
    np.testing.assert_allclose(image, [[0, 0.5], [0.75, 1]])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", NATIVE[:2])
@pytest.mark.parametrize(
    ("dtype", "bits", "padded", "value", "limit"),
    [
        (np.uint16, 16, [0, 0, 0, 0], 0, None),
        (np.uint16, 16, [5, 9, 5, 7], 5, 9),
        (np.uint16, 16, [5, 9, 5, 7], 9, 5),
        (np.uint16, 16, [1001, 1001, 1001, 1001], 1001, None),
        (np.uint16, 12, [4095, 4095, 4095, 4095], 4095, None),
        (np.int16, 16, [-2000, -2000, -2000, -2000], -2000, None),
        (np.int16, 12, [-2048, -2000, -2001, -2048], -2048, -2000),
    ],
)
def test_padding_becomes_air_and_does_not_stretch_the_range(
    tmp_path, photometric, syntax, dtype, bits, padded, value, limit
):
    pixels = ramp(low=10, high=2000).astype(dtype)
    pixels[0] = padded
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        syntax=syntax,
        BitsStored=bits,
        HighBit=bits - 1,
        PhotometricInterpretation=photometric,
        PixelPaddingValue=value,
        **({} if limit is None else {"PixelPaddingRangeLimit": limit}),
    )
    image = read_mammogram(path)
    assert (image[0] == 0).all()
    darkest, brightest = sorted([image[1, 0], image[-1, -1]])
    assert brightest == 1
    # Below an unsigned image's values padding is its black, and the darkest tissue is brighter, as without the element.
    black = max(padded) if photometric == "MONOCHROME2" and dtype == np.uint16 and max(padded) < 10 else pixels[1, 0]
    assert darkest == pytest.approx((int(pixels[1, 0]) - int(black)) / (2000 - int(black)), abs=1e-6)


def test_padding_of_a_signed_image_may_be_written_as_unsigned(tmp_path):
    pixels = ramp(low=10, high=2000).astype(np.int16)
    pixels[0] = -2000
    path = write_dicom(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    dataset.save_as(path)
    image = read_mammogram(path)
    assert (image[0] == 0).all()
    assert (image[1, 0], image[-1, -1]) == (1, 0)


def test_image_of_nothing_but_padding_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", ramp(low=0, high=9), PixelPaddingValue=0, PixelPaddingRangeLimit=9)
    with pytest.raises(UserError, match="single pixel value"):
        read_mammogram(path)


def test_every_format_has_the_same_orientation(tmp_path):
    pixels = np.zeros((48, 32), np.uint8)
    pixels[:16, :8] = 255
    pixels[40:, 24:] = 100
    write_dicom(tmp_path / "a.dcm", pixels)
    for suffix in ("png", "tif", "jpg"):
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    for suffix in ("dcm", "png", "tif", "jpg"):
        image = read_mammogram(tmp_path / f"a.{suffix}")
        assert image.shape == (48, 32), suffix
        np.testing.assert_allclose(image, pixels / 255, atol=0.05, err_msg=suffix)


def test_dicom_png_and_tiff_of_the_same_array_are_equal(tmp_path):
    pixels = np.linspace(0, 65535, 35).reshape(7, 5).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    from_dicom = read_mammogram(write_dicom(tmp_path / "a.dcm", pixels))
    for name in ("a.png", "a.tif"):
        np.testing.assert_allclose(read_mammogram(tmp_path / name), from_dicom, atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"ImagerPixelSpacing": [0.07, 0.08]}, (0.07, 0.08)),
        ({"PixelSpacing": [0.05, 0.06]}, (0.05, 0.06)),
        ({"ImagerPixelSpacing": [0.07, 0.08], "PixelSpacing": [0.05, 0.06]}, (0.07, 0.08)),
        ({"ImagerPixelSpacing": [0, 0], "PixelSpacing": [0.05, 0.06]}, (0.05, 0.06)),
        ({"ImagerPixelSpacing": 0.07}, None),
    ],
)
def test_pixel_spacing_is_the_detectors_or_else_the_images(tmp_path, attributes, expected):
    path = write_dicom(tmp_path / "a.dcm", ramp(), **attributes)
    image = decode_image(path)
    assert image.pixel_spacing == expected
    np.testing.assert_array_equal(image.pixels, read_mammogram(path))


def test_is_dicom_looks_at_content(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    assert is_dicom(write_dicom(tmp_path / "no-suffix", ramp()))
    assert not is_dicom(tmp_path / "a.png")
    assert not is_dicom(tmp_path / "absent")


def compress(path: Path, syntax: uid.UID, **options: float) -> Path:
    """Compress an uncompressed file in place with the package that can."""
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        gdcm = pytest.importorskip("gdcm")
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str.__str__(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()
        return path
    if syntax in uid.JPEGLSTransferSyntaxes:
        pytest.importorskip("jpeg_ls")
    elif syntax in uid.JPEG2000TransferSyntaxes:
        pytest.importorskip("openjpeg")
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, **options)
    dataset.save_as(path)
    return path


def embed(path: Path, syntax: uid.UID, stream: bytes) -> Path:
    """Put a compressed stream into an uncompressed file."""
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return path


def texture(dtype: type, bits: int, rows: int = 66, columns: int = 48) -> np.ndarray:
    """Noise over the whole range of the bits."""
    low = -(1 << (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    pixels = np.random.default_rng(0).integers(low, low + (1 << bits), (rows, columns))
    pixels[0, :2] = low, low + (1 << bits) - 1
    return pixels.astype(dtype)


@pytest.mark.parametrize("syntax", NATIVE + LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [(np.uint8, 8), (np.uint8, 7), (np.int8, 8), (np.uint16, 12), (np.uint16, 16), (np.int16, 12), (np.int16, 16)],
)
def test_lossless_syntax_is_read_bit_for_bit(tmp_path, syntax, dtype, bits):
    pixels = texture(dtype, bits)
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        syntax=syntax if syntax in NATIVE else ExplicitVRLittleEndian,
        BitsStored=bits,
        HighBit=bits - 1,
        Modality="MG",
        PatientID="1",
    )
    if syntax in LOSSLESS:
        compress(path, syntax)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    stored = read_pixels(path)
    assert stored.dtype == pixels.dtype
    np.testing.assert_array_equal(stored, pixels)
    lowest = int(pixels.min())
    np.testing.assert_allclose(read_mammogram(path), (pixels.astype(int) - lowest) / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("syntax", NATIVE + LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_bits_above_those_stored_do_not_change_the_picture(tmp_path, syntax, dtype):
    pixels = texture(dtype, 12)
    garbage = np.random.default_rng(1).integers(0, 16, pixels.shape).astype(np.uint16) << 12
    dirty = ((pixels.view(np.uint16) & 0xFFF) | garbage).view(dtype)
    path = write_dicom(
        tmp_path / "a.dcm",
        dirty,
        syntax=syntax if syntax in NATIVE else ExplicitVRLittleEndian,
        Modality="MG",
        PatientID="1",
    )
    if syntax in LOSSLESS:
        compress(path, syntax)
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(path)
    np.testing.assert_array_equal(read_pixels(path), pixels)


@pytest.mark.parametrize(
    ("syntax", "options", "error"),
    [
        (uid.JPEGLSNearLossless, {"jls_error": 3}, 3),
        (uid.JPEG2000, {"j2k_psnr": [70]}, 20),
    ],
)
def test_lossy_syntax_is_read_nearly_as_it_was_saved(tmp_path, syntax, options, error):
    rows, columns = np.mgrid[:64, :48]
    pixels = (2000 + 1500 * np.sin(rows / 9) * np.cos(columns / 7)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, HighBit=11)
    difference = abs(read_pixels(compress(path, syntax, **options)).astype(int) - pixels)
    assert 0 < difference.max() <= error


def test_a_stream_that_declares_another_size_than_the_header_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    def believe(*_):
        pytest.fail("a decoder was asked")

    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", believe)
    for name, syntax, change in (
        ("ls", uid.JPEGLSLossless, lambda stream: stream.replace(b"\0\x42\0\x30", b"\xff\xff\xff\xff", 1)),
        ("j2k", uid.JPEG2000Lossless, lambda stream: stream.replace(b"\0\0\0\x30", b"\0\1\0\0", 1)),
        ("components", uid.JPEG2000Lossless, lambda stream: stream[:40] + b"\x40\0" + stream[42:]),
        ("cut", uid.JPEGLSLossless, lambda stream: stream[:6]),
    ):
        path = write_dicom(tmp_path / f"{name}.dcm", texture(np.uint16, 12), BitsStored=12, HighBit=11)
        stream = get_frame(pydicom.dcmread(compress(path, syntax)).PixelData, 0, number_of_frames=1)
        changed = change(stream)
        assert changed != stream
        embed(path, syntax, changed)
        with pytest.raises(UserError, match="compressed pixels have no size, or another one than the header"):
            read_pixels(path)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_jpeg_of_8_bits_is_read_without_the_extra(tmp_path, syntax):
    rows, columns = np.mgrid[:64, :48]
    pixels = (120 + 100 * np.sin(rows / 9) * np.cos(columns / 7)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    path = embed(write_dicom(tmp_path / "a.dcm", pixels), syntax, stream.getvalue())
    assert abs(read_pixels(path).astype(int) - pixels).max() <= 4


def test_high_throughput_jpeg_2000_is_read(tmp_path):
    pytest.importorskip("openjpeg")
    # Written with imagecodecs 2026.3.6: htj2k_encode(pixels, reversible=True).
    stream = base64.b64decode(
        "/0//UQApQAAAAAAIAAAADAAAAAAAAAAAAAAACAAAAAwAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJ"
        "CQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAGkAAf+TwAAm3fMFB3QAAMAAEwDw9QOHdADAABPAABKAdOn+AYt0ALcB"
        "B3QAwAAVMAAE4Dab7QBCMQJ2AMIV7oCitADAACrgABVgEARBEPS6enCCdgCOOnLk6OhCAey2AP/Z"
    )
    pixels = (np.arange(12 * 8).reshape(12, 8) * 41 + 100).astype(np.uint16)
    path = embed(write_dicom(tmp_path / "a.dcm", pixels), uid.HTJ2KLossless, stream)
    np.testing.assert_array_equal(read_pixels(path), pixels)


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [
        (uid.JPEGLosslessSV1, r'no decoder for JPEG Lossless.*; run `pip install "monai-e2e\[compressed\]"`$'),
        (uid.JPEGLSLossless, r'no decoder for JPEG-LS Lossless.*; run `pip install "monai-e2e\[compressed\]"`$'),
        (uid.JPEG2000, r'no decoder for JPEG 2000.*; run `pip install "monai-e2e\[compressed\]"`$'),
        (uid.JPEGExtended12Bit, r"no decoder for JPEG Extended.* with more than 8 bits; convert .*dcmdjpeg.*\(GPL\)$"),
        (uid.MPEG4HP41, r"transfer syntax MPEG-4 .* isn't supported; convert"),
    ],
)
def test_compression_without_decoder_says_what_to_do(tmp_path, monkeypatch, syntax, expected):
    monkeypatch.setattr(dicom, "_PLUGINS", ())
    path = embed(write_dicom(tmp_path / "image.dcm", ramp()), syntax, b"\xff\xd8\xff\xd9")
    if syntax == uid.JPEGExtended12Bit and "pylibjpeg" in pydicom.pixels.get_decoder(syntax).available_plugins:
        pytest.skip("a decoder for JPEG Extended of 12 bits is installed")
    with pytest.raises(UserError, match=rf"image\.dcm: {expected}"):
        read_mammogram(path)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGBaseline8Bit, uid.JPEG2000, uid.JPEGLSLossless])
def test_damaged_compressed_pixels_are_refused(tmp_path, syntax):
    if not pydicom.pixels.get_decoder(syntax).is_available:
        pytest.skip("no decoder installed")
    path = embed(write_dicom(tmp_path / "image.dcm", texture(np.uint8, 8)), syntax, b"\xff\xd8\xff\xd9" * 9)
    with pytest.raises(
        UserError,
        match=r"image\.dcm: (pixel data can't be decoded .*|the compressed pixels have .*); download or copy",
    ):
        read_mammogram(path)


TOMOSYNTHESIS = {"SOPClassUID": uid.BreastTomosynthesisImageStorage}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelData": None}, r"no pixel data \(Digital Mammography X-Ray Image Storage - For Presentation\); choose"),
        ({"PixelData": None, "SOPClassUID": uid.BasicTextSRStorage}, r"no pixel data \(Basic Text SR Storage\)"),
        ({"PixelData": None, "SOPClassUID": None}, r"no pixel data \(unknown kind of file\)"),
        (
            {"PixelData": None, "SOPClassUID": uid.GrayscaleSoftcopyPresentationStateStorage},
            r"no pixel data \(Grayscale Softcopy Presentation State Storage\)",
        ),
        ({"PixelData": b"\0" * 10}, "can't be decoded"),
        ({"Rows": None}, "can't be decoded"),
        ({"BitsStored": None}, "can't be decoded"),
        ({"NumberOfFrames": 2}, "several frames; only single images"),
        (
            {**TOMOSYNTHESIS, "NumberOfFrames": 60, "PresentationIntentType": "FOR PRESENTATION"},
            r"tomosynthesis \(Breast Tomosynthesis Image Storage\); take the 2D or synthesized 2D image",
        ),
        (TOMOSYNTHESIS, r"tomosynthesis \(Breast Tomosynthesis Image Storage\)"),
        ({"SOPClassUID": uid.BreastProjectionXRayImageStorageForPresentation}, "tomosynthesis"),
        ({"SOPClassUID": uid.XRay3DCraniofacialImageStorage, "NumberOfFrames": 9}, "tomosynthesis"),
        ({"PresentationIntentType": "FOR PROCESSING"}, r"raw detector data \(FOR PROCESSING\); take the FOR PRESENT"),
        ({"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing}, "raw detector data"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL"}, "photometric interpretation YBR_FULL; allow"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "can't be decoded"),  # of one colour alone
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric interpretation PALETTE COLOR"),
        ({"PhotometricInterpretation": None}, "photometric interpretation absent"),
        ({"BitsStored": 12}, r"high bit isn't the highest of the bits stored, see PS3\.5"),
        ({"VOILUTSequence": [Dataset()]}, "not understood"),
        ({"WindowCenter": 5, "WindowWidth": 0}, r"window or padding not understood \(ValueError\)"),
        ({"WindowCenter": -9, "WindowWidth": 9}, "single pixel value in its window"),
    ],
)
def test_unusable_dicom_is_refused_with_its_name(tmp_path, attributes, expected):
    path = write_dicom(tmp_path / "image.dcm", ramp(), **attributes)
    with pytest.raises(UserError, match=rf"image\.dcm: .*{expected}") as caught:
        decode_image(path, voi_lut=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("planes", [0, 1])
def test_rgb_is_grey_where_its_colours_are_equal(tmp_path, planes):
    grey = (ramp() // 16).astype(np.uint8)
    colours = np.stack([grey] * 3, axis=0 if planes else 2)
    header = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": planes}
    header |= {"Rows": grey.shape[0], "Columns": grey.shape[1]}
    same = write_dicom(tmp_path / "grey.dcm", grey), write_dicom(tmp_path / "rgb.dcm", colours, **header)
    np.testing.assert_array_equal(*(read_mammogram(path) for path in same))
    colours[0, 0, 0] += 9
    with pytest.raises(UserError, match=r"in colour \(RGB\); allowed is grey"):
        read_mammogram(write_dicom(tmp_path / "colour.dcm", colours, **header))


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint32), np.arange(16, dtype=np.uint32).reshape(4, 4)])
def test_more_than_16_bits_are_refused(tmp_path, pixels):
    with pytest.raises(UserError, match="32 bits per pixel"):
        read_mammogram(write_dicom(tmp_path / "a.dcm", pixels))


@pytest.mark.parametrize("sop_class", [uid.BreastTomosynthesisImageStorage, ExplicitVRLittleEndian, None])
def test_single_view_for_presentation_is_read_whatever_its_class(tmp_path, sop_class):
    path = write_dicom(
        tmp_path / "a.dcm",
        ramp(),
        SOPClassUID=sop_class,
        NumberOfFrames=1,
        PresentationIntentType="FOR PRESENTATION",
    )
    assert read_mammogram(path).shape == (6, 4)


def test_mask_of_a_raw_image_is_read(tmp_path):
    mask = np.eye(5, 4, dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", mask, PresentationIntentType="FOR PROCESSING")
    np.testing.assert_array_equal(read_mask(path), mask > 0)


def test_pixels_after_the_first_frame_are_ignored(tmp_path):
    pixels = ramp()
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelData=pixels.tobytes() * 2)
    np.testing.assert_array_equal(read_pixels(path), pixels)


def lut(values: list[int] | bytes, first: int, bits: int, count: int | None = None) -> Dataset:
    """Item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.LUTDescriptor = [(len(values) if count is None else count) % 65536, first, bits]
    item.add_new("LUTData", "OW" if isinstance(values, bytes) else "US", values)
    item.ModalityLUTType = "US"
    return item


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_modality_lut_is_applied(tmp_path, dtype, syntax):
    pixels = np.array([[0, 3, 4], [5, 8, 100]], dtype)
    table = [10, 20, 40, 80, 160]
    order = "<u2" if syntax.is_little_endian else ">u2"
    for data in (table, np.array(table, order).tobytes()):
        item = lut(data, first=3, bits=16, count=5)
        path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax, ModalityLUTSequence=[item])
        values = apply_modality_lut(pixels, pydicom.dcmread(path))
        np.testing.assert_allclose(read_mammogram(path), (values - 10) / 150.0, atol=1e-6)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [(None, None), (0.5, -100)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_first_window_is_applied_between_rescale_and_inversion(
    tmp_path, function, photometric, slope, intercept, dtype
):
    attributes = {
        "WindowCenter": [1800, 5],
        "WindowWidth": [1500, 7],
        "VOILUTFunction": function,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
    }
    path = write_dicom(
        tmp_path / "a.dcm",
        ramp(20, 20).astype(dtype),
        BitsStored=13,
        HighBit=12,
        PhotometricInterpretation=photometric,
        **{name: value for name, value in attributes.items() if value is not None},
    )
    dataset = pydicom.dcmread(path)
    values = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    lowest, highest = (-4096, 4095) if dtype == np.int16 else (0, 8191)
    if slope is not None:
        lowest, highest = lowest * slope + intercept, highest * slope + intercept
    expected = (values - lowest) / (highest - lowest)
    if photometric == "MONOCHROME1":
        expected = 1 - expected
    np.testing.assert_allclose(read_mammogram(path, voi_lut=True), expected, atol=1e-5)
    assert abs(read_mammogram(path) - expected).max() > 0.1


@pytest.mark.parametrize("entries", ["words", "list"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_voi_lut_is_applied_and_preferred_to_the_window(tmp_path, bits, entries):
    pixels = ramp(20, 20)
    table = (np.linspace(0, 1, 3000) ** 2 * (2**bits - 1)).astype("<u2")
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        VOILUTSequence=[lut(table.tobytes() if entries == "words" else table.tolist(), 500, bits, 3000)],
        WindowCenter=5,
        WindowWidth=7,
    )
    expected = apply_voi(pixels, pydicom.dcmread(path)) / (2**bits - 1)
    np.testing.assert_allclose(read_mammogram(path, voi_lut=True), expected, atol=1e-6)


@pytest.mark.parametrize("entries", ["bytes", "words", "list"])
def test_voi_lut_of_8_bits_may_have_more_than_256_entries(tmp_path, entries):
    pixels = ramp(20, 20)
    table = np.linspace(0, 255, 4096).astype("<u2")
    data = {"bytes": table.astype(np.uint8).tobytes(), "words": table.tobytes(), "list": table.tolist()}[entries]
    path = write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[lut(data, 0, 8, 4096)])
    np.testing.assert_allclose(read_mammogram(path, voi_lut=True), table[pixels] / 255, atol=1e-6)


def test_voi_lut_looks_rescaled_values_up_by_the_nearest_whole_number(tmp_path):
    pixels = np.array([[0, 1], [2, 3]], np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        RescaleSlope=0.75,
        RescaleIntercept=0,
        VOILUTSequence=[lut([0, 255, 510, 1023], 0, 10)],
    )
    np.testing.assert_allclose(read_mammogram(path, voi_lut=True), np.array([[0, 255], [510, 510]]) / 1023, atol=1e-6)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
def test_voi_lut_of_65536_entries_is_read(tmp_path, syntax):
    pixels = ramp(20, 20)
    order = "<u2" if syntax.is_little_endian else ">u2"
    item = lut(np.arange(65535, -1, -1).astype(order).tobytes(), 0, 16, 65536)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax, VOILUTSequence=[item])
    np.testing.assert_allclose(read_mammogram(path, voi_lut=True), 1 - pixels / 65535, atol=1e-6)


@pytest.mark.parametrize("attributes", [{}, {"WindowCenter": 7}, {"WindowCenter": "", "WindowWidth": ""}])
def test_image_without_a_window_is_read_as_without_asking_for_it(tmp_path, attributes):
    path = write_dicom(tmp_path / "a.dcm", ramp(), **attributes)
    np.testing.assert_array_equal(read_mammogram(path, voi_lut=True), read_mammogram(path))


@pytest.mark.parametrize(
    ("attributes", "applied", "window"),
    [
        ({"PresentationIntentType": "FOR PRESENTATION"}, True, "SIGMOID"),
        ({}, True, "SIGMOID"),  # its class is for presentation
        ({"PresentationIntentType": "FOR PRESENTATION", "VOILUTFunction": None}, True, "LINEAR"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, False, "min-max"),
        ({"PresentationIntentType": "FOR PRESENTATION", "WindowCenter": None}, False, "min-max"),
    ],
)
def test_window_auto_is_the_window_of_images_for_presentation(attributes, applied, window, tmp_path):
    several = {"WindowCenter": [400, 500], "WindowWidth": [300, 900], "VOILUTFunction": "SIGMOID"}
    elements = {name: value for name, value in (several | attributes).items() if value is not None}
    path = write_dicom(tmp_path / "image.dcm", ramp(), **elements)
    image = decode_image(path, voi_lut="auto")
    assert image.window == window
    assert image.flags == ()
    np.testing.assert_array_equal(image.pixels, read_mammogram(path, voi_lut=applied))


def test_padding_is_air_through_a_window_too(tmp_path):
    pixels = ramp()
    pixels[0] = 0
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
        WindowCenter=2000,
        WindowWidth=1000,
    )
    image = read_mammogram(path, voi_lut=True)
    assert (image[0] == 0).all()
    assert image[1, 0] == 1


def test_image_with_a_single_value_is_refused(tmp_path):
    with pytest.raises(UserError, match="single pixel value"):
        read_mammogram(write_dicom(tmp_path / "a.dcm", np.full((4, 4), 7, np.uint16)))


def test_broken_and_absent_files_are_refused(tmp_path):
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02")
    with pytest.raises(UserError, match=r"broken\.dcm: "):
        read_mammogram(tmp_path / "broken.dcm")
    with pytest.raises(UserError, match="no such file"):
        read_mammogram(tmp_path / "absent.dcm")


def test_mask_is_bool_whatever_its_values(tmp_path):
    mask = np.zeros((5, 4), np.uint8)
    mask[1:3, 2] = 1
    np.testing.assert_array_equal(read_mask(write_dicom(tmp_path / "a.dcm", mask)), mask > 0)
    Image.fromarray(mask * 255).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask > 0)
    Image.fromarray(mask * 0).save(tmp_path / "empty.png")
    assert not read_mask(tmp_path / "empty.png").any()
    with pytest.raises(UserError, match="more than two pixel values"):
        read_mask(write_dicom(tmp_path / "image.dcm", ramp()))
    assert find_mask(tmp_path / "image.dcm") is None
