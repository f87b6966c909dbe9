"""How a job is cut into parts, and the cache of its baselines: arithmetic that needs neither network nor torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from helpers.datasets import opened

from xattr_cli.baselines.background import DatasetBackground
from xattr_cli.baselines.constant import Constant
from xattr_cli.baselines.noise import Gaussian
from xattr_cli.errors import JobError
from xattr_cli.pipeline.baselines import BaselineCache
from xattr_cli.pipeline.parts import PartPlan, rows_of_part


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize("part_rows", [1, 3, 8])
def test_parts_hold_every_row_once_and_in_order(rows, part_rows):
    plan = PartPlan(rows, part_rows, rows_per_sample=1, studies=("icc", "sobol"))
    found = [row for number in range(len(plan)) for row in range(rows)[plan.part(number)]]
    assert found == list(range(rows))
    assert all(0 < len(range(rows)[plan.part(number)]) <= part_rows for number in range(plan.row_parts))
    assert plan.population_parts == {plan.row_parts: "icc", plan.row_parts + 1: "sobol"}
    assert plan.part(plan.row_parts) == slice(rows, rows)


@pytest.mark.parametrize(
    ("rows", "samples"), [((0, 3), (0, 1)), ((2, 4), (0, 2)), ((5, 6), (1, 2)), ((3, 9), (1, 3))]
)
def test_samples_of_rows_that_begin_or_end_within_a_sample(rows, samples):
    assert PartPlan(9, 4, rows_per_sample=3).samples_of(slice(*rows)) == samples


@pytest.mark.parametrize(("values", "rows"), [(1, 1024), (2**13, 1024), (2**13 + 1, 1023), (2**22, 2), (2**30, 1)])
def test_a_part_takes_32_mib_and_1024_rows_at_most(values, rows):
    assert rows_of_part("auto", values) == rows
    assert rows_of_part(7, values) == 7


@dataclass
class Recorder:
    """Stands for the device: counts what is placed there and scored."""

    placed: list = field(default_factory=list)
    scored: list = field(default_factory=list)

    def place(self, arrays):
        self.placed.append(arrays)
        return arrays

    def score(self, points):
        self.scored.append(points)
        return len(self.scored)


@pytest.fixture
def samples(tmp_path):
    np.savez(tmp_path / "data.npz", X=np.arange(15.0, dtype=np.float32).reshape(5, 3))
    return opened(tmp_path, "arrays", path="data.npz", inputs="X")


def test_equal_baselines_are_bound_placed_and_scored_once(samples):
    device = Recorder()
    cache = BaselineCache(samples, 0, ["X"], place=device.place, score=device.score)
    first, again = (cache.background(DatasetBackground(count=2)) for _ in range(2))
    assert first is again and len(device.placed) == len(device.scored) == 1
    assert first[0]["X"].shape == (2, 3) and {*first[0]["X"].ravel()} <= {*range(15)}
    assert cache.bound(Constant(value=1.0)) is cache.bound(Constant(value=1.0))
    assert cache.bound(Constant(value=1.0)) is not cache.bound(Constant(value=2.0))


def test_one_baseline_for_all_is_a_background_of_one_and_one_of_each_sample_is_none(samples):
    device = Recorder()
    cache = BaselineCache(samples, 0, ["X"], place=device.place, score=device.score)
    np.testing.assert_array_equal(cache.background(Constant(value=2.0))[0]["X"], np.full((1, 3), 2.0))
    with pytest.raises(JobError, match="'gaussian' gives every sample a baseline of its own"):
        cache.background(Gaussian(sigma=1.0))
    assert len(device.placed) == 1
