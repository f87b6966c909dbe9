"""A rule of integration is a part of a sweep: here another one, which no module of the package knows."""

from __future__ import annotations

import numpy as np
import torch
from helpers.blocks import block_of
from torch import Tensor, nn

from xattr_cli.numerics.paths.error_bar import ratio
from xattr_cli.numerics.paths.field import Field
from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.numerics.paths.sweep import PathPass, sweep
from xattr_cli.samples import Status


class DoublingGauss:
    """Gauss–Legendre rules of 2, 4, 8, … nodes, none of them used twice; each is judged by the one before."""

    marks = 1

    def __init__(self, field: Field, path: StraightPath, rtol: float, most: int) -> None:
        self.field, self.path, self.rtol, self.most = field, path, rtol, most
        self.nodes = 1
        self.before = torch.full_like(path.input, torch.inf)

    def advance(self, rows: Tensor) -> PathPass:
        self.nodes *= 2
        mean = self._mean_gradient(rows)
        moved, length = (
            torch.linalg.vector_norm(g * self.path.delta[rows], dim=1) for g in (mean - self.before, mean)
        )
        self.before = mean
        ends = [self.field.values(self.path.at(rows, torch.full_like(length, t))) for t in (0.0, 1.0)]
        return PathPass(
            running=mean[:, None],
            relative_error=ratio(moved, length).double(),
            score_input=ends[1],
            score_baseline=ends[0],
            evaluations=torch.full_like(rows, self.nodes),
            exhausted=torch.full_like(rows, 2 * self.nodes > self.most, dtype=torch.bool),
        )

    def keep(self, remaining: Tensor) -> None:
        self.before = self.before[remaining]

    def _mean_gradient(self, rows: Tensor) -> Tensor:
        x, w = (
            torch.from_numpy(numbers).to(self.before) for numbers in np.polynomial.legendre.leggauss(self.nodes)
        )
        slot = torch.arange(len(rows)).repeat_interleave(self.nodes)
        found = torch.zeros_like(self.before)
        for evaluation in self.field.gradients(self.path.at(rows[slot], ((x + 1) / 2).repeat(len(rows)))):
            weights = (w / 2).repeat(len(rows))[evaluation.part]
            found.index_add_(0, slot[evaluation.part], weights[:, None] * evaluation.gradients)
        return found


class SumOfExponentials(nn.Module):
    """f(x) = Σ exp(x_i): along the path from 0 the mean of ∂f/∂x_i is (exp(x_i) − 1) / x_i."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp().sum(dim=1, keepdim=True)


INPUTS = torch.tensor([[30.0, 25.0], [0.5, -0.3], [torch.nan, 1.0], [4.0, 6.0]], dtype=torch.float64)


def swept(rtol: float, most: int):
    block = block_of(SumOfExponentials(), INPUTS)
    path = StraightPath(torch.zeros_like(INPUTS), INPUTS)
    return sweep(DoublingGauss(block.field, path, rtol, most), path)


def test_every_row_stops_alone_at_its_own_accuracy():
    found = swept(rtol=1e-6, most=128)
    assert found.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.QUARANTINED, Status.CONVERGED]
    steep, flat, _, middle = found.evaluations.tolist()
    assert flat < middle < steep
    truth = INPUTS.expm1() / INPUTS
    rows = [0, 1, 3]
    torch.testing.assert_close(found.mean_gradient[rows], truth[rows], rtol=1e-5, atol=0)
    assert (found.relative_error[rows] <= 1e-6).all()


def test_a_row_that_is_not_finite_is_quarantined_after_one_pass():
    found = swept(rtol=1e-6, most=128)
    assert found.evaluations[2] == 2
    assert found.mean_gradient[2].isnan().all() and found.relative_error[2].isnan()


def test_a_row_that_is_exhausted_keeps_its_last_map_and_says_by_how_much_it_may_be_off():
    found = swept(rtol=1e-6, most=4)
    assert found.status.tolist() == [Status.NOT_CONVERGED] * 2 + [Status.QUARANTINED, Status.NOT_CONVERGED]
    off = torch.linalg.vector_norm((found.mean_gradient - INPUTS.expm1() / INPUTS) * INPUTS, dim=1)
    size = torch.linalg.vector_norm(found.mean_gradient * INPUTS, dim=1)
    assert found.mean_gradient[[0, 1, 3]].isfinite().all()
    assert ((off / size <= found.relative_error) & (found.relative_error > 1e-6))[[0, 1, 3]].all()


def test_scores_of_both_ends_and_a_status_for_a_milder_tolerance_come_with_it():
    found = swept(rtol=1e-6, most=4)
    torch.testing.assert_close(found.score_input[1], INPUTS[1].exp().sum())
    torch.testing.assert_close(found.score_baseline[1], torch.tensor(2.0, dtype=torch.float64))
    assert found.judged_by(0.01)[1] == Status.CONVERGED


def test_passes_that_take_nothing_end_a_row():
    """Where squares of huge gradients overflow no panel looks worth a node, in this pass and in all later ones."""

    class Idle:
        rtol, marks = 0.1, 1

        def advance(self, rows):
            unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
            score, nothing = torch.ones(len(rows)), torch.zeros_like(rows)
            return PathPass(torch.ones(len(rows), 1, 1), unknown, score, 0 * score, nothing, nothing > 0)

        def keep(self, remaining):
            assert not remaining.any()

    found = sweep(Idle(), StraightPath(torch.zeros(3, 1), torch.ones(3, 1)))
    assert found.status.tolist() == [Status.NOT_CONVERGED] * 3
    assert found.relative_error.tolist() == [torch.inf] * 3
