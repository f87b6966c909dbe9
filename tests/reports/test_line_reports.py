"""Sequences as lines, interior gradients in motion, and pages on which nothing is cut and little is empty."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from helpers.results import (
    MAP_ALPHA,
    diabetes,
    digits,
    integrated_gradients,
    interior_gradients,
    make_rows,
    scanned_digits,
    write_file,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from PIL import Image
from test_html_report import wave_file
from test_reports import boxes, figures, first_samples, simple_file, texts

from xattr_cli.reports.drawing.style import diverging_map, styled, symmetric_limit
from xattr_cli.reports.gallery import plot_all
from xattr_cli.store.results.reader import Results


@pytest.mark.parametrize("shape", [(512,), (1, 512), (512, 1)])
def test_a_wave_is_a_line_with_its_attribution_where_it_is(tmp_path, shape):
    with Results.open(wave_file(tmp_path / "wave.h5", shape)) as results:
        (figure,) = figures(results, "lines").values()
        axes = next(axes for axes in figure.axes if axes.get_lines())
        values = results.original("X", 0).ravel()
        np.testing.assert_allclose(axes.get_lines()[-1].get_ydata(), values)
        (coloured,) = [one for one in axes.collections if isinstance(one, LineCollection)]
        (piece,) = coloured.get_segments()
        assert piece[:, 0].tolist() == [299.5, 300, 300.5] and piece[1, 1] == values[300]
        assert to_hex(coloured.get_colors()[0]) == to_hex(diverging_map()(1.0))
        assert figures(results, "samples") == figures(results, "features") == {}


def test_features_of_a_sequence_are_lines_in_the_order_of_their_attributions(tmp_path):
    with Results.open(simple_file(tmp_path / "lines.h5", scanned_digits())) as results:
        figure = figures(results, "lines", samples=1)["lines"]
        sizes = np.abs(results.engine("ig").attribution([0])[0]).sum(0)
        order = np.argsort(-sizes)[:4]
        shown = [line for line in texts(figure).splitlines() if line.startswith("feature ")]
        assert shown == [f"feature {k}" for k in order]
        drawn = [axes.get_lines()[-1].get_ydata() for axes in figure.axes if axes.get_lines()]
        np.testing.assert_allclose(drawn, results.original("X", 0)[:, order].T)


def test_interior_gradients_move_through_all_their_maps(tmp_path):
    problem = first_samples(digits(), 2)
    rows, black = make_rows(problem), np.zeros_like(problem.inputs[0])
    engine = interior_gradients(problem, rows, black)
    with Results.open(write_file(tmp_path / "a.h5", problem, rows, {"interior": engine})) as results:
        (path,) = plot_all(results, tmp_path, kinds=["animation"], rows=[1])
        maps = results.engine("interior").path_maps([1])[1][0].sum(axis=1)
    assert path.name == "animation-interior.gif"
    with Image.open(path) as movie:
        assert movie.n_frames == len(MAP_ALPHA) == 5 and movie.info["loop"] == 0
        frames, durations = [], []
        for place in range(movie.n_frames):
            movie.seek(place)
            frames.append(np.asarray(movie.convert("RGB"), float))
            durations.append(movie.info["duration"])
    assert durations == [500] * 4 + [1500]
    assert all(np.abs(one - other).max() > 50 for one, other in combinations(frames, 2))
    # the scale of colours is one for all frames: the last holds the strongest integral, in its own colour
    limit = symmetric_limit(*maps)
    strongest = diverging_map()(0.5 + 0.5 * np.clip(maps[-1].flat[np.abs(maps[-1]).argmax()] / limit, -1, 1))
    near = [np.abs(frame - 255 * np.array(strongest[:3])).max(axis=2).min() for frame in frames]
    assert near[-1] < 12


@styled
def covered(figure):
    """Share of the half inches of a page that have something on them."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(40)
    canvas.draw()
    ink = np.asarray(canvas.buffer_rgba())[..., :3].min(axis=2) < 250
    height, width = (side // 20 * 20 for side in ink.shape)
    return ink[:height, :width].reshape(height // 20, 20, width // 20, 20).any(axis=(1, 3)).mean()


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Results with little to show: one row, one engine, short names."""
    folder = tmp_path_factory.mktemp("small")
    few = first_samples(diabetes(), 3)
    rows = make_rows(few)
    mean = np.zeros_like(few.inputs[0])
    engine = integrated_gradients(few, rows, 0.1, mean)
    return [
        simple_file(folder / "one.h5", first_samples(diabetes(), 1)),
        write_file(folder / "few.h5", few, rows, {"a_rather_long_label_of_an_engine": engine}),
        simple_file(folder / "lines.h5", first_samples(scanned_digits(), 2)),
        wave_file(folder / "wave.h5", (512,)),
    ]


@pytest.mark.parametrize("kind", ["samples", "lines", "features", "diagnostics"])
def test_nothing_is_cut_and_pages_are_not_empty_where_there_is_little(small_files, kind):
    for path in small_files:
        with Results.open(path) as results:
            for stem, figure in figures(results, kind).items():
                width, height = figure.bbox.size
                for text, box in styled(boxes)(figure):
                    assert box.x0 >= 0 and box.y0 >= 0, (path.name, stem, text)
                    assert box.x1 <= width and box.y1 <= height, (path.name, stem, text)
                assert covered(figure) > 0.36, (path.name, stem, covered(figure))
