"""Orthonormal polynomials in independent noise: the variance of a sum of them is known exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Chaos", "Family", "fit_sums"]

Family = Literal["hermite", "legendre"]
"""Polynomials in Φ⁻¹(u), or in u itself."""

MOST_TERMS = 256
MOST_DEGREE = 12


@dataclass(frozen=True)
class Chaos:
    """All products of orthonormal polynomials up to a total degree, by rising degree; the first is 1.

    Reference: Sudret 2008, "Global sensitivity analysis using polynomial chaos expansions".

    Attributes:
        families: per coordinate of the uniform noise.
        degree: highest total degree.

    Example:
        >>> Chaos(("legendre", "legendre"), 2).exponents.tolist()
        [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """

    families: tuple[Family, ...]
    degree: int

    @classmethod
    def largest(cls, families: Sequence[Family]) -> Chaos:
        """With as high a degree as few enough terms allow."""
        dims = len(families)
        degrees = [q for q in range(1, MOST_DEGREE + 1) if comb(dims + q, q) <= MOST_TERMS]
        return cls(tuple(families), max(degrees, default=0))

    @cached_property
    def exponents(self) -> Tensor:
        """(terms, dims) int64, the degree of each term in each coordinate."""
        dims = len(self.families)
        exponents = [list(each) for total in range(self.degree + 1) for each in _compositions(total, dims)]
        return torch.tensor(exponents, dtype=torch.int64).reshape(-1, dims)

    def __len__(self) -> int:
        """Number of terms."""
        return comb(len(self.families) + self.degree, self.degree)

    def up_to(self, most: int) -> int:
        """How many of the first terms make up all of some degree, and are at most so many; 1 at least."""
        dims = len(self.families)
        return max(comb(dims + q, q) for q in range(self.degree + 1) if q == 0 or comb(dims + q, q) <= most)

    def factors(self, uniform: Tensor) -> Tensor:
        """(dims, degree + 1, n) polynomials of each coordinate of uniform noise (n, dims)."""
        polynomials = {"hermite": _hermite, "legendre": _legendre}
        return torch.stack(
            [polynomials[family](uniform[:, j], self.degree) for j, family in enumerate(self.families)]
        )

    def terms(self, factors: Tensor, count: int) -> Tensor:
        """(n, count) the first terms, from `factors` or a mixture of them."""
        product = factors[0][self.exponents[:count, 0]]
        for j in range(1, len(factors)):
            product = product * factors[j][self.exponents[:count, j]]
        return product.T

    def variances(self, coefficients: Tensor, owner: Tensor, nodes: int) -> Tensor:
        """(2^nodes, targets) variance of the terms that depend on exactly a subset of the nodes.

        Arguments:
            coefficients: (count, targets) of the first terms.
            owner: (dims,) int64, the node of each coordinate.
            nodes: how many there are.
        """
        touched = torch.zeros(len(coefficients), nodes, dtype=torch.int64)
        touched.index_add_(1, owner, (self.exponents[: len(coefficients)] > 0).long())
        subset = ((touched > 0).long() << torch.arange(nodes)).sum(dim=1)
        variance = coefficients.new_zeros(2**nodes, coefficients.shape[1])
        variance.index_add_(0, subset, coefficients.square())
        variance[0] = 0
        return variance


def fit_sums(chaos: Chaos, points: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """What a least-squares fit of the terms needs of some points, to be added up over many.

    Arguments:
        chaos: the terms.
        points: uniform noise (n, dims) and outputs there, (n, targets).

    Returns:
        "gram" (terms, terms) and "moments" (terms, targets).

    Example:
        >>> chaos = Chaos(("legendre",), degree=1)
        >>> u = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
        >>> sums = fit_sums(chaos, [(u, 3 * chaos.terms(chaos.factors(u), 2)[:, 1:])])
        >>> torch.linalg.solve(sums["gram"], sums["moments"])[1].round(decimals=6).tolist()
        [3.0]
    """
    terms = torch.cat([chaos.terms(chaos.factors(uniform), len(chaos)) for uniform, _ in points])
    outputs = torch.cat([values for _, values in points])
    return {"gram": terms.T @ terms, "moments": terms.T @ outputs}


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` numbers from 0 on."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _hermite(uniform: Tensor, degree: int) -> Tensor:
    x = torch.special.ndtri(uniform)
    polynomials = [torch.ones_like(x), x]
    for k in range(1, degree):
        polynomials.append((x * polynomials[k] - k**0.5 * polynomials[k - 1]) / (k + 1) ** 0.5)
    return torch.stack(polynomials[: degree + 1])


def _legendre(uniform: Tensor, degree: int) -> Tensor:
    x = 2 * uniform - 1
    polynomials = [torch.ones_like(x), x]
    for k in range(1, degree):
        polynomials.append(((2 * k + 1) * x * polynomials[k] - k * polynomials[k - 1]) / (k + 1))
    scale = (2 * torch.arange(degree + 1, dtype=x.dtype) + 1).sqrt()
    return torch.stack(polynomials[: degree + 1]) * scale[:, None]
