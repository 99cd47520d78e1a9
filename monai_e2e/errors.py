"""The one error class that a user's mistake ends in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the user's data, paths or settings, not a defect of the program.

    The message is one line that names the file or value, what is allowed and the next step. The command line
    and the bundles print it without a traceback.
    """


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """End of a message on a word that isn't known: the nearest one that is, else all of them."""
    words = list(known)
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose one of: {', '.join(words)}"
