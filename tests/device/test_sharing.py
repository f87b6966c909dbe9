"""Several targets of a sample: one forward pass, and the maps that each gets alone."""

from __future__ import annotations

from itertools import zip_longest

import pytest
import torch
from helpers.blocks import block_of, digits, trained

from xattr_cli.device.places import MOST_SHARED, SharedPoints
from xattr_cli.device.scorer import BlockField
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


class GradientPoints:
    """The points at which a network goes forward for a gradient: a list per level of a sweep.

    They are all of them, and nothing else, if a call takes a single row: then none is filled up.
    """

    def __init__(self, network, monkeypatch):
        self.levels = []
        self._hook = network.register_forward_hook(self._record)
        self._patch = monkeypatch.context()

    def _record(self, module, inputs, output):
        if torch.is_grad_enabled():
            (image,) = inputs[0]
            self.levels[-1].append(tuple(image.flatten().tolist()))

    def __enter__(self):
        gradients = BlockField.gradients

        def begin_level(field, points):
            self.levels.append([])
            return gradients(field, points)

        self._patch.__enter__().setattr(BlockField, "gradients", begin_level)
        return self

    def __exit__(self, *error):
        self._patch.__exit__(*error)
        self._hook.remove()


def all_targets(engine, *, shared, rows=64):
    """A block for every target of some digits; `shared`: the tool is told that their samples are the same."""
    images = digits()[2][:SAMPLES].repeat_interleave(TARGETS, dim=0)
    target = torch.arange(TARGETS).repeat(SAMPLES)
    sample = torch.arange(SAMPLES).repeat_interleave(TARGETS)
    network = trained("relu_cnn_maxpool")
    parts = [slice(None)] if shared else [slice(row, row + 1) for row in range(len(images))]
    for part in parts:
        yield block_of(
            network,
            images[part],
            target=target[part],
            background=digits()[0][:50],
            engines=[engine],
            sample=sample[part],
            rows=rows,
        )


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_targets_that_share_passes_get_the_maps_they_get_alone(engine):
    (together,) = map(engine.explain, all_targets(engine, shared=True))
    alone = [*map(engine.explain, all_targets(engine, shared=False))]
    for name in ("attribution", "relative_error", "evaluations", "status"):
        apart = torch.cat([getattr(found, name) for found in alone])
        torch.testing.assert_close(getattr(together, name), apart, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "engine",
    [IntegratedGradients(rtol=0.05), ExpectedGradients(rtol=0.5, replicates=4, replicate_size=4)],
    ids=lambda engine: type(engine).__name__,
)
def test_ten_targets_of_a_sample_go_forward_once_where_any_of_them_needs_it(engine, monkeypatch):
    """Level by level, the points of all rows together are the union of those that each row has alone."""
    network = trained("relu_cnn_maxpool")
    (block,) = all_targets(engine, shared=True, rows=1)
    with GradientPoints(network, monkeypatch) as together:
        engine.explain(block)
    every, passes = [], 0
    for block in all_targets(engine, shared=False, rows=1):
        with GradientPoints(network, monkeypatch) as alone:
            engine.explain(block)
        every.append(alone.levels)
        passes += sum(map(len, alone.levels))
    union = [set().union(*level) for level in zip_longest(*every, fillvalue=())]
    assert [len(points) for points in together.levels] == [len(points) for points in union]
    assert [set(points) for points in together.levels] == union
    # ten targets share most of their points, whatever they refine: of five networks 8.4 to 11.7 times
    assert sum(map(len, together.levels)) < passes / 3


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
