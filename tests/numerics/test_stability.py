"""Distances of maps and running means, against scipy and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from xattr_cli.numerics.stability import RunningMean, rank_correlation, relative_change


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlations_are_those_of_scipy_also_with_ties(seed):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 6, (2, 5, 40)).astype(float)  # few values: many ties
    found = rank_correlation(torch.from_numpy(first), torch.from_numpy(second))
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_constant_or_damaged_map_correlates_with_nothing():
    maps = torch.tensor([[1.0, 1.0], [1.0, torch.nan], [1.0, 2.0]])
    assert rank_correlation(maps, torch.tensor([[1.0, 2.0]]).expand(3, 2)).isnan().tolist() == [True, True, False]


def test_a_map_of_zeros_that_stays_has_not_changed():
    change = relative_change(torch.tensor([[0.0], [1.0], [torch.nan]]), torch.zeros(3, 1))
    assert change[0] == 0 and change[1] == torch.inf and change[2].isnan()


def test_means_and_errors_are_those_of_numpy_for_every_row_by_itself():
    values = np.random.default_rng(0).normal(5.0, 2.0, (2, 30))
    mean = RunningMean((2,), torch.device("cpu"))
    for number in range(30):  # the first row takes ten draws only
        rows = torch.tensor([0, 1] if number < 10 else [1])
        mean.add(rows, torch.from_numpy(values[rows.numpy(), number]))
    assert mean.count.tolist() == [10, 30]
    for row, count in ((0, 10), (1, 30)):
        drawn = values[row, :count]
        half_width = stats.t.ppf(0.975, count - 1) * drawn.std(ddof=1) / np.sqrt(count)
        assert float(mean.mean[row]) == pytest.approx(drawn.mean(), rel=1e-12)
        assert 1.96 * float(mean.standard_error[row]) == pytest.approx(half_width, rel=1e-3)
        assert float(mean.highest[row]) == drawn.max()
