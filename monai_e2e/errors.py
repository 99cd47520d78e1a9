"""The error class for users' mistakes."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_SPACE = "free some space, or name a folder on another disk, and run the same command again"
_PERMISSION = "name another folder, or ask its owner for permission"
_PLACE = "name another folder, and run the same command again"
#: System errors that a user can solve → how.
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EROFS: "name a folder on a disk that can be written to",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.ENOENT: _PLACE,
    errno.ENOTDIR: _PLACE,
    errno.EEXIST: _PLACE,
    errno.EISDIR: _PLACE,
    errno.ENAMETOOLONG: _PLACE,
    errno.EIO: _PLACE,
}


class UserError(ValueError):
    """A mistake in the user's data, paths or settings, not a defect of the program.

    The message is one line that names the file or value, what is allowed and the next step. The command line
    and the bundles print it without a traceback.
    """


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Puts what is worked on before the message of a :class:`UserError`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """End of a message about an unknown word: the nearest known word, or else all of them."""
    words = list(known)
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose one of: {', '.join(words)}"


def some(names: Iterable[object], most: int = 5) -> str:
    """The first few names, for a message."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def of_the_system(error: BaseException, out: object = None) -> UserError | None:
    """A system error that the user can solve, such as a full disk, as a UserError; None for any other exception.

    The exceptions that ``error`` was raised from are checked too, since libraries raise their own.

    Args:
        error: any exception.
        out: what was being written, since the error of a full disk doesn't name it.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, UserError):
            return found
        if isinstance(found, OSError) and found.errno in _ADVICE:
            where = found.filename or (out if _ADVICE[found.errno] is _SPACE else None)
            return UserError(f"{f'{where}: ' if where else ''}{found.strerror}: {_ADVICE[found.errno]}")
        found = found.__cause__
    return None
