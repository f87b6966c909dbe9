"""The page of what differs between two results: its order, its words, and its colours, against the raw files."""

from __future__ import annotations

import dataclasses
import re

import h5py
import numpy as np
import pytest
from helpers.cli import invoke
from helpers.results import digits, integrated_gradients, make_rows, saliency, write_file
from test_html_report import EVIL, Page, hostile_file

ROWS = 40
MOVED = (3, 17, 31)
"""Rows whose maps differ by more than both error bars; the last one the most."""
NOISE = 12
"""The row that differs most within its error bars, which are wide."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two results of the same rows: some maps moved, one within wide error bars, one prediction another."""
    folder = tmp_path_factory.mktemp("two")
    problem = digits()
    rows = make_rows(problem)
    engine = integrated_gradients(problem, rows, 1e-3, np.zeros_like(problem.inputs[0]))
    engine.relative_error[NOISE] = 0.9
    maps = engine.attribution.copy()
    for share, row in zip((0.2, 0.4, 0.6), MOVED, strict=True):
        maps[row] *= 1 - share
    maps[NOISE] = np.roll(maps[NOISE], 1)
    other = dataclasses.replace(engine, attribution=maps, score_input=engine.score_input + 1)
    exact = saliency(problem, rows)
    paths = [folder / "before.h5", folder / "after.h5"]
    for path, one in zip(paths, (engine, other), strict=True):
        write_file(path, problem, rows, {"ig": one, "saliency": exact})
    with h5py.File(paths[1], "r+") as file:
        prediction = file["rows/prediction"]
        prediction[5] = (prediction[5] + 1) % 10
    return paths


def compared(folder, a, b, *options):
    """The page, and what the command says."""
    done = invoke("diff", a, b, "--report", folder / "diff.html", *options)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.strip() == str(folder / "diff.html")
    return Page((folder / "diff.html").read_text(encoding="utf-8")), done.stdout


def anchors(found):
    return [int(one["id"].removeprefix("row-")) for one in found.all("article")]


def table(found):
    """Column → entries of the table of rows, as they are sorted."""
    heads = re.findall(r'<th scope="col" data-name="([^"]*)"', found.html)
    cells = re.findall(r'data-key="([^"]*)"', found.html)
    return {name: cells[place :: len(heads)] for place, name in enumerate(heads)}


def test_rows_beyond_both_error_bars_come_first_then_the_most_different(tmp_path, files):
    found, _ = compared(tmp_path, *files)
    with h5py.File(files[0]) as a, h5py.File(files[1]) as b:
        one, two = (file["engines/ig/attribution"][:].reshape(ROWS, -1).astype(float) for file in (a, b))
    sizes = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    distance = np.linalg.norm(two - one, axis=1) / np.maximum(*sizes)
    order = [*MOVED[::-1], NOISE]
    assert anchors(found)[:4] == order and len(anchors(found)) == ROWS
    columns = table(found)
    assert columns["beyond errors"][:4] == ["yes", "yes", "yes", "no"]
    np.testing.assert_allclose([float(one) for one in columns["distance"]][:4], distance[order], rtol=1e-5)
    assert [float(one) for one in columns["Δ score"]] == [1.0] * ROWS
    assert [name for name in columns["now predicted"] if name] == [
        columns["now predicted"][anchors(found).index(5)]
    ]


def test_the_page_says_what_the_command_says(tmp_path, files):
    found, told = compared(tmp_path, *files)
    assert "3 of 40 common rows differ by more than both error bars; 1 of 40 samples are predicted" in found.text
    line = next(line for line in told.splitlines() if line.startswith("ig"))
    cells = re.split(r"\s{2,}", line)
    assert "".join(found.text.split()).count("".join(cells).replace(" ", "")) == 1
    assert found.text.count("beyond both error bars (") == len(MOVED)


def test_maps_of_one_engine_stand_side_by_side_in_the_same_colours(tmp_path, files):
    found, _ = compared(tmp_path, *files, "--rows", "1")
    captions = re.findall(r"<figcaption><b>(.*?)</b> <span>(.*?)</span>", found.html)
    titles = [title for title, _ in captions]
    assert titles == ["before.h5: ig", "after.h5: ig", "before.h5: saliency", "after.h5: saliency"]
    ends = [re.search("colours end at ±([^;]*)", words)[1] for _, words in captions]
    assert ends[0] == ends[1] and ends[2] == ends[3]
    assert "1 of 40 rows" in found.text


def test_a_result_beside_itself_differs_in_nothing(tmp_path, files):
    found, _ = compared(tmp_path, files[0], files[0])
    assert "None of 40 common rows differs" in found.text and "now predicted" not in table(found)
    assert {float(one) for one in table(found)["distance"]} == {0.0}


def test_texts_of_both_files_stay_texts(tmp_path):
    path = hostile_file(tmp_path / "<script>alert(1)<.h5")
    found, _ = compared(tmp_path, path, path)
    assert len(found.all("script")) == 1 and found.text.count(EVIL) >= 8


def test_a_page_never_replaces_a_result(files):
    done = invoke("diff", *files, "--report", files[0])
    assert done.exit_code == 2 and "is a result file" in done.stderr
