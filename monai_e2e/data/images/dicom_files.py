"""Opening files that may be damaged or hostile: at most one file is lost by it, and no text of a header gets out.

Everything that reads an image file does so within :func:`one_file`. pydicom, its decoders and Pillow may raise anything
on damaged bytes, and their messages and warnings repeat what stands in the header. So whatever fails becomes a
:class:`~monai_e2e.errors.UserError` that names the file and the kind of the failure, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import uid
from pydicom.filereader import read_dataset

from monai_e2e.errors import UserError

#: Rows × columns that are read at most: three times the largest mammograms (digitised films of 43 µm have 40 million).
MAX_PIXELS = 1 << 27
#: What a deflated file may unpack to: the largest image of 16 bits and its header.
_MAX_INFLATED = 2 * MAX_PIXELS + (1 << 24)
#: Larger elements, the pixels, stay in the file until they are asked for: refusing gigabytes of frames costs nothing.
_DEFER_BYTES = 1 << 16
_PREFIX_OFFSET = 128
#: The first element of a file without preamble, which must be the length of group 2 (PS3.10 §7.1).
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_CHUNK = 1 << 20


class _Quiet:
    """What is switched off while anybody reads, and how many read: the first switches off, the last on again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = ExitStack()

    def enter(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                logger = logging.getLogger("pydicom")
                self._restore.callback(setattr, logger, "disabled", logger.disabled)
                logger.disabled = True
                self._restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._restore.close()


_quiet = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's and Pillow's warnings, which repeat what files say, from the console and from logs.

    Python's filters belong to the process and not to a thread, so all threads that read share one switch.
    """
    _quiet.enter()
    try:
        yield
    finally:
        _quiet.leave()


@contextmanager
def one_file(path: str | Path, problem: str = "not readable") -> Iterator[None]:
    """The one boundary around the reading of a file: whatever fails in it costs this file alone.

    Args:
        path: the file.
        problem: what to say of it, before the kind of the failure.

    Raises:
        UserError: in place of any exception; it names the file and the exception's type, never its text.
    """
    with quiet():
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # decoders raise whatever they like, see the module's text
            raise UserError(
                f"{path}: {problem} ({type(error).__name__}); download or copy the file again, or leave it out"
            ) from error


def is_dicom(path: str | Path) -> bool:
    """Whether the file is DICOM by its content (PS3.10 §7.1), with or without preamble; False where it is missing.

    A file that nobody may read is by its ending, if it has none or a number, so that it isn't passed over silently.
    """
    try:
        with open(path, "rb") as file:
            return _start_of_meta(file) is not None
    except PermissionError:
        ending = Path(path).suffix.lower()
        return ending in (".dcm", ".dicom") or not ending[1:].isalpha()
    except OSError:
        return False


def open_dicom(path: str | Path, tags: Sequence[str] | None = None) -> pydicom.Dataset:
    """A file's data set; large elements are read when they are asked for.

    To be called, and its result used, within :func:`one_file`.

    Args:
        path: DICOM file.
        tags: the elements that are wanted, without the pixels; None: all.

    Raises:
        UserError: when the file unpacks to more than any mammogram.
    """
    _check_inflated(path)
    if tags is None:
        return pydicom.dcmread(path, force=True, defer_size=_DEFER_BYTES)
    return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(tags))


def _start_of_meta(file: BinaryIO) -> int | None:
    """Where group 2 begins, None in files that aren't DICOM."""
    start = file.read(_PREFIX_OFFSET + 4)
    if start[_PREFIX_OFFSET:] == b"DICM":
        return len(start)
    return 0 if start.startswith(_GROUP_LENGTH) else None


def _check_inflated(path: str | Path) -> None:
    """Refuse a deflated file that is larger than any mammogram, before pydicom unpacks it as a whole."""
    with open(path, "rb") as file:
        file.seek(_start_of_meta(file) or 0)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflater.eof and (packed := inflater.unconsumed_tail or file.read(_CHUNK)):
            size += len(inflater.decompress(packed, _CHUNK))
            if size > _MAX_INFLATED:
                raise UserError(
                    f"{path}: decompresses to more than {_MAX_INFLATED >> 20} MiB, too much for a mammogram; "
                    "leave it out"
                )
