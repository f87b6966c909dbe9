"""What secant cells report of their error: shares fitted on some rows cover others, exact rows are seen so."""

import pytest
import torch

from xattr_cli.numerics.paths.secant_error import (
    MOVES_MARGIN,
    CellEvidence,
    ErrorShare,
    expected_after,
    fitted_share,
    power_of_cells,
    rounding_of,
    secant_error,
    share_of_movement,
)

CELLS = torch.tensor([3, 4, 6, 8, 12])


def evidence(*, moved=float("nan"), before=0, cells=4, slope=1.0):
    """One row whose gradient is (1 + slope · number of the cell, 1) in equal cells."""
    steps = 1 + slope * torch.arange(cells, dtype=torch.float64)
    sketches = torch.stack([steps, torch.ones(cells, dtype=torch.float64)], dim=1)[None]
    return CellEvidence(
        sketches=sketches,
        widths=torch.full((1, cells), 1 / cells, dtype=torch.float64),
        cells=torch.tensor([cells]),
        size=sketches.mean(dim=1).norm(dim=1),
        moved=torch.tensor([moved], dtype=torch.float64),
        cells_before=torch.tensor([before]),
        dtype=torch.float32,
    )


def test_roughness_is_that_of_neighbours():
    # three steps of length 1, each over a width of 1/4
    torch.testing.assert_close(evidence().roughness(), torch.tensor([3**0.5 / 4], dtype=torch.float64))


def test_a_first_pass_reports_a_share_of_its_roughness():
    found, share = evidence(), ErrorShare(0.2, 1.0, moves=3.0)
    expected = 0.4 * found.roughness() / found.size
    torch.testing.assert_close(secant_error(found, share), expected)


def test_a_map_that_hardly_moved_is_nearly_exact():
    share = ErrorShare(0.2, 1.0, moves=3.0, converges=1.5)
    moved = secant_error(evidence(moved=1e-3, before=2), share)
    size = evidence().size
    torch.testing.assert_close(moved, 3 * 1e-3 / 3 / size)  # 1 + (4 / 2)^3 = 9


def test_a_map_that_moved_far_is_reported_to_be_off_by_what_is_left_of_it():
    found = evidence(moved=10.0, before=2)
    for share in (ErrorShare(0.2, 1.0), ErrorShare(0.2, 1.0, moves=30.0)):
        torch.testing.assert_close(secant_error(found, share), 10 / 4 / found.size)  # (2 / 4)^(1 + 1)


def test_a_pass_of_nearly_as_many_cells_is_no_evidence():
    share = ErrorShare(0.2, 1.0, moves=3.0)
    assert secant_error(evidence(moved=0.0, before=10, cells=12), share) == secant_error(evidence(cells=12), share)


def test_a_map_that_did_not_move_is_known_to_rounding_only():
    assert secant_error(evidence(moved=0.0, before=2), ErrorShare(0.2, 1.0, moves=3.0)) == rounding_of(
        torch.float32
    )


def test_a_gradient_that_does_not_change_is_exact():
    assert secant_error(evidence(slope=0.0)) == 0


def test_two_cells_tell_nothing():
    assert secant_error(evidence(cells=2)).isinf().all()


def test_expected_after_is_exact_for_errors_at_right_angles():
    one, other = torch.tensor(0.3 * (6 / 4) ** 1.5), torch.tensor(0.3)
    moved = torch.hypot(one, other)
    torch.testing.assert_close(expected_after(moved, torch.tensor(4), torch.tensor(6), 1.5), other.double())


@pytest.mark.parametrize("power", [0.0, 0.5, 1.5])
def test_the_power_of_cells_is_found(power):
    values = torch.rand(16, 1, dtype=torch.float64) * CELLS.double() ** -power
    assert power_of_cells(CELLS, values, 9.0) == pytest.approx(power, abs=1e-9)


def test_the_power_of_errors_that_are_all_zero_is_unknown():
    assert power_of_cells(CELLS, torch.zeros(16, 5, dtype=torch.float64), 0.25) == 0.25


@pytest.mark.parametrize("rows", [4, 8, 16])
@pytest.mark.parametrize("exact", [0.0, 0.5], ids=["all alike", "half of them exact"])
def test_a_share_fitted_on_some_rows_covers_others(rows, exact):
    """Shares log-normal about a power of the number of cells, in part 0; mean coverage over many networks."""
    generator = torch.Generator().manual_seed(rows)
    covered, times = [], []
    for _ in range(200):
        size = torch.exp(0.7 * torch.randn(rows + 200, 5, generator=generator, dtype=torch.float64))
        size = (
            size * (torch.rand(rows + 200, 1, generator=generator) >= exact) * 0.05 * (8 / CELLS.double()) ** 0.5
        )
        share = fitted_share(CELLS, size[:rows]).of(CELLS)
        covered.append((size[rows:] <= 1.25 * share).double().mean())
        times.append(share[2] / 0.05)
    assert torch.stack(covered).mean() >= 0.95
    # a log-normal's 98th percentile is four times its median; no more than four times as cautious as that
    assert torch.stack(times).median() <= 16


def test_share_of_movement_is_nothing_without_evidence():
    assert share_of_movement(torch.zeros(0)) == 0
    assert share_of_movement(torch.zeros(5)) == 1
    assert share_of_movement(torch.full((5,), 2.0)) == 2 * MOVES_MARGIN
