"""Folders that are written under a temporary name, and renamed when they are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from monai_e2e.errors import UserError


def temporary_sibling(folder: Path) -> Path:
    """A new empty folder beside ``folder``, to be renamed when it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        path.chmod(0o777 & ~_umask())  # mkdtemp makes it private, but others may share the data
        return path
    except OSError as error:
        raise UserError(f"{folder.parent}: can't write there ({error.strerror}); choose another folder") from error


def make_folder(folder: Path) -> None:
    """Make a folder that may be there already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror}); choose another folder") from error


def replace_folder(out: Path, folder: Path) -> None:
    """Rename a complete folder to ``out``, and remove an older one there."""
    try:
        if out.exists():
            old = temporary_sibling(out)
            out.rename(old / out.name)
            try:
                folder.rename(out)
            except OSError:
                (old / out.name).rename(out)
                old.rmdir()
                raise
            shutil.rmtree(old)
        else:
            folder.rename(out)
    except OSError as error:
        raise UserError(f"{out}: can't be replaced ({error.strerror}); choose another folder") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
