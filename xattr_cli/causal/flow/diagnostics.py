"""How well a flow fits: likelihood of unseen rows, normal and independent noise, data that come back."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model import CausalModel
from .independence import dependence_p, distance_correlations, kolmogorov_distance, kolmogorov_p
from .model import FlowModel

__all__ = ["FLOW_AXES", "FlowDiagnostics", "diagnose", "generate", "wasserstein_distances"]

MOST_TESTED = 1000
"""Rows in the tests of the noise: with more, they would flag what changes no result."""
TESTED_NUMBERS = 2**25
"""Distances that exist at once."""
MOST_GENERATED = 20_000
FLOW_AXES: dict[str, tuple[str, ...]] = {
    "flow/noise_names": ("noise",),
    "flow/normality": ("noise",),
    "flow/normality_p": ("noise",),
    "flow/dependence": ("noise", "noise"),
    "flow/dependence_p": ("noise", "noise"),
    "flow/wasserstein": ("column",),
    "flow/noise": ("draw", "noise"),
    "flow/curve": ("epoch", "part"),
}
"""A label per axis of what a result file keeps of a flow."""


@dataclass(frozen=True)
class FlowDiagnostics:
    """What is known about the fit of a flow; `flow_warnings` puts what is wrong into words.

    Attributes:
        noise_names: of the noise coordinates.
        columns: names of the columns of a row.
        rows: number of rows of the data.
        likelihood: mean log-likelihood of the held-out rows, columns standardised, in nats per row.
        likelihood_error: its standard error.
        gaussian_likelihood: the same of the linear Gaussian model along the same graph.
        normality: (noise,) Kolmogorov distance of the noise to a standard normal.
        normality_p: (noise,) probability of a larger one if it is normal.
        largest: (noise,) largest absolute noise of all rows.
        dependence: (noise, noise) distance correlation, 0 if independent; its root, so that it reads like a
            correlation.
        dependence_p: (noise, noise) probability of a larger one if they are independent.
        wasserstein: (columns,) Wasserstein-1 distance of generated to real data, in standard deviations.
        noise: (tested rows, noise) noise recovered from the data; held-out rows first.
        curve: (epochs + 1, 2) log-likelihood of training and held-out rows; the first is the Gaussian model's.
        best: epoch that was kept.
        exhausted: whether the fit ended because it had no epochs left.
        promised: likelihood of the rows that were held out from the fit; NaN for a new one.
        warnings: what is wrong, in words and numbers.
    """

    noise_names: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    likelihood: float
    likelihood_error: float
    gaussian_likelihood: float
    normality: np.ndarray
    normality_p: np.ndarray
    largest: np.ndarray
    dependence: np.ndarray
    dependence_p: np.ndarray
    wasserstein: np.ndarray
    noise: np.ndarray
    curve: np.ndarray
    best: int
    exhausted: bool
    promised: float
    warnings: tuple[str, ...] = ()

    def values(self) -> dict[str, np.ndarray]:
        """What a result file keeps, by name."""
        return {
            "flow/held_out_log_likelihood": np.array(self.likelihood),
            "flow/gaussian_log_likelihood": np.array(self.gaussian_likelihood),
            "flow/normality": self.normality,
            "flow/normality_p": self.normality_p,
            "flow/dependence": self.dependence,
            "flow/dependence_p": self.dependence_p,
            "flow/wasserstein": self.wasserstein,
            "flow/noise": self.noise,
            "flow/curve": self.curve,
        }


def diagnose(
    model: FlowModel,
    rows: np.ndarray,
    names: tuple[str, ...],
    *,
    held_out: np.ndarray,
    curve: np.ndarray,
    best: int,
    exhausted: bool,
    promised: float,
    seed: int,
) -> FlowDiagnostics:
    """Look at a fitted flow; without warnings, which `flow_warnings` gives.

    Arguments:
        model: the flow.
        rows: (n, D) data.
        names: of the columns.
        held_out: positions of rows that the fit never saw.
        curve, best, exhausted, promised: of the fit, see `FlowDiagnostics`.
        seed: of what is drawn.
    """
    data = torch.from_numpy(np.asarray(rows, dtype=np.float64))
    unseen = data[torch.from_numpy(held_out)]
    likelihood = model.log_likelihood(unseen, seed)
    noise = model.noise(data, seed)
    tested = noise[_tested(held_out, len(data), noise.shape[1])]
    distance = kolmogorov_distance(tested)
    correlation = distance_correlations(tested)
    return FlowDiagnostics(
        noise_names=model.encoding.noise_names,
        columns=names,
        rows=len(rows),
        likelihood=float(likelihood.mean()),
        likelihood_error=float(likelihood.std() / max(1, len(likelihood)) ** 0.5),
        gaussian_likelihood=float(_gaussian(model).log_likelihood(unseen, seed).mean()),
        normality=distance.numpy(),
        normality_p=kolmogorov_p(distance, len(tested)).numpy(),
        largest=noise.abs().amax(dim=0).numpy(),
        dependence=correlation.clamp(min=0).sqrt().numpy(),
        dependence_p=dependence_p(correlation, len(tested)).numpy(),
        wasserstein=wasserstein_distances(generate(model, min(len(rows), MOST_GENERATED), seed), rows),
        noise=tested.numpy(),
        curve=curve,
        best=best,
        exhausted=exhausted,
        promised=promised,
    )


def wasserstein_distances(generated: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(D,) Wasserstein-1 distances between columns, in standard deviations of the `rows`."""
    levels = (np.arange(len(generated)) + 0.5) / len(generated)
    real = np.quantile(rows.astype(np.float64), levels, axis=0, method="inverted_cdf")
    distance: np.ndarray = np.abs(np.sort(generated, axis=0) - real).mean(axis=0)
    scaled: np.ndarray = distance / np.maximum(rows.std(axis=0), 1e-300)
    return scaled


def generate(model: CausalModel, count: int, seed: int) -> np.ndarray:
    """(count, D) rows from one scrambled Sobol' sequence of noise."""
    sequence = torch.quasirandom.SobolEngine(  # type: ignore[no-untyped-call]
        sum(model.noise_dims), scramble=True, seed=seed
    )
    level = sequence.draw(count, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    rows: np.ndarray = model.inputs(torch.special.ndtri(level)).numpy()
    return rows


def _gaussian(model: FlowModel) -> FlowModel:
    """The linear Gaussian model that the fit started from."""
    mechanisms = copy.deepcopy(model.mechanisms)
    mechanisms.reset()
    return FlowModel.of(mechanisms)


def _tested(held_out: np.ndarray, rows: int, units: int) -> Tensor:
    """Positions of the rows whose noise is tested: held-out ones first."""
    most = min(rows, MOST_TESTED, int((TESTED_NUMBERS / units) ** 0.5))
    seen = np.setdiff1d(np.arange(rows), held_out)
    return torch.from_numpy(np.concatenate([held_out, seen])[:most])
