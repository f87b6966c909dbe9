"""Text that a file may have had a hand in, made fit for a terminal."""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

_LONGEST_LINE = 2000
_NOT_SHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of Unicode: control characters, and what begins a line or a paragraph."""


def printable(text: str) -> str:
    """The text with control characters as escapes, and with the end of endless lines cut off.

    Example:
        >>> printable("red \\x1b[31m")
        'red \\\\x1b[31m'
    """
    lines = (line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in text.split("\n"))
    return "\n".join("".join(map(_visible, line)) for line in lines)


def _visible(character: str) -> str:
    is_control = unicodedata.category(character) in _NOT_SHOWN and character != "\t"
    return character.encode("unicode_escape").decode() if is_control else character
