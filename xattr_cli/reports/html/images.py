"""Pictures inside a page: inputs, both signs of a map as layers above them, the outline of its strongest part."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from contourpy import contour_generator
from matplotlib.colors import to_rgb
from PIL import Image

from ..drawing.pictures import colours_of
from ..drawing.style import LOWERS, RAISES, diverging_map
from ..drawing.words import percent
from ..rows.overlays import outlined, smoothed_map

__all__ = ["Picture", "data_uri", "heat_map", "layer_uris", "photograph_uri", "picture", "shrunk"]

MOST_PIXELS = 256
"""Of a side of a picture; larger ones are averaged over blocks."""

_LARGE_FROM = 24  # pixels a side; single pixels of smaller maps can be seen, and hide what lies below
_TOP, _BLUR = 0.05, 0.02  # as in the figures of kind `overlays`
_LEVELS = 24  # of a layer's palette: more cannot be told apart
_JPEG_FROM = 48  # pixels a side


@dataclass(frozen=True)
class Picture:
    """A map as layers that lie above each other.

    Attributes:
        width, height: in pixels of the layers.
        source: of the input below; '' if it is not stored, or would be hidden by single pixels.
        raises, lowers: of the layers, transparent where the map is zero.
        outline: path of an SVG around the largest attributions; '' if there is none.
        share: of all attributions, that lies inside the outline, in words.
        is_crisp: whether single pixels are to be seen.
        is_stretched: whether width and height are no lengths of the same kind.
    """

    width: int
    height: int
    source: str
    raises: str
    lowers: str
    outline: str = ""
    share: str = ""
    is_crisp: bool = False
    is_stretched: bool = False
    kind: str = "picture"


def picture(pixels: np.ndarray, limit: float, source: str) -> Picture:
    """The layers of a map.

    Arguments:
        pixels: (height, width), channels summed.
        limit: where colours end.
        source: of the input; '' if it is not stored.
    """
    pixels = shrunk(np.nan_to_num(pixels))
    raises, lowers = layer_uris(pixels / limit)
    height, width = pixels.shape
    is_large = min(pixels.shape) >= _LARGE_FROM
    outline, share = _outline(np.abs(pixels)) if is_large else ("", "")
    below = source if is_large else ""
    return Picture(width, height, below, raises, lowers, outline, share, max(pixels.shape) <= 64)


def heat_map(pixels: np.ndarray, limit: float) -> Picture:
    """A map (lines, columns) without an input below it and without an outline."""
    pixels = shrunk(np.nan_to_num(pixels))
    raises, lowers = layer_uris(pixels / limit)
    return Picture(pixels.shape[1], pixels.shape[0], "", raises, lowers, is_crisp=True, is_stretched=True)


def layer_uris(shares: np.ndarray) -> tuple[str, str]:
    """Data URIs of what raises and what lowers, from shares of the scale (height, width).

    On white they give the colours of the figures: the first half of a sign's scale goes from white to its
    colour, which is what its opacity does here; the second half goes on to dark.
    """
    scaled = np.clip(np.round(shares * _LEVELS), -_LEVELS, _LEVELS).astype(np.int64)
    return _layer(np.maximum(scaled, 0), RAISES, 1), _layer(np.maximum(-scaled, 0), LOWERS, -1)


def _layer(levels: np.ndarray, colour: str, sign: int) -> str:
    image = Image.fromarray(levels.astype(np.uint8), "P")
    palette, opacity = [], bytearray()
    for level in range(_LEVELS + 1):
        share = level / _LEVELS
        rgb = to_rgb(colour) if share <= 0.5 else diverging_map()(0.5 + 0.5 * sign * share)[:3]
        palette += [round(255 * channel) for channel in rgb]
        opacity.append(round(255 * min(1.0, 2 * share)))
    image.putpalette(palette)
    return _png(image, transparency=bytes(opacity))


def photograph_uri(values: np.ndarray) -> str:
    """Data URI of an input (channels, height, width) or (height, width) in original units."""
    colours = colours_of(values)
    colours = np.dstack([shrunk(colours[..., channel]) for channel in range(4)])
    image = Image.fromarray(np.round(255 * colours).astype(np.uint8), "RGBA")
    if min(image.size) < _JPEG_FROM or colours[..., 3].min() < 1:
        return _png(image)
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """(height, width) values averaged over square blocks until no side is longer than `MOST_PIXELS`."""
    block = -(-max(pixels.shape) // MOST_PIXELS)
    if block == 1:
        return pixels
    short = [-side % block for side in pixels.shape]
    padded = np.pad(pixels, [(0, short[0]), (0, short[1])], mode="edge")
    height, width = padded.shape[0] // block, padded.shape[1] // block
    return np.asarray(padded.reshape(height, block, width, block).mean(axis=(1, 3)))


def _outline(sizes: np.ndarray) -> tuple[str, str]:
    near = smoothed_map(sizes, _BLUR * max(sizes.shape))
    inside = outlined(near, _TOP)
    if inside.all() or not inside.any():
        return "", ""
    lines = contour_generator(z=near).lines(float(near[inside].min()))
    path = "".join(
        "M" + " ".join(f"{x + 0.5:.0f},{y + 0.5:.0f}" for x, y in np.asarray(line).tolist())
        for line in lines
        if len(line) > 5
    )
    return path, percent(float(sizes[inside].sum() / sizes.sum()))


def _png(image: Image.Image, **options: bytes) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return data_uri(buffer.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Content of that media type as the address of itself."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
