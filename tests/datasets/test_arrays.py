"""Datasets of arrays: every file type gives the same samples, and none is read as a whole."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.datasets import opened, random, refused, source, whole

from xattr_cli.datasets import open_dataset

X = random(20, 3, 4, 5)
Y = np.arange(20) % 4
FORMATS = ["stored.npz", "packed.npz", "file.h5", "folder"]


def save(folder: Path, name: str, **arrays: np.ndarray) -> Path:
    path = folder / name
    if name == "stored.npz":
        np.savez(path, **arrays)
    elif name == "packed.npz":
        np.savez_compressed(path, **arrays)
    elif name.endswith(".h5"):
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
    else:
        path.mkdir()
        for key, array in arrays.items():
            np.save(path / f"{key}.npy", array)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_what_was_stored(tmp_path, name):
    path = save(tmp_path, name, X=X, y=Y)
    with opened(tmp_path, "arrays", path=path.name, labels="y") as samples:
        batch = samples.read(3, 17)
        assert len(samples) == 20
        assert samples.inputs[0].shape == (3, 4, 5)
        assert samples.inputs[0].axes == ("channel", "height", "width")
        np.testing.assert_array_equal(batch.inputs["X"], X[3:17])
        np.testing.assert_array_equal(batch.labels, Y[3:17])
        np.testing.assert_array_equal(batch.index, np.arange(3, 17))
        assert batch.labels.dtype == np.int64


@pytest.mark.parametrize("name", FORMATS)
def test_batches_own_their_memory(tmp_path, name):
    save(tmp_path, name, X=X)
    with opened(tmp_path, "arrays", path=name) as samples:
        values = samples.read(0, 20).inputs["X"]
        values[:] = 0
        assert values.flags.owndata and not isinstance(values, np.memmap)
        np.testing.assert_array_equal(whole(samples).inputs["X"], X)


@pytest.mark.parametrize("name", [*FORMATS, "single.npy"])
def test_a_slice_does_not_load_the_rest(tmp_path, name):
    big = np.zeros((2000, 64, 64), np.float32)  # 31 MiB
    big[7] = random(64, 64)
    if name == "single.npy":
        np.save(tmp_path / name, big)
    else:
        save(tmp_path, name, X=big)
    tracemalloc.start()
    with opened(tmp_path, "arrays", path=name) as samples:
        batch = samples.read(5, 9)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        np.testing.assert_array_equal(batch.inputs["X"], big[5:9])
    assert peak < 6 * 2**20


def test_a_compressed_archive_leaves_no_copy_behind(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    save(tmp_path, "packed.npz", X=X)
    with opened(tmp_path, "arrays", path="packed.npz") as samples:
        assert list(scratch.iterdir()) == []
        np.testing.assert_array_equal(whole(samples).inputs["X"], X)


def test_a_full_disk_for_the_copy_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    save(tmp_path, "packed.npz", X=X)
    refused(tmp_path, "cannot be unpacked to .*gone.*4928 bytes.*Set TMPDIR", "arrays", path="packed.npz")


def test_fortran_order_and_foreign_byte_order_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.asfortranarray(X), B=X.astype(">f4"))
    samples = opened(tmp_path, "arrays", path="a.npz", inputs=["X", "B"])
    batch = whole(samples)
    for name in ("X", "B"):
        np.testing.assert_array_equal(batch.inputs[name], X)
        assert batch.inputs[name].dtype == np.dtype("=f4") and batch.inputs[name].flags.c_contiguous


def test_several_inputs_keep_the_order_of_the_job(tmp_path):
    np.savez(tmp_path / "a.npz", mask=np.ones((20, 7), bool), X=X, lengths=np.arange(20))
    samples = opened(tmp_path, "arrays", path="a.npz", inputs=["X", "lengths", "mask"])
    batch = whole(samples)
    assert [spec.name for spec in samples.inputs] == list(batch.inputs) == ["X", "lengths", "mask"]
    assert [spec.shape for spec in samples.inputs] == [(3, 4, 5), (), (7,)]
    assert [values.dtype for values in batch.inputs.values()] == [np.float32, np.int64, bool]


@pytest.mark.parametrize("name", ["train/X", "train.X"])
def test_groups_of_hdf5_are_named_with_slashes_or_dots(tmp_path, name):
    save(tmp_path, "a.h5", **{"train/X": X, "train/y": Y})
    samples = opened(tmp_path, "arrays", path="a.h5", inputs=name, labels="train/y")
    assert samples.inputs[0].name == "X"
    np.testing.assert_array_equal(whole(samples).inputs["X"], X)


def test_labels_may_lie_in_a_file_of_their_own(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "labels.npy", Y[:, None].astype(np.float32))
    batch = whole(opened(tmp_path, "arrays", path="X.npy", labels_path="labels.npy"))
    np.testing.assert_array_equal(batch.labels, Y)
    assert batch.labels.dtype == np.float64


def test_bytes_become_floats_and_remember_their_units(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", X=pixels)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.0]
    samples = opened(tmp_path, "arrays", path="a.npz", divide_by=255, mean=mean, std=std)
    spec, values = samples.inputs[0], whole(samples).inputs["X"]
    expected = (pixels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape([0.2, 0.3, 1.0], (3, 1, 1))
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)
    assert values.dtype == np.float32
    assert spec.offset.shape == spec.scale.shape == (3, 1, 1)
    np.testing.assert_allclose(values * spec.scale + spec.offset, pixels, atol=1e-4)


def test_integers_stay_integers_unless_converted(tmp_path):
    np.savez(tmp_path / "a.npz", X=Y.reshape(20, 1))
    assert whole(opened(tmp_path, "arrays", path="a.npz")).inputs["X"].dtype == Y.dtype
    assert whole(opened(tmp_path, "arrays", path="a.npz", dtype="float64")).inputs["X"].dtype == np.float64


def test_options_may_be_given_per_input(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.full((4, 2), 10, np.uint8), mask=np.ones((4, 2), np.float32))
    options = {
        "dtype": {"mask": "float64"},
        "divide_by": {"X": 5},
        "features": {"X": ["a", "b"]},
        "axes": {"mask": ["token"]},
    }
    samples = opened(tmp_path, "arrays", path="a.npz", inputs=["X", "mask"], **options)
    batch = whole(samples)
    assert (batch.inputs["X"] == 2).all() and batch.inputs["X"].dtype == np.float32
    assert (batch.inputs["mask"] == 1).all() and batch.inputs["mask"].dtype == np.float64
    assert [spec.features for spec in samples.inputs] == [("a", "b"), ()]
    assert [spec.axes for spec in samples.inputs] == [("feature",), ("token",)]


def test_the_fingerprint_follows_the_content(tmp_path):
    def fingerprint(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return opened(tmp_path, "arrays", path="a.npz").fingerprint

    same, again, other = fingerprint(X=X), fingerprint(X=X), fingerprint(X=X + 1)
    assert same == again != other


def test_the_labels_file_is_part_of_the_fingerprint(tmp_path):
    np.save(tmp_path / "X.npy", X)
    prints = []
    for labels in (Y, Y + 1):
        np.save(tmp_path / "y.npy", labels)
        prints.append(opened(tmp_path, "arrays", path="X.npy", labels_path="y.npy").fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.parametrize("name", FORMATS)
def test_an_unknown_array_is_told_with_its_like(tmp_path, name):
    save(tmp_path, name, images=X, y=Y)
    refused(
        tmp_path,
        "dataset.inputs: .* no array 'image'.* Did you mean 'images'",
        "arrays",
        path=name,
        inputs="image",
    )
    refused(tmp_path, "dataset.labels: .* no array 'Y1'", "arrays", path=name, inputs="images", labels="Y1")


def test_lengths_that_disagree_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, Z=X[:19], y=Y[:18])
    message = "disagree about the number of samples: X has 20, Z has 19, labels has 18"
    refused(tmp_path, message, "arrays", path="a.npz", inputs=["X", "Z"], labels="y")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1], [2, 3]], dtype=object), "array 'X' holds Python objects"),
        (X + 1j, "the array is complex64"),
        (np.array(["a", "b"]), "the array is <U1"),
        (np.array(["2026-11-22"], "datetime64[D]"), "the array is datetime64"),
        (np.float32(3), "a single number"),
        (np.zeros((0, 3)), "the dataset is empty"),
        (np.zeros((3, 0)), r"shape \(0,\): no values"),
        (np.zeros((3, 2), np.longdouble), "which no network takes"),
    ],
)
def test_arrays_that_are_no_inputs_are_refused(tmp_path, array, message):
    np.savez(tmp_path / "a.npz", X=array)
    refused(tmp_path, message, "arrays", path="a.npz")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            Y - 1,
            r"dataset.labels: integer labels are class numbers, 0 or more; found -1 at sample 0.* and 2 more",
        ),
        (np.ones((20, 2, 2)), r"dataset.labels: labels must have shape \(n,\), or .*, not \(20, 2, 2\)"),
        (np.where(Y == 2, np.nan, 1.0), "dataset.labels: labels must be finite; found nan at sample 2"),
        (Y + 1j, "dataset.labels: labels must be integers, floats or texts, not complex128"),
        (np.int64(3), r"dataset.labels: labels must have shape \(n,\), or .*, not \(\)"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, labels, message):
    np.savez(tmp_path / "a.npz", X=X, y=labels)
    refused(tmp_path, message, "arrays", path="a.npz", labels="y")


@pytest.mark.parametrize("name", ["stored.npz", "packed.npz", "file.h5", "single.npy"])
def test_truncated_files_are_told(tmp_path, name):
    path = tmp_path / name
    np.save(path, X) if name == "single.npy" else save(tmp_path, name, X=X)
    path.write_bytes(path.read_bytes()[:-600])
    refused(tmp_path, f"dataset.path|dataset.inputs: .*{name}.* (damaged|cut off)", "arrays", path=name)


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.npy"])
def test_files_of_another_type_are_told(tmp_path, name):
    (tmp_path / name).write_text("hello")
    refused(tmp_path, f"{name}.* damaged or not", "arrays", path=name)


def test_a_damaged_member_of_a_compressed_archive_is_told(tmp_path):
    path = save(tmp_path, "packed.npz", X=X)
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    refused(tmp_path, "packed.npz, array 'X' is damaged", "arrays", path="packed.npz")


def test_missing_files_and_types_are_told(tmp_path):
    np.savez(tmp_path / "digits.npz", X=X)
    (tmp_path / "digits.mat").touch()
    refused(
        tmp_path,
        "dataset.path: .*digit.npz: no such file. Did you mean .*digits.npz",
        "arrays",
        path="digit.npz",
    )
    refused(tmp_path, "the folder .*nowhere does not exist either", "arrays", path="nowhere/digits.npz")
    refused(tmp_path, "digits.mat: unknown type of file. Allowed: .npy, .npz", "arrays", path="digits.mat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"inputs": ["X", "Z"], "divide_by": 2},
            r"dataset.divide_by: there are several inputs; write \{X: 2",
        ),
        ({"divide_by": {"x": 2}}, "dataset.divide_by: there is no input 'x'. Allowed: X. Did you mean 'X'"),
        ({"divide_by": 0}, "dataset.divide_by: 0.0: must not be 0"),
        ({"mean": [1, 2]}, r"dataset.mean: 2 numbers for inputs of shape \(3, 4, 5\); give one, or 3"),
        ({"features": ["a", "b"]}, "dataset.features: 2 names, but the last axis has 5 values"),
        ({"labels": "y", "labels_path": "y.npy"}, "either labels or labels_path"),
        ({"labels_path": "y.csv"}, "dataset.labels_path: .*y.csv: a .npy file is needed"),
        ({"labels": "y", "class_names": ["a", "b"]}, "dataset.class_names has 2 names; found 2 at sample 2"),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path, options, message):
    np.savez(tmp_path / "a.npz", X=X, Z=X, y=Y)
    refused(tmp_path, message, "arrays", path="a.npz", **options)


def test_a_single_array_has_no_names_to_choose_from(tmp_path):
    np.save(tmp_path / "X.npy", X)
    refused(tmp_path, "holds one array; 2 are asked for", "arrays", path="X.npy", inputs=["X", "Z"])
    refused(tmp_path, "name a .npy file in labels_path", "arrays", path="X.npy", labels="y")


def test_text_labels_are_classes(tmp_path):
    np.savez(tmp_path / "a.npz", X=X[:3], y=np.array(["dog", "cat", "dog"]))
    samples = opened(tmp_path, "arrays", path="a.npz", labels="y")
    assert samples.classes == ("cat", "dog") and whole(samples).labels.tolist() == [1, 0, 1]
    samples = opened(tmp_path, "arrays", path="a.npz", labels="y", class_names=["dog", "cow", "cat"])
    assert samples.classes == ("dog", "cow", "cat") and whole(samples).labels.tolist() == [0, 2, 0]
    refused(
        tmp_path,
        "dataset.labels: 'cat' is not among the 2 class names. Allowed: cats, dog. Did you mean 'cats'",
        "arrays",
        path="a.npz",
        labels="y",
        class_names=["cats", "dog"],
    )


def test_a_closed_hdf5_file_can_be_written_again(tmp_path):
    save(tmp_path, "a.h5", X=X)
    open_dataset(source(tmp_path, "arrays", path="a.h5")).close()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["more"] = 1


def test_a_refused_hdf5_file_is_closed(tmp_path):
    save(tmp_path, "a.h5", X=X)
    refused(tmp_path, "no array 'Q'", "arrays", path="a.h5", inputs="Q")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["more"] = 1
