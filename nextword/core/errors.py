"""Errors that a user can act on.

Every error that nextword raises on purpose is a `NextwordError` whose message is one line: what was expected, what was
received, what to change. The command line prints it without a traceback and exits with `exit_code`.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NextwordError(Exception):
    """Base of all errors that are the user's to mend; `exit_code` is what the command line ends with."""

    exit_code = 1


class SettingsError(NextwordError):
    """A setting is unknown, of the wrong type, out of range, or cannot take effect."""

    exit_code = 2


class DataError(NextwordError):
    """A text, token or record file is empty, broken, or not what it claims to be."""


class CheckpointError(NextwordError):
    """A model folder or training checkpoint is missing, incomplete, corrupt or of another shape."""


class ResourceError(NextwordError):
    """Disk or memory does not suffice; the message says how much is needed and how much there is."""


class TrainingError(NextwordError):
    """Training cannot go on (a loss that is not finite); the message names the last good checkpoint."""


class Elsewhere(NextwordError):
    """Another process of the same run says what is wrong; this one only ends, with `exit_code`."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of the run has failed and says why")
        self.exit_code = exit_code


def missing_extra(package: str, extra: str) -> NextwordError:
    """The error for an optional dependency that is not installed, with the command that installs it."""
    return SettingsError(f"this needs the package {package!r}, which is not installed: pip install 'nextword[{extra}]'")


def nearest(name: str, names: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest of `names`, or the list of what there is.

    >>> nearest("widht", ["width", "depth"])
    "; did you mean 'width'?"
    """
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
