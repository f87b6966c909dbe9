"""How many steps integrated gradients take: those of the paper, one sweep for many numbers of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scripts.benchmarks.benchlib import Table
from scripts.benchmarks.photo_reference import BLACK, folded, gradients_at, open_photos, reference
from scripts.networks.photographs import PHOTOGRAPHS
from scripts.papers.paper_jobs import Claim

__all__ = ["STEPS", "Steps", "needed", "riemann_sums", "steps_claim", "steps_of", "steps_table"]

MOST = 300
STEPS = tuple(step for step in range(10, MOST + 1) if MOST % step == 0)
WITHIN = 0.05


@dataclass(frozen=True)
class Steps:
    """Errors of sums with different numbers of steps, (photographs, numbers of steps) each.

    Attributes:
        gap: of the sum over the map, relative to the change of the score; right sums, equation 3 of the paper.
        error: of the map, relative L2; the same sums.
    """

    gap: np.ndarray
    error: np.ndarray


def steps_of(count: int, folder: Path) -> Steps:
    """The first `count` photographs; what was computed before is taken from the folder."""
    kept = folder / f"steps-{count}.npz"
    if not kept.exists():
        arrays = reference(limit=count)
        network, images = open_photos(count)
        network = folded(network).to(memory_format=torch.channels_last)
        found = [_of_photograph(network, arrays, row, torch.from_numpy(images[row])) for row in range(count)]
        gap, error = np.moveaxis(np.array(found), 1, 0)
        np.savez(kept, gap=gap, error=error)
    with np.load(kept) as arrays:
        return Steps(arrays["gap"], arrays["error"])


def _of_photograph(
    network: nn.Module, arrays: dict[str, np.ndarray], row: int, image: Tensor
) -> tuple[list[float], list[float]]:
    start = torch.full_like(image, BLACK)
    sums = riemann_sums(network, start, image, int(arrays["targets"][row]))
    truth = torch.from_numpy(arrays["reference"][row].copy()).flatten().double()
    scores = arrays["scores"][row]
    change = float(scores[-1] - scores[0])
    gaps = [abs(float(each.sum()) - change) / abs(change) for each in sums]
    return gaps, [float((each - truth).norm() / truth.norm()) for each in sums]


def riemann_sums(
    network: nn.Module, start: Tensor, image: Tensor, target: int, steps: Sequence[int] = STEPS, rows: int = 10
) -> list[Tensor]:
    """Equation 3 of the paper for each number of steps, (D,) float64, from the gradients of the greatest.

    Arguments:
        network, target: the score.
        start, image: (3, height, width) ends of the path.
        steps: divisors of the greatest of them.
        rows: per call.
    """
    most = max(steps)
    sums = [torch.zeros(image.numel(), dtype=torch.float64) for _ in steps]
    for part in torch.arange(1, most + 1).split(rows):
        points = start.lerp(image, (part / most)[:, None, None, None])
        _, gradients = gradients_at(network, points, target)
        integrand = (gradients * (image - start).flatten()).double()
        for total, step in zip(sums, steps, strict=True):
            total += integrand[part % (most // step) == 0].sum(dim=0) / step
    return sums


def needed(errors: np.ndarray, steps: Sequence[int], within: float = WITHIN) -> np.ndarray:
    """(photographs,) fewest steps from which on all that were tried are within; infinity if the last is not."""
    inside = np.logical_and.accumulate(errors[:, ::-1] <= within, axis=1)[:, ::-1]
    first = np.array(steps, float)[inside.argmax(axis=1)]
    return np.where(inside.any(axis=1), first, np.inf)


def steps_claim(found: Steps) -> Claim:
    """Section 5 of the paper."""
    sums, maps = needed(found.gap, STEPS), needed(found.error, STEPS)
    within = float(np.mean(sums <= MOST))
    told = (
        f"the sum stays within 5 % from {told_steps(sums)}, on {len(sums)} photographs; the map itself from "
        f"{told_steps(maps)}. The former says little about the latter"
    )
    return Claim("20 to 300 steps bring the sum of the attributions within 5 % of the change of the score", told,
                 "yes" if within > 0.95 else "in part" if within > 0.5 else "no")  # fmt: skip


def told_steps(count: np.ndarray) -> str:
    """In words; infinite counts are those that no number of steps tried was enough for."""
    middle, most = (np.quantile(count, share, method="higher") for share in (0.5, 1.0))
    if np.isinf(middle):
        return f"more than {MOST} steps on for most"
    at_most = f"more than {MOST} for some" if np.isinf(most) else f"{most:.0f} at most"
    return f"{middle:.0f} steps on (median; {at_most})"


def steps_table(found: Steps, gradients: np.ndarray, reached: np.ndarray) -> Table:
    """Photograph by photograph.

    Arguments:
        found: with the sums of the paper.
        gradients, reached: (photographs, ...) that a job with rtol 5 % took, and the true errors of its maps.
    """
    names = [photograph.name for photograph in PHOTOGRAPHS]
    sums, maps = needed(found.gap, STEPS), needed(found.error, STEPS)
    rows = [
        (name, *(None if np.isinf(value) else int(value) for value in (gap, error)), int(count), float(true))
        for name, gap, error, count, true in zip(names, sums, maps, gradients, reached, strict=False)
    ]
    note = (
        f"Fewest steps from which on every larger number tried stays within 5 %, of {', '.join(map(str, STEPS))} "
        f"uniform steps as in the paper; –: more than {MOST}. Beside them the job, which stops a row by its own "
        "error bar at rtol 5 %. True maps: 1,025 nodes."
    )
    columns = {"photograph": "", "5 % gap, paper's sum": "d", "5 % map error, paper's sum": "d",
               "gradients of the job": "d", "true error of its map": ".1%"}  # fmt: skip
    return Table("Steps for 5 %: efficientnet-lite0", columns, rows, note)
