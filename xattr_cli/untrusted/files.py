"""Files that a job names: regular ones only, since a pipe blocks whoever opens it and a device never ends."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import XattrError

__all__ = ["is_there", "oddity", "read_text"]

MOST_TEXT = 16 * 2**20

_OPENED_BY_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_ODD = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def oddity(path: Path) -> str | None:
    """What a path is if not a file, a folder or nothing: a pipe, a socket, a device."""
    try:
        return _ODD.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):
        return None


def is_there(path: Path) -> bool:
    """Whether the path leads to anything; not for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL character
        return False


def read_text(path: Path, what: str, kind: type[XattrError]) -> str:
    """The text of a small file, in UTF-8; what the shell has opened, as in `<(command)`, may be a pipe.

    Arguments:
        path: of the file.
        what: begins the message, such as "job file job.yaml".
        kind: of the error.

    Raises:
        XattrError: of that kind; no file, of more than 16 MiB, unreadable or no text.
    """
    odd = oddity(path)
    if odd is not None and not str(path).startswith(_OPENED_BY_THE_SHELL):
        raise kind(f"{what}: is {odd}, not a file.")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TEXT + 1)
        if len(content) > MOST_TEXT:
            raise kind(f"{what}: has more than {MOST_TEXT // 2**20} MiB, which no file of this sort needs.")
        return content.decode("utf-8").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise kind(f"{what}: cannot be read: {reason}") from error
