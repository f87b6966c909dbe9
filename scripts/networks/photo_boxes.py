"""Where the things are on the photographs: boxes drawn by hand, in pixels of the squares of 224."""

from __future__ import annotations

import numpy as np

from scripts.networks.photographs import PHOTOGRAPHS, SIDE

__all__ = ["BOXES", "MOST", "masks"]

MOST = 0.7
"""Share of a picture that boxes may cover for it to say anything about where a map is."""

BOXES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "astronaut": ((8, 6, 157, 222),),
    "cat": ((0, 0, 224, 224),),
    "coffee": ((40, 10, 172, 178),),
    "motorcycle": ((0, 36, 224, 202),),
    "rocket": ((105, 66, 122, 215),),
    "palace": ((0, 14, 128, 205),),
    "flower": ((32, 44, 178, 186), (95, 195, 186, 224)),
    "admiral": ((8, 138, 224, 224), (70, 0, 156, 52)),
    "photographer": ((28, 25, 140, 222), (105, 56, 168, 222)),
    "coins": ((0, 0, 224, 224),),
    "clock": ((66, 70, 178, 158),),
    "brick": ((0, 0, 224, 224),),
    "cat_face": ((0, 0, 224, 224),),
    "cup": ((80, 0, 224, 186),),
    "rocket_low": ((100, 0, 128, 210),),
    "helmet": ((18, 75, 222, 224),),
    "roof": ((8, 0, 224, 224),),
    "blossom": ((0, 12, 160, 222),),
    "engine": ((0, 0, 216, 210),),
    "wheel": ((50, 4, 182, 160),),
}
"""Name of a photograph -> left, top, right and bottom of each thing: of the admiral the uniform and the cap."""


def masks() -> np.ndarray:
    """(photographs, 224, 224) whether a pixel is in a box, in the order of `PHOTOGRAPHS`."""
    found = np.zeros((len(PHOTOGRAPHS), SIDE, SIDE), bool)
    for mask, photograph in zip(found, PHOTOGRAPHS, strict=True):
        for left, top, right, bottom in BOXES[photograph.name]:
            mask[top:bottom, left:right] = True
    return found
