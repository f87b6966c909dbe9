"""Values that no figure knows: which they are, and how their axes decide what they look like."""

from __future__ import annotations

import dataclasses
import doctest

import h5py
import numpy as np
import pytest
from helpers.results import digits, make_rows, saliency, write_file

from xattr_cli.registry import FIGURES
from xattr_cli.reports.drawing import figure as figure_module
from xattr_cli.reports.drawing.selection import Drawing, Nothing, select
from xattr_cli.reports.drawing.style import PALETTE, styled
from xattr_cli.store.results.reader import Results


@pytest.fixture
def file(tmp_path):
    """A result with one engine, `ig`, that leaves what every engine leaves."""
    problem = dataclasses.replace(digits(), inputs=digits().inputs[:6], labels=digits().labels[:6])
    rows = make_rows(problem)
    return write_file(tmp_path / "a.h5", problem, rows, {"ig": saliency(problem, rows)})


def leave(path, values, **axes):
    """Let the engine leave more arrays; `axes` label those of each, separated by spaces."""
    with h5py.File(path, "r+") as file:
        for name, array in values.items():
            data = file["engines/ig"].create_dataset(name, data=array)
            for place, label in enumerate(axes.get(name, "").split()):
                data.dims[place].label = label


def drawn(path, rows=None):
    """Stem → figure, and the reasons."""
    with Results.open(path) as results:
        items = styled(lambda: list(FIGURES.get("values")().draw(select(results, None, 8, rows))))()
    figures = {item.stem: item.figure for item in items if isinstance(item, Drawing)}
    return figures, [item.reason for item in items if isinstance(item, Nothing)]


def test_what_other_figures_know_is_not_drawn_again(file):
    assert drawn(file) == ({}, ["other kinds speak for all values"])


def test_one_value_per_place_is_bars_with_the_names_of_the_places(file):
    leave(file, {"strength": [1.0, -2.0], "side_names": ["left", "right"]}, strength="side")
    figures, reasons = drawn(file)
    (axes,) = figures["values-ig-strength"].axes
    assert [bar.get_height() for bar in axes.patches] == [1.0, -2.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["left", "right"]
    assert axes.get_xlabel() == "side" and reasons == []


def test_values_along_coordinates_are_lines_over_them(file):
    radius = np.array([0.5, 1.0, 4.0])
    curve = np.arange(6.0).reshape(2, 3)
    leave(file, {"curve_of_radius": curve, "radius": radius}, curve_of_radius="class radius")
    figures, _ = drawn(file)
    assert list(figures) == ["values-ig-curve_of_radius"]
    (axes,) = figures["values-ig-curve_of_radius"].axes
    assert len(axes.lines) == 2
    for line, values in zip(axes.lines, curve, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([radius, values], axis=1))


def test_a_matrix_is_a_heat_map_with_white_at_zero(file):
    matrix = np.random.default_rng(0).normal(size=(3, 4))
    leave(file, {"matrix": matrix}, matrix="cause effect")
    figures, _ = drawn(file)
    axes = figures["values-ig-matrix"].axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), matrix)
    low, high = image.get_clim()
    assert low == -high
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("cause", "effect")


def test_values_of_rows_are_those_of_the_rows_that_are_asked_for(file):
    values = np.arange(6 * 50.0).reshape(6, 50)
    leave(file, {"walk": values}, walk="row time")
    figures, _ = drawn(file, rows=[4, 1])
    (axes,) = figures["values-ig-walk"].axes
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], values[[4, 1]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["row 4", "row 1"]


def test_more_rows_than_colours_become_a_heat_map(file):
    rows = len(PALETTE) + 1
    leave(file, {"walk": np.zeros((rows, 50))}, walk="walker time")
    figures, _ = drawn(file)
    assert figures["values-ig-walk"].axes[0].images


def test_three_axes_are_a_panel_for_each_place_on_the_first_and_the_rest_is_counted(file):
    leave(file, {"cube": np.ones((9, 2, 3))}, cube="target x y")
    figures, reasons = drawn(file)
    titles = [axes.get_title(loc="left") for axes in figures["values-ig-cube"].axes]
    assert [title for title in titles if title] == [f"target {number}" for number in range(6)]
    assert reasons == ["ig, cube: 6 parts are drawn, 3 are not"]


def test_texts_and_single_numbers_are_not_drawn(file):
    leave(file, {"words": ["a", "b"], "count": 3, "nothing": np.empty((0, 2))})
    assert drawn(file) == ({}, ["other kinds speak for all values"])


def test_the_example_of_a_kind_of_figure_runs():
    tried = doctest.testmod(figure_module)
    assert tried.attempted > 0 and tried.failed == 0
