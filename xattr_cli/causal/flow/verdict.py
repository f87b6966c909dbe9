"""What is wrong with the fit of a flow, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from .diagnostics import FlowDiagnostics
from .independence import largest_p

__all__ = ["flow_warnings"]

SIGNIFICANCE = 1e-3
"""Of each kind of test, for all nodes or pairs together."""
TAIL_SIGNIFICANCE = 1e-4
"""Of the largest noise: a tail that leaves the splines in one row of a thousand changes no result."""
LEAST_DISTANCE = 0.05
"""A smaller Kolmogorov distance changes no result."""
LEAST_WASSERSTEIN = 0.1
"""Standard deviations; less changes no result. Few rows scatter by about 1/√rows, of which 3 are allowed."""
LEAST_LOSS = 0.1
"""Nats per row."""


def flow_warnings(diagnostics: FlowDiagnostics) -> tuple[str, ...]:
    """Everything that speaks against the fit; empty for a good one."""
    return tuple(
        f"flow: {text}"
        for check in (_ended, _likelihood, _normality, _tails, _dependence, _generated)
        for text in check(diagnostics)
    )


def _ended(diagnostics: FlowDiagnostics) -> Iterator[str]:
    if diagnostics.exhausted:
        epochs = _plural(len(diagnostics.curve) - 1, "epoch")
        yield (
            f"under-trained: the fit ended at its limit of {epochs} before the held-out likelihood "
            f"({diagnostics.likelihood:.3f} nats per row) had stopped rising. Raise flow.epochs."
        )


def _likelihood(diagnostics: FlowDiagnostics) -> Iterator[str]:
    lack = diagnostics.gaussian_likelihood - diagnostics.likelihood
    if lack > 2 * diagnostics.likelihood_error:
        yield (
            f"the log-likelihood of held-out rows, {diagnostics.likelihood:.3f} nats per row, is below the "
            f"{diagnostics.gaussian_likelihood:.3f} of the linear Gaussian model. Was it fitted to other data?"
        )
    elif diagnostics.promised - diagnostics.likelihood > max(LEAST_LOSS, 4 * diagnostics.likelihood_error):
        yield (
            f"the log-likelihood of these rows, {diagnostics.likelihood:.3f} nats per row, is below the "
            f"{diagnostics.promised:.3f} of the rows held out from its fit. Was it fitted to other data?"
        )


def _normality(diagnostics: FlowDiagnostics) -> Iterator[str]:
    bound = SIGNIFICANCE / len(diagnostics.noise_names)
    for name, distance, p in zip(
        diagnostics.noise_names, diagnostics.normality, diagnostics.normality_p, strict=True
    ):
        if p < bound and distance > LEAST_DISTANCE:
            yield (
                f"the noise of {name!r} is not normal: Kolmogorov distance {distance:.3f} over "
                f"{len(diagnostics.noise)} rows (p = {p:.1g})."
            )


def _tails(diagnostics: FlowDiagnostics) -> Iterator[str]:
    chance = largest_p(torch.from_numpy(diagnostics.largest), diagnostics.rows).numpy()
    for name, largest, p in zip(diagnostics.noise_names, diagnostics.largest, chance, strict=True):
        if p < TAIL_SIGNIFICANCE / len(diagnostics.noise_names):
            yield (
                f"the noise of {name!r} has heavier tails than a normal one: it reaches {largest:.1f}, which "
                f"{diagnostics.rows} normal draws do with p = {p:.1g}. Tails so far out lie beyond the splines, "
                "and do not come back: transform the column, or leave its outliers out."
            )


def _dependence(diagnostics: FlowDiagnostics) -> Iterator[str]:
    first, second = np.triu_indices(len(diagnostics.noise_names), 1)
    bound = SIGNIFICANCE / max(1, len(first))
    for i, j in zip(first, second, strict=True):
        if diagnostics.dependence_p[i, j] < bound:
            yield (
                f"the noise of {diagnostics.noise_names[i]!r} and of {diagnostics.noise_names[j]!r} is not "
                f"independent: distance correlation {diagnostics.dependence[i, j]:.2f} over "
                f"{len(diagnostics.noise)} rows (p = {diagnostics.dependence_p[i, j]:.1g}). The flow is "
                "under-trained, or the graph lacks an edge or a common cause."
            )


def _generated(diagnostics: FlowDiagnostics) -> Iterator[str]:
    bound = max(LEAST_WASSERSTEIN, 3 / diagnostics.rows**0.5)
    for column, distance in zip(diagnostics.columns, diagnostics.wasserstein, strict=True):
        if not distance <= bound:
            yield (
                f"generated {column!r} differs from the data by {distance:.2f} standard deviations "
                f"(Wasserstein distance; up to {bound:.2f} is usual for {diagnostics.rows} rows)."
            )


def _plural(count: int, noun: str) -> str:
    """Such as "1 epoch" or "5 epochs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
