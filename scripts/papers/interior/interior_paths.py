"""What happens along the way from the baseline to the input: how fast scores and gradients settle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.papers.paper_jobs import Claim
from xattr_cli.reports.paths.saturation import half_way
from xattr_cli.store.results.engines import EngineResults

__all__ = ["Paths", "gradient_claim", "layers_claim", "paths_of", "saturation_claim", "sum_claim"]


@dataclass(frozen=True)
class Paths:
    """Curves of interior gradients, of the rows whose score changes by more than a little.

    Attributes:
        alpha: (alphas,) from 0 at the baseline to 1 at the input.
        score: (rows, alphas).
        norm: (rows, alphas) length of the gradient.
        derivative: (rows, alphas) of the score in the direction of the input.
        maps: (rows, features) integrated gradients.
        all_rows: how many there are with the others.
    """

    alpha: np.ndarray
    score: np.ndarray
    norm: np.ndarray
    derivative: np.ndarray
    maps: np.ndarray
    all_rows: int

    @property
    def change(self) -> np.ndarray:
        """(rows,) of the score."""
        return self.score[:, -1] - self.score[:, 0]

    @property
    def remaining(self) -> np.ndarray:
        """(rows,) length of the gradient at the input, relative to the greatest on the way."""
        return self.norm[:, -1] / self.norm.max(axis=1)


def paths_of(engine: EngineResults, least: float, among: np.ndarray | None = None) -> Paths:
    """Rows, all of them or some, whose score changes by `least` or more."""
    score = engine.curve("score", slice(None))
    among = np.arange(len(score)) if among is None else among
    rows = among[np.abs(score[among, -1] - score[among, 0]) >= least]
    curves = [engine.curve(name, rows) for name in ("gradient_norm", "directional_derivative")]
    maps = engine.reduced(rows).reshape(len(rows), -1)
    return Paths(engine.alpha, score[rows], *curves, maps, len(among))


def saturation_claim(paths: Paths, what: str) -> Claim:
    """Sections 2.1 and 3 of arXiv 1611.02639: the score flattens before the input is reached."""
    half = np.nanmedian(half_way(paths.alpha, paths.score))
    late = last_quarter(paths)
    found = (
        f"half of the change of the {what} is made by α = {half:.2f} (median over {len(paths.score)} rows), and "
        f"the last quarter of the way brings {late:.0%} of it"
    )
    return Claim("The score saturates: it flattens before the input is reached", found,
                 "yes" if late < 0.1 else "in part" if late < 0.25 else "no")  # fmt: skip


def last_quarter(paths: Paths) -> float:
    """Median over rows of the share of the change that is made between α = ¾ and 1."""
    before = np.array([np.interp(0.75, paths.alpha, row) for row in paths.score])
    return float(np.median((paths.score[:, -1] - before) / paths.change))


def layers_claim(engine: EngineResults) -> Claim:
    """Activations turn to those at the input before it is reached."""
    curves = engine.curve("saturation", slice(None))
    half_way = {
        layer: float(np.median([np.interp(0.5, engine.alpha, row) for row in curves[:, place]]))
        for place, layer in enumerate(engine.layers)
    }
    told = ", ".join(f"{layer} {cosine:.2f}" for layer, cosine in half_way.items())
    found = f"cosine of activations half way and at the input, median over the rows: {told}"
    return Claim("Layers inside saturate as well, not only the output", found,
                 "yes" if min(half_way.values()) >= 0.9 else "no")  # fmt: skip


def gradient_claim(paths: Paths) -> Claim:
    """The gradient at the input is small where it matters."""
    remaining, peak = paths.remaining, paths.alpha[paths.norm.argmax(axis=1)]
    middle = float(np.median(remaining))
    found = (
        f"at the input it is {middle:.0%} of the longest on the way (median), less than a tenth for "
        f"{(remaining < 0.1).mean():.0%} of the rows; the longest lies at α = {np.median(peak):.2f} (median)"
    )
    return Claim("Gradients at the input are tiny; interior ones are not", found,
                 "yes" if middle < 0.1 else "in part" if middle < 0.5 else "no")  # fmt: skip


def sum_claim(paths: Paths) -> Claim:
    """Integrated along the way they sum to the score."""
    missed = np.abs(paths.maps.sum(axis=1) / paths.change - 1)
    at_input = np.abs(paths.derivative[:, -1] / paths.change - 1)
    found = (
        f"their sum misses the change of the score by {np.median(missed):.1%} of it (median), input × gradient by "
        f"{np.median(at_input):.0%}"
    )
    return Claim("Integrated interior gradients sum to the score; those at the input do not", found,
                 "yes" if np.median(missed) < 0.05 < np.median(at_input) else "no")  # fmt: skip
