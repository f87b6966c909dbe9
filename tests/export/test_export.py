"""Exports, each opened by the reader of the other program: same numbers, to the last bit of float32."""

from __future__ import annotations

import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import language
from helpers.cli import digits_job, invoke, run, write_data, write_job
from helpers.networks import FEATURES
from virelay.model import Project

from xattr_cli.export.source import choose
from xattr_cli.export.tables import long_table
from xattr_cli.registry import EXPORTERS
from xattr_cli.store.results.reader import Results

ONE_ENGINE = ("bpreveal", "chrombpnet", "modisco", "quantus", "shap-json", "virelay")
LENGTH = 40


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    """Pictures, two outputs explained of each, engines with and without standard errors."""
    folder = tmp_path_factory.mktemp("digits")
    run(digits_job(folder, 6, target={"top": 2}), "--quiet")
    return folder / "out.h5"


@pytest.fixture(scope="module")
def single_file(tmp_path_factory):
    """Pictures, the predicted output explained."""
    folder = tmp_path_factory.mktemp("single")
    run(digits_job(folder, 6, engines={"integrated_gradients": None, "saliency": None}), "--quiet")
    return folder / "out.h5"


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    """A table with names of features and classes, scaled for the network."""
    folder = tmp_path_factory.mktemp("table")
    names = [f"feature {i}" for i in range(FEATURES)]
    x = 50 + 9 * np.random.default_rng(0).normal(size=(7, FEATURES))
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in row) for row in x)]
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    dataset = {
        "kind": "table",
        "path": "data.csv",
        "labels": None,
        "standardise": True,
        "class_names": list("abcd"),
    }
    run(write_job(folder, dataset=dataset, target={"index": 2}), "--quiet")
    return folder / "out.h5"


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """One-hot sequences, bases first, each with a motif in the middle."""
    return sequence_file(tmp_path_factory.mktemp("bases"), 5, LENGTH)


def sequence_file(folder, count, length, **sections):
    rng = np.random.default_rng(0)
    letters = rng.integers(0, 4, (count, length))
    middle = length // 2 + rng.integers(-5, 5, count)
    for row, place in enumerate(middle):
        letters[row, place : place + 7] = ["ACGT".index(base) for base in "TGACTCA"]
    write_data(folder, np.eye(4, dtype=np.float32)[letters].transpose(0, 2, 1))
    model = {"factory": "helpers.networks:motif_counter"}
    run(write_job(folder, model=model, dataset={"labels": None}, target={"index": 0}, **sections), "--quiet")
    return folder / "out.h5"


@pytest.fixture(scope="module")
def texts_file(tmp_path_factory):
    """Sentences of different lengths, a number per token beside the whole maps."""
    folder = tmp_path_factory.mktemp("texts")
    language.save_bert(folder / "model")
    (folder / "texts.txt").write_text("not good\nthe film is not bad at all\n")
    job = {
        "model": {"kind": "transformers", "path": "model", "factory": None},
        "dataset": {"kind": "text", "path": "texts.txt", "labels": None},
        "explain": {"embedding": "auto", "reduce": "sum"},
        "engines": {"input_x_gradient": None},
    }
    run(write_job(folder, **job), "--quiet")
    return folder / "out.h5"


def export(file, form, folder, *options, code=0):
    path = folder / "exported"
    outcome = invoke("export", file, "--to", form, "-o", path, *options)
    assert outcome.exit_code == code, outcome.stderr
    if code:
        return outcome.stderr
    assert outcome.stdout == f"{path}\n"
    assert [one.name for one in folder.iterdir() if one.name.endswith(".tmp")] == []
    return path


def maps(file, label="integrated_gradients"):
    with h5py.File(file) as opened:
        return opened[f"engines/{label}/attribution"][()]


# --- tables --------------------------------------------------------------------------------------

TABLES = {"parquet": pd.read_parquet, "csv": pd.read_csv}


@pytest.mark.parametrize("form", TABLES)
def test_long_tables_have_every_number_by_name(digits_file, tmp_path, form):
    found = TABLES[form](export(digits_file, form, tmp_path))
    with h5py.File(digits_file) as file:
        rows = {name: file[f"rows/{name}"][()] for name in ("sample", "target", "label", "prediction")}
        pictures = file["inputs/X/values"][()]
        for label, group in file["engines"].items():
            lines = found[found.engine == label].sort_values(["row", "position"])
            expected = group["attribution"][()].reshape(12, 64)
            np.testing.assert_array_equal(lines.attribution.astype(np.float32), expected.ravel())
            np.testing.assert_array_equal(lines.value.astype(np.float32), pictures[rows["sample"]].ravel())
            np.testing.assert_array_equal(lines.relative_error, np.repeat(group["relative_error"][()], 64))
            for name, values in rows.items():
                np.testing.assert_array_equal(lines[name], np.repeat(values, 64))
            errors = group["standard_error"][()].ravel() if "standard_error" in group else np.full(768, np.nan)
            np.testing.assert_array_equal(lines.standard_error.astype(np.float32), errors)
    assert found.feature[9] == "X[channel 0, height 1, width 1]"
    assert set(found.status) == {"converged", "not_judged"}


def test_the_largest_come_first_and_negative_ones_count(digits_file, tmp_path):
    found = pd.read_parquet(export(digits_file, "parquet", tmp_path, "--top", 5, "--engine", "saliency"))
    flat = maps(digits_file, "saliency").reshape(12, 64)
    assert found.groupby("row").size().tolist() == [5] * 12
    for row, lines in found.groupby("row"):
        assert lines.position.tolist() == np.argsort(-np.abs(flat[row]), kind="stable")[:5].tolist()
        assert lines.attribution.tolist() == flat[row][lines.position].tolist()


def test_names_of_features_and_classes_and_original_units(table_file, tmp_path):
    found = pd.read_csv(export(table_file, "csv", tmp_path))
    assert found.feature.tolist() == [f"feature {i}" for i in range(FEATURES)] * 7
    assert set(found.target_name) == {"c"}
    np.testing.assert_allclose(
        found.value, pd.read_csv(table_file.parent / "data.csv").to_numpy().ravel(), rtol=1e-5
    )


def test_labels_that_do_not_exclude_each_other_are_no_names_of_outputs(tmp_path):
    """Their axis is called output, and so is the array of output tokens that other results have."""
    rng = np.random.default_rng(0)
    write_data(tmp_path, rng.normal(size=(5, FEATURES)).astype(np.float32), rng.integers(0, 2, (5, 4)))
    dataset = {"class_names": list("abcd")}
    run(write_job(tmp_path, dataset=dataset, score="sigmoid", target={"index": 2}), "--quiet")
    assert set(pd.read_csv(export(tmp_path / "out.h5", "csv", tmp_path)).target_name) == {"c"}
    assert invoke("report", tmp_path / "out.h5").exit_code == 0


def test_outputs_without_a_name_are_called_by_number(tmp_path):
    """The labels of a few samples name fewer classes than the network has."""
    write_data(tmp_path, np.ones((2, FEATURES), np.float32), np.array(["yes", "yes"]))
    run(write_job(tmp_path, target="all"), "--quiet")
    names = pd.read_csv(export(tmp_path / "out.h5", "csv", tmp_path)).target_name
    assert names.unique().tolist() == ["yes", "1", "2", "3"]


def test_tokens_stand_in_the_table_and_padding_does_not(texts_file, tmp_path):
    found = pd.read_parquet(export(texts_file, "parquet", tmp_path))
    with Results.open(texts_file) as results:
        engine, words = results.engine("input_x_gradient"), results.inputs[results.explained[0]]
        expected = [words.tokens(sample) for sample in (0, 1)]
        per_token = engine.reduced(slice(None))
    assert len(expected[0]) < len(expected[1])
    assert [tuple(lines.token) for _, lines in found.groupby("row")] == expected
    assert found[found.row == 0].attribution.tolist() == per_token[0][: len(expected[0])].tolist()
    whole = pd.read_parquet(export(texts_file, "parquet", tmp_path, "--set", "whole=true", "--overwrite"))
    width = len(whole) // len(found)
    assert width > 1
    assert whole.token.tolist() == np.repeat(found.token, width).tolist()
    np.testing.assert_allclose(
        whole.groupby(["row", "token"]).attribution.sum().sum(), found.attribution.sum(), rtol=1e-4
    )


def test_blocks_of_a_table_hold_no_more_than_a_share_of_the_rows(digits_file, monkeypatch):
    monkeypatch.setattr("xattr_cli.export.tables._LINES", 128)
    with Results.open(digits_file) as results:
        blocks = list(long_table(choose(results, ["saliency"], None)))
    assert [len(block["row"]) for block in blocks] == [128] * 6


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npz", "netcdf", "zarr"])
def test_every_array_comes_back_to_the_bit(digits_file, tmp_path, form):
    path = export(digits_file, form, tmp_path, "--engine", "interior_gradients", "--engine", "expected_gradients")
    names = ["rows/id", "rows/target", "samples/index", "inputs/X/values"]
    per_engine = ("attribution", "relative_error", "status", "evaluations")
    names += [
        f"engines/{label}/{name}" for label in ("interior_gradients", "expected_gradients") for name in per_engine
    ]
    names += ["engines/interior_gradients/curve/saturation", "engines/expected_gradients/standard_error"]
    with h5py.File(digits_file) as file:
        for name in names:
            found = {"npz": _from_npz, "netcdf": _from_netcdf, "zarr": _from_zarr}[form](path, name)
            np.testing.assert_array_equal(found, file[name][()])
            assert found.dtype == file[name].dtype, name


def _from_npz(path, name):
    with np.load(path, allow_pickle=False) as archive:
        assert not any(key.startswith("engines/saliency") for key in archive)
        assert archive["engines/interior_gradients/layers"].tolist() == ["pool", "hidden_relu"]
        return archive[name]


def _from_netcdf(path, name):
    group, _, last = name.rpartition("/")
    with xr.open_dataset(path, engine="h5netcdf", group=group) as dataset:
        return dataset[last].to_numpy()


def _from_zarr(path, name):
    group, _, last = name.rpartition("/")
    with xr.open_zarr(path, group=group, consolidated=False) as dataset:
        return dataset[last].to_numpy()


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_dimensions_have_names_and_coordinates(digits_file, tmp_path, form):
    path = export(digits_file, form, tmp_path, "--engine", "interior_gradients", "--target", "4")
    engine = {"netcdf": "h5netcdf", "zarr": "zarr"}[form]
    extra = {} if form == "netcdf" else {"consolidated": False}
    with xr.open_dataset(path, engine=engine, group="engines/interior_gradients", **extra) as dataset:
        with h5py.File(digits_file) as file:
            chosen = file["rows/id"][()][file["rows/target"][()] == 4]
        assert 0 < len(chosen) < 12
        assert dataset.row.values.tolist() == chosen.tolist()
        assert dataset.attribution.dims == ("row", "channel", "height", "width")
        assert dataset.layer.values.tolist() == ["pool", "hidden_relu"]
        np.testing.assert_array_equal(dataset.attribution.values, maps(digits_file, "interior_gradients")[chosen])


def test_anndata_reads_rows_as_observations(table_file, tmp_path):
    found = anndata.read_h5ad(export(table_file, "anndata", tmp_path))
    expected = maps(table_file)
    np.testing.assert_array_equal(found.X, expected)
    np.testing.assert_array_equal(found.layers["integrated_gradients"], expected)
    assert found.var_names.tolist() == [f"feature {i}" for i in range(FEATURES)]
    assert found.obs.target_name.tolist() == ["c"] * 7
    with h5py.File(table_file) as file:
        errors = file["engines/integrated_gradients/relative_error"][()]
        assert found.uns["job_hash"] == file.attrs["job_hash"]
    np.testing.assert_array_equal(found.obs.integrated_gradients_relative_error, errors)
    np.testing.assert_allclose(found.layers["input"], pd.read_csv(table_file.parent / "data.csv"), rtol=1e-5)
    assert found[found.obs.integrated_gradients_status == "converged"].n_obs == 7


# --- one engine ----------------------------------------------------------------------------------


def test_virelay_opens_the_project(single_file, tmp_path):
    folder = export(single_file, "virelay", tmp_path, "--engine", "integrated_gradients")
    project = Project(str(folder / "project.yaml"))
    expected = maps(single_file)
    with h5py.File(single_file) as file:
        labels, predicted = file["rows/label"][()], file["rows/prediction"][()]
        pictures = file["inputs/X/values"][()]
    for row in range(6):
        shown = project.get_attribution(row)
        np.testing.assert_array_equal(shown.data, np.moveaxis(expected[row], 0, 2))
        assert shown.labels == [str(labels[row])]
        assert np.argmax(shown.prediction) == predicted[row]
        sample = project.get_sample(row)
        np.testing.assert_allclose(sample.data[..., 0], (pictures[row, 0] * 255).astype(np.uint8), atol=1)
    project.close()


def test_virelay_wants_one_row_per_sample(digits_file, tmp_path):
    assert "choose one output by --target" in export(
        digits_file, "virelay", tmp_path, "--engine", "saliency", code=1
    )


def test_quantus_takes_the_arrays_as_they_are(single_file, tmp_path):
    quantus = pytest.importorskip("quantus")
    with np.load(export(single_file, "quantus", tmp_path, "--engine", "integrated_gradients")) as archive:
        arrays = dict(archive)
    expected = maps(single_file)
    np.testing.assert_array_equal(arrays["a_batch"], expected)
    assert arrays["x_batch"].dtype == np.float32 and arrays["y_batch"].dtype == np.int64
    sparseness = quantus.Sparseness(disable_warnings=True)(model=None, **arrays)
    sizes = np.sort(np.abs(expected.reshape(6, -1)), axis=1)  # Gini index, from its definition
    weights = 2 * np.arange(1, 65) - 64 - 1
    np.testing.assert_allclose(sparseness, (sizes * weights).sum(1) / (64 * sizes.sum(1)), rtol=1e-4)


def test_shap_draws_from_the_json(table_file, tmp_path):
    shap = pytest.importorskip("shap")
    content = json.loads(export(table_file, "shap-json", tmp_path).read_text())
    names = content.pop("feature_names")
    found = shap.Explanation(feature_names=names, **{key: np.array(v, float) for key, v in content.items()})
    np.testing.assert_array_equal(found.values.astype(np.float32), maps(table_file))
    with h5py.File(table_file) as file:
        group = file["engines/integrated_gradients"]
        np.testing.assert_array_equal(found.base_values, group["score_baseline"][()])
        np.testing.assert_allclose(
            found.base_values + found.values.sum(1),
            group["score_input"][()] + group["completeness_gap"][()],
            rtol=1e-5,
        )
    assert found[:, "feature 1"].values.shape == (7,)


def test_what_is_not_finite_is_null_in_json(table_file, tmp_path):
    path = tmp_path / "nan.h5"
    path.write_bytes(table_file.read_bytes())
    with h5py.File(path, "r+") as file:
        file["engines/integrated_gradients/attribution"][2, 1] = np.nan
    content = json.loads(export(path, "shap-json", tmp_path).read_text(), parse_constant=pytest.fail)
    assert content["values"][2][1] is None


# --- one-hot sequences ---------------------------------------------------------------------------


def one_hot(file):
    with h5py.File(file) as opened:
        return opened["inputs/X/values"][()]


def test_modisco_gets_sequences_and_maps(sequences, tmp_path):
    folder = export(sequences, "modisco", tmp_path)
    found, letters = (np.load(folder / f"{name}.npz")["arr_0"] for name in ("attributions", "sequences"))
    np.testing.assert_array_equal(found, maps(sequences))
    np.testing.assert_array_equal(letters, one_hot(sequences))
    assert found.shape == (5, 4, LENGTH)


def test_chrombpnet_and_bpreveal_have_the_keys_of_their_own_files(sequences, tmp_path):
    """As `modisco motifs -i` and the authors' own tools index them."""
    expected, letters = maps(sequences), one_hot(sequences)
    with h5py.File(export(sequences, "chrombpnet", tmp_path)) as file:
        np.testing.assert_array_equal(file["shap"]["seq"], expected)
        np.testing.assert_array_equal(file["raw"]["seq"], letters)
        np.testing.assert_array_equal(file["projected_shap"]["seq"], expected * letters)
    with h5py.File(export(sequences, "bpreveal", tmp_path, "--overwrite")) as file:
        np.testing.assert_array_equal(file["hyp_scores"], expected.transpose(0, 2, 1))
        np.testing.assert_array_equal(file["input_seqs"], letters.transpose(0, 2, 1))
        assert file["descriptions"].asstr()[1] == "sample 1"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["modisco", "chrombpnet", "bpreveal"])
def test_modisco_finds_the_motif_in_what_it_reads(tmp_path, form):
    cli = pytest.importorskip("modiscolite.cli").cli
    file = sequence_file(tmp_path, 400, 200)
    path = export(file, form, tmp_path, "--set", "bases=first")
    given = ["-s", path / "sequences.npz", "-a", path / "attributions.npz"] if form == "modisco" else ["-i", path]
    cli(
        [str(each) for each in ["motifs", *given, "-n", 500, "-w", 120, "-o", tmp_path / "m.h5"]],
        standalone_mode=False,
    )
    with h5py.File(tmp_path / "m.h5") as found:
        best = found["pos_patterns/pattern_0/sequence"][()]
    spelled = "".join("ACGT"[base] for base in best.argmax(axis=1))
    assert "TGACTCA" in spelled or "TGAGTCA" in spelled


def test_pictures_are_no_sequences(single_file, tmp_path):
    assert "one-hot sequences" in export(single_file, "modisco", tmp_path, "--engine", "saliency", code=1)


# --- what may go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ONE_ENGINE)
def test_formats_of_one_engine_ask_which(digits_file, tmp_path, form):
    assert "choose it by --engine: saliency, integrated_gradients" in export(digits_file, form, tmp_path, code=2)


@pytest.mark.parametrize(
    "options, message",
    [
        (("--to", "parqet"), "Did you mean 'parquet'?"),
        (("--to", "npz", "--top", "3"), "--to npz: top: 3: unknown key"),
        (("--to", "csv", "--set", "hole=true"), "Did you mean 'whole'?"),
        (("--to", "csv", "--engine", "salency"), "Did you mean 'saliency'?"),
        (("--to", "csv", "--target", "77"), "no row explains output 77"),
    ],
)  # fmt: skip
def test_mistakes_are_named(digits_file, options, message):
    outcome = invoke("export", digits_file, *options)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_nothing_is_replaced_unasked(table_file, tmp_path):
    path = tmp_path / "exported"
    path.write_text("mine")
    assert "--overwrite replaces it" in export(table_file, "csv", tmp_path, code=2)
    assert path.read_text() == "mine"
    export(table_file, "csv", tmp_path, "--overwrite")
    assert path.read_text() != "mine"


def test_a_folder_with_other_things_is_left_alone(table_file, tmp_path):
    path = tmp_path / "exported"
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    for form in ("zarr", "csv"):
        assert "thesis.txt" in export(table_file, form, tmp_path, "--overwrite", code=2)
    assert (path / "thesis.txt").read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["exported"]


def test_the_result_itself_is_never_replaced(table_file):
    before = table_file.read_bytes()
    outcome = invoke("export", table_file, "--to", "csv", "-o", table_file, "--overwrite")
    assert outcome.exit_code == 2 and "the result itself" in outcome.stderr
    assert table_file.read_bytes() == before


def test_formats_that_hold_inputs_say_how_to_store_them(tmp_path):
    run(
        digits_job(tmp_path, 3, engines={"saliency": None}, output={"path": "out.h5", "store_inputs": "none"}),
        "--quiet",
    )
    assert "output.store_inputs: all" in export(tmp_path / "out.h5", "quantus", tmp_path, code=1)
    found = pd.read_parquet(export(tmp_path / "out.h5", "parquet", tmp_path))
    assert len(found) == 3 * 64 and "value" not in found


def test_inputs_of_a_tensor_inside_the_network_are_nowhere(texts_file, tmp_path):
    assert "a tensor inside the network" in export(texts_file, "quantus", tmp_path, code=1)


def test_the_name_of_an_export_tells_its_format(table_file):
    outcome = invoke("export", table_file, "--to", "shap-json")
    assert outcome.stdout.strip() == str(table_file.with_name("out.shap.json"))


def test_every_format_says_what_it_is_for():
    for name, form in EXPORTERS.usable(pytest.fail).items():
        assert len(form.__doc__.split()) > 15, name
        assert form.suffix


def test_results_of_whole_datasets_have_no_rows_to_export(tmp_path):
    write_data(tmp_path, np.random.default_rng(0).normal(size=(20, FEATURES)).astype(np.float32))
    run(write_job(tmp_path, dataset={"labels": None}, engines={"sobol": {"rtol": 0.5}}), "--quiet")
    assert "has no rows" in export(tmp_path / "out.h5", "csv", tmp_path, code=1)
