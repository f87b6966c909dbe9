"""Integrated gradients on photographs: beside gradient × image, and in how many steps; and on faulty networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn
from torchvision.models import EfficientNet_B0_Weights

from scripts.benchmarks.benchlib import ROOT, Table
from scripts.benchmarks.photo_reference import BLACK, open_photos, reference
from scripts.papers.ig.ig_faults import fault_claims, fault_table, networks_found
from scripts.papers.ig.ig_steps import steps_claim, steps_of, steps_table
from scripts.papers.interior.interior_paths import paths_of, sum_claim
from scripts.papers.paper_jobs import Claim, claim_table, removal_claim, run_config
from xattr_cli.reports.drawing.style import chart, diverging_map, styled, symmetric_limit
from xattr_cli.store.results.reader import Results

__all__ = ["fall", "tables"]

SHARE = 0.05  # of the pixels, that are made black
SHOWN = (2, 1, 3, 5, 8)
AT_IMAGE = {
    "engines.interior_gradients.baseline": "{kind: constant, value: 0, units: original}",
    "engines.interior_gradients.alphas": "[1.0]",
    "engines.interior_gradients.curve_intervals": 4,
}


def tables(folder: Path, quick: bool) -> list[Table]:
    """Explain the photographs, count steps, and look for what faulty networks never read."""
    changed = {"dataset.limit": 3 if quick else 20, "engines.integrated_gradients.rtol": 0.2 if quick else 0.05}
    with Results.open(run_config("photos", folder, {**AT_IMAGE, **changed})) as results:
        draw(results, folder / "photographs.png")
        claims = [image_claim(results), sum_claim(paths_of(results.engine("interior_gradients"), 0.0))]
        count = len(results.rows)
        steps = steps_of(1 if quick else 6, folder)
        table = steps_table(steps, *_cost_and_error(results, len(steps.gap)))
    note = "Logit of the predicted class, black baseline."
    found = networks_found(folder, epochs=4 if quick else 25)
    return [
        claim_table(f"efficientnet-lite0 on {count} photographs", [*claims, steps_claim(steps)], note),
        table,
        claim_table("Faults that attributions expose: small networks on real digits", fault_claims(found)),
        fault_table(found),
    ]


def _cost_and_error(results: Results, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) gradients that the first maps took, and their true errors."""
    engine = results.engine("integrated_gradients")
    truth = reference(limit=count)["reference"][:count].reshape(count, -1)
    maps = engine.attribution(slice(0, count)).reshape(count, -1)
    return engine.evaluations[:count], np.linalg.norm(maps - truth, axis=1) / np.linalg.norm(truth, axis=1)


def maps_of(results: Results, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    """Method -> (rows, 3, height, width); gradient × image is that of the image in steps from black."""
    at_image, _ = results.engine("interior_gradients").path_maps(rows)
    own = results.engine("integrated_gradients").attribution(rows)
    return {"integrated gradients": own, "gradient × image": at_image[:, 0]}


def image_claim(results: Results) -> Claim:
    """Section 6.1: which pixels does the network miss most?"""
    network, images = open_photos(len(results.rows))
    ranks = {method: maps.sum(axis=1) for method, maps in maps_of(results).items()}
    ranks["at random"] = np.random.default_rng(0).random(ranks["integrated gradients"].shape)
    target = results.rows.target
    falls = {method: fall(network, images, target, values) for method, values in ranks.items()}
    return removal_claim(
        "Integrated gradients show the distinctive features of an image better than gradients at it do",
        f"fall of the logit when the {SHARE:.0%} of the pixels that a method ranks highest turn black",
        falls,
    )


def fall(
    network: nn.Module, images: np.ndarray, target: np.ndarray, ranks: np.ndarray, share: float = SHARE
) -> np.ndarray:
    """(n,) fall of the target's score when the pixels of the highest ranks turn black.

    Arguments:
        network: (n, 3, height, width) to (n, classes).
        images: as it is given them.
        target: (n,) classes.
        ranks: (n, height, width).
        share: of the pixels.
    """
    count = round(share * ranks[0].size)
    order = np.argsort(-ranks.reshape(len(ranks), -1), axis=1)[:, :count]
    black = images.reshape(len(images), 3, -1).copy()
    for row, pixels in enumerate(order):
        black[row][:, pixels] = BLACK
    with torch.no_grad():
        before, after = (
            network(torch.from_numpy(each.reshape(images.shape))).numpy()[np.arange(len(target)), target]
            for each in (images, black)
        )
    return np.asarray(before - after)


@styled
def draw(results: Results, path: Path) -> None:
    """Photographs, both maps, and, as in figure 2 of the paper, the photographs in the light of the maps."""
    names = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    rows = [row for row in SHOWN if row < len(results.rows)] or [0]
    methods = ("integrated gradients", "gradient × image")
    figure = chart(10.5, 0.4 + 2.1 * len(rows))
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        image = np.moveaxis(results.original("X", int(results.rows.sample[row])), 0, -1).clip(0, 1)
        line[0].imshow(image)
        line[0].set_title(names[int(results.rows.target[row])])
        draw_maps(line[1:], image, maps_of(results, slice(row, row + 1)))
    for place, title in enumerate((*methods, *(f"in the light of\n{method}" for method in methods)), start=1):
        grid[0, place].set_title(title)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=110)


def draw_maps(line: Sequence[Axes], image: np.ndarray, maps: Mapping[str, np.ndarray]) -> None:
    """Each map, and then the image as bright as each map is strong."""
    for place, values in enumerate(maps.values()):
        summed = values[0].sum(axis=0)
        limit = symmetric_limit(summed)
        line[place].imshow(summed, cmap=diverging_map(), vmin=-limit, vmax=limit)
        line[len(maps) + place].imshow(image * np.clip(np.abs(summed) / limit, 0, 1)[..., None])


if __name__ == "__main__":
    for one in tables(ROOT / "runs" / "reproduce-ig" / "images", quick=True):
        print(one.markdown())
