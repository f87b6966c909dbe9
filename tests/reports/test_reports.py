"""Figures and tables of result files: what they say must be what the file holds."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import combinations
from pathlib import Path

import h5py
import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.results import (
    MAP_ALPHA,
    cancer,
    diabetes,
    digits,
    expected_gradients,
    integrated_gradients,
    interior_gradients,
    make_rows,
    path_integral,
    photographs,
    saliency,
    scanned_digits,
    write_file,
)
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from xattr_cli.cli import main
from xattr_cli.errors import ExitCode, JobError, StoreError
from xattr_cli.registry import FIGURES
from xattr_cli.reports.diagnostics import cost_bins, failed_rows
from xattr_cli.reports.drawing.importance import attribution_errors, importances
from xattr_cli.reports.drawing.selection import Drawing, select, spread
from xattr_cli.reports.drawing.style import WARNING, diverging_map, styled, symmetric_limit
from xattr_cli.reports.drawing.words import describe_map, describe_row, fold, number, percent, shorten
from xattr_cli.reports.features import swarm_offsets
from xattr_cli.reports.figures import BUILT_IN
from xattr_cli.reports.gallery import plot_all
from xattr_cli.reports.paths.saturation import half_way
from xattr_cli.reports.summary import summarize, summary_text
from xattr_cli.store.results.reader import Results

BROKEN = 5  # the sample whose input is not a number


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def digits_file(folder):
    """Five engines on images, one of them too exacting to converge, and a sample that is not a number."""
    problem = dataclasses.replace(digits(), inputs=digits().inputs.copy())
    problem.inputs[BROKEN, 0, 3, 3] = np.nan
    rows, black = make_rows(problem), np.zeros_like(problem.inputs[0])
    engines = {
        "integrated_gradients": integrated_gradients(problem, rows, 0.05, black),
        "too_exacting": integrated_gradients(problem, rows, 1e-4, black),
        "saliency": saliency(problem, rows),
        "expected_gradients": expected_gradients(problem, rows),
        "interior_gradients": interior_gradients(problem, rows, black),
    }
    return write_file(folder / "digits.h5", problem, rows, engines)


@pytest.fixture(scope="module")
def cancer_file(folder):
    problem = cancer()
    rows, mean = make_rows(problem), np.zeros(30, np.float32)
    engines = {
        "ig": integrated_gradients(problem, rows, 0.1, mean),
        "eg": expected_gradients(problem, rows, draws=16),
    }
    return write_file(folder / "cancer.h5", problem, rows, engines)


@pytest.fixture(scope="module")
def photos_file(folder):
    problem = dataclasses.replace(
        photographs(), classes=("a temple at a lake with a name of $many$ words", "dahlia")
    )
    rows, grey = make_rows(problem), np.zeros_like(problem.inputs[0])
    engine = integrated_gradients(problem, rows, 0.05, grey)
    long_name = "integrated_gradients_from_the_mean_of_the_data"
    return write_file(folder / "photos.h5", problem, rows, {long_name: engine, "x": engine})


def simple_file(path: Path, problem, rtol=0.05, stored=None) -> Path:
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, rtol, np.zeros_like(problem.inputs[0]))
    return write_file(path, problem, rows, {"ig": engine}, stored=stored)


def first_samples(problem, count):
    labels = None if problem.labels is None else problem.labels[:count]
    return dataclasses.replace(problem, inputs=problem.inputs[:count], labels=labels)


KINDS = [kind.registered_name for kind in BUILT_IN]


def figures(results, kind, **choice):
    """Stem -> figure, drawn in the project's style."""
    choice = {"engines": None, "samples": 8, "rows": None, **choice}

    @styled
    def draw():
        items = FIGURES.get(kind)().draw(select(results, **choice))
        return {item.stem: item.figure for item in items if isinstance(item, Drawing)}

    return draw()


def texts(figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def map_images(figure) -> list[AxesImage]:
    return [one for one in figure.findobj(AxesImage) if one.get_cmap().name == diverging_map().name]


# --- colours, numbers, words --------------------------------------------------------------------


def test_the_limit_of_colours_is_robust_and_never_zero():
    values = np.linspace(-1, 1, 1000)
    assert symmetric_limit(np.append(values, 1e6)) == pytest.approx(0.99, abs=0.01)
    assert symmetric_limit(np.append(values, np.nan)) == pytest.approx(0.99, abs=0.01)
    assert symmetric_limit(-3 * values, values) == pytest.approx(2.97, abs=0.05)
    assert symmetric_limit(np.zeros(4)) == symmetric_limit(np.full(4, np.nan)) == 1.0
    assert symmetric_limit(np.eye(20)) == 1.0  # 95 % zeros, and still not zero


# Machado, Oliveira, Fernandes 2009, severity 1, for linear RGB
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance_of_signs(cmap, share: float) -> float:
    """Smallest CIELAB distance between the colours of +share and -share to any eye."""
    ends = np.array([cmap(0.5 - share / 2)[:3], cmap(0.5 + share / 2)[:3]])
    linear = np.where(ends <= 0.04045, ends / 12.92, ((ends + 0.055) / 1.055) ** 2.4)
    seen = [[lab(matrix @ colour) for colour in linear] for matrix in COLOUR_BLINDNESS.values()]
    return min(float(np.linalg.norm(plus - minus)) for minus, plus in seen)


def test_signs_can_be_told_apart_by_every_eye():
    ours = diverging_map()
    assert to_hex(ours(0.5)) == "#ffffff"
    assert distance_of_signs(ours, 0.25) == pytest.approx(43, abs=1.5)
    assert distance_of_signs(ours, 0.5) == pytest.approx(91, abs=1.5)
    for other in ("coolwarm", "PuOr", "RdBu"):
        for share in (0.25, 0.5):
            assert distance_of_signs(matplotlib.colormaps[other], share) < distance_of_signs(ours, share)


def test_numbers_in_words():
    shares = (0.0312, 0.00123, 0.5, 1.2345, 0.0, 3e-6, np.nan, np.inf)
    expected = ["3.1 %", "0.12 %", "50 %", "123 %", "0 %", "<0.01 %", "unknown", "∞ %"]
    assert [percent(share) for share in shares] == expected
    values = (11.0, -0.012345, 0, 12345.6, 2.5e7, np.nan, -np.inf)
    assert [number(value).replace("\u2212", "-") for value in values] == [
        "11.0", "-0.0123", "0", "12346", "2.50e+07", "not a number", "-∞",
    ]  # fmt: skip


def test_long_words_are_folded_and_keep_both_ends():
    assert len(shorten("x" * 50, 20)) == 20 and shorten("short", 20) == "short"
    assert shorten("abcdefghijklmnop", 10) == "abcdef…nop"
    assert fold("integrated_gradients", 20) == "integrated_gradients"
    assert fold("integrated_gradients", 19) == "integrated_\ngradients"
    folded = fold("integrated_gradients_from_the_mean_of_the_training_data", 22)
    assert folded.count("\n") == 1 and all(len(line) <= 22 for line in folded.split("\n"))


def test_spread_takes_both_ends():
    assert spread(range(40), 3) == [0, 20, 39]
    assert spread([7, 8], 5) == [7, 8] and spread(range(10), 1) == [0]


# --- which rows ---------------------------------------------------------------------------------


def test_rows_are_chosen_evenly_among_the_stored_samples(tmp_path):
    with Results.open(simple_file(tmp_path / "a.h5", digits(), stored=20)) as results:
        chosen = select(results, None, 3, None).rows
        assert chosen[0] == 0 and chosen[-1] == 19 and len(chosen) == 3
        assert select(results, None, 3, [31, 2]).rows.tolist() == [31, 2]


def test_of_many_targets_the_highest_scores_are_shown(tmp_path):
    problem = dataclasses.replace(first_samples(digits(), 4), targets=(0, 2, 4, 6, 8))
    with Results.open(simple_file(tmp_path / "a.h5", problem)) as results:
        chosen = select(results, None, 2, None).rows
        scores = results.engine("ig").score_input
        assert results.rows.sample[chosen].tolist() == [0, 0, 0, 3, 3, 3]
        assert set(chosen[:3]) == set(np.argsort(-scores[:5])[:3])


def test_engines_and_rows_that_are_not_there_name_their_like(digits_file):
    with Results.open(digits_file) as results:
        with pytest.raises(JobError, match=r"no engine 'salience'.*Did you mean 'saliency'"):
            select(results, ["salience"], 1, None)
        with pytest.raises(JobError, match=r"no row 40\. It has 40 rows, numbered 0 to 39"):
            select(results, None, 1, [40])


# --- samples ------------------------------------------------------------------------------------


def test_a_sample_says_target_score_error_and_cost(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "samples", rows=[11], engines=["integrated_gradients"])["samples"]
        engine = results.engine("integrated_gradients")
        assert describe_row(results, 11)[:4] == ["sample 11", "label 1", "predicted 1", "target 1"]
        assert f"logit {number(engine.score_input[11])}" in texts(figure)
        assert f"±{percent(engine.relative_error[11])}, {engine.evaluations[11]} evaluations" in texts(figure)


def test_maps_are_the_attributions_centred_on_zero(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "samples", rows=[11, 3])["samples"]
        images = map_images(figure)
        assert len(images) == 10
        for image in images:
            low, high = image.get_clim()
            assert low == -high < 0
            assert image.get_interpolation() == "nearest"
        order = [label for label in results.engines if label != "saliency"] + ["saliency"]
        for image, label in zip(images, order, strict=False):
            np.testing.assert_array_equal(image.get_array(), results.engine(label).attribution([11])[0, 0])


def test_maps_in_one_unit_share_a_scale_and_others_have_their_own(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "samples", rows=[11])["samples"]
        limits = [image.get_clim()[1] for image in map_images(figure)]
        assert len(set(limits[:4])) == 1 and limits[4] != limits[0]  # saliency comes last
        complete = [e.attribution([11]) for label, e in results.engines.items() if label != "saliency"]
        assert limits[0] == symmetric_limit(*complete)


def test_colour_channels_are_summed_and_inputs_are_shown_as_they_were(photos_file):
    with Results.open(photos_file) as results:
        figure = figures(results, "samples", rows=[2], engines=["x"])["samples"]
        (image,) = map_images(figure)
        np.testing.assert_allclose(image.get_array(), results.engine("x").attribution([2])[0].sum(axis=0))
        photo = next(i for i in figure.findobj(AxesImage) if i.get_array().ndim == 3)
        pixels = np.moveaxis(results.original("X", 2), 0, -1) / 255
        np.testing.assert_allclose(photo.get_array()[..., :3], pixels, atol=1e-6)


def test_a_quarantined_row_is_named_and_not_painted(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "samples", rows=[BROKEN])["samples"]
        assert texts(figure).count("quarantined:") == 5
        assert map_images(figure) == []
        assert "logit not a number" in texts(figure)


def test_a_row_that_did_not_converge_is_marked(digits_file):
    with Results.open(digits_file) as results:
        engine = results.engine("too_exacting")
        assert describe_map(engine, 0).endswith("not converged")
        figure = figures(results, "samples", rows=[0], engines=["too_exacting", "integrated_gradients"])
        titles = [t for t in figure["samples"].findobj(Text) if "evaluation" in t.get_text()]
        assert [t.get_color() == WARNING for t in titles] == ["not converged" in t.get_text() for t in titles]
        assert sum(t.get_color() == WARNING for t in titles) == 1
        assert describe_map(results.engine("saliency"), 0) == "exact, 1 evaluation"


def test_samples_without_stored_inputs_have_maps_only(tmp_path):
    path = simple_file(tmp_path / "a.h5", first_samples(digits(), 4), stored=0)
    with Results.open(path) as results:
        figure = figures(results, "samples")["samples"]
        assert len(map_images(figure)) == 4 == len([i for i in figure.findobj(AxesImage) if i.axes.images])


def test_a_sample_among_those_not_stored_says_so(tmp_path):
    path = simple_file(tmp_path / "a.h5", first_samples(digits(), 4), stored=2)
    with Results.open(path) as results:
        assert "input\nnot stored" in texts(figures(results, "samples", rows=[0, 3])["samples"])


def test_sequences_run_from_left_to_right_and_need_no_labels(tmp_path):
    with Results.open(simple_file(tmp_path / "a.h5", first_samples(scanned_digits(), 2))) as results:
        figure = figures(results, "samples", rows=[1])["samples"]
        (image,) = map_images(figure)
        np.testing.assert_array_equal(image.get_array(), results.engine("ig").attribution([1])[0].T)
        assert "step" in texts(figure) and "label" not in texts(figure)


def test_rows_of_a_table_are_bars_that_add_up(cancer_file):
    with Results.open(cancer_file) as results:
        figure = figures(results, "samples", rows=[20], engines=["ig"])["samples"]
        widths = [bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
        values = results.engine("ig").attribution([20])[0]
        assert len(widths) == 9
        np.testing.assert_allclose(sum(widths), values.sum(), rtol=1e-5)
        np.testing.assert_allclose(abs(widths[0]), np.abs(values).max(), rtol=1e-6)
        largest = int(np.abs(values).argmax())
        name, value = results.inputs["X"].features[largest], results.original("X", 20)[largest]
        assert f"{name} = {number(value)}" in texts(figure)
        assert "sum of 22 others" in texts(figure)


def test_many_rows_fill_several_pages(digits_file):
    with Results.open(digits_file) as results:
        pages = figures(results, "samples", samples=17, engines=["saliency"])
        assert list(pages) == ["samples-1", "samples-2", "samples-3"]


def test_an_unknown_error_is_not_drawn(cancer_file, tmp_path):
    path = tmp_path / "copy.h5"
    path.write_bytes(cancer_file.read_bytes())
    with h5py.File(path, "r+") as file:
        file["engines/ig/relative_error"][20] = np.inf
    with Results.open(path) as results:
        engine = results.engine("ig")
        assert describe_map(engine, 20) == f"error unknown, {engine.evaluations[20]} evaluations"
        figure = figures(results, "samples", rows=[20], engines=["ig"])["samples"]
        assert np.isfinite(figure.axes[0].get_xlim()).all()
        assert summarize(results)["engines"]["ig"]["relative_error_median"] < 0.1
        assert list(figures(results, "diagnostics")) == ["diagnostics"]


# --- features -----------------------------------------------------------------------------------


def test_bars_are_means_over_the_rows_of_a_target(cancer_file):
    with Results.open(cancer_file) as results:
        drawn = figures(results, "features", engines=["ig"])
        assert list(drawn) == ["features-ig-0-malignant", "features-ig-1-benign"]
        figure = drawn["features-ig-1-benign"]
        rows = np.flatnonzero(results.rows.target == 1)
        means = np.abs(results.engine("ig").attribution(rows)).mean(axis=0)
        widths = [bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
        np.testing.assert_allclose(widths, np.sort(means)[::-1][:20], rtol=1e-5)
        assert f"ig, target benign, {len(rows)} rows" in texts(figure)
        top = results.inputs["X"].features[int(means.argmax())]
        assert figure.axes[0].get_yticklabels()[0].get_text() == top


def test_a_swarm_has_a_point_per_row_and_tells_the_range_of_values(cancer_file):
    with Results.open(cancer_file) as results:
        figure = figures(results, "features", engines=["ig"])["features-ig-1-benign"]
        swarms = [one for one in figure.axes[1].collections if isinstance(one, PathCollection)]
        rows = np.flatnonzero(results.rows.target == 1)
        assert len(swarms) == 20 and all(len(swarm.get_offsets()) == len(rows) for swarm in swarms)
        values = results.engine("ig").attribution(rows)
        feature = int(np.abs(values).mean(axis=0).argmax())
        np.testing.assert_allclose(swarms[0].get_offsets()[:, 0], values[:, feature])
        originals = results.inputs["X"].original(results.rows.sample[rows])[:, feature]
        low, high = np.percentile(originals, [5, 95])
        assert f"{number(low)} … {number(high)}" in texts(figure)


def test_the_interval_of_a_mean_covers_the_truth(cancer_file):
    problem = cancer()
    with Results.open(cancer_file) as results:
        engine = results.engine("ig")
        for found in importances(results, engine, "X", [0, 1]):
            rows = np.flatnonzero(results.rows.target == found.target)
            truth = np.array(
                [path_integral(problem, problem.inputs[row], np.zeros(30), found.target, 512) for row in rows]
            )
            off = np.abs(found.mean - np.abs(truth).mean(axis=0))
            values = engine.attribution(rows)
            map_errors = attribution_errors(engine, "X", rows, values).mean(axis=0)
            assert (off <= map_errors).mean() >= 0.9
            spread_of_rows = 1.96 * np.abs(values).std(axis=0, ddof=1) / np.sqrt(len(rows))
            np.testing.assert_allclose(found.interval, np.hypot(spread_of_rows, map_errors), rtol=1e-4)


def test_standard_errors_of_the_file_go_into_the_interval(cancer_file):
    with Results.open(cancer_file) as results:
        engine = results.engine("eg")
        errors = attribution_errors(engine, "X", [3, 8], engine.attribution([3, 8]))
        np.testing.assert_array_equal(errors, 1.96 * engine.standard_error([3, 8]))


def test_quarantined_rows_are_left_out_of_means(tmp_path):
    problem = first_samples(diabetes(), 30)
    problem = dataclasses.replace(problem, inputs=problem.inputs.copy())
    problem.inputs[4, 2] = np.nan
    with Results.open(simple_file(tmp_path / "a.h5", problem)) as results:
        (found,) = importances(results, results.engine("ig"), "X", [0])
        assert found.rows == 29 and np.isfinite(found.mean).all() and 4 not in found.shown
        (figure,) = figures(results, "features").values()
        assert "ig, 29 rows" in texts(figure) and "target" not in texts(figure)


def test_features_without_stored_inputs_are_not_coloured(tmp_path):
    with Results.open(simple_file(tmp_path / "a.h5", first_samples(diabetes(), 12), stored=0)) as results:
        (figure,) = figures(results, "features").values()
        assert "inputs not stored" in texts(figure) and "…" not in texts(figure)


def test_one_row_of_a_table_can_be_drawn(tmp_path):
    with Results.open(simple_file(tmp_path / "a.h5", first_samples(cancer(), 1))) as results:
        (figure,) = figures(results, "features").values()
        assert "1 row" in texts(figure)


def test_points_of_a_swarm_do_not_hide_each_other():
    values = np.concatenate([np.zeros(30), np.linspace(-1, 1, 20)])
    offsets = swarm_offsets(values, 1.0)
    assert np.abs(offsets).max() <= 1
    assert len(set(offsets[:30])) == 30
    assert (np.abs(offsets[30:]) < 0.1).sum() >= 19  # points apart from each other stay on the line


# --- along the path -----------------------------------------------------------------------------


def test_half_of_a_change_is_found_between_nodes():
    alpha = np.linspace(0, 1, 101) ** 2
    scores = np.stack([alpha, alpha**2, -np.sqrt(alpha), np.ones_like(alpha), np.full_like(alpha, np.nan)])
    found = half_way(alpha, scores)
    np.testing.assert_allclose(found[:3], [0.5, np.sqrt(0.5), 0.25], atol=1e-3)
    assert np.isnan(found[3:]).all()


def test_curves_are_those_of_the_file(digits_file):
    with Results.open(digits_file) as results:
        drawn = figures(results, "saturation", samples=6)
        assert list(drawn) == ["saturation-interior_gradients", "saturation-maps-interior_gradients"]
        axes = drawn["saturation-interior_gradients"].axes[0]
        engine = results.engine("interior_gradients")
        finite = np.delete(np.arange(40), BROKEN)
        middle = np.median(engine.curve("score", finite), axis=0)
        np.testing.assert_allclose(axes.get_lines()[-1].get_ydata(), middle, rtol=1e-6)
        assert len(axes.get_lines()) == 40  # 39 rows and their median
        assert "39 rows" in texts(drawn["saturation-interior_gradients"])


def test_a_strip_of_maps_has_one_scale(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "saturation", rows=[11, BROKEN])["saturation-maps-interior_gradients"]
        limits = [image.get_clim() for image in map_images(figure)]
        count = len(MAP_ALPHA)
        assert len(limits) == 2 * count  # the quarantined row is left out
        assert len(set(limits[:count])) == len(set(limits[count:])) == 1
        maps, running = results.engine("interior_gradients").path_maps([11])
        assert limits[0][1] == symmetric_limit(maps) and limits[-1][1] == symmetric_limit(running)
        assert [f"= {alpha:g}" in texts(figure) for alpha in MAP_ALPHA] == [True] * count


# --- diagnostics --------------------------------------------------------------------------------


def test_diagnostics_name_the_rows_that_failed(digits_file):
    with Results.open(digits_file) as results:
        failed, count = failed_rows(list(results.engines.values()), 7)
        assert [row for row, _ in failed] == [BROKEN] * 5 + [0, 1]
        assert [engine.label for _, engine in failed[4:]] == ["interior_gradients"] + ["too_exacting"] * 2
        assert count == 5 + np.count_nonzero(results.engine("too_exacting").status == 1)
        figure = figures(results, "diagnostics")["diagnostics"]
        assert texts(figure).count("quarantined") == 6  # five rows, and the title
        assert f"and {count - 15} more" in texts(figure)
        assert "rtol 5 %" in texts(figure) and "rtol 0.01 %" in texts(figure)
        assert "saliency (exact)" in texts(figure)


def test_quarantined_rows_never_reach_an_error(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "diagnostics", engines=["integrated_gradients"])["diagnostics"]
        curve = figure.axes[0].get_lines()[0]
        assert curve.get_ydata()[-1] == pytest.approx(39 / 40)
        error = results.engine("integrated_gradients").relative_error
        assert curve.get_xdata()[-1] == np.nanmax(error)


def test_costs_are_counted_by_powers_of_two():
    assert cost_bins([np.array([1, 9, 17]), np.array([64])]).tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert cost_bins([np.array([33, 64])]).tolist() == [64]
    assert cost_bins([np.array([0])]).tolist() == [1]


def test_every_row_is_counted_in_the_costs(digits_file):
    with Results.open(digits_file) as results:
        figure = figures(results, "diagnostics", engines=["integrated_gradients"])["diagnostics"]
        assert sum(bar.get_height() for bar in figure.axes[2].patches) == 40


# --- layout -------------------------------------------------------------------------------------


def boxes(figure) -> list[tuple[str, object]]:
    """Every text that can be seen, with its box in pixels; tick labels of an axis count if inside it."""
    figure.draw_without_rendering()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    ticks = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            inside = {tick.label1 for tick in axis._update_ticks()}
            every = {label for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)}
            ticks |= every - inside
    hidden = {text for axes in figure.axes if not axes.axison for text in axes.findobj(Text)} - {
        text for axes in figure.axes for text in (*axes.texts, axes.title, axes._left_title)
    }
    return [(t.get_text(), t.get_window_extent()) for t in shown if t not in ticks and t not in hidden]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["digits_file", "cancer_file", "photos_file"])
def test_no_text_is_cut_or_lies_on_another(file, kind, request):
    with Results.open(request.getfixturevalue(file)) as results:
        for stem, figure in figures(results, kind, samples=3).items():
            found = styled(boxes)(figure)
            width, height = figure.bbox.size
            for text, box in found:
                assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, (stem, text)
            for (one, a), (other, b) in combinations(found, 2):
                apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 2 or b.y1 <= a.y0 + 2
                assert apart or "rtol" in one + other, (stem, one, other)


# --- all of them --------------------------------------------------------------------------------


def test_every_figure_that_applies_is_written_and_the_others_are_explained(digits_file, tmp_path):
    told: list[str] = []
    with Results.open(digits_file) as results:
        paths = plot_all(results, tmp_path / "new" / "folder", samples=2, dpi=60, tell=told.append)
    assert [path.name for path in paths] == [
        "samples.png",
        "saturation-interior_gradients.png",
        "saturation-maps-interior_gradients.png",
        "animation-interior_gradients.gif",
        "diagnostics.png",
    ]
    assert all(path.stat().st_size > 5000 for path in paths)
    assert "no figure of kind 'features': 'X' of shape (1, 8, 8) is no table of features" in told
    drawn = {"samples", "saturation", "animation", "diagnostics"}
    assert [re.findall("'([a-z_]+)'", line)[0] for line in told] == [kind for kind in KINDS if kind not in drawn]


@pytest.mark.parametrize("format_", ["png", "pdf", "svg"])
def test_a_picture_is_the_same_whenever_it_is_drawn_and_whatever_the_user_likes(photos_file, tmp_path, format_):
    options = {"kinds": ["diagnostics"], "format": format_, "dpi": 50}
    with Results.open(photos_file) as results:
        (first,) = plot_all(results, tmp_path / "a", **options)
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
            (second,) = plot_all(results, tmp_path / "b", **options)
            assert matplotlib.rcParams["font.size"] == 30
    assert first.suffix == f".{format_}" and first.read_bytes() == second.read_bytes()


def test_several_tensors_are_drawn_each(tmp_path):
    parts = {"shape": slice(0, 12), "texture": slice(12, 30)}
    problem = dataclasses.replace(first_samples(cancer(), 6), tensors=parts, regression=False)
    with Results.open(simple_file(tmp_path / "a.h5", problem)) as results:
        assert list(figures(results, "samples")) == ["samples-shape", "samples-texture"]
        stems = list(figures(results, "features"))
        assert stems[0].startswith("features-ig-shape") and stems[-1].startswith("features-ig-texture")


def test_a_tensor_of_four_axes_is_no_picture(digits_file, tmp_path):
    path = tmp_path / "copy.h5"
    path.write_bytes(digits_file.read_bytes())
    with h5py.File(path, "r+") as file:
        for engine in file["engines"].values():
            values = engine["attribution"][()]
            del engine["attribution"]
            engine["attribution"] = values[:, :, None]
    with Results.open(path) as results, pytest.raises(StoreError, match=r"nothing to draw.*\(1, 1, 8, 8\)"):
        plot_all(results, tmp_path, kinds=["samples", "features"])


def test_wrong_choices_name_their_like(digits_file, tmp_path):
    with Results.open(digits_file) as results:
        with pytest.raises(JobError, match=r"unknown kind of figure 'sample'.*Did you mean 'samples'"):
            plot_all(results, tmp_path, kinds=["sample"])
        with pytest.raises(JobError, match=r"unknown format 'jpg'. Allowed: png, pdf, svg"):
            plot_all(results, tmp_path, format="jpg")


# --- the commands -------------------------------------------------------------------------------


def command(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_inspect_prints_the_numbers_of_the_file(digits_file):
    done = command("inspect", digits_file)
    assert done.exit_code == 0 and done.stderr == ""
    with Results.open(digits_file) as results:
        engine = results.engine("integrated_gradients")
        line = next(line for line in done.stdout.splitlines() if line.startswith("integrated_gradients"))
        assert line.split()[1:5] == ["40", "39", "0", "1"]
        for value in (np.nanmedian(engine.relative_error), np.nanpercentile(engine.relative_error, 95)):
            assert percent(value) in line
        assert percent(np.nanmedian(engine.relative_gap)) in line
        assert f"{engine.evaluations.mean():.1f}" in line
    assert "[cdcdcdcd]" in done.stdout and "took 1 min 5 s" in done.stdout
    assert "40 of 40 samples (inputs of 40 stored); X (1, 8, 8)" in done.stdout
    assert "not finite: row 5 (all engines)" in done.stdout
    assert "and 31 more (too_exacting)" in done.stdout


def test_inspect_json_is_strict_json_with_the_same_numbers(digits_file):
    done = command("inspect", digits_file, "--json")
    summary = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    with Results.open(digits_file) as results:
        assert summary == summarize(results)
        for label, engine in results.engines.items():
            found = summary["engines"][label]
            assert found["evaluations"] == engine.evaluations.sum()
            assert found["quarantined"] == 1 and found["first_quarantined_rows"] == [BROKEN]
            assert found["relative_error_p95"] == np.nanpercentile(engine.relative_error, 95)
    assert summary["engines"]["saliency"]["relative_gap_median"] is None
    assert summary["host"] == "node17" and summary["seconds"] == 65.0 and summary["checkpoint_hash"] == "cd" * 32


def test_a_file_without_any_map_can_be_summarised(tmp_path):
    problem = first_samples(digits(), 2)
    path = write_file(tmp_path / "a.h5", problem, make_rows(problem), {})
    with Results.open(path) as results:
        assert "2 of 2 samples (inputs of 2 stored); no maps" in summary_text(summarize(results))
        with pytest.raises(StoreError, match="nothing to draw"):
            plot_all(results, tmp_path)


def test_inspect_refuses_a_damaged_file(digits_file, tmp_path):
    (tmp_path / "cut.h5").write_bytes(digits_file.read_bytes()[:-5000])
    done = command("inspect", tmp_path / "cut.h5")
    assert done.exit_code == ExitCode.USAGE and done.stdout == ""
    assert done.stderr.startswith(f"Error: {tmp_path / 'cut.h5'}: is truncated")


def test_plot_prints_paths_beside_the_file(cancer_file):
    done = command("plot", cancer_file, "--engine", "eg", "--samples", 2, "--format", "svg")
    assert done.exit_code == 0, done.stderr
    names = ["samples.svg", "features-eg-0-malignant.svg", "features-eg-1-benign.svg", "diagnostics.svg"]
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert paths == [cancer_file.with_name("cancer-plots") / name for name in names]
    assert all(path.stat().st_size > 1000 for path in paths)
    assert done.stderr == ""
    asked = command("plot", cancer_file, "--kind", "diagnostics", "--kind", "saturation")
    assert asked.stderr == (
        "no figure of kind 'saturation': no engine has curves along its path; interior_gradients has\n"
    )


def test_plot_reports_wrong_options_without_a_traceback(digits_file, tmp_path):
    for options, text in (
        (("--engine", "saliensy"), "Did you mean 'saliency'?"),
        (("--row", 99), "numbered 0 to 39"),
        (("--kind", "diagnostic"), "Did you mean 'diagnostics'?"),
    ):
        done = command("plot", digits_file, "--to", tmp_path, *options)
        assert done.exit_code == ExitCode.USAGE and done.stderr.startswith("Error: "), done.output
        assert text in done.stderr and done.stdout == ""
    blocked = tmp_path / "file"
    blocked.touch()
    done = command("plot", digits_file, "--to", blocked / "plots", "--kind", "diagnostics")
    assert done.exit_code == ExitCode.FAILED and "cannot be written" in done.stderr


def test_help_names_every_kind_and_ends_with_an_example():
    text = command("plot", "--help").stdout
    assert all(kind in text for kind in KINDS)
    for name in ("plot", "inspect"):
        assert "Example:\n    xattr-cli" in command(name, "--help").stdout
