"""Where a network leaves autograd is named: operation and layer."""

from __future__ import annotations

import pytest
import torch
from helpers import detached

from xattr_cli.device.detachments import locate_detachments


def located(network):
    x = torch.rand(4, detached.FEATURES, requires_grad=True)
    return [str(found) for found in locate_detachments(network, lambda: network(x))]


@pytest.mark.parametrize("factory", detached.INCONSISTENT)
def test_what_leaves_autograd_is_named(factory):
    found = located(getattr(detached, factory)())
    assert any(detached.INCONSISTENT[factory] in text for text in found), found


@pytest.mark.parametrize("factory", ["piecewise_linear", "steep", "unscaled", "quantises_a_branch", "masks"])
def test_masks_indices_and_rounding_do_not_leave_it(factory):
    assert located(getattr(detached, factory)()) == []
