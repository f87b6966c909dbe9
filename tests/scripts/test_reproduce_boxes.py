"""Boxes of photographs, and both sides of a softmax in one network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scripts.networks.both_sides import BothSides, leave_both_sides
from scripts.networks.photo_boxes import BOXES, MOST, masks
from scripts.networks.photographs import PHOTOGRAPHS, SIDE
from scripts.papers.interior.interior_boxes import hits, shares_inside


def test_every_photograph_has_boxes_within_its_square():
    assert list(BOXES) == [photograph.name for photograph in PHOTOGRAPHS]
    for left, top, right, bottom in (box for boxes in BOXES.values() for box in boxes):
        assert 0 <= left < right <= SIDE
        assert 0 <= top < bottom <= SIDE
    covered = masks().mean(axis=(1, 2))
    assert covered[4] == pytest.approx(17 * 149 / SIDE**2)  # the rocket
    assert (covered <= MOST).sum() == 13


def test_shares_are_of_what_is_positive():
    values = np.zeros((1, 14, 14))
    values[0, 2, 2], values[0, 10, 10], values[0, 3, 3] = 3.0, 1.0, -5.0
    inside = np.zeros((1, 14, 14), bool)
    inside[0, :7, :7] = True
    assert shares_inside(values, inside) == pytest.approx([0.75])
    assert hits(values, inside).tolist() == [False]  # −5 + 3 is less than 1
    assert hits(np.maximum(values, 0), inside).tolist() == [True]


def test_both_sides_are_those_of_the_given_class(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    pictures = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype(np.float32)
    label = leave_both_sides(network, pictures, tmp_path)
    both = BothSides(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
    both.load_state_dict(torch.load(tmp_path / "both.pt", weights_only=True))
    found = both(torch.from_numpy(pictures), torch.from_numpy(label))
    logits = network(torch.from_numpy(pictures))
    assert torch.allclose(found[:, 0], logits.max(dim=1).values)
    assert torch.allclose(found[:, 1], logits.softmax(dim=1).max(dim=1).values)
