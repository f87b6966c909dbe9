"""Mechanisms: a masked autoregressive neural spline flow over mixed units, along a causal graph.

A numeric unit z, given the features φ of its parents, has the noise

    u = spline(scale(φ) · (z − w·φ − c) / s + shift(φ); φ)

with w, c and s from least squares on the data, and shift, scale and the monotone rational-quadratic spline
from one masked network, so that the flow starts as the linear Gaussian model. A category has the conditional
probabilities p(φ) of a softmax, and is their quantile at Φ(u): the number k that has at most Φ(u) before it
and more than Φ(u) up to and with it, monotone in the order of the categories. With two categories no other
coupling is monotone; with more, another order is another structural model of the same distribution.

Reference: Durkan et al. 2019, arXiv 1906.04032; Papamakarios et al. 2017, arXiv 1705.07057; Javaloy et al. 2023,
arXiv 2306.05415 (causal flows, adjacency as mask).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .conditioner import Conditioner, import_zuko
from .encoding import Encoding, Targets

__all__ = ["Mechanisms"]

SLOPE = 1e-3
BOUND = 5.0
"""Half the domain of zuko's splines, beyond which they are the identity."""
SHAPE_SHARE = 0.3
"""Of the network in the shapes of the splines, which have most of the parameters and least to say."""


class Mechanisms(nn.Module):
    """The mechanisms of all units; see the module's text.

    Arguments:
        encoding: units and their causes.
        hidden: units per hidden layer of the network.
        bins: of every spline.
    """

    def __init__(self, encoding: Encoding, hidden: Sequence[int], bins: int) -> None:
        super().__init__()
        self.encoding = encoding
        self.hidden = tuple(hidden)
        self.bins = bins
        self.width = 2 + 3 * bins - 1  # parameters of a numeric unit: shift, scale, widths, heights, slopes
        self.most = max((len(unit.levels) for unit in encoding.categories), default=0)
        numeric = encoding.adjacency(encoding.numeric)
        categorical = encoding.adjacency(encoding.categorical)
        self.register_buffer("linear", torch.zeros(numeric.shape))
        self.register_buffer("offset", torch.zeros(len(numeric)))
        self.register_buffer("spread", torch.ones(len(numeric)))
        self.linear: Tensor
        self.offset: Tensor
        self.spread: Tensor
        gain = torch.full((self.width,), SHAPE_SHARE)
        gain[:2] = 1
        rows = [numeric.repeat_interleave(self.width, dim=0), categorical.repeat_interleave(self.most, dim=0)]
        gains = torch.cat([gain.repeat(len(numeric)), torch.ones(len(categorical) * self.most)])
        self.conditioner = Conditioner(torch.cat(rows), hidden, gains)
        self.reset()

    def reset(self) -> None:
        """Become the linear Gaussian model, in which categories have the shares that they have in the data."""
        self.conditioner.reset()
        start = len(self.encoding.numeric) * self.width
        with torch.no_grad():
            for unit in self.encoding.categories:
                logs = torch.tensor(unit.shares).log()
                self.conditioner.bias[start : start + len(logs)] = logs
                start += self.most

    # --- from data to noise ---

    def log_likelihood(self, targets: Targets, features: Tensor) -> Tensor:
        """(n, units) log densities of standardised values and log probabilities of categories."""
        laws = self._laws(features)
        residual = self._residual(targets.values, features)
        scaled = laws.affine(residual)
        noise, stretch = laws.spline.call_and_ladj(scaled)
        stretch = stretch + laws.affine.log_abs_det_jacobian(residual, scaled) - self.spread.log()
        values = stretch - 0.5 * noise.square() - 0.5 * math.log(2 * math.pi)
        numbers = laws.log_shares.gather(2, targets.numbers[..., None])[..., 0]
        return self._in_order(values, numbers)

    def noise(self, targets: Targets, features: Tensor, uniform: Tensor) -> Tensor:
        """(n, units) the noise of rows; that of a category lies anywhere in its interval.

        Arguments:
            uniform: (n, categorical units) in [0, 1), where in the interval.
        """
        laws = self._laws(features)
        values = laws.spline(laws.affine(self._residual(targets.values, features)))
        shares = laws.log_shares.exp()
        upper = shares.cumsum(dim=2).gather(2, targets.numbers[..., None])[..., 0]
        inside = shares.gather(2, targets.numbers[..., None])[..., 0]
        level = (upper - inside * (1 - uniform)).clamp(1e-12, 1 - 1e-12)
        return self._in_order(values, torch.special.ndtri(level))

    # --- from noise to data ---

    def inputs(self, noise: Tensor) -> Tensor:
        """(n, D) rows from noise (n, units), one generation of units after the other."""
        encoding = self.encoding
        rows = noise.new_zeros(len(noise), encoding.width)
        features = noise.new_zeros(len(noise), encoding.features)
        for generation in encoding.generations:
            for unit, value in self._generate(generation, noise, features):
                held = encoding.units[unit]
                columns = held.decode(value)
                rows[:, list(held.columns)] = columns
                features[:, encoding.slots[unit]] = held.feature(columns)
        return rows

    def _generate(self, units: Sequence[int], noise: Tensor, features: Tensor) -> list[tuple[int, Tensor]]:
        """Units whose parents' features are known: (unit, standardised values or numbers of categories)."""
        encoding = self.encoding
        numeric = [position for position, unit in enumerate(encoding.numeric) if unit in units]
        categorical = [position for position, unit in enumerate(encoding.categorical) if unit in units]
        laws = self._laws(features, (numeric, categorical))
        real = [encoding.numeric[position] for position in numeric]
        residual = laws.affine.inv(laws.spline.inv(noise[:, real]))
        values = features @ self.linear[numeric].T + self.offset[numeric] + self.spread[numeric] * residual
        discrete = [encoding.categorical[position] for position in categorical]
        edges = laws.log_shares.exp().cumsum(dim=2)
        numbers = (torch.special.ndtr(noise[:, discrete])[..., None] >= edges).sum(dim=2)
        # the last edge may round to less than 1
        numbers = numbers.minimum(self._counts(categorical).to(numbers.device) - 1)
        return [*zip(real, values.T, strict=True), *zip(discrete, numbers.T, strict=True)]

    # --- parts ---

    def _residual(self, values: Tensor, features: Tensor) -> Tensor:
        return (values - features @ self.linear.T - self.offset) / self.spread

    def _laws(self, features: Tensor, places: tuple[Sequence[int], Sequence[int]] | None = None) -> _Laws:
        """The laws of all units, or of those at some places among the numeric and the categorical ones."""
        numeric, categorical = places or (range(len(self.encoding.numeric)), range(len(self.encoding.categorical)))
        if places is None:
            parameters: Tensor = self.conditioner(features)
        else:
            start = len(self.encoding.numeric) * self.width
            outputs = torch.cat([_spans(numeric, self.width, 0), _spans(categorical, self.most, start)])
            parameters = self.conditioner.some(features, outputs.to(features.device))
        split = len(numeric) * self.width
        logits = parameters[:, split:].reshape(len(features), len(categorical), self.most)
        beyond = torch.arange(self.most) >= self._counts(categorical)[:, None]
        logits = logits.masked_fill(beyond.to(logits.device), -torch.inf)
        return _Laws(
            *self._maps(parameters[:, :split].reshape(len(features), len(numeric), self.width)),
            logits.log_softmax(dim=2),
        )

    def _maps(self, parameters: Tensor) -> tuple[Any, Any]:
        """Affine maps and splines from parameters (n, units, width)."""
        sizes = [1, 1, self.bins, self.bins, self.bins - 1]
        shift, scale, widths, heights, slopes = torch.split(parameters, sizes, dim=2)
        transforms = import_zuko().transforms
        affine = transforms.MonotonicAffineTransform(shift[..., 0], scale[..., 0], slope=SLOPE)
        return affine, transforms.MonotonicRQSTransform(widths, heights, slopes, bound=BOUND, slope=SLOPE)

    def _counts(self, categorical: Sequence[int]) -> Tensor:
        """(places,) number of categories of some categorical units."""
        counts = [len(self.encoding.categories[position].levels) for position in categorical]
        return torch.tensor(counts, dtype=torch.int64)

    def _in_order(self, values: Tensor, numbers: Tensor) -> Tensor:
        """Columns of numeric and of categorical units, put in the order of the units."""
        order = torch.tensor([*self.encoding.numeric, *self.encoding.categorical]).argsort()
        return torch.cat([values, numbers], dim=1)[:, order.to(values.device)]


@dataclass(frozen=True)
class _Laws:
    """What units do with their noise, for given parents.

    Attributes:
        affine, spline: zuko's transforms of numeric units, (n, numeric), from residuals to noise.
        log_shares: (n, categorical, most categories) log probabilities; −∞ beyond a unit's own.
    """

    affine: Any
    spline: Any
    log_shares: Tensor


def _spans(places: Sequence[int], width: int, start: int) -> Tensor:
    """Output numbers of some units that have `width` outputs each."""
    return (start + torch.tensor(places, dtype=torch.int64)[:, None] * width + torch.arange(width)).flatten()
