"""Shapley values and Sobol' indices of a worth that is known for every subset."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

__all__ = [
    "closed_pairs",
    "last_gains",
    "memberships",
    "shapley_values",
    "single_worths",
    "subset_sizes",
    "subset_worths",
    "walsh_hadamard",
]


def shapley_values(worth: Tensor) -> Tensor:
    """(d, ...) mean gain by each element over all orders in which the elements can come together.

    A gain by j to a subset of s others has the weight 1 / (d · C(d − 1, s)).

    Reference: Shapley 1953, "A value for n-person games".

    Arguments:
        worth: (2^d, ...), by the number of the subset; see `subsets`.

    Example:
        >>> shapley_values(torch.tensor([0.0, 1.0, 2.0, 5.0])).tolist()  # ∅, {0}, {1}, {0, 1}
        [2.0, 3.0]
    """
    count = len(worth).bit_length() - 1
    shares = worth.new_tensor([1 / (count * comb(count - 1, size)) for size in range(count)])
    sizes = subset_sizes(count)
    values = []
    for element in range(count):
        weights = shares[_without(sizes, element).to(shares.device)]
        values.append(torch.tensordot(weights, _with(worth, element) - _without(worth, element), dims=1))
    return torch.stack(values)


def single_worths(worth: Tensor) -> Tensor:
    """(d, ...) what each element is worth alone: with variances, the first-order indices.

    Example:
        >>> single_worths(torch.tensor([0.0, 1.0, 2.0, 5.0])).tolist()
        [1.0, 2.0]
    """
    singles = 2 ** torch.arange(len(worth).bit_length() - 1)
    return worth[singles] - worth[0]


def last_gains(worth: Tensor) -> Tensor:
    """(d, ...) gain by each element when it comes last: with variances, the total indices.

    Example:
        >>> last_gains(torch.tensor([0.0, 1.0, 2.0, 5.0])).tolist()
        [3.0, 4.0]
    """
    singles = 2 ** torch.arange(len(worth).bit_length() - 1)
    return worth[-1] - worth[len(worth) - 1 - singles]


def closed_pairs(worth: Tensor) -> Tensor:
    """(d, d, ...) what each pair is worth; on the diagonal, what the element alone is.

    Example:
        >>> closed_pairs(torch.tensor([0.0, 1.0, 2.0, 5.0])).tolist()
        [[1.0, 5.0], [5.0, 2.0]]
    """
    singles = 2 ** torch.arange(len(worth).bit_length() - 1)
    return worth[singles[:, None] | singles] - worth[0]


def _with(values: Tensor, element: int) -> Tensor:
    """(2^(d−1), ...) of the subsets that have the element."""
    return values.view(-1, 2, 2**element, *values.shape[1:])[:, 1].flatten(0, 1)


def _without(values: Tensor, element: int) -> Tensor:
    """(2^(d−1), ...) of the same subsets without it."""
    return values.view(-1, 2, 2**element, *values.shape[1:])[:, 0].flatten(0, 1)


def memberships(count: int) -> Tensor:
    """(2^count, count) bool, which elements belong to each subset.

    Example:
        >>> memberships(2).int().tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).bool()


def subset_sizes(count: int) -> Tensor:
    """(2^count,) int64, how many elements each subset has.

    Example:
        >>> subset_sizes(2).tolist()
        [0, 1, 1, 2]
    """
    return memberships(count).sum(dim=1)


def subset_worths(parts: Tensor) -> Tensor:
    """(2^d, ...) sum over all T that S holds of parts[T], for every subset S, from parts (2^d, ...).

    Example:
        >>> subset_worths(torch.tensor([0.0, 1.0, 2.0, 4.0])).tolist()
        [0.0, 1.0, 2.0, 7.0]
    """
    worth = parts.clone()
    length = 1
    while length < len(worth):
        pairs = worth.view(-1, 2, length, *parts.shape[1:])
        pairs[:, 1] += pairs[:, 0]
        length *= 2
    return worth


def walsh_hadamard(values: Tensor) -> Tensor:
    """Σ over subsets T of (−1)^|S ∩ T| · values[T], for every subset S.

    By butterflies: where values do not depend on element j, every result with j in S is exactly zero.

    Arguments:
        values: (2^d, ...).

    Example:
        >>> walsh_hadamard(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
        [10.0, -2.0, -4.0, 0.0]
    """
    transformed, length = values, 1
    while length < len(values):
        pairs = transformed.view(-1, 2, length, *values.shape[1:])
        sums = torch.empty_like(pairs)
        torch.add(pairs[:, 0], pairs[:, 1], out=sums[:, 0])
        torch.sub(pairs[:, 0], pairs[:, 1], out=sums[:, 1])
        transformed, length = sums.flatten(0, 2), 2 * length
    return transformed
