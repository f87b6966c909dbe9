"""Hugging Face's libraries, imported so that they neither ask the network nor write to the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import JobError
from .importing import import_optional

__all__ = ["quiet", "transformers"]

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def transformers(needed_by: str, error: type[JobError]) -> Any:
    """The module `transformers`.

    Arguments:
        needed_by: what needs it, such as "model kind 'transformers'".
        error: kind of error to raise.

    Raises:
        JobError: of that kind; it is not installed, or does not load.
    """
    for name in _OFFLINE:
        os.environ.setdefault(name, "1")
    return import_optional("transformers", needed_by=needed_by, install="xattr-cli[transformers]", error=error)


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """While open, the library shows no progress bar and logs errors only."""
    logging = library.utils.logging
    level, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_progress:
            logging.enable_progress_bar()
