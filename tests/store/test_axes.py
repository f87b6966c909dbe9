"""Result files as xarray sees them: dimensions, coordinates, nothing that our own reader stumbles over."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr
from helpers.cli import digits_job, run, write_job
from helpers.networks import FEATURES
from helpers.results import cancer, digits, make_rows, saliency, write_file

from xattr_cli.errors import StoreError
from xattr_cli.store.axes import name_axes
from xattr_cli.store.results.reader import Results

CURVE = "engines/interior_gradients/curve"


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    engines = {
        "interior_gradients": {"layers": ["pool", "hidden_relu"], "alphas": [0.1, 0.5, 1.0]},
        "saliency": None,
    }
    run(digits_job(folder, 5, engines=engines, target={"top": 2}), "--quiet")
    return folder / "out.h5"


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    """A table with names of features and classes, and engines of several families."""
    folder = tmp_path_factory.mktemp("table")
    names = [f"feature {i}" for i in range(FEATURES)]
    x = np.random.default_rng(0).uniform(-1, 1, (8, FEATURES)).astype(np.float32)
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in row) for row in x)]
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    engines = {
        "integrated_hessians": {"smoothing": {"beta": 10}, "rtol": 0.1},
        "ace": {"alphas": 8, "samples": 8},
        "sobol": {"rtol": 0.3},
    }
    dataset = {"kind": "table", "path": "data.csv", "labels": None}
    run(write_job(folder, dataset=dataset, engines=engines, target={"index": 0}), "--quiet")
    return folder / "out.h5"


def opened(path, group):
    with xr.open_dataset(path, engine="h5netcdf", group=group) as dataset:
        return dataset.load()


@pytest.mark.parametrize("file", ["digits_file", "table_file"])
def test_no_group_has_a_dimension_without_a_name(file, request):
    """Every group of the file opens, with the shapes and numbers that HDF5 has."""
    path = request.getfixturevalue(file)
    with xr.open_datatree(path, engine="h5netcdf") as tree, h5py.File(path) as raw:
        for node in tree.subtree:
            assert not [name for name in map(str, node.sizes) if name.startswith("phony")]
            for name, variable in node.to_dataset(inherit=False).variables.items():
                stored = raw[node.path][name]
                assert variable.shape == stored.shape
                if stored.dtype.kind in "fi":
                    np.testing.assert_array_equal(variable.values, stored[()])


def test_rows_curves_and_maps_have_their_coordinates(digits_file):
    engine = opened(digits_file, "engines/interior_gradients")
    rows = opened(digits_file, "rows")
    assert engine.attribution.dims == ("row", "channel", "height", "width")
    assert engine.row.values.tolist() == rows.id.values.tolist() == list(range(10))
    assert engine.maps.dims[:2] == ("row", "map_alpha")
    assert engine.map_alpha.values.tolist() == [0.1, 0.5, 1.0]
    assert engine.layer.values.tolist() == ["pool", "hidden_relu"]
    assert engine.alpha.values[[0, -1]].tolist() == [0, 1]
    half = engine.maps.sel(map_alpha=0.5, row=3)
    with Results.open(digits_file) as results:
        maps, _ = results.engine("interior_gradients").path_maps([3])
    np.testing.assert_array_equal(half.values, maps[0, 1])


def test_curves_inherit_their_coordinates_in_a_tree(digits_file):
    with xr.open_datatree(digits_file, engine="h5netcdf") as tree:
        saturation = tree[f"{CURVE}/saturation"]
        assert saturation.dims == ("row", "layer", "alpha")
        assert saturation.sel(layer="pool").alpha.values[-1] == 1


def test_features_targets_and_groups_are_called_by_their_names(table_file):
    names = [f"feature {i}" for i in range(FEATURES)]
    assert opened(table_file, "inputs/X").feature.values.tolist() == names
    hessians = opened(table_file, "engines/integrated_hessians")
    assert hessians.interaction.dims == ("row", "group", "group_2")
    assert (
        hessians.group.values.tolist()
        == hessians.group_2.values.tolist()
        == hessians.feature.values.tolist()
        == names
    )
    effects = opened(table_file, "effects/ace")
    assert effects.ace.dims == ("feature", "alpha_index", "target")  # `alpha` is another grid for each feature
    assert effects.ace.sel(feature="feature 2").shape == (8, 1)


def test_two_tensors_keep_features_of_the_same_number_apart(tmp_path):
    problem = cancer()
    problem = type(problem)(**{**vars(problem), "tensors": {"left": slice(0, 15), "right": slice(15, 30)}})
    rows = make_rows(problem)
    path = write_file(tmp_path / "two.h5", problem, rows, {"saliency": saliency(problem, rows)})
    with h5py.File(path, "r+") as file:
        file.create_dataset("explained", data=["left", "right"], dtype=h5py.string_dtype())
        name_axes(file)
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        maps = tree["engines/saliency/attribution"]
        assert maps["left"].dims == ("row", "left_feature")
        assert maps["right"].right_feature.values.tolist() == list(problem.features[15:])
    with Results.open(path) as results:
        assert list(results.engine("saliency").tensors) == ["left", "right"]


def test_our_own_reader_sees_no_axes_among_the_values(digits_file):
    with Results.open(digits_file) as results:
        engine = results.engine("interior_gradients")
        assert {"row", "layer", "channel", "height"}.isdisjoint(engine.names)
        assert {"alpha", "map_alpha", "layers"} <= {*engine.names}
        assert engine.axes_of("maps") == ("row", "alpha", "channel", "height", "width")
        assert "saturation" in engine.curves
        results.verify()


def test_a_dimension_does_not_pretend_to_be_a_value(table_file, tmp_path):
    """An axis called `order`, or `top`, is none of the arrays that a reader asks for by name."""
    with Results.open(table_file) as results:
        effects = results.effects["ace"]
        assert "alpha_index" in effects._group and "alpha_index" not in effects
        with pytest.raises(StoreError, match="no array 'alpha_index'"):
            effects.values("alpha_index")
    problem = digits()
    rows = make_rows(problem)
    path = write_file(tmp_path / "top.h5", problem, rows, {"saliency": saliency(problem, rows)})
    with h5py.File(path, "r+") as file:
        extra = file.create_dataset("engines/saliency/extra", data=np.zeros((len(rows.sample), 3)))
        extra.dims[0].label, extra.dims[1].label = "row", "curve"
        name_axes(file)
    with Results.open(path) as results:
        assert results.engine("saliency").curves == ()
    assert opened(path, "engines/saliency").extra.dims == ("row", "curve_index")


def test_axes_without_coordinates_take_no_room(digits_file):
    with h5py.File(digits_file) as file:
        assert file["engines/saliency/height"].id.get_storage_size() == 0
        assert file["engines/saliency/height"].shape == (8,)


def test_a_file_without_labels_opens_too(tmp_path):
    """Such as one of a test of ours, or of an old version."""
    problem = digits()
    rows = make_rows(problem)
    path = write_file(tmp_path / "plain.h5", problem, rows, {"saliency": saliency(problem, rows)})
    with h5py.File(path, "r+") as file:
        name_axes(file)
    assert opened(path, "rows").id.size == len(rows.sample)
