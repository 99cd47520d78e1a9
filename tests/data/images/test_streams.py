"""Sizes that compressed streams declare, read as decoders find them."""

import pytest

from monai_e2e.data.images.streams import declared_size

SOF = b"\xff\xc3\x00\x0b\x0c\x00\x42\x00\x30\x01\x00\x11\x00"
SIZ = (
    b"\xff\x4f\xff\x51\x00\x29\x00\x00"
    + b"".join(number.to_bytes(4, "big") for number in (53, 70, 5, 4, 64, 64, 0, 0))
    + b"\x00\x01\x0b\x01\x01"
)


def box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff\xd8" + SOF,
        b"\xff\xd8\xff\xe0\x00\x06\xff\xc0\x11\x22" + SOF,  # what looks like a frame in another segment is none
        b"\xff\xd8\x00\x01\xff\xff" + SOF,  # libjpeg passes over what stands before a marker
        SIZ,
        box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", SIZ) + box(b"jp2c", SIZ),
    ],
)
def test_the_size_is_found_in_each_kind_of_stream(stream):
    assert declared_size(stream) == (66, 48, 1)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xda\x00\x02" + SOF,
        b"\xff\xd8" + SOF[:7],
        b"\xff\xd8" + b"\xff" * 100,
        SOF,
        SIZ[:20],
        SIZ[:2] + SIZ[4:],
        box(b"jP  ", b"\r\n\x87\n") + b"\0\0\0\0ftyp" + box(b"jp2c", SIZ),
        box(b"jP  ", b"\r\n\x87\n"),
    ],
)
def test_streams_without_a_size_have_none_and_end(stream):
    assert declared_size(stream) is None
