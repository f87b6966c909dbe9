"""Cells whose sums do not add up: what they miss is never less than what is reported."""

from __future__ import annotations

from dataclasses import replace

import torch
from helpers.blocks import block_of

from xattr_cli.device.secant import SecantField
from xattr_cli.numerics.cells.secants import SecantRule, integrate_secants
from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.samples import Status


class Shrunk(SecantField):
    """Cells of which every gradient is a tenth too short, as of a function that was taken for another one."""

    def cells(self, chains):
        for found in super().cells(chains):
            yield replace(found, gradients=0.9 * found.gradients)


def test_a_gap_is_a_floor_of_the_error():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).double()
    x = torch.rand(6, 4, dtype=torch.float64)
    block = block_of(network, x)
    path = StraightPath(torch.zeros_like(x), x)
    rule = SecantRule(rtol=0.02, max_nodes=64, cells=4)
    right = integrate_secants(SecantField(block.scorer, block.rows), path, rule)
    wrong = integrate_secants(Shrunk(block.scorer, block.rows), path, rule)
    change = right.score_input - right.score_baseline
    # in float64 no two results may share their memory
    torch.testing.assert_close(change, network(x)[:, 0] - network(0 * x)[:, 0])
    missed = 0.1 * change.abs() / torch.linalg.vector_norm(0.9 * right.mean_gradient * x, dim=1)
    assert (right.status == Status.CONVERGED).all()
    assert (wrong.relative_error >= 0.999 * missed).all()
    assert ((wrong.status == Status.CONVERGED) == (missed <= 0.02)).all() and (missed > 0.02).any()
