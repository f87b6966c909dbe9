"""What secant cells report of their error: shares fitted on some rows cover others, exact rows are seen so."""

import math

import pytest
import torch

from xattr_cli.numerics.cells.chains import PathCells
from xattr_cli.numerics.cells.error_share import (
    ANYTHING,
    CAUTIOUS,
    FEW,
    MARGIN,
    ErrorShare,
    fitted_moves,
    fitted_share,
    power_of_cells,
    rounding_of,
    secant_error,
)
from xattr_cli.numerics.cells.evidence import CellEvidence, evidence_after, evidence_of
from xattr_cli.numerics.cells.secants import SecantRule, times_for
from xattr_cli.numerics.cells.sums import CellSums

CELLS = torch.tensor([3, 4, 6, 8, 12])


def sums_of(gradients, exact=None):
    """A pass over one row in equal cells, from Δ ⊙ gradient of each (cells, 2)."""
    gradients = torch.tensor(gradients, dtype=torch.float64)
    cells = PathCells.even(torch.tensor([len(gradients)]))
    widths = cells.right - cells.left
    exact = torch.zeros(len(gradients), dtype=torch.bool) if exact is None else torch.tensor(exact)
    parts = gradients * widths[:, None]
    whole, certain = parts.sum(dim=0, keepdim=True), parts[exact].sum(dim=0, keepdim=True)
    return CellSums(cells, whole, certain, parts, widths, exact, *torch.zeros(2, 1, dtype=torch.float64))


def one(number):
    return torch.tensor([number], dtype=torch.float64)


def first(gradients, exact=None):
    return evidence_of(sums_of(gradients, exact), one(1.0))


def later(fine, coarse, exact=None):
    """Of a pass whose cells are parts of those of another one."""
    times = len(fine) // len(coarse)
    sums, before = sums_of(fine, exact), sums_of(coarse)
    moved = torch.linalg.vector_norm(sums.mean_gradient - before.mean_gradient, dim=1)
    parent = torch.arange(len(coarse)).repeat_interleave(times)
    return evidence_after(sums, one(1.0), before, parent, moved, first(coarse))


STEPS = [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 1.0]]


def test_roughness_is_that_of_neighbours():
    # three steps of length 1, each over a width of 1/4
    torch.testing.assert_close(first(STEPS).roughness, one(3**0.5 / 4))


def test_cells_that_are_exact_are_not_rough():
    # of the squares of both neighbours of the second cell a half each is its own
    torch.testing.assert_close(first(STEPS, [True, False, True, True]).roughness, one(1 / 4))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_first_pass_reports_a_share_of_its_roughness(power):
    found, share = first(STEPS), ErrorShare(0.2, 1.0, power=power)
    torch.testing.assert_close(secant_error(found, share), 0.4 * found.roughness**power)


def test_a_pass_of_exact_cells_is_known_to_rounding_and_a_straight_one_for_good():
    exact = first(STEPS, [True] * 4)
    assert secant_error(exact).item() == rounding_of(torch.float64)
    assert secant_error(first([[1.0, 1.0]] * 4)).item() == 0
    assert secant_error(first([[1.0, 1.0]], [True])).item() == rounding_of(torch.float64)


def test_two_cells_tell_nothing():
    assert secant_error(first(STEPS[:2])).isinf().all()


def test_what_is_left_of_a_move_belongs_to_the_parts_that_are_not_exact():
    """The cell moved by .5 as a whole; its second half has a half of that, and is .75 away from its sister."""
    found = later([[0.0, 0.0], [3.0, 0.0]], [[1.0, 0.0]], exact=[True, False])
    torch.testing.assert_close(found.left[:, 0], torch.tensor([0.25, (0.25 * 0.75) ** 0.5], dtype=torch.float64))
    assert found.times.item() == 2 and found.inexact.item() == 1 and not found.whole


def test_one_cell_that_is_not_exact_is_trusted_less_than_many():
    few = later([[0.0, 0.0], [3.0, 0.0]], [[1.0, 0.0]], exact=[True, False])
    share = ErrorShare(0.2, 1.0, moves=(math.inf, 0.1), converges=1.5)
    torch.testing.assert_close(secant_error(few, share), 0.1 * (1 + FEW) * few.left[1] / 2, rtol=1e-6, atol=0)


def test_where_all_cells_bend_the_smallest_of_three_shares_is_reported():
    found = later([[0.0, 0.0], [2.0, 0.1], [0.0, 0.0], [2.0, 0.1]], [[1.0, 0.0], [1.5, 0.0]])
    few, size = 1 + FEW / 4, 0.5  # 2^(½ − 3/2)
    for moves in ((0.1, math.inf), (math.inf, 0.1), (0.1, 0.01)):
        smallest = min(share * left for share, left in zip(moves, found.left[:, 0].tolist(), strict=True))
        reported = secant_error(found, ErrorShare(9.0, 0.0, ANYTHING, moves=moves, converges=1.5)).item()
        assert reported == pytest.approx(few * size * smallest, rel=1e-6)
    rough = secant_error(found, ErrorShare(1e-3, 0.0, moves=(0.1, 0.1))).item()
    assert rough == pytest.approx(1e-3 * found.roughness.item(), rel=1e-6)


def test_parts_that_are_exact_leave_nothing():
    found = later([[0.0, 0.0], [3.0, 0.0]], [[1.0, 0.0]], exact=[True, True])
    assert secant_error(found).item() == rounding_of(torch.float64)


def test_errors_that_cancel_between_cells_show_in_what_is_left():
    right = [[1.0, 1.0], [1.0, 1.0001]] * 3
    moved = later(right, [[1.3, 1.0], [0.7, 1.0], [1.0, 1.0]]).left[0].item()
    assert moved == pytest.approx(0.1 * 2**0.5 / 2**0.5, rel=1e-2)  # two moves of .1, in halves


def test_errors_of_one_direction_add_up_in_what_is_left():
    right = [[1.0, 1.0], [1.0, 1.0001]] * 3
    # .3 together, where three squares of .1 would be .17
    assert later(right, [[1.3, 1.0]] * 3).left[0].item() == pytest.approx(0.3 / 2**0.5, rel=1e-2)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.5])
def test_the_power_of_cells_is_found(power):
    values = torch.rand(16, 1, dtype=torch.float64).clamp(min=0.2) * CELLS.double() ** -power
    values[0] = torch.nan
    assert power_of_cells(CELLS, values, 9.0) == pytest.approx(power, abs=1e-9)


def test_the_power_of_errors_that_are_all_zero_is_unknown():
    assert power_of_cells(CELLS, torch.zeros(16, 5, dtype=torch.float64), 0.25) == 0.25


def log_normal(rows, spread, generator):
    return torch.exp(spread * torch.randn(rows, len(CELLS), generator=generator, dtype=torch.float64))


@pytest.mark.parametrize(("rows", "most"), [(4, 9), (8, 9), (16, 9), (64, 6)])
@pytest.mark.parametrize("exact", [0.0, 0.5], ids=["all alike", "half of them exact"])
def test_a_share_fitted_on_some_rows_covers_others(rows, most, exact):
    """Shares log-normal about a power of the number of cells, in part 0; mean coverage over many networks."""
    generator = torch.Generator().manual_seed(rows)
    covered, times = [], []
    for _ in range(200):
        size = log_normal(rows + 200, 0.7, generator) * 0.05 * (8 / CELLS.double()) ** 0.5
        known = torch.rand(rows + 200, 1, generator=generator) >= exact
        known[:2] = True
        rough = log_normal(rows + 200, 0.1, generator)
        errors = torch.where(known, size * rough, torch.nan)
        fitted = fitted_share(CELLS, errors[:rows], rough[:rows], 1e-6)
        share = fitted.of(CELLS) * rough[rows:] ** fitted.power
        covered.append(((errors[rows:] <= 1.25 * share) | errors[rows:].isnan()).double().mean())
        times.append(share[:, 2].median() / 0.05)
    assert torch.stack(covered).mean() >= 0.95
    # a log-normal's 95th percentile is three times its median; few rows are up to three times as cautious as that
    assert torch.stack(times).median() <= most


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_what_tells_rows_apart_is_found(power):
    generator = torch.Generator().manual_seed(0)
    rough = log_normal(16, 1.0, generator)
    errors = 0.01 * log_normal(16, 0.1, generator) * rough**power
    assert fitted_share(CELLS, errors, rough, 1e-9).power == power


def test_moves_are_known_of_many_networks_where_no_rows_tell():
    nothing = torch.zeros(4, 0, dtype=torch.float64)
    assert fitted_moves(nothing, torch.zeros(2, 4, 0)) == CAUTIOUS.moves


def test_a_margin_of_moves_is_not_wider_than_what_is_known_of_many_networks():
    generator = torch.Generator().manual_seed(0)
    left = log_normal(16, 1.0, generator)
    errors = 0.9 * CAUTIOUS.moves[1] * left
    apart = torch.stack([log_normal(16, 2.0, generator), left])
    known = CAUTIOUS.moves[1]
    assert fitted_moves(errors, apart) == (math.inf, pytest.approx(0.9 * MARGIN * known))
    # seen to be more than that of other networks: as seen
    assert fitted_moves(2 * errors, apart) == (math.inf, pytest.approx(1.8 * known))


def test_the_next_pass_has_a_multiple_of_the_cells_within_what_is_left():
    rule = SecantRule(rtol=0.01, max_nodes=100, cells=4, share=ErrorShare(0.2, 1.0, converges=1.0))
    error = torch.tensor([0.011, 0.025, 1.0, 0.025, 0.025, 1.0], dtype=torch.float64)
    inexact, left = torch.tensor([4, 4, 4, 4, 4, 0]), torch.tensor([90, 90, 90, 9, 8, 90])
    assert times_for(error, inexact, torch.ones_like(inexact), left, rule).tolist() == [2, 3, 5, 2, 1, 1]


def test_evidence_of_some_rows_is_that_of_the_rows():
    found = CellEvidence(*torch.arange(10).view(5, 2), torch.tensor([False, True]),
                         torch.rand(2, 2), one(2.0).expand(2), torch.float32)  # fmt: skip
    some = found.of(torch.tensor([False, True]))
    assert some.inexact.tolist() == [3] and some.left.shape == (2, 1) and some.dtype == torch.float32
