"""Ways to break a file: its bytes, the entries of its archive, its YAML or JSON."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

__all__ = ["broken_archive", "broken_bytes", "broken_text", "broken_tree"]

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_CHARACTERS = "\0\x01\x1b\x7f\x85\u2028\ufeff\ud800\udfff\U0010ffff\t\n\r{}[]:,&*!|>'\"%@`#?-~$\\"


# --- bytes --------------------------------------------------------------------------------------


def broken_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four things done to its bytes; often near the start, where headers are."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not content:
            return draw.randbytes(draw.randrange(1, 64))
        reach = len(content) if draw.random() < 0.5 else min(len(content), 2048)
        content = draw.choice(_BYTE_CHANGES)(content, draw.randrange(reach), draw)
    return content


def _flip(content: bytes, at: int, draw: random.Random) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def _overwrite(content: bytes, at: int, draw: random.Random) -> bytes:
    width = draw.choice((1, 2, 4, 8))
    number = draw.choice(_NUMBERS) % 256**width
    return content[:at] + number.to_bytes(width, draw.choice(("little", "big"))) + content[at + width :]


def _truncate(content: bytes, at: int, draw: random.Random) -> bytes:
    return content[:at]


def _delete(content: bytes, at: int, draw: random.Random) -> bytes:
    return content[:at] + content[at + draw.randrange(1, 64) :]


def _repeat(content: bytes, at: int, draw: random.Random) -> bytes:
    piece = content[at : at + draw.randrange(1, 256)]
    return content[:at] + piece * draw.randrange(1, 5) + content[at:]


def _insert(content: bytes, at: int, draw: random.Random) -> bytes:
    return content[:at] + draw.randbytes(draw.randrange(1, 16)) + content[at:]


def _blank(content: bytes, at: int, draw: random.Random) -> bytes:
    length = draw.randrange(1, 4096)
    return content[:at] + bytes([draw.choice((0, 255))]) * length + content[at + length :]


def _move(content: bytes, at: int, draw: random.Random) -> bytes:
    source, length = draw.randrange(len(content)), draw.randrange(1, 512)
    return content[:at] + content[source : source + length] + content[at + length :]


def _number(content: bytes, at: int, draw: random.Random) -> bytes:
    """Another number for one that is written in digits."""
    found = list(re.finditer(rb"-?\d+", content[:65536]))
    if not found:
        return _flip(content, at, draw)
    match = draw.choice(found)
    other = draw.choice((b"-1", b"0", b"1e999", b"NaN", *(str(n).encode() for n in _NUMBERS)))
    return content[: match.start()] + other + content[match.end() :]


_BYTE_CHANGES: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    _flip, _flip, _flip, _overwrite, _overwrite, _truncate, _delete, _repeat, _insert, _blank, _move, _number,
)  # fmt: skip


# --- archives -----------------------------------------------------------------------------------


def broken_archive(content: bytes, draw: random.Random) -> bytes:
    """A zip archive with one entry broken, renamed, doubled or gone, and with checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(info.filename, archive.read(info), info.compress_type) for info in archive.infolist()]
    small = [i for i, (_, data, _) in enumerate(entries) if len(data) < 2**16] or list(range(len(entries)))
    place = draw.choice(small)
    name, data, packing = entries[place]
    change = draw.randrange(8)
    if change == 0:
        del entries[place]
    elif change == 1:
        entries[place] = (
            draw.choice(("../../out", "/etc/x", "", "a" * 300, name + "\0", "é" + name)),
            data,
            packing,
        )
    elif change == 2:
        entries.append((name, draw.choice((data, broken_bytes(data, draw))), packing))
    else:
        entries[place] = (name, broken_bytes(data, draw), packing)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data, packing in entries:
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return buffer.getvalue()


# --- texts --------------------------------------------------------------------------------------


def broken_text(text: str, draw: random.Random) -> str:
    """A text with lines and characters moved, doubled, cut or replaced."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        lines = text.splitlines(keepends=True) or [""]
        at, change = draw.randrange(len(lines)), draw.randrange(8)
        place = draw.randrange(len(text) + 1)
        if change == 0:
            lines.insert(at, draw.choice(lines))
            text = "".join(lines)
        elif change == 1:
            del lines[at]
            text = "".join(lines)
        elif change == 2:
            lines[at] = draw.choice((" ", "  ", "\t", "- ", "? ", "!!bool ", "&a ", "*a ")) + lines[at]
            text = "".join(lines)
        elif change == 3:
            text = text[:place] + draw.choice(_CHARACTERS) + text[place:]
        elif change == 4:
            text = text[:place] + draw.choice(_CHARACTERS) * draw.choice((2, 300, 5000)) + text[place:]
        elif change == 5:
            text = text[:place] + text[place + draw.randrange(1, 20) :]
        elif change == 6:
            words = re.findall(r"\w+", text) or [""]
            text = text.replace(draw.choice(words), draw.choice(words), 1)
        else:
            text = re.sub(r"(?<=: ).*", lambda match: draw.choice((match[0], *_TOKENS)), text, count=at + 1)
    return text


_TOKENS = (
    "!!bool abc", "!!timestamp", "!!timestamp 2024-13-45", "!!int x", "!!float x", "!!binary x", "!!set [a]",
    "!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system", "!!omap x", "!!pairs [x]",
    "2024-01-01", "0x", "0b2", "1_0", ".inf", "-.inf", ".nan", "1e400", "9" * 400, "0o9", "1:60:60", "~", "<<",
    "=",
    '"\\ud800"', '"\\0"', '"\\x00a"', "|", ">-", "*a", "&a [*a]", "!x y", "? a", "${HOME}", "${NO_SUCH_VARIABLE}",
)  # fmt: skip


# --- trees --------------------------------------------------------------------------------------


def broken_tree(tree: Any, draw: random.Random) -> Any:
    """A copy of nested mappings and lists with one to three values, keys or types changed."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        tree = _replaced(tree, draw.choice(places), draw)
    return tree


def _places(tree: Any, at: tuple[Any, ...] = ()):
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*at, key)
        yield from _places(value, (*at, key))


def _replaced(tree: Any, place: tuple[Any, ...], draw: random.Random) -> Any:
    key, *rest = place
    if rest:
        inner = _replaced(tree[key], tuple(rest), draw)
        return {**tree, key: inner} if isinstance(tree, dict) else [*tree[:key], inner, *tree[key + 1 :]]
    value, change = tree[key], draw.randrange(6)
    if isinstance(tree, list):
        return [*tree[:key], _other(value, draw), *tree[key + 1 :]]
    if change == 0:
        return {k: v for k, v in tree.items() if k != key}
    if change == 1:
        return {**tree, _name(str(key), draw): value}
    if change == 2:
        return {(_name(str(key), draw) if k == key else k): v for k, v in tree.items()}
    return {**tree, key: _other(value, draw)}


def _other(value: Any, draw: random.Random) -> Any:
    choices: list[Callable[[], Any]] = [
        lambda: draw.choice(
            (None, True, False, [], {}, "", 0, -1, 1, 1.5, "x", "auto", float("inf"), float("nan"))
        ),
        lambda: draw.choice((2**31, 2**63 - 1, 2**63, -(2**63), 10**400, 1e-320, 1e308, -0.0)),
        lambda: draw.choice(
            ("a" * 300, "a/" * 300, "\0", "x\0y", "\ud800", "..", "/", "~", "~nobody", ".", "a:b")
        ),
        lambda: [value],
        lambda: {"x": value},
        lambda: [value] * draw.choice((2, 300)),
        lambda: nested(draw.choice((10, 100, 600)), draw.choice((list, dict))),
        lambda: _name(value, draw) if isinstance(value, str) else str(value),
        lambda: value * 10**9 if isinstance(value, int | float) else value,
        lambda: -value if isinstance(value, int | float) else [value, None],
    ]
    return draw.choice(choices)()


def nested(depth: int, kind: type) -> Any:
    """Lists in lists, or mappings in mappings."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def _name(name: str, draw: random.Random) -> str:
    at = draw.randrange(len(name) + 1)
    return draw.choice(
        (name[:at] + name[at + 1 :], name[:at] + draw.choice(_CHARACTERS) + name[at:], name + "é", name * 50)
    )
