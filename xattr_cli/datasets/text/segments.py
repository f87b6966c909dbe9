"""The segments of a prompt: texts, parts with names, or the messages of a conversation."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DataError

__all__ = ["Segmented", "segmented"]

Chat = Callable[[Sequence[Mapping[str, str]]], str]


@dataclass(frozen=True)
class Segmented:
    """A prompt as one text.

    Attributes:
        text: of the prompt.
        names: of its segments, in order.
        bounds: (first character, the one after the last) of each.
    """

    text: str
    names: tuple[str, ...]
    bounds: tuple[tuple[int, int], ...]

    def at(self, character: int) -> str:
        """The segment that a character is in; empty for what stands between them."""
        place = bisect_right([begin for begin, _ in self.bounds], character) - 1
        return self.names[place] if place >= 0 and character < self.bounds[place][1] else ""


def segmented(prompt: Any, where: str, separator: str, chat: Chat | None = None) -> Segmented:
    """A prompt as a file has it.

    Arguments:
        prompt: a text, a list or mapping of texts, or a list of messages.
        where: it stands, for errors.
        separator: between the segments.
        chat: writes a conversation; None for prompts that are none.

    Raises:
        DataError: it is none of these, or empty.
    """
    names, texts = _parts(prompt, where, chat is not None)
    if not any(text.strip() for text in texts):
        raise DataError(f"{where}: the prompt is empty.")
    if chat is None:
        whole = separator.join(texts)
    else:
        given = prompt if isinstance(prompt, list) else [{"role": "user", "content": texts[0]}]
        whole = chat(given)
    return Segmented(whole, names, _bounds(whole, texts))


def _parts(prompt: Any, where: str, is_chat: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and texts of the segments."""
    if isinstance(prompt, str):
        return ("user" if is_chat else "prompt",), (prompt,)
    if is_chat and isinstance(prompt, list) and prompt and all(map(_is_message, prompt)):
        return _numbered([one["role"] for one in prompt]), tuple(one["content"] for one in prompt)
    if not is_chat and isinstance(prompt, dict) and prompt and all(isinstance(t, str) for t in prompt.values()):
        return tuple(map(str, prompt)), tuple(prompt.values())
    if not is_chat and isinstance(prompt, list) and prompt and all(isinstance(text, str) for text in prompt):
        return tuple(f"segment {number}" for number in range(1, len(prompt) + 1)), tuple(prompt)
    if not is_chat and isinstance(prompt, list) and prompt and all(map(_is_message, prompt)):
        raise DataError(f"{where}: a conversation. Set dataset.chat: true, which takes the tokenizer's template.")
    wanted = (
        "a text, or a list of {role: user, content: ...}" if is_chat else "a text, or a list or mapping of texts"
    )
    raise DataError(f"{where}: {wanted} is needed, not {str(prompt)[:80]!r}.")


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _numbered(roles: Sequence[str]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    names = []
    for role in roles:
        seen[role] += 1
        names.append(role if seen[role] == 1 else f"{role} {seen[role]}")
    return tuple(names)


def _bounds(whole: str, texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Where texts stand in a whole that holds them in this order; a template may strip their ends."""
    bounds, after = [], 0
    for text in texts:
        begin = whole.find(text, after)
        if begin < 0:
            text = text.strip()
            begin = whole.find(text, after)
        begin = after if begin < 0 else begin
        after = begin + len(text)
        bounds.append((begin, after))
    return tuple(bounds)
