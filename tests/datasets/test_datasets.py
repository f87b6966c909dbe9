"""Opening datasets, and the kinds that come from Python: scikit-learn's and the user's own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers.datasets import opened, random, refused, source, whole

from xattr_cli.datasets import DatasetSource, Samples, blocks, finite_rows, open_dataset
from xattr_cli.errors import DataError
from xattr_cli.registry import DATASETS
from xattr_cli.samples import Batch, InputSpec

X = random(20, 6)


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(20) % 3)
    return tmp_path


# --- opening ------------------------------------------------------------------------------------


def test_limit_takes_the_first_samples(folder):
    samples = opened(folder, "arrays", path="a.npz", labels="y", limit=5)
    assert (len(samples), samples.available) == (5, 20)
    np.testing.assert_array_equal(whole(samples).inputs["X"], X[:5])
    assert len(opened(folder, "arrays", path="a.npz", limit=50)) == 20
    with pytest.raises(IndexError, match="samples 3 to 6 of a dataset of 5"):
        samples.read(3, 6)


def test_class_names_replace_those_of_the_dataset(folder):
    assert opened(folder, "arrays", path="a.npz", class_names=["a", "b"]).classes == ("a", "b")


def test_limit_does_not_change_the_fingerprint(folder):
    prints = {opened(folder, "arrays", path="a.npz", limit=limit).fingerprint for limit in (3, None)}
    assert len(prints) == 1


def test_blocks_cover_the_dataset_once(folder):
    samples = opened(folder, "arrays", path="a.npz")
    parts = list(blocks(samples, block_bytes=7 * 6 * 4))
    assert [len(part) for part in parts] == [7, 7, 6]
    np.testing.assert_array_equal(np.concatenate([part.inputs["X"] for part in parts]), X)
    assert [len(part) for part in blocks(samples, block_bytes=1)] == [1] * 20


def test_nonfinite_samples_are_found_by_position(tmp_path):
    values = X.copy()
    values[3, 2], values[11, 0] = np.nan, -np.inf
    np.savez(tmp_path / "b.npz", X=values, m=np.arange(20))
    samples = opened(tmp_path, "arrays", path="b.npz", inputs=["X", "m"])
    assert np.flatnonzero(~finite_rows(samples.read(0, 20))).tolist() == [3, 11]
    assert finite_rows(samples.read(10, 13)).tolist() == [True, False, True]


class Wrong(Samples):
    """Samples that do not keep what they announce."""

    def __init__(self, values, labels, specs):
        self._values = values
        self._labels = labels
        self.inputs = specs
        self.fingerprint = "wrong"
        self.closed = False

    def __len__(self):
        return 4

    def read(self, start, stop):
        return Batch(np.arange(start, stop), {"X": self._values}, self._labels)

    def close(self):
        self.closed = True


class WrongSource(DatasetSource):
    samples: object

    def open(self):
        return self.samples


WrongSource.registered_name, WrongSource.tag = "wrong", "kind"
SPEC = InputSpec("X", (2,), np.dtype(np.float32))


@pytest.mark.parametrize(
    ("values", "labels", "specs", "message"),
    [
        (
            random(1, 3),
            None,
            [SPEC],
            r"input 'X' should be float32 \(1, 2\), but float32 \(1, 3\) was delivered",
        ),
        (np.zeros((1, 2)), None, [SPEC], r"should be float32 \(1, 2\), but float64 \(1, 2\)"),
        (random(1, 2), np.zeros(1, np.int32), [SPEC], r"labels should be int64 or float64 \(1,\)"),
        (random(1, 2), np.array([-2]), [SPEC], "class number -2 is negative"),
        (random(1, 2), None, [SPEC, SPEC], "inputs must have different names"),
        (random(1, 2), None, [InputSpec("Z", (2,), np.dtype("f4"))], "'Z' should be .*, but nothing was"),
    ],
)
def test_a_kind_that_breaks_its_word_is_told_and_closed(values, labels, specs, message):
    wrong = Wrong(values, labels, tuple(specs))
    with pytest.raises(DataError, match=message):
        open_dataset(WrongSource(samples=wrong))
    assert wrong.closed or "different names" in message


def test_importing_the_datasets_takes_no_heavy_package():
    code = """
        import sys
        import xattr_cli.baselines
        heavy = {"torch", "torchvision", "pandas", "pyarrow", "sklearn", "scipy"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_every_kind_documents_its_options():
    for name in DATASETS.names():
        schema = DATASETS.get(name).model_json_schema()
        assert schema["description"].strip()
        assert {"limit", "class_names"} <= set(schema["properties"])


# --- scikit-learn -------------------------------------------------------------------------------


def test_digits_are_pictures_between_zero_and_one(tmp_path):
    samples = opened(tmp_path, "builtin", name="digits")
    batch = whole(samples)
    assert batch.inputs["X"].shape == (1797, 1, 8, 8) and batch.inputs["X"].dtype == np.float32
    assert (batch.inputs["X"].min(), batch.inputs["X"].max()) == (0, 1)
    assert samples.classes == tuple("0123456789") and batch.labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert (samples.inputs[0].scale == 16).all() and samples.inputs[0].scale.shape == (1, 8, 8)
    assert batch.keys[3] == "digits-3"


@pytest.mark.parametrize(
    ("name", "features", "classes"),
    [("breast_cancer", 30, 2), ("iris", 4, 3), ("wine", 13, 3), ("diabetes", 10, 0)],
)
def test_tables_are_standardised_by_their_training_part(tmp_path, name, features, classes):
    train, test = (opened(tmp_path, "builtin", name=name, split=split) for split in ("train", "test"))
    values = whole(train).inputs["X"].astype(np.float64)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-5)
    assert (len(train.inputs[0].features), len(train.classes)) == (features, classes)
    np.testing.assert_array_equal(train.inputs[0].scale, test.inputs[0].scale)
    assert train.fingerprint != test.fingerprint


def test_parts_are_disjoint_complete_and_stratified(tmp_path):
    parts = {s: whole(opened(tmp_path, "builtin", name="iris", split=s)) for s in ("train", "test", "all")}
    assert not set(parts["train"].keys) & set(parts["test"].keys)
    assert {*parts["train"].keys, *parts["test"].keys} == set(parts["all"].keys)
    assert sorted(np.bincount(parts["test"].labels)) == [12, 13, 13]
    fifth = opened(tmp_path, "builtin", name="iris", split="test", test_fraction=0.2)
    assert np.bincount(whole(fifth).labels).tolist() == [10, 10, 10]


def test_scales(tmp_path):
    original = opened(tmp_path, "builtin", name="wine", scale="none")
    assert original.inputs[0].offset is None and whole(original).inputs["X"].max() > 1000
    minmax = whole(opened(tmp_path, "builtin", name="wine", scale="minmax", split="train")).inputs["X"]
    assert (minmax.min(axis=0) == 0).all() and (minmax.max(axis=0) == 1).all()
    unit = whole(opened(tmp_path, "builtin", name="wine", scale="unit", split="train")).inputs["X"]
    assert (np.abs(unit).max(axis=0) == 1).all()
    for scale in ("standard", "minmax", "unit"):
        samples = opened(tmp_path, "builtin", name="digits", scale=scale)
        spec, values = samples.inputs[0], whole(samples).inputs["X"]
        assert np.isfinite(values).all()
        raw = whole(opened(tmp_path, "builtin", name="digits", scale="none")).inputs["X"]
        np.testing.assert_allclose(values * spec.scale + spec.offset, raw, atol=1e-4)


def test_diabetes_is_a_regression_in_original_units(tmp_path):
    samples = opened(tmp_path, "builtin", name="diabetes", scale="none")
    batch = whole(samples)
    assert batch.labels.dtype == np.float64 and batch.labels[0] == 151
    assert samples.inputs[0].features[0] == "age" and batch.inputs["X"][0, 0] == 59


# --- Python -------------------------------------------------------------------------------------

FACTORIES = """
    import numpy as np
    import torch
    from torch.utils.data import Dataset, IterableDataset, TensorDataset

    from xattr_cli.datasets import ArraySamples, Column
    from xattr_cli.samples import InputSpec

    X = np.arange(24, dtype=np.float32).reshape(6, 4)
    Y = np.array([0, 1, 2, 0, 1, 2])

    def mapping(scale=1): return {"y": Y, "tokens": X * scale, "mask": X > 3}
    def pair(): return torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y)
    def several(): return {"a": X, "b": X[:, :1]}, Y
    def alone(): return X
    def tensors(): return TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    def unlabelled(): return TensorDataset(torch.from_numpy(X))
    def listed(): return [({"a": x, "b": x[:2]}, int(y)) for x, y in zip(X, Y)]
    def late():
        import xattr_test_neighbour
        return xattr_test_neighbour.X
    def own():
        spec = InputSpec("mine", (4,), X.dtype)
        return ArraySamples([Column(spec, X)], None, fingerprint="own")

    class Noisy(Dataset):
        classes = ["a", "b", "c"]
        def __len__(self): return 6
        def __getitem__(self, i): return torch.randn(4), 0

    class Fails(Noisy):
        def __getitem__(self, i):
            if i == 4: raise OSError("disk")
            return X[i], 0

    class Uneven(Noisy):
        def __getitem__(self, i): return X[i][: 4 - i // 3], 0

    class Boxes(Noisy):
        def __getitem__(self, i): return X[i], {"boxes": [1, 2]}

    class Triple(Noisy):
        def __getitem__(self, i): return X[i], X[i], 0

    class Stream(IterableDataset):
        def __iter__(self): return iter(X)

    def nothing(): return None
    def ragged(): return {"X": [[1.0], [2.0, 3.0]]}
    def crash(): raise RuntimeError("no network here")
    def empty(): return []
    def labels_only(): return {"y": Y}
"""
VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.fixture
def job(tmp_path):
    (tmp_path / "xattr_test_data.py").write_text(textwrap.dedent(FACTORIES))
    (tmp_path / "xattr_test_neighbour.py").write_text("import numpy\nX = numpy.ones((2, 2))\n")
    return tmp_path


def made(job, name, **options):
    return opened(job, "python", factory=f"xattr_test_data:{name}", **options)


@pytest.mark.parametrize("name", ["pair", "tensors"])
def test_pairs_and_torch_datasets(job, name):
    batch = made(job, name).read(1, 5)
    np.testing.assert_array_equal(batch.inputs["X"], VALUES[1:5])
    assert batch.labels.tolist() == LABELS[1:5] and batch.labels.dtype == np.int64
    assert batch.index.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["alone", "unlabelled"])
def test_inputs_alone_have_no_labels(job, name):
    batch = whole(made(job, name))
    np.testing.assert_array_equal(batch.inputs["X"], VALUES)
    assert batch.labels is None


def test_arrays_by_name(job):
    samples = made(job, "mapping", kwargs={"scale": 2})
    batch = whole(samples)
    assert [spec.name for spec in samples.inputs] == ["tokens", "mask"]
    np.testing.assert_array_equal(batch.inputs["tokens"], VALUES * 2)
    assert batch.inputs["mask"].dtype == bool and batch.labels.tolist() == LABELS
    chosen = made(job, "mapping", inputs=["mask", "tokens"])
    assert [spec.name for spec in chosen.inputs] == ["mask", "tokens"]
    assert list(whole(made(job, "mapping", inputs="tokens")).inputs) == ["tokens"]


@pytest.mark.parametrize("name", ["several", "listed"])
def test_several_inputs(job, name):
    samples = made(job, name)
    assert [spec.name for spec in samples.inputs] == ["a", "b"]
    np.testing.assert_array_equal(whole(samples).inputs["a"], VALUES)
    assert whole(samples).labels.tolist() == LABELS


def test_samples_of_ones_own_and_late_imports(job):
    assert made(job, "own").inputs[0].name == "mine"
    assert whole(made(job, "late")).inputs["X"].shape == (2, 2)


def test_labels_that_are_no_numbers_are_left_out(job):
    samples = made(job, "Boxes")
    assert whole(samples).labels is None and samples.classes == ("a", "b", "c")


def test_the_fingerprint_of_python_data_follows_the_content(job):
    prints = [made(job, "mapping", kwargs={"scale": scale}).fingerprint for scale in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    assert made(job, "tensors").fingerprint == made(job, "tensors").fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Noisy", "sample 0 is another one each time it is read; leave out the random part"),
        ("Fails", "sample 4: OSError: disk"),
        ("Uneven", r"sample 3 has shape \{'X': \(3,\)\}, the first one \{'X': \(4,\)\}; pad or resize"),
        ("Triple", "sample 0: 3 parts; return"),
        ("Stream", "returned Stream. Return arrays by name"),
        ("nothing", "returned NoneType. Return arrays by name"),
        ("ragged", "'X' of 'xattr_test_data:ragged': list does not become an array"),
        ("crash", "'xattr_test_data:crash' failed: RuntimeError: no network here"),
        ("empty", "the dataset is empty"),
        ("labels_only", "returned no input"),
    ],
)
def test_python_data_that_cannot_be_read(job, name, message):
    refused(job, message, "python", factory=f"xattr_test_data:{name}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "token"}, "dataset.inputs: .* returned no array 'token'.* Did you mean 'tokens'"),
        ({"labels": "Y1"}, "dataset.labels: .* returned no array 'Y1'"),
        ({"kwargs": {"scales": 1}}, "failed: TypeError: .*scales"),
    ],
)
def test_names_and_arguments_that_do_not_fit(job, options, message):
    refused(job, message, "python", factory="xattr_test_data:mapping", **options)


def test_the_factory_is_found_from_the_folder_of_the_job(job):
    assert source(job, "python", factory="xattr_test_data:alone").model_dump() == {
        "kind": "python",
        "limit": None,
        "bad_rows": "error",
        "class_names": (),
        "factory": "xattr_test_data:alone",
        "kwargs": {},
        "inputs": None,
        "labels": None,
        "hashing": "full",
    }
    with pytest.raises(Exception, match=r"dataset.factory: .* Did you mean 'xattr_test_data'"):
        opened(job, "python", factory="xattr_test_dat:alone")
