"""Folders that are written beside their place and moved there when they are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from monai_e2e.errors import UserError


def temporary_sibling(folder: Path) -> Path:
    """A new empty folder beside ``folder``, so that finished work moves into place by a rename."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        path.chmod(0o777 & ~_umask())  # mkdtemp keeps others out, which suits no shared data folder
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
    """Put a finished folder where an older one may be."""
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
