"""The one error class that a user's mistake ends in."""


class UserError(ValueError):
    """A mistake in the user's data, paths or settings, not a defect of the program.

    The message is one line that names the file or value, what is allowed and the next step. The command line
    and the bundles print it without a traceback.
    """
