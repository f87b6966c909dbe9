"""A row never depends on its company: alone, in a batch, in a shard, after a resume, in any order."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from helpers.cli import datasets, digits_job, fork, invoke, parts_of, relative, run, write_job

ROWS = 24
ENGINES = ("saliency", "integrated_gradients", "interior_gradients", "expected_gradients")
EXACT = ("evaluations", "status")
MAPS = {
    "saliency": ("attribution",),
    "integrated_gradients": ("attribution", "relative_error", "score_input"),
    "interior_gradients": ("attribution", "maps", "running", "curve/score", "curve/saturation"),
    "expected_gradients": ("attribution", "standard_error", "relative_error"),
}
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained digits CNN, its data, and the result `whole.h5` that all others are held to."""
    folder = tmp_path_factory.mktemp("company")
    run(digits_job(folder, ROWS, output={"path": "whole.h5"}), "--quiet")
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return datasets(folder / "whole.h5")


def job(folder, name, **sections):
    return digits_job(folder, ROWS, f"{name}.yaml", output={"path": f"{name}.h5", **sections.pop("output", {})},
                      **sections)  # fmt: skip


def agree(found, expected, rows=slice(None), engines=ENGINES):
    """The rows of `found` are those `rows` of `expected`: numbers to 1e-6 relative, counts and status equal.

    A reported error is a share of its map already, and the difference of two nearly equal maps: 1e-6 of the map.
    """
    for engine in engines:
        for name in EXACT:
            at = f"engines/{engine}/{name}"
            assert np.array_equal(found[at], expected[at][rows]), at
        for name in MAPS[engine]:
            at = f"engines/{engine}/{name}"
            assert len(found[at]) == len(expected[at][rows])
            if name == "relative_error":
                assert np.abs(found[at] - expected[at][rows]).max() <= TOLERANCE, at
            else:
                assert relative(found[at], expected[at][rows]).max() <= TOLERANCE, at


def test_the_rows_that_are_compared_are_no_zeros(whole):
    for engine in ENGINES:
        norms = np.linalg.norm(whole[f"engines/{engine}/attribution"].reshape(ROWS, -1), axis=1)
        assert (norms > 0.1).all() and len(np.unique(norms)) == ROWS
        judged = 4 if engine == "saliency" else 0  # one gradient has no tolerance to be judged by
        assert (whole[f"engines/{engine}/status"] == judged).all()


def test_alone(folder, whole):
    run(job(folder, "alone", dataset={"limit": 1}), "--quiet")
    agree(datasets(folder / "alone.h5"), whole, slice(0, 1))


def test_alone_in_its_part(folder, whole):
    """Every row in a part of its own: no other row is at hand when it is computed."""
    run(job(folder, "single", output={"part_rows": 1}), "--quiet")
    agree(datasets(folder / "single.h5"), whole)


def test_in_a_batch_of_seven(folder, whole):
    run(job(folder, "seven", dataset={"limit": 7}), "--quiet")
    agree(datasets(folder / "seven.h5"), whole, slice(0, 7))
    run(job(folder, "sevens", output={"part_rows": 7}), "--quiet")
    agree(datasets(folder / "sevens.h5"), whole)


@pytest.mark.parametrize("batch_rows", [4, 7, 100, 4096])
def test_whatever_a_device_call_takes(folder, whole, batch_rows):
    run(job(folder, f"rows{batch_rows}", compute={"batch_rows": batch_rows}), "--quiet")
    agree(datasets(folder / f"rows{batch_rows}.h5"), whole)


def test_whatever_a_device_call_takes_in_double_precision(folder):
    """In float32, calls of one to three rows round otherwise, and at a kink that shows: 1e-5 of some maps."""
    path = job(folder, "double", compute={"precision": "float64"}, dataset={"limit": 8})
    run(path, "--quiet")
    expected = datasets(folder / "double.h5")
    assert expected["engines/integrated_gradients/attribution"].dtype == np.float64
    for batch_rows in (1, 7, 100):
        name = f"double{batch_rows}.h5"
        run(path, "--quiet", "--set", f"compute.batch_rows={batch_rows}", "--set", f"output.path={name}")
        agree(datasets(folder / name), expected)


def test_alone_where_a_device_call_takes_few_rows(folder):
    """Large networks have calls of 8 rows; at the end of a batch they must not become calls of one."""
    few = {"batch_rows": 8}
    for name, part_rows in (("few", 512), ("few-alone", 1), ("few-in-threes", 3)):
        run(job(folder, name, compute=few, output={"part_rows": part_rows}), "--quiet")
    agree(datasets(folder / "few-alone.h5"), datasets(folder / "few.h5"))
    agree(datasets(folder / "few-in-threes.h5"), datasets(folder / "few.h5"))


def test_in_a_shard_of_three(folder, whole):
    path = job(folder, "shards", output={"part_rows": 5})
    for shard in ("2/3", "1/3", "3/3"):
        run(path, "--quiet", "--shard", shard)
    assert invoke("merge", path).exit_code == 0
    agree(datasets(folder / "shards.h5"), whole)


def test_after_a_resume(folder, whole):
    path = job(folder, "resumed", output={"part_rows": 2})
    first = fork(folder, "run", path, "--quiet")
    first.wait_for(lambda: len(parts_of(folder, "resumed.h5")) >= 2)
    first.signal(signal.SIGTERM)
    assert first.wait() == 75
    assert 2 <= len(parts_of(folder, "resumed.h5")) < ROWS // 2
    run(path, "--quiet")
    agree(datasets(folder / "resumed.h5"), whole)


def test_beside_other_targets_of_its_sample(folder, whole):
    run(job(folder, "top", target={"top": 3}, output={"part_rows": 4}), "--quiet")
    found = datasets(folder / "top.h5")
    assert np.array_equal(found["rows/target"][::3], whole["rows/target"])
    agree({k: v[::3] if k.startswith("engines") and len(v) == 3 * ROWS else v for k, v in found.items()}, whole)


SHUFFLED = """
import numpy as np
from xattr_cli.datasets import Samples
from xattr_cli.samples import Batch, InputSpec

class Shuffled(Samples):
    '''The digits in another order; every one keeps its index, the identity that its draws are keyed by.'''

    def __init__(self, path):
        data = np.load(path)
        self.images, self.labels = data['X'], data['y']
        self.order = np.random.default_rng(0).permutation(len(self.images))
        self.inputs = (InputSpec('X', self.images.shape[1:], self.images.dtype),)
        self.fingerprint = 'shuffled'

    def __len__(self):
        return len(self.order)

    def read(self, start, stop):
        index = self.order[start:stop]
        return Batch(index, {'X': self.images[index]}, self.labels[index])
"""


def test_in_another_order(folder, whole):
    (folder / "shuffled.py").write_text(SHUFFLED)
    dataset = {
        "kind": "python", "factory": "shuffled:Shuffled", "kwargs": {"path": str(folder / "data.npz")},
        "path": None, "labels": None,
    }  # fmt: skip
    run(job(folder, "shuffled", dataset=dataset, output={"part_rows": 5}), "--quiet")
    found = datasets(folder / "shuffled.h5")
    order = found["rows/sample"]
    assert not np.array_equal(order, np.arange(ROWS)) and np.array_equal(np.sort(order), np.arange(ROWS))
    agree(found, whole, order)


def test_with_other_engines_in_the_job(folder, whole):
    """What is not taken from a shared sweep does not depend on the other engines of the job."""
    for engine in ("saliency", "expected_gradients"):
        path = job(folder, f"only-{engine}")
        engines = {engine: {} if engine == "saliency" else _expected_gradients()}
        write_job(folder, path.name, **_as_digits(engines), output={"path": f"only-{engine}.h5"})
        run(path, "--quiet")
        agree(datasets(folder / f"only-{engine}.h5"), whole, engines=[engine])


def _expected_gradients():
    background = {"kind": "samples", "dataset": {"kind": "arrays", "path": "train.npz"}}
    return {"baseline": background, "replicate_size": 16, "rtol": 0.3}


def _as_digits(engines):
    return {"model": {"factory": "xattr_cli.models.zoo:digits_cnn", "checkpoint": "model.pt"}, "engines": engines}


@pytest.mark.parametrize("seed", [0, 1])
def test_another_seed_changes_what_is_drawn_and_nothing_else(folder, whole, seed):
    run(job(folder, f"seed{seed}", compute={"seed": seed}), "--quiet")
    found = datasets(folder / f"seed{seed}.h5")
    agree(found, whole, engines=ENGINES[:3])
    apart = relative(found["engines/expected_gradients/attribution"],
                     whole["engines/expected_gradients/attribution"])  # fmt: skip
    assert (apart == 0).all() if seed == 0 else (apart > 1e-3).all()
