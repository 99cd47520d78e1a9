"""The size that a compressed image declares, read before a decoder believes it.

A decoder takes the memory that a stream asks for, whatever Rows and Columns say: 200 bytes can ask for gigabytes.
"""

from __future__ import annotations

import struct

_SIZE_OF_JPEG = struct.Struct(">xBHHB")  # length's low byte aside: precision, rows, columns, components
_SIZE_OF_JPEG2000 = struct.Struct(">4xIIII16xH")  # columns and rows, their offsets, components
#: Markers of JPEG (ITU-T T.81 §B.1.1.3) and JPEG-LS (T.87) with the size of a frame: all SOF, SOF55 and DHP.
_FRAMES = {*range(0xC0, 0xD0), 0xDE, 0xF7} - {0xC4, 0xC8, 0xCC}
#: Markers without a length.
_BARE = {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}
_END, _SCAN = 0xD9, 0xDA
_JP2 = b"\x00\x00\x00\x0cjP  "
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ, with which a JPEG 2000 codestream begins (T.800 §A.4)


def declared_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 stream declares; None where it doesn't."""
    start = _codestream(stream)
    try:
        if start is not None:
            right, bottom, left, top, components = _SIZE_OF_JPEG2000.unpack_from(stream, start + len(_CODESTREAM))
            return bottom - top, right - left, components
        return _of_jpeg(stream)
    except struct.error:  # it ends before
        return None


def _codestream(stream: bytes) -> int | None:
    """Where a JPEG 2000 codestream begins, alone or in the boxes of a JP2 file (T.800 §I.4)."""
    place = 0
    while stream.startswith(_JP2) and stream[place + 4 : place + 8] != b"jp2c":
        length = int.from_bytes(stream[place : place + 4], "big")
        if length < 8 or place + length >= len(stream):
            return None
        place += length
    place += 8 if place else 0
    return place if stream.startswith(_CODESTREAM, place) else None


def _of_jpeg(stream: bytes) -> tuple[int, int, int] | None:
    """As libjpeg finds it, which passes over what isn't a marker."""
    place = 2 if stream.startswith(b"\xff\xd8") else len(stream)
    while (place := stream.find(b"\xff", place)) >= 0 and place + 1 < len(stream):
        marker = stream[place + 1]
        if marker in (_END, _SCAN):
            return None
        if marker in _FRAMES:
            _, rows, columns, components = _SIZE_OF_JPEG.unpack_from(stream, place + 3)
            return rows, columns, components
        bare = marker in _BARE
        place += (1 if marker == 0xFF else 2) + (0 if bare else int.from_bytes(stream[place + 2 : place + 4], "big"))
    return None
