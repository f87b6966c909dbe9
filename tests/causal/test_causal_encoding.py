"""Columns as units: what kind each is, how it is written as numbers, and that nothing is lost on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.special import ndtr

from xattr_cli.causal.flow.detection import find_units
from xattr_cli.causal.flow.encoding import Encoding
from xattr_cli.causal.flow.mechanisms import Mechanisms
from xattr_cli.causal.flow.units import Categorical, Continuous, Integer, plain_unit, unit_of_plain
from xattr_cli.causal.graph.files import read_graph
from xattr_cli.causal.graph.graph import Graph
from xattr_cli.errors import DataError, JobError

ROWS = 400
KINDS = {"continuous": Continuous, "integer": Integer, "categorical": Categorical}


def columns_of_all_kinds(seed=0):
    """Height (continuous), year (integer), doors (few levels), colour (one-hot of three)."""
    generator = np.random.default_rng(seed)
    height = generator.standard_normal(ROWS)
    year = generator.integers(1970, 2020, ROWS)
    doors = generator.choice([2, 3, 5], ROWS)
    colour = np.eye(3)[generator.choice(3, ROWS, p=[0.5, 0.3, 0.2])]
    return np.column_stack([height, year, doors, colour]).astype(np.float64)


NAMES = ("height", "year", "doors", "red", "green", "blue")
GRAPH = {
    "nodes": {"colour": ["red", "green", "blue"]},
    "edges": [["height", "year"], ["colour", "doors"], ["year", "doors"]],
}


def scaled(columns):
    return ((columns - columns.mean(axis=0)) / columns.std(axis=0)).astype(np.float32).astype(np.float64)


def encoding_of(columns, names=NAMES, source=GRAPH, kinds=None):
    graph = read_graph(source, names, None)
    return Encoding(graph, *find_units(graph, columns, names, kinds or {}))


def unit_of(values, kind=None):
    graph = Graph.independent(["x"])
    units, _ = find_units(graph, np.asarray(values, dtype=float)[:, None], ["x"], {"x": kind} if kind else {})
    return units[0]


# --- kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [lambda c: c, scaled], ids=["raw", "standardised float32"])
def test_the_kind_of_every_column_is_found(prepare):
    encoding = encoding_of(prepare(columns_of_all_kinds()))
    assert [type(unit) for unit in encoding.units] == [Continuous, Integer, Categorical, Categorical]
    assert encoding.noise_dims == (1, 1, 1, 1)
    assert [len(unit.levels) for unit in encoding.categories] == [3, 3]
    year = encoding.units[1]
    assert year.top == 49


NUMBERS = np.random.default_rng(5)
EXAMPLES = {
    "normal": (NUMBERS.standard_normal(300), Continuous),
    "bits": (NUMBERS.integers(0, 2, 300), Categorical),
    "ten levels": (np.arange(300) % 10, Categorical),
    "eleven levels": (np.arange(300) % 11, Integer),
    "tenths": (NUMBERS.integers(0, 99, 300) / 10, Integer),
    "every second": (NUMBERS.integers(0, 40, 300) * 2 + 1, Integer),
    "powers": (2.0 ** (np.arange(300) % 12), Continuous),
    "fine grid": (np.concatenate([np.arange(299), [5000]]), Continuous),
    "eleven reals": (NUMBERS.standard_normal(11)[np.arange(300) % 11], Continuous),
}


@pytest.mark.parametrize("values, kind", EXAMPLES.values(), ids=EXAMPLES)
def test_kinds_of_single_columns(values, kind):
    assert type(unit_of(values)) is kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_can_be_given(kind):
    assert type(unit_of(np.arange(300) % 12, kind)) is KINDS[kind]


def test_a_one_hot_block_may_leave_one_category_out():
    columns = columns_of_all_kinds()[:, [0, 4, 5]]
    graph = {"nodes": {"colour": ["green", "blue"], "height": None}}
    unit = encoding_of(columns, ("height", "green", "blue"), graph).categories[0]
    assert unit.levels == ((0, 0), (1, 0), (0, 1))
    assert unit.shares == pytest.approx([1 - columns[:, 1:].sum() / ROWS, *columns[:, 1:].mean(axis=0)])


def test_categories_stand_in_the_order_in_which_the_graph_lists_the_columns():
    source = {"nodes": {"colour": ["blue", "red", "green"]}, "edges": [["height", "year"], ["year", "doors"]]}
    encoding = encoding_of(columns_of_all_kinds(), source=source)
    assert encoding.categories[1].columns == (5, 3, 4)
    assert encoding.categories[1].levels == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_a_block_that_is_not_one_hot_has_a_noise_coordinate_per_column():
    columns = np.random.default_rng(1).standard_normal((ROWS, 3))
    encoding = encoding_of(columns, ("a", "b", "c"), {"nodes": {"place": ["a", "b"]}, "edges": [["place", "c"]]})
    assert encoding.noise_dims == (2, 1)
    assert encoding.noise_names == ("place[0]", "place[1]", "c")
    assert encoding.causes == ((), (0,), (0, 1))
    assert encoding.generations == ((0,), (1,), (2,))


def test_a_constant_column_is_refused():
    with pytest.raises(DataError, match=r"column 'x' is 3 in all 300 rows"):
        unit_of(np.full(300, 3.0))


def test_a_kind_that_does_not_fit_is_refused():
    with pytest.raises(JobError, match=r"flow.kinds.x: integer, but the values lie on no regular grid"):
        unit_of(np.random.default_rng(0).standard_normal(300), "integer")
    with pytest.raises(JobError, match=r"flow.kinds: no column is called 'yaer'.*Did you mean 'year'\?"):
        encoding_of(columns_of_all_kinds(), kinds={"yaer": "integer"})


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [lambda c: c, scaled], ids=["raw", "standardised float32"])
def test_rows_come_back(prepare):
    columns = prepare(columns_of_all_kinds())
    encoding = encoding_of(columns)
    rows = torch.from_numpy(columns)
    targets = encoding.targets(rows, torch.Generator().manual_seed(1))
    back = torch.full_like(rows, torch.nan)
    for unit, values in zip(encoding.numbers, targets.values.T, strict=True):
        back[:, list(unit.columns)] = unit.decode(values)
    for unit, numbers in zip(encoding.categories, targets.numbers.T, strict=True):
        back[:, list(unit.columns)] = unit.decode(numbers)
    # an integer that was scaled and stored in float32 lies on its grid up to float32 rounding
    torch.testing.assert_close(back, rows, rtol=1e-6, atol=1e-6)
    assert torch.equal(back[:, 2:], rows[:, 2:]), "categories are the very values of the data"


def test_integers_get_uniform_noise_below_one_step():
    columns = columns_of_all_kinds()
    encoding = encoding_of(columns)
    year = encoding.units[1]
    rows = torch.from_numpy(columns)
    draws = [encoding.targets(rows, torch.Generator().manual_seed(seed)).values[:, 1] for seed in (0, 1)]
    inside = [draw * year.deviation + year.mean - (rows[:, 1] - 1970) for draw in draws]
    assert not torch.equal(*inside)
    for uniform in inside:
        assert float(uniform.min()) >= 0 and float(uniform.max()) < 1
        assert float(uniform.mean()) == pytest.approx(0.5, abs=0.05)
    # k + U is standardised, so its square has mean 1
    assert float(draws[0].square().mean()) == pytest.approx(1, abs=0.05)


def test_children_see_the_integer_and_not_the_noise_on_it():
    columns = columns_of_all_kinds()
    encoding = encoding_of(columns)
    features = encoding.feature_rows(torch.from_numpy(columns))
    year = features[:, encoding.slots[1]].flatten()
    for value in (1970, 1999):
        assert len(year[torch.from_numpy(columns[:, 1] == value)].unique()) == 1
    assert features.shape == (ROWS, 1 + 1 + 2 + 2)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(6, dtype=torch.float64), atol=1e-9, rtol=0)


def test_generated_integers_stay_on_the_grid_and_in_the_range_of_the_data():
    year = encoding_of(columns_of_all_kinds()).units[1]
    found = year.decode(torch.linspace(-9, 9, 501, dtype=torch.float64))[:, 0]
    assert torch.equal(found, found.round())
    assert (found.min(), found.max()) == (1970, 2019)


def test_units_survive_a_file():
    for unit in encoding_of(scaled(columns_of_all_kinds())).units:
        assert unit_of_plain(json.loads(json.dumps(plain_unit(unit)))) == unit


# --- structure ----------------------------------------------------------------------------------


def test_a_node_sees_all_features_of_its_parents_and_no_others():
    encoding = encoding_of(columns_of_all_kinds())
    assert encoding.graph.nodes == ("height", "year", "doors", "colour")
    assert encoding.causes == ((), (0,), (1, 3), ())
    assert encoding.generations == ((0, 3), (1,), (2,))
    seen = encoding.adjacency(range(4)).int().tolist()
    #                 height year doors  colour
    assert seen == [
        [0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0],
    ]


def random_mechanisms(encoding, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mechanisms = Mechanisms(encoding, (32, 32), 6).double().requires_grad_(False)
        for weight in mechanisms.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    mechanisms.conditioner.network[-1].bias.zero_()
    return mechanisms


def test_a_category_is_the_quantile_of_its_noise():
    """With p the shares given the parents, category k comes from Φ(u) between p₀ + … and p₀ + … + pₖ."""
    encoding = encoding_of(columns_of_all_kinds())
    mechanisms = random_mechanisms(encoding)
    noise = torch.randn(1, 4, dtype=torch.float64).repeat(4000, 1)
    noise[:, 2] = torch.linspace(-4, 4, 4000, dtype=torch.float64)
    rows = mechanisms.inputs(noise)
    doors = rows[:, 2]
    assert set(doors.tolist()) == {2.0, 3.0, 5.0}
    assert bool((doors.diff() >= 0).all()), "monotone in the order of the categories"
    assert torch.equal(rows[:, [0, 1, 3, 4, 5]], rows[:1, [0, 1, 3, 4, 5]].expand(4000, -1))
    targets = encoding.targets(rows, torch.Generator())
    features = encoding.feature_rows(rows)
    logs = mechanisms.log_likelihood(targets, features)[:, 2]
    for value in (2.0, 3.0, 5.0):
        share = float(logs[doors == value][0].exp())
        level = ndtr(noise[doors == value, 2])
        assert float(level.max() - level.min()) == pytest.approx(share, abs=0.002)


def test_noise_of_rows_gives_the_rows_again():
    columns = columns_of_all_kinds()
    encoding = encoding_of(columns)
    mechanisms = random_mechanisms(encoding)
    generator = torch.Generator().manual_seed(2)
    rows = torch.from_numpy(columns)
    targets = encoding.targets(rows, generator)
    uniform = torch.rand(targets.numbers.shape, generator=generator, dtype=torch.float64)
    noise = mechanisms.noise(targets, encoding.feature_rows(rows), uniform)
    torch.testing.assert_close(mechanisms.inputs(noise), rows, rtol=1e-9, atol=1e-9)


def test_the_noise_of_a_category_is_normal_whatever_its_shares():
    columns = columns_of_all_kinds()
    encoding = encoding_of(columns)
    mechanisms = random_mechanisms(encoding)
    given = torch.randn(4000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rows = mechanisms.inputs(given)
    generator = torch.Generator().manual_seed(4)
    targets = encoding.targets(rows, generator)
    uniform = torch.rand(targets.numbers.shape, generator=generator, dtype=torch.float64)
    noise = mechanisms.noise(targets, encoding.feature_rows(rows), uniform)
    for unit in (2, 3):
        level = ndtr(noise[:, unit]).sort().values
        assert float((level - torch.linspace(0, 1, 4000)).abs().max()) < 0.035
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.06
