"""How far two maps of a row are apart, and means over draws with their standard errors."""

from __future__ import annotations

import torch
from torch import Tensor

from .student import student_factor

__all__ = ["RunningMean", "rank_correlation", "relative_change"]


def relative_change(changed: Tensor, reference: Tensor) -> Tensor:
    """(rows,) float64, ‖changed − reference‖ / ‖reference‖ of maps (rows, D); 0 where both are zero.

    Reference: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv 1901.09392.

    Example:
        >>> relative_change(torch.tensor([[3.0, 3.9]]), torch.tensor([[3.0, 4.0]])).round(decimals=6).tolist()
        [0.02]
    """
    change = torch.linalg.vector_norm(changed - reference, dim=1, dtype=torch.float64)
    size = torch.linalg.vector_norm(reference, dim=1, dtype=torch.float64)
    return torch.where((change == 0) & (size == 0), 0.0, change / size)


def rank_correlation(maps: Tensor, reference: Tensor) -> Tensor:
    """(rows,) float64, Spearman's correlation of maps (rows, D); equal values share their mean rank.

    NaN where one of the maps is constant, or not finite.

    Reference: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv 1810.03292, section 3.

    Example:
        >>> first, second = torch.tensor([[1.0, 4.0, 9.0]]), torch.tensor([[1.0, 2.0, 3.0]])
        >>> rank_correlation(first, second).round(decimals=6).tolist()
        [1.0]
    """
    first, second = (_centred_ranks(each) for each in (maps, reference))
    product = (first * second).sum(dim=1)
    size = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    known = torch.isfinite(maps).all(dim=1) & torch.isfinite(reference).all(dim=1) & (size > 0)
    return torch.where(known, product / size, torch.nan)


def _centred_ranks(maps: Tensor) -> Tensor:
    """(rows, D) float64 ranks, of mean 0."""
    ordered = maps.sort(dim=1).values
    below = torch.searchsorted(ordered, maps.contiguous(), right=False)
    up_to = torch.searchsorted(ordered, maps.contiguous(), right=True)
    ranks = (below + up_to).double() / 2
    return ranks - ranks.mean(dim=1, keepdim=True)


class RunningMean:
    """Mean over draws of a few numbers per row, each row with as many draws as it took.

    Arguments:
        shape: (rows, ...) of the numbers.
        device: of the computation.

    Example:
        >>> mean = RunningMean((1,), torch.device("cpu"))
        >>> for value in (1.0, 2.0, 3.0):
        ...     mean.add(torch.tensor([0]), torch.tensor([value]))
        >>> mean.mean.tolist(), mean.count.tolist()
        ([2.0], [3])
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.count = torch.zeros(shape[0], dtype=torch.int64, device=device)
        self.mean = torch.zeros(shape, dtype=torch.float64, device=device)
        self.highest = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        self._squares = torch.zeros(shape, dtype=torch.float64, device=device)

    def add(self, rows: Tensor, values: Tensor) -> None:
        """One more draw, values (k, ...), of rows (k,)."""
        self.count[rows] += 1
        away = values - self.mean[rows]
        self.mean[rows] += away / self._per_row(self.count[rows])
        self._squares[rows] += away * (values - self.mean[rows])
        self.highest[rows] = torch.maximum(self.highest[rows], values.double())

    @property
    def standard_error(self) -> Tensor:
        """(rows, ...), widened by Student's factor; infinite after fewer than two draws."""
        factors = torch.tensor(
            [torch.inf, torch.inf, *(student_factor(n) for n in range(1, int(self.count.max())))]
        )
        count = self._per_row(self.count)
        spread = (self._squares / ((count - 1).clamp(min=1) * count.clamp(min=1))).sqrt()
        return self._per_row(factors.double().to(count.device)[self.count]) * spread

    def _per_row(self, numbers: Tensor) -> Tensor:
        return numbers.view(-1, *[1] * (self.mean.ndim - 1))
