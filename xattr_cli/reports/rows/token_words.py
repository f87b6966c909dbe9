"""Tokens as readers know them: pieces of words beside each other, words apart, no marks of tokenizers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Piece", "Spelling", "pieces_of", "spelling_of"]

Spelling = Literal["continued", "marked", "spaced", "characters", "words"]
"""How tokens tell where a word begins: "##" goes on, "▁" or a space begins one, or each is one."""

_SPECIAL = re.compile(r"\[[A-Z]+\d*\]|<[^<>\s]+>")
_CLOSES = frozenset(".,;:!?)]}%…»”’'")
_OPENS = frozenset("([{«“‘$")
_SHOWN = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}
_BEGINS = "\N{LOWER ONE EIGHTH BLOCK}"


@dataclass(frozen=True)
class Piece:
    """A token as it is shown.

    Attributes:
        text: never empty, without line breaks.
        is_glued: whether it stands at the piece before it without a space.
    """

    text: str
    is_glued: bool


def spelling_of(tokens: Iterable[str]) -> Spelling:
    """How tokens of one tokenizer are spelled; the more of them, the surer."""
    plain = [token for token in tokens if token and not _SPECIAL.fullmatch(token)]
    if any(token.startswith(_BEGINS) for token in plain):
        return "marked"
    if any(token.startswith("##") and len(token) > 2 for token in plain):
        return "continued"
    if any(token.startswith(" ") for token in plain):
        return "spaced"
    return "characters" if len(plain) > 1 and all(len(token) == 1 for token in plain) else "words"


def pieces_of(tokens: Sequence[str], spelling: Spelling) -> list[Piece]:
    """The tokens of a text, in order, one piece each."""
    pieces: list[Piece] = []
    before = ""
    for token in tokens:
        is_special = _SPECIAL.fullmatch(token) is not None
        after_special = not before or _SPECIAL.fullmatch(before) is not None
        is_glued = not (is_special or after_special) and _goes_on(before, token, spelling)
        pieces.append(Piece(token if is_special else _shown(token, spelling), is_glued))
        before = token
    return pieces


def _goes_on(before: str, token: str, spelling: Spelling) -> bool:
    if spelling == "marked":
        return not token.startswith(_BEGINS)
    if spelling in ("spaced", "characters"):
        return not token[:1].isspace() and not before[-1:].isspace()
    if spelling == "continued" and token.startswith("##"):
        return True
    return token in _CLOSES or before in _OPENS


def _shown(token: str, spelling: Spelling) -> str:
    if spelling == "continued" and token.startswith("##"):
        token = token[2:] or token
    text = token.replace(_BEGINS, " ") if spelling == "marked" else token
    text = "".join(_SHOWN.get(letter, letter) for letter in (text.strip(" ") or "␣"))
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
