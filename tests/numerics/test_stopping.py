"""When a row of gradients stops: a figure that varies much has to keep well below the tolerance."""

import pytest
import torch

from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.numerics.paths.sweep import PathPass, sweep
from xattr_cli.samples import Status


class Halving:
    """A rule whose reported error starts at .09 and is halved by every pass, of which it allows some."""

    marks = 1

    def __init__(self, doubt, passes):
        self.doubt, self.passes, self.error = doubt, passes, 0.18
        self.rtol = 0.05

    def advance(self, rows):
        self.passes, self.error = self.passes - 1, self.error / 2
        one = torch.ones(1)
        error = torch.full((1,), self.error, dtype=torch.float64)
        doubt = None if self.doubt is None else torch.full((1,), self.doubt, dtype=torch.float64)
        return PathPass(
            one[:, None, None], error, one, 0 * one, one.long(), torch.tensor([self.passes == 0]), doubt
        )

    def keep(self, remaining):
        pass


PATH = StraightPath(torch.zeros(1, 1), torch.ones(1, 1))


@pytest.mark.parametrize(("doubt", "passes"), [(None, 2), (1.1, 2), (1.2, 3)])
def test_a_row_stops_when_its_error_keeps_below_the_tolerance_by_the_doubt(doubt, passes):
    found = sweep(Halving(doubt, 9), PATH)
    assert found.evaluations.item() == passes and found.status.item() == Status.CONVERGED


def test_a_row_that_may_not_go_on_has_converged_if_its_error_is_within_the_tolerance():
    found = sweep(Halving(1.2, 2), PATH)
    assert found.relative_error.item() == 0.045 and found.status.item() == Status.CONVERGED
    assert sweep(Halving(1.2, 1), PATH).status.item() == Status.NOT_CONVERGED
