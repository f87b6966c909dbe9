"""Real photographs that come with packages, cut to squares of 224 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

__all__ = ["PHOTOGRAPHS", "SIDE", "Photograph", "leave_photographs"]

SIDE = 224
_FOLDERS = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "matplotlib": "mpl-data/sample_data",
}


@dataclass(frozen=True)
class Photograph:
    """A square part of a picture.

    Attributes:
        name: of the file that it becomes.
        package, file: where the picture is.
        centre: of the square, as shares of width and height.
        side: of the square, as a share of the shorter side.
    """

    name: str
    package: str
    file: str
    centre: tuple[float, float] = (0.5, 0.5)
    side: float = 1.0

    def cut(self) -> Image.Image:
        """The square, 224 × 224 in RGB.

        Raises:
            SystemExit: the package is not installed.
        """
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{self.file} comes with {self.package}, which is not installed: make install")
        with Image.open(Path(spec.origin).parent / _FOLDERS[self.package] / self.file) as picture:
            whole = picture.convert("RGB")
        length = round(self.side * min(whole.size))
        left, top = (
            min(max(round(at * extent - length / 2), 0), extent - length)
            for at, extent in zip(self.centre, whole.size, strict=True)
        )
        box = (left, top, left + length, top + length)
        return whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


PHOTOGRAPHS = (
    Photograph("astronaut", "skimage", "astronaut.png"),
    Photograph("cat", "skimage", "chelsea.png"),
    Photograph("coffee", "skimage", "coffee.png"),
    Photograph("motorcycle", "skimage", "motorcycle_left.png"),
    Photograph("rocket", "skimage", "rocket.jpg"),
    Photograph("palace", "sklearn", "china.jpg"),
    Photograph("flower", "sklearn", "flower.jpg"),
    Photograph("admiral", "matplotlib", "grace_hopper.jpg"),
    Photograph("photographer", "skimage", "camera.png"),
    Photograph("coins", "skimage", "coins.png"),
    Photograph("clock", "skimage", "clock_motion.png"),
    Photograph("brick", "skimage", "brick.png"),
    Photograph("cat_face", "skimage", "chelsea.png", (0.5, 0.4), 0.7),
    Photograph("cup", "skimage", "coffee.png", (0.35, 0.5), 0.8),
    Photograph("rocket_low", "skimage", "rocket.jpg", (0.5, 0.8), 0.6),
    Photograph("helmet", "skimage", "astronaut.png", (0.8, 0.75), 0.5),
    Photograph("roof", "sklearn", "china.jpg", (0.3, 0.4), 0.6),
    Photograph("blossom", "sklearn", "flower.jpg", (0.6, 0.5), 0.7),
    Photograph("engine", "skimage", "motorcycle_left.png", (0.5, 0.65), 0.5),
    Photograph("wheel", "skimage", "motorcycle_right.png", (0.2, 0.7), 0.5),
)


def leave_photographs(folder: Path) -> None:
    """Write every photograph to `folder` as a PNG; the order of the names is that of the list."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, photograph in enumerate(PHOTOGRAPHS):
        photograph.cut().save(folder / f"{number:02d}_{photograph.name}.png")
