"""Sequences of different lengths: packed, padded, or lists of arrays; padding is zero and known."""

from __future__ import annotations

import numpy as np
import pytest

from xattr_cli.baselines import Mean
from xattr_cli.datasets import open_dataset
from xattr_cli.errors import DataError
from xattr_cli.job.config import resolve_plugin
from xattr_cli.registry import DATASETS

LENGTHS = np.array([3, 1, 5, 2])
FLAT = np.random.default_rng(0).normal(size=(LENGTHS.sum(), 2)).astype(np.float32)
PIECES = np.split(FLAT, np.cumsum(LENGTHS)[:-1])
REAL = np.arange(5) < LENGTHS[:, None]


def padded(fill=0.0):
    array = np.full((4, 5, 2), fill, dtype=np.float32)
    array[REAL] = FLAT
    return array


def samples(folder, arrays, **options):
    np.savez(folder / "data.npz", **arrays)
    plugin = resolve_plugin(DATASETS, {"kind": "sequences", "path": str(folder / "data.npz"), **options})
    return open_dataset(plugin)


@pytest.mark.parametrize("stored", [FLAT, padded(), padded(np.nan)], ids=["packed", "padded", "with rubbish"])
def test_both_ways_to_store_them_are_the_same(tmp_path, stored):
    found = samples(tmp_path, {"X": stored, "lengths": LENGTHS, "y": np.arange(4)}, labels="y")
    for start, stop in ((0, 4), (1, 3), (2, 2), (3, 4)):
        batch = found.read(start, stop)
        assert np.array_equal(batch.inputs["X"], padded()[start:stop])
        assert np.array_equal(batch.real["lengths"], REAL[start:stop])
        assert batch.labels.tolist() == list(range(start, stop))
    (spec,) = found.inputs
    assert (spec.shape, spec.axes, spec.sequence, spec.explainable) == (
        (5, 2),
        ("step", "feature"),
        "lengths",
        True,
    )


def test_scaled_sequences_have_zeros_in_their_padding(tmp_path):
    found = samples(tmp_path, {"X": FLAT, "lengths": LENGTHS}, mean=3.0, std=2.0)
    values = found.read(0, 4).inputs["X"]
    assert values[REAL] == pytest.approx((FLAT - 3) / 2, abs=1e-6) and (values[~REAL] == 0).all()


def test_lengths_and_masks_are_handed_over(tmp_path):
    arrays = {"X": FLAT, "lengths": LENGTHS}
    lengths = samples(tmp_path, arrays, hand_over="lengths")
    assert lengths.read(1, 3).inputs["lengths"].tolist() == [1, 5]
    mask = samples(tmp_path, arrays, hand_over="mask")
    assert np.array_equal(mask.read(0, 4).inputs["mask"], REAL)
    for found in (lengths, mask):
        assert [spec.explainable for spec in found.inputs] == [True, False]


def test_inputs_along_different_sequences(tmp_path):
    atoms, bonds = np.arange(6.0)[:, None], np.arange(9.0)[:, None]
    arrays = {"atoms": atoms, "kinds": atoms[:, 0], "bonds": bonds, "size": np.ones((3, 1)),
              "n_atoms": np.array([1, 3, 2]), "n_bonds": np.array([4, 3, 2])}  # fmt: skip
    lengths = {"atoms": "n_atoms", "kinds": "n_atoms", "bonds": "n_bonds"}
    found = samples(
        tmp_path, arrays, inputs=["atoms", "kinds", "bonds", "size"], lengths=lengths, hand_over="mask"
    )
    batch = found.read(0, 3)
    assert [spec.sequence for spec in found.inputs] == ["n_atoms", "n_atoms", "n_bonds", "", "n_atoms", "n_bonds"]
    assert batch.inputs["kinds"].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 0]]
    assert batch.inputs["bonds"][1, :, 0].tolist() == [4, 5, 6, 0]
    assert batch.inputs["n_bonds_mask"].sum(1).tolist() == [4, 3, 2] and batch.inputs["size"].shape == (3, 1)


def test_a_list_of_arrays_from_python(tmp_path):
    (tmp_path / "ragged.py").write_text(
        "import numpy as np\n"
        "def pieces(**_):\n"
        "    return [np.full((n, 2), n, dtype=np.float32) for n in (3, 1, 2)], [0, 1, 0]\n"
        "def several():\n"
        "    return {'a': pieces()[0], 'b': np.ones((3, 4)), 'y': [1, 2, 3]}\n"
        "def wrong():\n"
        "    return [np.ones((2, 2)), np.ones((3, 1))], None\n"
    )

    def made(factory):
        return open_dataset(resolve_plugin(DATASETS, {"kind": "python", "factory": f"ragged:{factory}"},
                                           {"folder": tmp_path}))  # fmt: skip

    found = made("pieces")
    batch = found.read(0, 3)
    assert batch.inputs["X"][:, :, 0].tolist() == [[3, 3, 3], [1, 0, 0], [2, 2, 0]]
    assert batch.real["X"].sum(1).tolist() == [3, 1, 2] and batch.labels.tolist() == [0, 1, 0]
    assert [spec.sequence for spec in made("several").inputs] == ["a", ""]
    with pytest.raises(DataError, match="the same shape but for their first axis"):
        made("wrong")


def test_padding_does_not_count_in_means(tmp_path):
    found = samples(tmp_path, {"X": FLAT, "lengths": LENGTHS})
    steps = Mean().bind(found, 0).reference(found.read(0, 1))["X"][0]
    for step in range(5):
        assert steps[step] == pytest.approx(padded()[REAL[:, step], step].mean(0), abs=1e-6)
    pooled = Mean(pool_steps=True).bind(found, 0).reference(found.read(0, 1))["X"][0]
    assert pooled == pytest.approx(np.broadcast_to(FLAT.mean(0), (5, 2)), abs=1e-6)


@pytest.mark.parametrize(
    ("arrays", "options", "text"),
    [
        (
            {"X": FLAT, "lengths": LENGTHS + 1},
            {},
            "has shape (11, 2), but 'lengths' tells of 4 samples with 15 steps",
        ),
        ({"X": FLAT, "lengths": LENGTHS - 1}, {}, "sample 1 has length 0; every sample needs a step or more"),
        ({"X": FLAT, "lengths": LENGTHS / 1}, {}, "lengths must be integers of shape (n,), not float64 (4,)"),
        ({"X": FLAT}, {}, "has no array 'lengths'"),
        ({"X": FLAT, "lengths": LENGTHS}, {"lengths": {"Y": "lengths"}}, "dataset.lengths: there is no input 'Y'"),
        ({"X": np.ones((2, 3)), "lengths": np.array([1, 1])}, {}, "may be packed or padded, as all lengths are 1"),
        ({"X": FLAT, "lengths": LENGTHS}, {"packed": False}, "Store (all steps, ...) or (samples, steps, ...)"),
        (
            {"X": FLAT, "Z": np.ones((4, 7)), "lengths": LENGTHS},
            {"inputs": ["X", "Z"]},
            "padded to different lengths",
        ),
        ({"X": FLAT, "lengths": LENGTHS[:0]}, {}, "the dataset is empty"),
    ],
)
def test_faults(tmp_path, arrays, options, text):
    with pytest.raises(DataError) as error:
        samples(tmp_path, arrays, **options)
    assert text in str(error.value)
