"""What secant cells report of their error: shares fitted on some rows cover others, exact rows are seen so."""

import pytest
import torch

from xattr_cli.numerics.paths.secant_error import (
    MARGIN,
    CellEvidence,
    ErrorShare,
    expected_after,
    fitted_share,
    power_of_cells,
    rounding_of,
    secant_error,
    share_of_movement,
)
from xattr_cli.numerics.paths.secants import CellSums, SecantRule, evidence_of, next_cells

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


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_first_pass_reports_a_share_of_its_roughness(power):
    found, share = evidence(), ErrorShare(0.2, 1.0, power=power, moves=3.0)
    torch.testing.assert_close(secant_error(found, share), 0.4 * (found.roughness() / found.size) ** power)


def test_a_map_that_hardly_moved_is_nearly_exact():
    share = ErrorShare(0.2, 1.0, moves=3.0, converges=1.5)
    moved = secant_error(evidence(moved=1e-3, before=2), share)
    size = evidence().size
    torch.testing.assert_close(moved, 3 * 1e-3 / 3 / size)  # 1 + (4 / 2)^3 = 9


def test_a_map_that_moved_far_is_as_wrong_as_its_roughness_tells():
    share = ErrorShare(0.2, 1.0, moves=3.0)
    assert secant_error(evidence(moved=10.0, before=2), share) == secant_error(evidence(), share)


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


def log_normal(rows, spread, generator):
    return torch.exp(spread * torch.randn(rows, len(CELLS), generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("rows", [4, 8, 16])
@pytest.mark.parametrize("exact", [0.0, 0.5], ids=["all alike", "half of them exact"])
def test_a_share_fitted_on_some_rows_covers_others(rows, exact):
    """Shares log-normal about a power of the number of cells, in part 0; mean coverage over many networks."""
    generator = torch.Generator().manual_seed(rows)
    covered, times = [], []
    for _ in range(200):
        size = log_normal(rows + 200, 0.7, generator)
        size = (
            size * (torch.rand(rows + 200, 1, generator=generator) >= exact) * 0.05 * (8 / CELLS.double()) ** 0.5
        )
        rough = log_normal(rows + 200, 0.1, generator)
        fitted = fitted_share(CELLS, size[:rows] * rough[:rows], rough[:rows], 1e-6)
        share = fitted.of(CELLS) * rough[rows:] ** fitted.power
        covered.append((size[rows:] * rough[rows:] <= 1.25 * share).double().mean())
        times.append(share[:, 2].median() / 0.05)
    assert torch.stack(covered).mean() >= 0.95
    # a log-normal's 95th percentile is three times its median; no more than three times as cautious as that
    assert torch.stack(times).median() <= 9


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_what_tells_rows_apart_is_found(power):
    generator = torch.Generator().manual_seed(0)
    rough = log_normal(16, 1.0, generator)
    errors = 0.01 * log_normal(16, 0.1, generator) * rough**power
    assert fitted_share(CELLS, errors, rough, 1e-9).power == power


def test_share_of_movement_is_nothing_without_evidence():
    assert share_of_movement(torch.zeros(4, 0)) == 0
    assert share_of_movement(torch.full((16, 5), 2.0, dtype=torch.float64)) == pytest.approx(2 * MARGIN)
    assert share_of_movement(torch.full((4, 5), 2.0, dtype=torch.float64)) > 2 * MARGIN


def passes(cells, errors):
    """Maps of two features whose every cell is off by what is given, (cells, 2), times its dt."""
    widths = torch.full((1, cells), 1 / cells, dtype=torch.float64)
    sketches = torch.ones(1, cells, 2, dtype=torch.float64) + torch.tensor(errors, dtype=torch.float64)
    mean = (sketches * widths[:, :, None]).sum(dim=1)
    return CellSums(mean, sketches, widths, torch.tensor([cells]), *torch.zeros(2, 1, dtype=torch.float64))


def moved(fine, coarse):
    return evidence_of(fine, torch.ones(1, 2, dtype=torch.float64), coarse).moved.item()


def test_errors_that_cancel_between_cells_show_in_the_move():
    right = passes(6, [[0.0, 0.0]] * 6)
    assert moved(right, passes(3, [[0.3, 0.0], [-0.3, 0.0], [0.0, 0.0]])) == pytest.approx(0.1 * 2**0.5)


def test_errors_of_one_direction_add_up_in_the_move():
    right = passes(6, [[0.0, 0.0]] * 6)
    assert moved(right, passes(3, [[0.3, 0.0]] * 3)) == pytest.approx(0.3)


def test_the_next_pass_has_a_multiple_of_the_cells_within_what_is_left():
    rule = SecantRule(rtol=0.01, max_nodes=100, cells=4, share=ErrorShare(0.2, 1.0, converges=1.0))
    cells, error = torch.full((5,), 4), torch.tensor([0.011, 0.025, 1.0, 0.025, 0.025], dtype=torch.float64)
    left = torch.tensor([90, 90, 90, 9, 8])
    assert next_cells(cells, error, left, rule).tolist() == [8, 12, 20, 8, 4]
