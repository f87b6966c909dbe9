"""Baselines: exact values, one draw per sample whatever the batch, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.datasets import opened, random, whole
from scipy.ndimage import gaussian_filter

from xattr_cli.baselines import Baseline
from xattr_cli.errors import DataError, ExitCode
from xattr_cli.job.config import resolve_plugin
from xattr_cli.registry import BASELINES

IMAGES = random(70, 3, 9, 11)
TABLE = random(70, 5)
MASK = np.ones((70, 2), np.int64)
SETTINGS = {
    "zero": {},
    "constant": {"value": 0.5},
    "mean": {},
    "blur": {"sigma": 1.5},
    "uniform": {"low": -1, "high": 2},
    "gaussian": {"sigma": 0.3},
    "file": {"path": "each.npy"},
}


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "images.npz", X=IMAGES, y=np.arange(70) % 7)
    np.savez(tmp_path / "table.npz", X=TABLE, wide=TABLE[:, :3], mask=MASK)
    np.save(tmp_path / "each.npy", random(70, 3, 9, 11) + 1)
    return tmp_path


def images(folder, **options):
    return opened(folder, "arrays", path="images.npz", **options)


def table(folder, *inputs, **options):
    return opened(folder, "arrays", path="table.npz", inputs=list(inputs) or "X", **options)


def bind(folder, samples, kind, seed=0, inputs=None, **options):
    baseline = resolve_plugin(BASELINES, {"kind": kind, **options}, {"folder": folder})
    assert isinstance(baseline, Baseline)
    return baseline.bind(samples, seed, inputs)


def references(folder, samples, kind, **options):
    return bind(folder, samples, kind, **options).reference(whole(samples))


def refused(folder, samples, message, kind, **options):
    with pytest.raises(DataError, match=message) as caught:
        bind(folder, samples, kind, **options)
    assert caught.value.exit_code == ExitCode.USAGE


# --- what holds for every kind ------------------------------------------------------------------


def test_every_kind_is_covered_here():
    elsewhere = {"samples", "token", "propagated", "several"}  # test_explained, test_text, test_several_baselines
    assert {*SETTINGS, *elsewhere} == set(BASELINES.names())


@pytest.mark.parametrize("kind", SETTINGS)
def test_batch_size_changes_no_bit(folder, kind):
    samples = images(folder)
    bound = bind(folder, samples, kind, **SETTINGS[kind])
    expected = bound.reference(whole(samples))["X"]
    for size in (1, 7, 64):
        parts = [bound.reference(samples.read(start, min(start + size, 70)))["X"] for start in range(0, 70, size)]
        np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_references_have_the_shape_and_type_of_the_inputs(folder, kind, dtype):
    samples = images(folder, dtype=dtype)
    reference = references(folder, samples, kind, **SETTINGS[kind])["X"]
    assert reference.shape == IMAGES.shape and reference.dtype == dtype
    assert reference.flags.writeable and reference.flags.owndata and np.isfinite(reference).all()


@pytest.mark.parametrize("kind", SETTINGS)
def test_binding_again_gives_the_same(folder, kind):
    first, again = (references(folder, images(folder), kind, **SETTINGS[kind])["X"] for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("kind", ["zero", "constant", "mean", "uniform", "gaussian"])
def test_integers_get_no_baseline_and_explained_inputs_may_be_named(folder, kind):
    samples = table(folder, "X", "mask", "wide")
    assert list(references(folder, samples, kind, **SETTINGS[kind])) == ["X", "wide"]
    alone = references(folder, samples, kind, inputs=["wide"], **SETTINGS[kind])
    both = references(folder, samples, kind, **SETTINGS[kind])
    assert list(alone) == ["wide"]
    np.testing.assert_array_equal(alone["wide"], both["wide"])
    refused(folder, samples, "'mask' is int64; only floating inputs", kind, inputs=["mask"], **SETTINGS[kind])
    refused(folder, samples, "no input 'widee'.* Did you mean 'wide'", kind, inputs=["widee"], **SETTINGS[kind])


@pytest.mark.parametrize("kind", ["blur", "uniform", "gaussian"])
def test_what_depends_on_the_sample_is_no_background(folder, kind):
    assert bind(folder, images(folder), kind, **SETTINGS[kind]).background() is None


@pytest.mark.parametrize("kind", ["zero", "constant", "mean"])
def test_one_for_all_is_a_background_of_one(folder, kind):
    bound = bind(folder, images(folder), kind, **SETTINGS[kind])
    np.testing.assert_array_equal(
        bound.background()["X"].astype("f4"), bound.reference(images(folder).read(3, 4))["X"]
    )
    assert not bound.is_several


def test_a_set_of_one_is_the_baseline_of_every_row(folder):
    np.save(folder / "one.npy", IMAGES[5:6] + 1)
    from_file = bind(folder, images(folder), "file", path="one.npy").reference(images(folder).read(2, 5))["X"]
    np.testing.assert_array_equal(from_file, np.repeat(IMAGES[5:6] + 1, 3, 0))
    drawn = bind(folder, images(folder), "samples", count=1)
    reference = drawn.reference(images(folder).read(2, 5))["X"]
    np.testing.assert_array_equal(reference, np.repeat(drawn.background()["X"], 3, 0))
    assert any(np.array_equal(reference[0], image) for image in IMAGES)
    with pytest.raises(DataError, match=r"samples holds 2 samples.*count: 1"):
        bind(folder, images(folder), "samples", count=2).reference(images(folder).read(2, 5))


def test_every_kind_documents_its_options():
    for name in BASELINES.names():
        assert BASELINES.get(name).model_json_schema()["description"].strip()


# --- constants ----------------------------------------------------------------------------------


def test_zero(folder):
    assert not references(folder, images(folder), "zero")["X"].any()


def test_constants_per_channel_feature_and_input(folder):
    channels = references(folder, images(folder), "constant", value=[1, 2, 3])["X"]
    assert (channels == np.reshape([1, 2, 3], (1, 3, 1, 1))).all()
    features = references(folder, table(folder), "constant", value=[1, 2, 3, 4, 5])["X"]
    assert (features == [1, 2, 3, 4, 5]).all()
    several = references(folder, table(folder, "X", "wide"), "constant", value={"X": 1, "wide": [1, 2, 3]})
    assert (several["X"] == 1).all() and (several["wide"] == [1, 2, 3]).all()


def test_original_units_pass_through_the_scale_of_the_dataset(folder):
    samples = images(folder, mean=[1, 2, 3], std=[2, 4, 5])
    black = references(folder, samples, "constant", value=0, units="original")["X"]
    np.testing.assert_allclose(black[0, :, 0, 0], [-1 / 2, -2 / 4, -3 / 5], rtol=1e-6)
    model = references(folder, samples, "constant", value=0)["X"]
    assert not model.any()
    plain = references(folder, images(folder), "constant", value=3, units="original")["X"]
    assert (plain == 3).all()


def test_constants_that_do_not_fit(folder):
    message = r"baseline.value: 2 numbers for inputs of shape \(3, 9, 11\); give one, or 3"
    refused(folder, images(folder), message, "constant", value=[1, 2])
    refused(folder, images(folder), "there is no input 'x'.* Did you mean 'X'", "constant", value={"x": 1})
    two = table(folder, "X", "wide")
    refused(folder, two, "no value for the explained input 'wide'", "constant", value={"X": 1})
    assert list(bind(folder, two, "constant", value={"X": 1}, inputs=["X"]).reference(whole(two))) == ["X"]


# --- mean ---------------------------------------------------------------------------------------


def test_the_mean_is_exact_and_does_not_depend_on_the_order(tmp_path):
    values = np.random.default_rng(0).normal(1e4, 1.0, (3000, 1500))  # 34 MiB: several blocks
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values[np.random.default_rng(1).permutation(3000)])
    means = [
        bind(tmp_path, samples, "mean").reference(samples.read(0, 1))["X"][0]
        for samples in (opened(tmp_path, "arrays", path=name) for name in ("a.npy", "b.npy"))
    ]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    np.testing.assert_allclose(means[0], values.mean(axis=0), rtol=1e-12)


def test_float32_data_are_averaged_in_float64(tmp_path):
    np.save(tmp_path / "a.npy", np.full((200_000, 1), 0.1, np.float32))
    samples = opened(tmp_path, "arrays", path="a.npy")
    assert bind(tmp_path, samples, "mean").reference(samples.read(0, 1))["X"][0, 0] == np.float32(0.1)


def test_nonfinite_samples_do_not_count(tmp_path):
    values = TABLE.copy()
    values[0, 0], values[4, 2] = np.nan, np.inf
    np.save(tmp_path / "a.npy", values)
    mean = references(tmp_path, opened(tmp_path, "arrays", path="a.npy"), "mean")["X"][0]
    np.testing.assert_allclose(mean, np.delete(TABLE, [0, 4], axis=0).mean(axis=0), rtol=1e-5)
    np.save(tmp_path / "b.npy", np.full((3, 2), np.nan))
    refused(tmp_path, opened(tmp_path, "arrays", path="b.npy"), "no sample .* is free of NaN", "mean")


def test_the_mean_follows_the_limit(folder):
    mean = references(folder, table(folder, limit=10), "mean")["X"][0]
    np.testing.assert_allclose(mean, TABLE[:10].mean(axis=0), rtol=1e-5)


# --- blur ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5, 10.0])
def test_blur_agrees_with_scipy(folder, sigma):
    blurred = references(folder, images(folder, dtype="float64"), "blur", sigma=sigma)["X"]
    radius = int(np.ceil(4 * sigma))
    expected = gaussian_filter(IMAGES.astype(float), sigma, axes=(-2, -1), mode="reflect", radius=radius)
    np.testing.assert_allclose(blurred, expected, atol=1e-12)


def test_blur_keeps_the_mean_and_a_flat_picture(folder):
    blurred = references(folder, images(folder), "blur", sigma=3)["X"]
    np.testing.assert_allclose(blurred.mean(axis=(2, 3)), IMAGES.mean(axis=(2, 3)), atol=1e-6)
    np.save(folder / "flat.npy", np.full((2, 4, 4), 7, np.float32))
    flat = references(folder, opened(folder, "arrays", path="flat.npy"), "blur", sigma=2)["X"]
    np.testing.assert_allclose(flat, 7, rtol=1e-6)


def test_a_nonfinite_picture_spoils_no_other(folder):
    values = IMAGES.copy()
    values[1, 0, 0, 0] = np.inf
    np.save(folder / "inf.npy", values)
    blurred = references(folder, opened(folder, "arrays", path="inf.npy"), "blur", sigma=1)["X"]
    np.testing.assert_array_equal(np.isfinite(blurred).all(axis=(1, 2, 3)), np.arange(70) != 1)


def test_blur_needs_two_axes(folder):
    message = r"blur needs samples of two axes or more; input 'X' has shape \(5,\)"
    refused(folder, table(folder), message, "blur", sigma=1)


# --- noise --------------------------------------------------------------------------------------


def test_uniform_draws_are_uniform_and_differ_by_sample_and_seed(folder):
    samples = images(folder)
    drawn = references(folder, samples, "uniform", low=-1, high=3)["X"]
    assert drawn.min() >= -1 and drawn.max() <= 3
    assert abs(drawn.mean() - 1) < 0.05 and abs(drawn.std() - 4 / np.sqrt(12)) < 0.05
    assert len(np.unique(drawn[:, 0, 0, 0])) == 70
    other = references(folder, samples, "uniform", seed=1, low=-1, high=3)["X"]
    assert (drawn != other).mean() > 0.99


def test_inputs_of_one_sample_are_drawn_apart(folder):
    drawn = references(folder, table(folder, "X", "wide"), "uniform")
    assert (drawn["X"][:, :3] != drawn["wide"]).mean() > 0.99


def test_a_draw_belongs_to_the_position_in_the_dataset(folder):
    shorter = references(folder, images(folder, limit=5), "uniform")["X"]
    np.testing.assert_array_equal(shorter, references(folder, images(folder), "uniform")["X"][:5])


def test_uniform_in_original_units(folder):
    scaled = references(folder, images(folder, mean=3, std=2), "uniform", low=0, high=1, units="original")["X"]
    plain = references(folder, images(folder), "uniform")["X"]
    np.testing.assert_allclose(scaled, (plain - 3) / 2, atol=1e-6)


def test_gaussian_noise_lies_around_the_sample(folder):
    noise = references(folder, images(folder), "gaussian", sigma=0.3)["X"] - IMAGES
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 0.3) < 0.01


def test_low_must_be_less_than_high(folder):
    with pytest.raises(ValueError, match=r"low must be less than high, not 2.0 and 1.0"):
        resolve_plugin(BASELINES, {"kind": "uniform", "low": 2, "high": 1})


# --- files --------------------------------------------------------------------------------------


def test_one_baseline_for_all(folder):
    np.save(folder / "one.npy", IMAGES[5].astype(np.float64))
    bound = bind(folder, images(folder), "file", path="one.npy")
    reference = bound.reference(images(folder).read(2, 6))["X"]
    assert reference.shape == (4, 3, 9, 11) and (reference == IMAGES[5]).all()
    np.testing.assert_array_equal(bound.background()["X"], IMAGES[5:6])
    assert len(bound.fingerprint) == 64


def test_one_baseline_per_sample_survives_a_limit(folder):
    samples = images(folder, limit=8)
    bound = bind(folder, samples, "file", path="each.npy")
    np.testing.assert_array_equal(bound.reference(samples.read(3, 8))["X"], np.load(folder / "each.npy")[3:8])
    np.save(folder / "eight.npy", IMAGES[:8])
    short = bind(folder, samples, "file", path="eight.npy")
    np.testing.assert_array_equal(short.reference(samples.read(3, 8))["X"], IMAGES[3:8])


def test_several_baselines_are_a_background_only(folder):
    np.savez_compressed(folder / "many.npz", some=IMAGES[:9])
    bound = bind(folder, images(folder), "file", path="many.npz")
    np.testing.assert_array_equal(bound.background()["X"], IMAGES[:9])
    with pytest.raises(DataError, match=r"many.npz holds 9 baselines for 70 samples.* expected_gradients"):
        bound.reference(images(folder).read(0, 2))


def test_arrays_are_found_by_key_or_by_input(folder):
    np.savez(folder / "b.npz", X=TABLE[0], wide=TABLE[1, :3], other=TABLE[2])
    samples = table(folder, "X", "wide")
    several = references(folder, samples, "file", path="b.npz")
    assert (several["X"] == TABLE[0]).all() and (several["wide"] == TABLE[1, :3]).all()
    keyed = references(folder, table(folder), "file", path="b.npz", key="other")["X"]
    assert (keyed == TABLE[2]).all()
    refused(folder, samples, "baseline.key: 2 inputs are explained", "file", path="b.npz", key="X")


def test_files_that_do_not_fit(folder):
    np.savez(folder / "b.npz", X=TABLE, bad=np.full(5, np.nan), text=np.array(["a"]), none=np.zeros((0, 5)))
    message = r"b.npz, array 'X' has shape \(70, 5\); input 'X' needs \(3, 9, 11\), or \(baselines, 3, 9, 11\)"
    refused(folder, images(folder), message, "file", path="b.npz")
    samples = table(folder)
    refused(folder, samples, "array 'bad' holds NaN or infinite", "file", path="b.npz", key="bad")
    refused(folder, samples, "array 'text': the array is <U1", "file", path="b.npz", key="text")
    refused(folder, samples, "array 'none' is empty", "file", path="b.npz", key="none")
    refused(folder, samples, "no array 'x'.* Did you mean 'X'", "file", path="b.npz", key="x")
    refused(folder, samples, "baseline.path: .*c.npz: no such file.* Did you mean .*b.npz", "file", path="c.npz")
    refused(folder, samples, "a .npy or .npz file is needed", "file", path="b.h5")
    np.savez(folder / "uneven.npz", X=TABLE[:3], wide=TABLE[:4, :3])
    two = table(folder, "X", "wide")
    refused(folder, two, r"uneven.npz: the inputs have \[3, 4\] baselines", "file", path="uneven.npz")


# --- backgrounds --------------------------------------------------------------------------------


def test_a_background_of_the_datasets_own_samples(folder):
    bound = bind(folder, images(folder), "samples", count=16)
    drawn = bound.background()["X"]
    assert drawn.shape == (16, 3, 9, 11) and drawn.dtype == np.float32
    positions = [int(np.flatnonzero((one == IMAGES).all(axis=(1, 2, 3)))[0]) for one in drawn]
    assert len(set(positions)) == 16 and positions != sorted(positions)
    np.testing.assert_array_equal(drawn, bind(folder, images(folder), "samples", count=16).background()["X"])
    other = bind(folder, images(folder), "samples", seed=1, count=16).background()["X"]
    assert not np.array_equal(drawn, other)
    assert len(bind(folder, images(folder), "samples", count=1000).background()["X"]) == 70
    with pytest.raises(DataError, match=r"holds 16 samples.*the engine expected_gradients"):
        bound.reference(images(folder).read(0, 2))


def test_a_larger_background_extends_a_smaller_one(folder):
    small, large = (bind(folder, images(folder), "samples", count=n).background()["X"] for n in (5, 12))
    np.testing.assert_array_equal(large[:5], small)


def test_a_background_of_chosen_classes(folder):
    samples = images(folder, labels="y")
    drawn = bind(folder, samples, "samples", labels=[2, 4]).background()["X"]
    of_class = IMAGES[np.isin(np.arange(70) % 7, [2, 4])]
    assert len(drawn) == len(of_class) == 20
    assert {one.tobytes() for one in drawn} == {one.tobytes() for one in of_class}
    refused(folder, samples, r"no sample has one of the labels \[9\]", "samples", labels=[9])
    refused(folder, images(folder), "baseline.labels: the dataset has no labels", "samples", labels=[1])


def test_a_background_of_another_dataset(folder):
    np.savez(folder / "train.npz", Z=IMAGES[:30].astype(np.float64) + 5)
    other = {"kind": "arrays", "path": "train.npz", "inputs": "Z", "limit": 10}
    bound = bind(folder, images(folder), "samples", dataset=other)
    drawn = bound.background()["X"]
    assert drawn.shape == (10, 3, 9, 11) and drawn.dtype == np.float32
    np.testing.assert_allclose(np.sort(drawn.ravel()), np.sort((IMAGES[:10] + 5).ravel()), rtol=1e-6)
    assert len(bound.fingerprint) == 64
    wrong = {"kind": "arrays", "path": "table.npz"}
    message = r"baseline.dataset: input 'X' has shape \(5,\), but \(3, 9, 11\) in the explained dataset"
    refused(folder, images(folder), message, "samples", dataset=wrong)


def test_nonfinite_samples_stay_out_of_the_background(folder):
    values = TABLE.copy()
    values[::2, 0] = np.nan
    np.save(folder / "gaps.npy", values)
    gaps = opened(folder, "arrays", path="gaps.npy")
    drawn = bind(folder, gaps, "samples", count=64).background()["X"]
    assert len(drawn) == 35 and np.isfinite(drawn).all()
    np.save(folder / "nan.npy", values[::2])
    refused(folder, opened(folder, "arrays", path="nan.npy"), "free of NaN", "samples")


def test_the_other_dataset_reads_back_from_the_resolved_job(folder):
    options = {"kind": "samples", "dataset": {"kind": "arrays", "path": "images.npz"}}
    first = resolve_plugin(BASELINES, options, {"folder": folder})
    dumped = first.model_dump(mode="json")
    assert dumped["dataset"]["kind"] == "arrays"
    assert resolve_plugin(BASELINES, dumped).dataset.path == folder / "images.npz"
