"""Reading result files: typed access, slices, original units, and what is said about files that are no good."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.results import (
    ALPHAS,
    MAP_ALPHA,
    cancer,
    diabetes,
    digits,
    expected_gradients,
    integrated_gradients,
    interior_gradients,
    make_rows,
    photographs,
    saliency,
    scanned_digits,
    write_file,
)
from sklearn.datasets import load_breast_cancer

from xattr_cli.errors import ExitCode, StoreError
from xattr_cli.samples import Status
from xattr_cli.store.results import arrays
from xattr_cli.store.results.reader import Results


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    problem = digits()
    rows, black = make_rows(problem), np.zeros_like(problem.inputs[0])
    engines = {
        "ig": integrated_gradients(problem, rows, 0.05, black),
        "a_second": interior_gradients(problem, rows, black),
        "eg": expected_gradients(problem, rows),
        "saliency": saliency(problem, rows),
    }
    return write_file(tmp_path_factory.mktemp("digits") / "digits.h5", problem, rows, engines)


@pytest.fixture
def results(digits_file):
    with Results.open(digits_file) as opened:
        yield opened


def simple_file(path: Path, problem=None, **options) -> Path:
    """A file with one engine, integrated gradients from zero."""
    problem = problem or dataclasses.replace(digits(), inputs=digits().inputs[:6], labels=digits().labels[:6])
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.05, np.zeros_like(problem.inputs[0]))
    return write_file(path, problem, rows, {"ig": engine}, **options)


# --- rows, provenance ---------------------------------------------------------------------------


def test_rows_are_typed(results):
    rows = results.rows
    assert len(rows) == 40 and rows.sample.tolist() == list(range(40))
    assert not rows.is_regression and rows.has_label.all()
    assert (rows.prediction == rows.target).all()


def test_missing_labels_are_missing_whatever_their_type(tmp_path):
    with Results.open(simple_file(tmp_path / "a.h5", scanned_digits())) as results:
        assert results.rows.label.dtype == np.int64 and not results.rows.has_label.any()
    regression = dataclasses.replace(diabetes(), inputs=diabetes().inputs[:4], labels=None)
    with Results.open(simple_file(tmp_path / "b.h5", regression)) as results:
        assert np.isnan(results.rows.label).all() and not results.rows.has_label.any()
        assert results.rows.is_regression


def test_a_negative_regression_label_is_a_label(tmp_path):
    problem = dataclasses.replace(diabetes(), inputs=diabetes().inputs[:2], labels=np.array([-1.0, np.nan]))
    with Results.open(simple_file(tmp_path / "a.h5", problem)) as results:
        assert results.rows.has_label.tolist() == [True, False]


def test_provenance_and_job(results):
    assert results.attributes["host"] == "node17" and results.attributes["seed"] == 0
    assert results.job["model"]["factory"] == "nets:digits"
    assert results.classes[3] == "3" and results.class_name(12) == "12"


# --- engines ------------------------------------------------------------------------------------


def test_engines_come_in_the_order_of_the_job(results):
    assert list(results.engines) == ["ig", "a_second", "eg", "saliency"]
    engine = results.engine("a_second")
    assert (engine.engine, engine.rtol) == ("interior_gradients", 0.05)
    assert results.engine("saliency").rtol is None


def test_an_unknown_engine_names_its_like(results):
    with pytest.raises(StoreError, match=r"no engine 'a_secnd'.*Did you mean 'a_second'"):
        results.engine("a_secnd")


def test_numbers_of_a_row_fit_together(results):
    engine = results.engine("ig")
    sums = engine.attribution(slice(None)).reshape(40, -1).sum(axis=1)
    change = engine.score_input - engine.score_baseline
    np.testing.assert_allclose(sums - change, engine.completeness_gap, atol=1e-5)
    np.testing.assert_allclose(engine.relative_gap, np.abs(engine.completeness_gap / change))
    assert (engine.status == Status.CONVERGED).all() and (engine.relative_error <= 0.05).all()


def test_relative_gap_of_nothing_is_not_a_number(digits_file, tmp_path):
    path = tmp_path / "copy.h5"
    path.write_bytes(digits_file.read_bytes())
    with h5py.File(path, "r+") as file:
        file["engines/ig/score_baseline"][0] = file["engines/ig/score_input"][0]
        file["engines/ig/completeness_gap"][0] = 0.0
    with Results.open(path) as results:
        assert np.isnan(results.engine("ig").relative_gap[0])


def test_rows_are_read_in_any_order_and_more_than_once(results):
    engine = results.engine("ig")
    whole = engine.attribution(slice(None))
    np.testing.assert_array_equal(engine.attribution([7, 2, 7, 39]), whole[[7, 2, 7, 39]])
    np.testing.assert_array_equal(engine.attribution(slice(5, 9)), whole[5:9])
    assert engine.attribution([]).shape == (0, 1, 8, 8)


def test_blocks_hold_every_row_once_and_no_more_than_asked(results, monkeypatch):
    engine = results.engine("ig")
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 7 * 64 * 4)
    blocks = list(engine.blocks())
    assert [len(values) for _, values in blocks] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate([v for _, v in blocks]), engine.attribution(slice(None)))


def test_standard_error_is_there_or_none(results):
    assert results.engine("ig").standard_error(slice(0, 2)) is None
    errors = results.engine("eg").standard_error([3])
    assert errors.shape == (1, 1, 8, 8) and (errors >= 0).all() and errors.any()


def test_curves_along_the_path(results):
    engine = results.engine("a_second")
    assert set(engine.curves) == {
        "score", "gradient_norm", "directional_derivative", "running_sum", "saturation",
    }  # fmt: skip
    np.testing.assert_array_equal(engine.alpha, ALPHAS)
    scores = engine.curve("score", [0, 1])
    np.testing.assert_allclose(scores[:, -1], engine.score_input[:2], rtol=1e-5)
    change = scores[:, -1] - scores[:, 0]
    np.testing.assert_allclose(engine.curve("running_sum", [0, 1])[:, -1], change, rtol=0.02)
    assert engine.layers == ("1", "5")
    np.testing.assert_allclose(engine.curve("saturation", slice(None))[:, :, -1], 1.0)
    assert results.engine("ig").curves == () and len(results.engine("ig").map_alpha) == 0


def test_maps_along_the_path_end_at_the_map(results):
    engine = results.engine("a_second")
    maps, running = engine.path_maps([4])
    assert maps.shape == running.shape == (1, len(MAP_ALPHA), 1, 8, 8)
    whole = engine.attribution([4])[0]
    assert np.linalg.norm(running[0, -1] - whole) < 0.1 * np.linalg.norm(whole)


def test_an_engine_without_such_an_array_says_so(results):
    with pytest.raises(StoreError, match=r"/engines/ig/maps: the engine 'integrated_gradients' leaves no such"):
        results.engine("ig").path_maps([0])


# --- inputs -------------------------------------------------------------------------------------


def test_original_units_per_feature(tmp_path):
    path = simple_file(tmp_path / "a.h5", dataclasses.replace(cancer(), inputs=cancer().inputs[:9]))
    with Results.open(path) as results:
        assert results.inputs["X"].features[0] == "mean radius"
        np.testing.assert_allclose(results.original("X", 5), load_breast_cancer().data[5], rtol=1e-5)


def test_an_original_zero_is_zero_and_not_its_rounding(tmp_path):
    zeros = load_breast_cancer().data == 0
    sample = int(np.flatnonzero(zeros.any(axis=1))[0])
    path = simple_file(tmp_path / "a.h5", dataclasses.replace(cancer(), inputs=cancer().inputs[: sample + 1]))
    with Results.open(path) as results:
        found = results.original("X", sample)
        assert (found[zeros[sample]] == 0).all() and (found[~zeros[sample]] != 0).all()


def test_original_units_per_channel(tmp_path):
    problem = photographs()
    path = write_file(tmp_path / "a.h5", problem, make_rows(problem), {})
    with Results.open(path) as results:
        pixels = results.original("X", 2)
        assert pixels.shape == (3, 224, 224)
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
        assert pixels.min() >= -1e-3 and 200 < pixels.max() <= 255.001
        assert results.keys[2] == "crops/flower-13.jpg"


def test_an_input_that_is_not_stored_names_the_option(tmp_path):
    with Results.open(simple_file(tmp_path / "a.h5", stored=3)) as results:
        assert results.inputs["X"].stored == (0, 1, 2)
        with pytest.raises(StoreError, match=r"sample 4 is not stored \(3 samples are\).*store_inputs: all"):
            results.original("X", 4)
        with pytest.raises(StoreError, match=r"no input 'x'.*Did you mean 'X'"):
            results.original("x", 0)


def test_samples_keep_their_names_when_the_file_has_them_in_another_order(tmp_path):
    path = simple_file(tmp_path / "a.h5", stored=3)
    with h5py.File(path, "r+") as file:
        file["samples/index"][:] = [2, 0, 2]
        file["samples/key"] = ["two", "zero", "two"]
    with Results.open(path) as results:
        assert results.keys == {2: "two", 0: "zero"}


def test_several_explained_tensors(tmp_path):
    parts = {"shape": slice(0, 12), "texture": slice(12, 30)}
    problem = dataclasses.replace(cancer(), inputs=cancer().inputs[:5], tensors=parts)
    with Results.open(simple_file(tmp_path / "a.h5", problem)) as results:
        engine = results.engine("ig")
        assert engine.tensors == {"shape": (12,), "texture": (18,)}
        assert engine.axes["shape"] == ("feature",)
        assert engine.attribution([0], "texture").shape == (1, 18)
        with pytest.raises(StoreError, match=r"which tensor\? 'textur'.*Did you mean 'texture'"):
            engine.attribution([0], "textur")
        with pytest.raises(StoreError, match=r"which tensor\? None.*Allowed: shape, texture"):
            engine.attribution([0])


def test_a_single_tensor_is_named_by_the_job_where_it_explains_one_of_several(tmp_path):
    path = simple_file(tmp_path / "a.h5", explain={"inputs": ["pixels"]}, name="mask")
    with Results.open(path) as results:
        assert list(results.engine("ig").tensors) == ["pixels"]


# --- files that are no good ---------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Results.open(path)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def test_a_missing_file_names_its_like(digits_file):
    assert "no such file. Did you mean" in refusal(digits_file.with_name("digit.h5"))
    assert refusal(digits_file.with_name("zzzzzzzzz.h5")).endswith("no such file.")


def test_parts_are_not_a_result(tmp_path):
    (tmp_path / "out.h5.parts").mkdir()
    for path in (tmp_path / "out.h5.parts", tmp_path / "out.h5"):
        text = refusal(path)
        assert "not finished" in text and "out.h5.parts" in text
        assert "`xattr-cli run JOB`" in text and "`xattr-cli merge JOB`" in text


def test_a_finished_file_beside_leftover_parts_opens(tmp_path):
    path = simple_file(tmp_path / "out.h5")
    (tmp_path / "out.h5.parts").mkdir()
    with Results.open(path) as results:
        assert len(results.rows) == 6


def test_a_folder_and_a_text_are_not_a_result(tmp_path):
    (tmp_path / "job.yaml").write_text("model: {}\n")
    assert "is a folder" in refusal(tmp_path)
    text = refusal(tmp_path / "job.yaml")
    assert "a job, not a result" in text and "output.path" in text
    (tmp_path / "empty.h5").touch()
    assert "not an HDF5 file" in refusal(tmp_path / "empty.h5")


def test_a_truncated_file_says_so(digits_file, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(digits_file.read_bytes()[:-1000])
    assert "truncated" in refusal(path)


def test_another_format_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    assert "has no attribute 'format', expected 'xattr-cli/1'" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["format"] = "xattr-cli/2"
    assert "its format is 'xattr-cli/2'" in refusal(tmp_path / "a.h5")


def test_verify_finds_what_is_missing_or_too_short(digits_file, tmp_path):
    path = tmp_path / "copy.h5"
    path.write_bytes(digits_file.read_bytes())
    with Results.open(path) as results:
        results.verify()
    with h5py.File(path, "r+") as file:
        del file["engines/eg/standard_error"]
        file["engines/eg/standard_error"] = np.zeros((39, 1, 8, 8))
    with Results.open(path) as results, pytest.raises(StoreError, match=r"standard_error has 39 rows.*has 40"):
        results.verify()
    with h5py.File(path, "r+") as file:
        del file["engines/eg/standard_error"], file["engines/ig/status"]
    with Results.open(path) as results, pytest.raises(StoreError, match=r"/engines/ig/status is missing"):
        results.verify()


def test_verify_finds_damage(tmp_path):
    path = simple_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        values = file["engines/ig/attribution"][()]
        del file["engines/ig/attribution"]
        chunked = file.create_dataset(
            "engines/ig/attribution", data=values, chunks=(2, 1, 8, 8), compression="gzip"
        )
        where = chunked.id.get_chunk_info(2).byte_offset
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xff" * 16)
    with Results.open(path) as results:
        assert results.engine("ig").attribution([0]).any()
        with pytest.raises(StoreError, match=r"/engines/ig/attribution cannot be read.*damaged"):
            results.verify()


def test_a_closed_file_is_let_go(digits_file):
    with Results.open(digits_file) as results:
        status = results.engine("ig").status
    with h5py.File(digits_file, "r+"):
        assert (status == 0).all()


def test_reading_and_drawing_need_no_torch():
    code = (
        "import sys, xattr_cli.reports.summary, xattr_cli.store.results.reader\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import xattr_cli.reports.gallery\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
