"""Safe access to HDF5 files from unknown sources: the type of a file, and its groups, names and texts."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from monai_e2e.errors import UserError

#: Exceptions that h5py and zipfile raise on damaged files.
FILE_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError, zipfile.BadZipFile)


def check_kind(path: Path) -> None:
    """Raise a UserError that says what the file is, if it is not an HDF5 file."""
    if not path.is_file():
        raise UserError("is a folder: name the .h5 file" if path.is_dir() else "does not exist: name a Keras .h5 file")
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return
    if not head:
        raise UserError("is empty: fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise UserError("is a git-lfs pointer, not the file itself: run `git lfs pull`")
    if head.lstrip().startswith(b"<"):
        raise UserError("is a web page, probably of a failed download: fetch the file again")
    members = set()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
    if "data.pkl" in members:
        raise UserError("is a PyTorch checkpoint, which needs no conversion: use it as it is")
    if "config.json" in members:
        raise UserError("is a .keras archive of Keras 3; supported is the legacy .h5 of Keras 2: save it as that")
    raise UserError("is not an HDF5 file; supported is the legacy .h5 of Keras 2's model.save: name such a file")


def member(parent: h5py.Group, name: str, kind: type) -> Any:
    """The group or dataset of that name. Only hard links are followed: others may lead into other files."""
    found = parent
    for part in name.split("/"):
        key = part.encode()
        if not isinstance(found, h5py.Group) or not found.id.links.exists(key):
            raise UserError(f"lacks '{name}' in '{parent.name}': fetch it again")
        if found.id.links.get_info(key).type != h5py.h5l.TYPE_HARD:
            raise UserError(f"has a link in place of '{name}' in '{parent.name}', which is not allowed: fetch it again")
        found = found[part]
    if not isinstance(found, kind):
        raise UserError(f"has no {kind.__name__.lower()} '{name}' in '{parent.name}': fetch it again")
    return found


def names_in(group: h5py.Group, key: str) -> list[str]:
    """A list of names from an attribute; since Keras 2.1.5 a long one is split into ``key0``, ``key1`` …"""
    if key in group.attrs:
        return texts_in(group, key)
    keys = list(itertools.takewhile(group.attrs.__contains__, (f"{key}{i}" for i in itertools.count())))
    if not keys:
        raise UserError(f"lacks '{key}' of '{group.name}': fetch it again")
    return [name for part in keys for name in texts_in(group, part)]


def texts_in(group: h5py.Group, key: str) -> list[str]:
    """The strings in an attribute; empty if it is absent."""
    attribute = group.attrs.get_id(key) if key in group.attrs else None
    if attribute is None or not attribute.get_space().get_simple_extent_npoints():
        return []
    # Keras writes only strings here, and h5py crashes on some types that a damaged file may declare.
    if not isinstance(attribute.get_type(), h5py.h5t.TypeStringID):
        raise UserError(f"has no text in '{key}' of '{group.name}': fetch it again")
    values = np.ravel(group.attrs[key])
    return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values]
