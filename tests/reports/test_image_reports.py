"""Maps over photographs, along paths, and of sequences with padding: what is painted is what the file holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from helpers.cli import invoke
from helpers.results import (
    digits,
    integrated_gradients,
    interior_gradients,
    make_rows,
    photographs,
    write_file,
)
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.text import Text

from xattr_cli.registry import FIGURES
from xattr_cli.reports.drawing.pictures import Canvas
from xattr_cli.reports.drawing.selection import Drawing, Nothing, select
from xattr_cli.reports.drawing.style import PADDING, chart, styled, symmetric_limit
from xattr_cli.reports.drawing.words import number, percent
from xattr_cli.reports.rows.overlays import outlined, smoothed_map
from xattr_cli.store.results.reader import Results

LENGTHS = np.array([5, 2, 3, 1])
STEPS, CHANNELS = 5, 3


@styled
def drawn(results, kind, rows=None):
    return list(FIGURES.get(kind)().draw(select(results, None, 8, rows)))


def images_of(figure):
    return [one for one in figure.findobj(AxesImage) if one.axes.get_xlim()[1] > 5]


def words_of(figure):
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    problem = photographs()
    rows, grey = make_rows(problem), np.zeros_like(problem.inputs[0])
    engine = integrated_gradients(problem, rows, 0.05, grey)
    bad = dataclasses.replace(engine, status=np.array([0, 2, 0, 0], np.int8))
    path = tmp_path_factory.mktemp("photos") / "photos.h5"
    return write_file(path, problem, rows, {"ig": engine, "bad": bad})


# --- overlays -----------------------------------------------------------------------------------


def test_the_blur_is_a_gaussian_with_mirrored_edges():
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(0).normal(size=(30, 41))
    expected = ndimage.gaussian_filter(values, 2.0, mode="reflect", truncate=3.0)
    np.testing.assert_allclose(smoothed_map(values, 2.0), expected, atol=1e-12)
    np.testing.assert_allclose(smoothed_map(np.ones((9, 7)), 1.5), 1.0)


def test_the_outline_holds_the_share_that_it_says():
    values = np.random.default_rng(0).permutation(10_000).reshape(100, 100) + 1.0
    inside = outlined(values, 0.05)
    assert inside.sum() in (500, 501) and values[inside].min() > values[~inside].max()
    assert not outlined(np.zeros((10, 10)), 0.05).any()
    assert outlined(np.eye(4), 0.5).sum() == 4  # never a pixel without attribution


def test_a_photograph_has_its_map_beside_and_over_it(photos):
    with Results.open(photos) as results:
        (item,) = drawn(results, "overlays", rows=[2])
        photo, heat, over, *_ = images_of(item.figure)
        pixels = results.engine("ig").attribution([2])[0].astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(heat.get_array(), pixels, rtol=1e-6)
        assert photo.get_array().shape == (224, 224, 4) and over.get_array().shape == (224, 224, 3)
        shown, limit = np.asarray(over.get_array()), symmetric_limit(pixels)
        raises, none = pixels >= limit, np.abs(pixels) < 1e-4 * limit
        assert (shown[raises][:, 0] > shown[raises][:, 2] + 0.3).all()  # orange
        assert none.any() and np.ptp(shown[none], axis=1).max() < 1e-3  # the photograph in grey
        near = smoothed_map(np.abs(pixels), 0.02 * 224)
        share = np.abs(pixels)[outlined(near, 0.05)].sum() / np.abs(pixels).sum()
        assert percent(share) in words_of(item.figure)
        assert share > 0.05


def test_a_quarantined_map_is_not_laid_over_anything(photos):
    with Results.open(photos) as results:
        (item,) = drawn(results, "overlays", rows=[1])
        assert sum(text.startswith("quarantined") for text in words_of(item.figure)) == 1
        assert len([i for i in images_of(item.figure) if i.get_array().shape == (224, 224)]) == 1


def test_a_flat_map_has_no_outline(tmp_path):
    problem = photographs()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.5, np.zeros_like(problem.inputs[0]))
    engine.attribution[0], engine.attribution[1] = 0.0, 1.0
    with Results.open(write_file(tmp_path / "a.h5", problem, rows, {"ig": engine})) as results:
        (item,) = drawn(results, "overlays", rows=[0, 1])
        assert not [word for word in words_of(item.figure) if word.endswith(" %") and not word.startswith("±")]


def test_small_images_need_no_overlay(tmp_path):
    problem = digits()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.5, np.zeros_like(problem.inputs[0]))
    with Results.open(write_file(tmp_path / "a.h5", problem, rows, {"ig": engine})) as results:
        (reason,) = drawn(results, "overlays")
        assert reason == Nothing("no explained tensor is an image of 24 × 24 pixels or more")


def test_photographs_that_are_not_stored_have_no_overlay(photos, tmp_path):
    problem = photographs()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 0.5, np.zeros_like(problem.inputs[0]))
    with Results.open(write_file(tmp_path / "a.h5", problem, rows, {"ig": engine}, stored=1)) as results:
        (reason,) = drawn(results, "overlays", rows=[3])
        assert "are not stored for any of the selected rows" in reason.reason
        assert len(images_of(drawn(results, "overlays", rows=[0, 3])[0].figure)) == 3  # of sample 0 alone


# --- along the path -----------------------------------------------------------------------------


def test_maps_along_the_path_stand_beside_the_score(tmp_path):
    problem = digits()
    rows = make_rows(problem)
    engine = interior_gradients(problem, rows, np.zeros_like(problem.inputs[0]))
    with Results.open(write_file(tmp_path / "a.h5", problem, rows, {"interior": engine})) as results:
        strip = next(item for item in drawn(results, "saturation", rows=[4]) if "maps" in item.stem)
        found = results.engine("interior")
        curve = next(axes for axes in strip.figure.axes if axes.lines)
        np.testing.assert_allclose(curve.lines[0].get_ydata(), found.curve("score", [4])[0])
        np.testing.assert_allclose(curve.lines[1].get_xdata(), found.map_alpha)
        ends = [number(float(value)) for value in found.curve("score", [4])[0][[0, -1]]]
        assert [label.get_text() for label in curve.get_yticklabels()] == ends
        assert "logit over α" in words_of(strip.figure)


# --- sequences ----------------------------------------------------------------------------------

NETWORK = """
import torch


class Reader(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = torch.nn.GRU(3, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x, lengths):
        states, _ = self.rnn(x)
        return self.head(states[torch.arange(len(x)), lengths - 1])
"""


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """Maps of sequences of 1 to 5 steps, whose padding would be the largest value of each channel."""
    folder = tmp_path_factory.mktemp("sequences")
    (folder / "reader.py").write_text(NETWORK)
    values = -1 - np.random.default_rng(0).random((LENGTHS.sum(), CHANNELS)).astype(np.float32)
    np.savez(folder / "data.npz", X=values, lengths=LENGTHS)
    job = {
        "model": {"kind": "python", "factory": "reader:Reader"},
        "dataset": {"kind": "sequences", "path": "data.npz", "hand_over": "lengths"},
        "target": {"index": 1},
        "engines": {"interior_gradients": {}},
        "output": {"path": "out.h5"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    with torch.random.fork_rng(devices=[]):
        assert invoke("run", folder / "job.yaml", "--quiet").exit_code == 0
    return folder / "out.h5"


def test_steps_run_from_left_to_right_and_padding_is_grey(sequences):
    with Results.open(sequences) as results:
        (item,) = (one for one in drawn(results, "samples", rows=[1]) if isinstance(one, Drawing))
        images = [one for one in item.figure.findobj(AxesImage) if one.get_array().shape[:2] == (CHANNELS, STEPS)]
        veils = [one for one in item.figure.findobj(AxesImage) if one.get_array().shape == (1, STEPS, 4)]
        assert len(images) == len(veils) == 2  # the input and the map
        np.testing.assert_array_equal(
            images[1].get_array(), results.engines["interior_gradients"].attribution([1])[0].T
        )
        for veil in veils:
            colours = np.asarray(veil.get_array())[0]
            assert colours[:, 3].tolist() == [0, 0, 1, 1, 1]
            assert colours[2:, :3] == pytest.approx(np.tile(to_rgb(PADDING), (3, 1)))
        assert any("Grey: padding." in text for text in words_of(item.figure))


def test_a_sequence_of_full_length_has_no_padding(sequences):
    with Results.open(sequences) as results:
        (item,) = (one for one in drawn(results, "samples", rows=[0]) if isinstance(one, Drawing))
        assert not [one for one in item.figure.findobj(AxesImage) if one.get_array().shape == (1, STEPS, 4)]


def test_padding_does_not_count_in_the_range_of_a_channel(sequences):
    """All real values are below -1, and padding is 0: the brightest colour belongs to a real value."""
    with Results.open(sequences) as results:
        canvas = Canvas(results, results.engines["interior_gradients"], "X")
        axes = chart(2, 2).subplots()
        canvas.paint_input(axes, 0)
        shown = np.asarray(axes.images[0].get_array())
        values = results.original("X", 0)
        every = np.concatenate([results.original("X", s)[: LENGTHS[s]] for s in range(4)])
        expected = (values - every.min(0)) / (every.max(0) - every.min(0))
        np.testing.assert_allclose(shown, expected.T, atol=1e-6)


def test_strips_of_sequences_have_grey_padding_too(sequences):
    with Results.open(sequences) as results:
        strip = next(item for item in drawn(results, "saturation", rows=[2]) if "maps" in item.stem)
        veils = [one for one in strip.figure.findobj(AxesImage) if one.get_array().shape == (1, STEPS, 4)]
        maps = len(results.engines["interior_gradients"].map_alpha)
        assert len(veils) == 1 + 2 * maps
