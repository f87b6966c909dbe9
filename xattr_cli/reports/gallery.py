"""Every figure of a result file, drawn and saved."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import JobError, StoreError, suggestion
from ..store.results.reader import Results
from . import diagnostics, features
from .drawing.selection import Document, Drawing, Nothing, Selection, select
from .drawing.style import missing_glyphs_said_once, styled
from .effects import ace as causal_effects
from .effects import causal_graph as contribution_graph
from .effects import contributions
from .effects import flow as flow_diagnostics
from .interactions import figures as interactions
from .paths import saturation
from .rows import molecules, overlays, tokens
from .rows import samples as sample_pages

__all__ = ["FORMATS", "KINDS", "plot_all"]

KINDS: dict[str, Callable[[Selection], Iterator[Drawing | Document | Nothing]]] = {
    "samples": sample_pages.draw,
    "overlays": overlays.draw,
    "tokens": tokens.draw,
    "molecules": molecules.draw,
    "features": features.draw,
    "saturation": saturation.draw,
    "interactions": interactions.draw,
    "causal_effects": causal_effects.draw,
    "contributions": contributions.draw,
    "causal_graph": contribution_graph.draw,
    "flow": flow_diagnostics.draw,
    "diagnostics": diagnostics.draw,
}
"""Kind of figure -> what draws it."""

FORMATS = ("png", "pdf", "svg")

_LOG = logging.getLogger(__name__)
# a picture of the same file is the same, byte for byte
_NO_DATE = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@styled
def plot_all(
    results: Results,
    folder: str | Path,
    *,
    engines: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    samples: int = 8,
    rows: Sequence[int] | None = None,
    format: str = "png",
    dpi: int = 150,
    tell: Callable[[str], None] = _LOG.info,
) -> list[Path]:
    """Draw every figure that applies to the file.

    Arguments:
        results: an open file.
        folder: where the figures go; created if it is missing.
        engines: labels of the engines to show; None for all.
        kinds: of `KINDS`; None for all.
        samples: how many samples to show one by one.
        rows: numbers of rows to show one by one, instead of `samples`.
        format: of `FORMATS`.
        dpi: dots per inch of png files, and of pictures inside the others.
        tell: is told why a kind of figure does not apply.

    Returns:
        The paths written.

    Raises:
        JobError: an engine, kind, format or row that there is not.
        StoreError: nothing could be drawn, or written.
    """
    _check("kind", kinds or (), KINDS)
    _check("format", (format,), FORMATS)
    selection = select(results, engines, samples, rows)
    paths: list[Path] = []
    reasons: list[str] = []
    with missing_glyphs_said_once():
        for kind in KINDS if kinds is None else dict.fromkeys(kinds):
            for item in KINDS[kind](selection):
                if isinstance(item, Nothing):
                    reasons.append(f"no figure of kind {kind!r}: {item.reason}")
                else:
                    paths.append(_save(item, Path(folder), format, dpi))
    if not paths:
        raise StoreError(f"{results.path}: nothing to draw; {'; '.join(reasons)}.")
    for reason in reasons:
        tell(reason)
    return paths


def _check(noun: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    for word in given:
        if word not in allowed:
            raise JobError(f"unknown {noun} {word!r}.{suggestion(word, allowed)}")


def _save(item: Drawing | Document, folder: Path, format: str, dpi: int) -> Path:
    stem = re.sub(r"[^\w.-]+", "_", item.stem).strip("_")
    path = folder / f"{stem}.{'html' if isinstance(item, Document) else format}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(item, Document):
            path.write_text(item.html, encoding="utf-8")
        else:
            item.figure.savefig(path, dpi=dpi, metadata=_NO_DATE[format])
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error}") from error
    return path
