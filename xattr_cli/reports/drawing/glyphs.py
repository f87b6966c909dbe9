"""Characters that no installed font can draw: said once, not once for each."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["missing_glyphs_said_once"]

_LOG = logging.getLogger(__name__)
_MISSING = re.compile(r"Glyph (\d+) .*missing from font")


@contextmanager
def missing_glyphs_said_once() -> Iterator[None]:
    """Gather matplotlib's warnings about characters without a glyph into one that says what to do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    numbers = set()
    for one in caught:
        match = _MISSING.match(str(one.message))
        if match is None:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        else:
            numbers.add(int(match[1]))
    if numbers:
        shown = "".join(chr(number) for number in sorted(numbers)[:8])
        _LOG.warning(
            "%d characters are boxes in the figures: no installed font has %s%s; install one, such as Noto Sans",
            len(numbers), shown, "…" if len(numbers) > 8 else "",
        )  # fmt: skip
