"""Real English sentences with scores from people, out of the source archive of vaderSentiment (MIT)."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path

__all__ = ["ARCHIVE", "CORPORA", "Snippet", "is_there", "lexicon", "snippets"]

ARCHIVE = Path(sys.prefix) / "sources" / "vaderSentiment-3.3.2.tar.gz"
CORPORA = ("movieReview", "nytEditorial", "amazonReview")
_FOLDER = "vaderSentiment-3.3.2"
_PAPER = "hutto_ICWSM_2014"


@dataclass(frozen=True)
class Snippet:
    """A sentence and the mean of what twenty people think of it.

    Attributes:
        text: as it was written.
        score: from -4, very negative, to 4, very positive.
    """

    text: str
    score: float


def is_there() -> bool:
    """Whether the archive has been fetched."""
    return ARCHIVE.is_file()


def snippets(corpora: Sequence[str] = CORPORA[:1]) -> list[Snippet]:
    """All snippets of some corpora, in their order.

    Raises:
        SystemExit: the archive has not been fetched.
    """
    return [
        Snippet(" ".join(unescape(text).split()), float(score))
        for corpus in corpora
        for _, score, text in _fields(_paper_file(f"{corpus}Snippets_GroundTruth.txt"), count=3)
    ]


def lexicon() -> dict[str, float]:
    """Word -> what ten people think of the word alone, from -4 to 4."""
    archive = _archive().extractfile(f"{_FOLDER}/vaderSentiment/vader_lexicon.txt")
    text = b"" if archive is None else archive.read()
    return {word: float(score) for word, score, *_ in _fields(text.decode("utf-8"), count=4)}


def _fields(text: str, count: int) -> list[list[str]]:
    lines = (line.split("\t", count - 1) for line in text.splitlines())
    return [fields for fields in lines if len(fields) == count]


@cache
def _archive() -> tarfile.TarFile:
    if not is_there():
        raise SystemExit(f"{ARCHIVE} is missing: make install fetches it")
    return tarfile.open(fileobj=io.BytesIO(ARCHIVE.read_bytes()))


@cache
def _paper_file(name: str) -> str:
    inner = _archive().extractfile(f"{_FOLDER}/additional_resources/{_PAPER}.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(b"" if inner is None else inner.read())) as paper:
        file = paper.extractfile(f"{_PAPER}/{name}")
        return "" if file is None else file.read().decode("utf-8", "replace")
