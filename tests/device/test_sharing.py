"""Several targets of a sample: one forward pass, and the maps that each gets alone."""

from __future__ import annotations

import pytest
import torch
from helpers.blocks import block_of, digits, trained

from xattr_cli.device.places import MOST_SHARED, SharedPoints
from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.numerics.paths.straight import StraightPath, group_equal

SAMPLES, TARGETS = 6, 10
ENGINES = [IntegratedGradients(rtol=0.05), ExpectedGradients(rtol=0.5, replicates=4, replicate_size=16)]


class ForwardRows:
    """Counts the rows that go through a network."""

    def __init__(self, network):
        self.rows = 0
        self._hook = network.register_forward_hook(self._count)

    def _count(self, module, inputs, output):
        self.rows += len(output)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._hook.remove()


def all_targets(engine, *, shared):
    """Every target of some digits; `shared`: the tool is told that their samples are the same."""
    images = digits()[2][:SAMPLES].repeat_interleave(TARGETS, dim=0)
    target = torch.arange(TARGETS).repeat(SAMPLES)
    sample = torch.arange(SAMPLES).repeat_interleave(TARGETS)
    network = trained("relu_cnn_maxpool")
    block = block_of(network, images, target=target, background=digits()[0][:50], engines=[engine], sample=sample)
    if not shared:
        for row in range(len(images)):
            yield engine.explain(
                block_of(
                    network,
                    images[row : row + 1],
                    target=target[row : row + 1],
                    background=digits()[0][:50],
                    engines=[engine],
                    sample=sample[row : row + 1],
                )
            )
        return
    yield engine.explain(block)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_targets_that_share_passes_get_the_maps_they_get_alone(engine):
    (together,) = all_targets(engine, shared=True)
    alone = [*all_targets(engine, shared=False)]
    for name in ("attribution", "relative_error", "evaluations", "status"):
        apart = torch.cat([getattr(found, name) for found in alone])
        torch.testing.assert_close(getattr(together, name), apart, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_ten_targets_of_a_sample_go_forward_hardly_more_often_than_the_slowest_of_them(engine):
    network = trained("relu_cnn_maxpool")
    with ForwardRows(network) as counted:
        (found,) = all_targets(engine, shared=True)
    slowest = found.evaluations.view(SAMPLES, TARGETS).max(dim=1).values
    padding = 1.35  # the last calls of every level are filled up
    assert counted.rows <= padding * int(slowest.sum())
    assert counted.rows < int(found.evaluations.sum()) / 3


def test_equal_points_become_neighbours_and_the_most_wanted_come_first():
    order, place = group_equal(torch.tensor([5, 3, 5, 9, 3, 5]))
    assert order.tolist() == [0, 2, 5, 1, 4, 3]
    assert place.tolist() == [0, 0, 0, 1, 1, 2]
    assert group_equal(torch.tensor([2, 0, 1])) is None


def points_of_places(counts):
    rows = sum(counts)
    place = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    path = StraightPath(torch.zeros(rows, 2), torch.ones(rows, 2))
    return path.at(torch.arange(rows), torch.zeros(rows), place)


def test_every_point_belongs_to_one_pass_and_shares_it_only_with_its_place():
    counts = [2 * MOST_SHARED + 3, MOST_SHARED, 4, 1]
    points = points_of_places(counts)
    places = SharedPoints.of(points)
    assert len(places) == 3 + 1 + 1 + 1
    found = [member for start in range(0, len(places), 2) for member in places.members(slice(start, start + 2))]
    assert sorted(torch.cat(found).tolist()) == list(range(sum(counts)))
    for start in range(0, len(places), 2):
        first, *others = places.members(slice(start, start + 2))
        assert len(others) < MOST_SHARED
        for member in others:
            assert torch.equal(points.place[member], points.place[first][: len(member)])


def test_a_baseline_that_all_rows_share_is_scored_once():
    network, images = trained("relu_mlp"), digits()[2][:40]
    engine = IntegratedGradients(rtol=0.9)
    target = torch.arange(40) % 10
    with ForwardRows(network) as counted:
        found = engine.explain(block_of(network, images, target=target, engines=[engine]))
    gradients = int((found.evaluations - 1).sum())
    assert counted.rows <= 1.2 * gradients + 8  # the last calls are filled up
    torch.testing.assert_close(found.score_baseline, network(torch.zeros(1, 1, 8, 8))[0, target])
