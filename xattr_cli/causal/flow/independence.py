"""Tests of what a noise model promises: noise that is normal, and independent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["dependence_p", "distance_correlations", "kolmogorov_distance", "kolmogorov_p", "largest_p"]

TERMS = 100


def kolmogorov_distance(sample: Tensor) -> Tensor:
    """(k,) largest gap between the distribution of each column of (m, k) and the standard normal."""
    count = len(sample)
    level = torch.special.ndtr(sample.double().sort(dim=0).values)
    steps = torch.arange(count + 1, dtype=torch.float64)[:, None] / count
    return torch.maximum(steps[1:] - level, level - steps[:-1]).amax(dim=0)


def kolmogorov_p(distance: Tensor, count: int) -> Tensor:
    """(...) probability of a larger Kolmogorov distance for `count` standard normal draws.

    Reference: Stephens 1970, the asymptotic series with its correction for small samples.
    """
    scaled = (math.sqrt(count) + 0.12 + 0.11 / math.sqrt(count)) * distance.double()
    term = torch.arange(1, TERMS + 1, dtype=torch.float64)
    signs = 1 - 2 * ((term + 1) % 2)
    series = 2 * (signs * (-2 * (term * scaled[..., None]).square()).exp()).sum(dim=-1)
    # the alternating series does not converge near 0, where p is 1
    return torch.where(scaled < 0.2, torch.ones_like(scaled), series.clamp(0, 1))


def largest_p(largest: Tensor, count: int) -> Tensor:
    """(...) probability that the largest of `count` absolute standard normal draws exceeds `largest`."""
    beyond = torch.erfc(largest.double() / math.sqrt(2))
    return -torch.expm1(count * torch.log1p(-beyond))


def distance_correlations(sample: Tensor) -> Tensor:
    """(k, k) squared distance correlations of the columns of (m, k), without bias.

    0 on average for independent columns, however they depend otherwise above it; 1 on the diagonal.

    Reference: Székely and Rizzo 2014, Annals of Statistics 42, 2382-2412.
    """
    count = len(sample)
    centred = torch.stack([_u_centred(column).flatten() for column in sample.double().T])
    products = centred @ centred.T / (count * (count - 3))
    scale = products.diagonal().clamp(min=1e-300).sqrt()
    return products / scale[:, None] / scale


def _u_centred(column: Tensor) -> Tensor:
    """(m, m) distances within a column, centred so that products have no bias."""
    count = len(column)
    distance = (column[:, None] - column).abs()
    sums = distance.sum(dim=1)
    centred = distance - (sums[:, None] + sums) / (count - 2) + sums.sum() / ((count - 1) * (count - 2))
    return centred.fill_diagonal_(0)


def dependence_p(correlation: Tensor, count: int) -> Tensor:
    """(...) probability of a larger squared distance correlation for independent columns; a little too high.

    Reference: Shen, Panda, Vogelstein 2022, Journal of Computational and Graphical Statistics 31, 254-262.
    """
    statistic = (count * correlation.double() + 1).clamp(min=0)
    return torch.erfc((statistic / 2).sqrt())
