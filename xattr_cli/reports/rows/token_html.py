"""Coloured tokens as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain

import numpy as np
from matplotlib.colors import to_hex

from ...samples import Status
from ..drawing.style import diverging_map, ink
from ..drawing.words import describe_map, describe_row, number, score_unit
from .token_rows import TokenMap, TokenReader
from .token_words import Piece

__all__ = ["token_document"]

_STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: #fff; color: #111;
  font: 1rem/1.5 system-ui, sans-serif; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
h1 { font-size: 1.25rem; }
h2 { font-size: 1rem; margin: 2rem 0 .25rem; border-top: 1px solid #ccc; padding-top: 1rem; }
h3 { font-size: .875rem; font-weight: 600; margin: .75rem 0 .25rem; }
.facts, .legend, summary, table { font-size: .875rem; color: #444; }
.warning { color: #9c3d00; font-weight: 600; }
.text { line-height: 2; margin: .25rem 0; overflow-wrap: anywhere; }
.text span { padding: .15em .2em; outline: 1px solid #d8d8d8; }
.bar { display: inline-block; width: 12rem; height: .8em; border: 1px solid #999; vertical-align: middle; }
table { border-collapse: collapse; }
td, th { padding: .1rem .75rem .1rem 0; text-align: left; font-weight: normal; }
td.value { text-align: right; font-variant-numeric: tabular-nums; }
"""


def token_document(reader: TokenReader, rows: Sequence[int]) -> str:
    """The texts of some rows as HTML.

    Every text from the file is escaped. What the colours say is there in numbers too, in a table per text,
    for eyes that cannot tell colours apart and for screen readers.
    """
    title = f"{reader.results.path.name}: attribution of tokens, {reader.tensor}"
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>"
    )
    sections = chain.from_iterable(_section(reader, row) for row in rows)
    return "\n".join([head, _legend(reader), *sections, "</body>\n</html>\n"])


def _legend(reader: TokenReader) -> str:
    stops = ", ".join(to_hex(diverging_map()(share)) for share in np.linspace(0, 1, 9))
    unit = escape(score_unit(reader.results))
    bar = (
        '<span class="bar" role="img" aria-label="colours from blue to orange" '
        f'style="background: linear-gradient(to right, {stops})"></span>'
    )
    return (
        f'<p class="legend">lowers the {unit} of the target {bar} raises it. White: no part in it. Every '
        "text has its own scale. ±: reported relative L2 error of the map. Point at a token for its number.</p>"
    )


def _section(reader: TokenReader, row: int) -> Iterator[str]:
    first, *facts = describe_row(reader.results, row, width=100)
    pieces = reader.pieces(row)
    yield f'<section>\n<h2>{escape(first)}</h2>\n<p class="facts">{escape(" · ".join(facts))}</p>'
    maps = reader.maps(row)
    for token_map in maps:
        yield _heading(token_map, row)
        if token_map.values is not None:
            yield _text(pieces, token_map.values, token_map.shares)
    yield _table(pieces, maps)
    yield "</section>"


def _heading(token_map: TokenMap, row: int) -> str:
    status = token_map.engine.status[row]
    if status == Status.QUARANTINED:
        facts = "quarantined: score or gradient is not finite"
    else:
        facts = f"{describe_map(token_map.engine, row)}; colours end at ±{number(token_map.limit)}".replace(
            "\n", ", "
        )
    kind = "" if status in (Status.CONVERGED, Status.NOT_JUDGED) else ' class="warning"'
    return f"<h3{kind}>{escape(token_map.engine.label)}: {escape(facts)}</h3>"


def _text(pieces: Sequence[Piece], values: np.ndarray, shares: np.ndarray) -> str:
    parts = []
    for place, (piece, value, share) in enumerate(zip(pieces, values.tolist(), shares.tolist(), strict=True)):
        colour = diverging_map()(share)
        style = f"background:{to_hex(colour)};color:{ink(colour)}"
        space = "" if place == 0 or piece.is_glued else " "
        parts.append(f'{space}<span style="{style}" title="{number(value)}">{escape(piece.text)}</span>')
    return f'<p class="text" dir="auto">{"".join(parts)}</p>'


def _table(pieces: Sequence[Piece], maps: Sequence[TokenMap]) -> str:
    shown = {token_map.engine.label: token_map.values for token_map in maps if token_map.values is not None}
    if not shown:
        return ""
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in shown)
    lines = [f'<tr><th scope="col">token</th>{heads}</tr>']
    for place, piece in enumerate(pieces):
        cells = "".join(f'<td class="value">{number(float(values[place]))}</td>' for values in shown.values())
        lines.append(f'<tr><th scope="row" dir="auto">{escape(piece.text)}</th>{cells}</tr>')
    return "\n".join(["<details><summary>in numbers</summary>", "<table>", *lines, "</table></details>"])
