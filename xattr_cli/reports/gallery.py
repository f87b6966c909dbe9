"""Every figure of a result file, drawn and saved."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..errors import JobError, StoreError, suggestion
from ..registry import FIGURES
from ..store.results.reader import Results
from .drawing.selection import Animation, Document, Drawing, Nothing, select
from .drawing.style import missing_glyphs_said_once, styled
from .figures import figure_kinds

__all__ = ["FORMATS", "plot_all"]

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
        kinds: names of kinds of figures; None for all.
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
    chosen = figure_kinds(_LOG.warning) if kinds is None else {kind: FIGURES.get(kind)() for kind in kinds}
    _check("format", (format,), FORMATS)
    selection = select(results, engines, samples, rows)
    paths: list[Path] = []
    reasons: list[str] = []
    with missing_glyphs_said_once():
        for kind, figure in chosen.items():
            for item in figure.draw(selection):
                if isinstance(item, Nothing):
                    reasons.append(f"no figure of kind {kind!r}: {item.reason}")
                else:
                    paths.append(_save(item, Path(folder), format, dpi))
    if not paths:
        raise StoreError(f"{results.path}: nothing to draw; {'; '.join(reasons)}.")
    for reason in reasons:
        tell(reason)
    return paths


def _check(noun: str, words: Iterable[str], allowed: Iterable[str]) -> None:
    for word in words:
        if word not in allowed:
            raise JobError(f"unknown {noun} {word!r}.{suggestion(word, allowed)}")


def _save(item: Drawing | Animation | Document, folder: Path, format: str, dpi: int) -> Path:
    stem = re.sub(r"[^\w.-]+", "_", item.stem).strip("_")
    endings: dict[type, str] = {Document: "html", Animation: "gif"}
    path = folder / f"{stem}.{endings.get(type(item), format)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(item, Document):
            path.write_text(item.html, encoding="utf-8")
        elif isinstance(item, Animation):
            _save_gif(item, path, dpi)
        else:
            item.figure.savefig(path, dpi=dpi, metadata=_NO_DATE[format])
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error}") from error
    return path


def _save_gif(item: Animation, path: Path, dpi: int) -> None:
    """Save frames as one endless animation, of at most half the dots: every frame costs as much as a picture."""
    frames = []
    for figure in item.frames:
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=max(dpi // 2, 50))
        frames.append(Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE))
    milliseconds = [round(1000 * seconds) for seconds in item.seconds]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
