"""Where maps of photographs lie: in the boxes of the things, and what the network loses when their pixels go."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.models import EfficientNet_B0_Weights

from scripts.benchmarks.benchlib import RESULTS, Table
from scripts.benchmarks.photo_reference import open_photos
from scripts.networks.photo_boxes import BOXES, MOST, masks
from scripts.networks.photographs import PHOTOGRAPHS, SIDE
from scripts.papers.ig.ig_images import fall
from scripts.papers.paper_jobs import Claim, Verdict, claim_table, paired_gain, run_config
from xattr_cli.reports.drawing.style import chart, diverging_map, styled, symmetric_limit
from xattr_cli.store.results.reader import Results

__all__ = ["hits", "shares_inside", "tables"]

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
SHOWN = ("flower", "coffee", "wheel", "rocket_low")
ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
OWN, AT_IMAGE, CHANCE = "interior gradients", "gradient × image", "at random"
FRAME = 300  # milliseconds


def tables(folder: Path, quick: bool) -> list[Table]:
    """One job on the photographs; boxes drawn by hand tell what is in a map's place."""
    count = 3 if quick else len(PHOTOGRAPHS)
    engine = {
        "interior_gradients": {
            "baseline": {"kind": "constant", "value": 0, "units": "original"},
            "rtol": 0.3 if quick else 0.1,
            "alphas": [*ALPHAS],
            "curve_intervals": 8,
        }
    }
    with Results.open(
        run_config("photos", folder, {"dataset.limit": count, "engines": engine}, plots=False)
    ) as results:
        found = results.engine("interior_gradients")
        steps, _ = found.path_maps(slice(None))
        maps = {OWN: found.attribution(slice(None)).sum(axis=1), AT_IMAGE: steps[:, -1].sum(axis=1)}
        target = results.rows.target
    maps[CHANCE] = np.random.default_rng(0).normal(size=maps[OWN].shape)
    inside = masks()[:count]
    told = [row for row in range(count) if inside[row].mean() <= MOST]
    network, images = open_photos(count)
    falls = {
        label: np.array([fall(network, images, target, values, share) for share in SHARES])
        for label, values in maps.items()
    }
    draw(images, target, maps, folder / "ablation.png")
    animate(images, steps.sum(axis=2), folder / "strips.gif")
    if not quick:
        shutil.copyfile(folder / "strips.gif", RESULTS / "reproduce_interior_strips.gif")
    names = [PHOTOGRAPHS[row].name for row in told]
    note = (
        f"{len(told)} of {count} photographs, those whose boxes cover at most {MOST:.0%}; the boxes were drawn by "
        "hand (scripts/networks/photo_boxes.py). Logit of the predicted class, from black."
    )
    claims = [*_place_claims(maps, inside, told), _ablation_claim(falls)]
    return [
        claim_table("Photographs: boxes and ablation", claims, note),
        _box_table(names, maps, inside, told, target),
        _ablation_table(falls),
    ]


# --- places ---------------------------------------------------------------------------------------


def shares_inside(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(rows,) share of the positive attribution (rows, height, width) that lies in boxes (rows, height, width)."""
    positive = np.maximum(values, 0)
    return np.asarray((positive * inside).sum(axis=(1, 2)) / positive.sum(axis=(1, 2)))


def hits(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(rows,) whether the greatest value, summed over squares of 7 pixels, lies in a box: the pointing game."""
    side = values.shape[1] // 7
    squares = values.reshape(len(values), side, 7, side, 7).sum(axis=(2, 4)).reshape(len(values), -1)
    best = squares.argmax(axis=1)
    middle = (best // side * 7 + 3, best % side * 7 + 3)
    return np.asarray(inside[np.arange(len(values)), middle[0], middle[1]])


def _place_claims(maps: Mapping[str, np.ndarray], inside: np.ndarray, told: Sequence[int]) -> list[Claim]:
    rows = [*told]
    share = {label: shares_inside(values[rows], inside[rows]) for label, values in maps.items()}
    pointed = {label: float(hits(values[rows], inside[rows]).mean()) for label, values in maps.items()}
    gain, error = paired_gain(share[OWN], share[AT_IMAGE])
    area = float(inside[rows].mean())
    beyond, beyond_error = paired_gain(share[OWN], share[CHANCE])
    holds: Verdict = "yes" if gain > 2 * error else "in part" if beyond > 2 * beyond_error else "no"
    return [
        Claim(
            "Interior gradients lie on the thing, gradients at the image do not",
            f"share of the positive attribution in the boxes, which cover {area:.0%}: "
            + ", ".join(f"{label} {values.mean():.2f}" for label, values in share.items())
            + f"; the former minus the second, on the same rows, {gain:+.3f} ± {error:.3f}; pointing game: "
            + ", ".join(f"{label} {value:.0%}" for label, value in pointed.items()),
            holds,
            f"Boxes of photographs (area {area:.0%}): {share[OWN].mean():.0%} of the positive attribution is "
            f"inside, of gradients at the image {share[AT_IMAGE].mean():.0%}.",
        )
    ]


def _box_table(
    names: Sequence[str],
    maps: Mapping[str, np.ndarray],
    inside: np.ndarray,
    told: Sequence[int],
    target: np.ndarray,
) -> Table:
    rows = [*told]
    classes = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    values = [inside[rows].mean(axis=(1, 2)), *(shares_inside(each[rows], inside[rows]) for each in maps.values())]
    lines = [
        [name, classes[int(target[row])], *map(float, line)]
        for name, row, line in zip(names, rows, zip(*values, strict=True), strict=True)
    ]
    columns = {"photograph": "", "taken for": "", "area of the boxes": ".0%", **dict.fromkeys(maps, ".0%")}
    note = f"Share of the positive attribution in the boxes; {len(BOXES)} photographs have some."
    return Table("Photographs: what is in the boxes", columns, lines, note)


# --- ablation -------------------------------------------------------------------------------------


def _ablation_claim(falls: Mapping[str, np.ndarray]) -> Claim:
    ahead = [paired_gain(falls[OWN][k], falls[AT_IMAGE][k]) for k in range(len(SHARES))]
    sure = sum(gain > 2 * error for gain, error in ahead)
    beyond = all(falls[OWN][k].mean() > falls[CHANCE][k].mean() for k in range(len(SHARES)))
    return Claim(
        "Without the pixels that interior gradients name the score falls further than without those of gradients",
        "fall of the logit, interior minus gradient × image on the same rows: "
        + ", ".join(
            f"{share:.0%} of the pixels {gain:+.2f} ± {error:.2f}"
            for share, (gain, error) in zip(SHARES, ahead, strict=True)
        ),
        "yes" if sure > len(SHARES) / 2 else "in part" if beyond else "no",
        f"Pixel ablation: the fall is surely larger for interior gradients at {sure} of {len(SHARES)} numbers "
        "of pixels.",
    )


def _ablation_table(falls: Mapping[str, np.ndarray]) -> Table:
    rows = [
        [
            f"{share:.0%}",
            *(
                f"{values[k].mean():.2f} ± {values[k].std() / len(values[k]) ** 0.5:.2f}"
                for values in falls.values()
            ),
        ]
        for k, share in enumerate(SHARES)
    ]
    count = len(falls[OWN][0])
    note = (
        "Fall of the logit of the predicted class when so many pixels turn black, mean ± standard error over "
        f"{count} photographs. Photographs that come out of the black over Δ ⊙ ∇f at α = .02 … 1: "
        "[strips](reproduce_interior_strips.gif)."
    )
    return Table("Photographs: pixel ablation", {"pixels": "", **dict.fromkeys(falls, "")}, rows, note)


def _picture(image: np.ndarray) -> np.ndarray:
    """(height, width, 3) from 0 to 1, of what the network is given."""
    return np.asarray(np.moveaxis((image * 128 + 127) / 255, 0, -1).clip(0, 1))


def _ablated(picture: np.ndarray, values: np.ndarray, share: float) -> np.ndarray:
    edge = np.partition(values.ravel(), -round(share * values.size))[-round(share * values.size)]
    return np.where((values >= edge)[..., None], 0.0, picture)


@styled
def draw(images: np.ndarray, target: np.ndarray, maps: Mapping[str, np.ndarray], path: Path) -> None:
    """Photographs with their boxes, both maps, and the photographs without the pixels of either, side by side."""
    names = [photograph.name for photograph in PHOTOGRAPHS]
    rows = [names.index(name) for name in SHOWN if names.index(name) < len(images)] or [0]
    classes = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    figure = chart(10.5, 0.4 + 2.1 * len(rows))
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        picture = _picture(images[row])
        line[0].imshow(picture)
        for left, top, right, bottom in BOXES[names[row]]:
            line[0].plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="yellow", lw=1)
        line[0].set_ylabel(classes[int(target[row])])
        for place, label in enumerate((OWN, AT_IMAGE)):
            values = maps[label][row]
            limit = symmetric_limit(values)
            line[1 + place].imshow(values, cmap=diverging_map(), vmin=-limit, vmax=limit)
            line[3 + place].imshow(_ablated(picture, values, 0.05))
    for axes, title in zip(
        grid[0], ("photograph, box", OWN, AT_IMAGE, f"without 5 %: {OWN}", f"without 5 %: {AT_IMAGE}"), strict=True
    ):
        axes.set_title(title)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=100)


def animate(images: np.ndarray, steps: np.ndarray, path: Path) -> None:
    """A strip of photographs that come out of the black, over maps Δ ⊙ ∇f at the same α: a frame per α."""
    names = [photograph.name for photograph in PHOTOGRAPHS]
    rows = [names.index(name) for name in SHOWN if names.index(name) < len(images)] or [0]
    colours = diverging_map()
    frames = []
    for place, alpha in enumerate(ALPHAS):
        strips = []
        for row in rows:
            limit = symmetric_limit(steps[row, place])
            shown = colours(np.clip(steps[row, place] / limit, -1, 1) / 2 + 0.5)[..., :3]
            strips.append(np.concatenate([alpha * _picture(images[row]), shown]))
        whole = (255 * np.concatenate(strips, axis=1)).astype(np.uint8)
        frames.append(Image.fromarray(whole).resize((SIDE // 2 * len(rows), SIDE)).quantize(32))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME, loop=0, optimize=True)
