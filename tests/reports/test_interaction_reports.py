"""Figures of interactions: the numbers behind them, what they are called, and when there is nothing to draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.reports.drawing.selection import Drawing, Nothing, select
from xattr_cli.reports.interactions.figures import Interactions
from xattr_cli.reports.interactions.matrix import row_matrix
from xattr_cli.reports.interactions.pairs import brief, pair_errors, pair_strengths, pair_sums
from xattr_cli.store.results.reader import Results

FEATURES = ["age", "income", "debt", "price"]
ENGINES = {
    "integrated_hessians": {"rtol": 0.01},
    "expected": {"engine": "expected_hessians", "baseline": {"kind": "samples", "count": 8}, "rtol": 0.5},
    "one": {"engine": "integrated_hessians", "row": "debt"},
    "top": {"engine": "integrated_hessians", "top": 2},
    "gradients": {"engine": "integrated_gradients"},
}


def result(folder, model, data, engines, **more) -> Results:
    job = {"model": model, "dataset": {"kind": "arrays", "path": "data.npz", "inputs": "X", **data},
           "engines": engines, "output": {"path": "out.h5"}, **more}  # fmt: skip
    return Results.open(run_job(parse_job(yaml.safe_dump(job, sort_keys=False), folder=folder)).output)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Interactions of a table with names, and offsets and scales of its features."""
    folder = tmp_path_factory.mktemp("table")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    torch.save(network.state_dict(), folder / "model.pt")
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    values[3, 1] = np.nan
    np.savez(folder / "data.npz", X=values)
    model = {"kind": "python", "factory": "xattr_cli.models.zoo:mlp", "checkpoint": "model.pt",
             "kwargs": {"inputs": 4, "hidden": [8], "outputs": 2, "activation": "tanh"}}  # fmt: skip
    data = {"features": FEATURES, "bad_rows": "quarantine"}
    with result(folder, model, data, ENGINES, target={"index": 1}) as results:
        yield results


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Interactions of patches and superpixels of small images."""
    folder = tmp_path_factory.mktemp("images")
    np.savez(folder / "data.npz", X=np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32))
    model = {
        "kind": "python",
        "factory": "xattr_cli.models.zoo:digits_cnn",
        "kwargs": {"widths": [4, 4], "hidden": 8},
    }
    engines = {
        "patches": {"engine": "integrated_hessians", "groups": {"patches": 4}, "rtol": 0.05},
        "superpixels": {"engine": "integrated_hessians", "groups": {"segments": 4}, "rtol": 0.05},
    }
    with result(folder, model, {}, engines, target={"index": 3}) as results:
        yield results


def drawn(results, *engines):
    selection = select(results, list(engines) or None, 3, None)
    items = list(Interactions().draw(selection))
    figures = {item.stem: item.figure for item in items if isinstance(item, Drawing)}
    return figures, [item.reason for item in items if isinstance(item, Nothing)]


def test_strengths_are_means_over_rows_with_their_intervals(table):
    engine = table.engine("integrated_hessians")
    matrices = engine.interaction(slice(None))
    good = np.isfinite(matrices).all(axis=(1, 2))
    assert good.sum() == 29
    (found,) = pair_strengths(table, engine, [1])
    assert found.rows == 29
    assert found.matrix == pytest.approx(np.abs(matrices[good]).mean(0), rel=1e-5)
    sums = pair_sums(matrices[good])
    for (i, j), mean, signed in zip(found.pairs, found.mean, found.signed, strict=True):
        assert mean == pytest.approx(np.abs(sums[:, i, j]).mean(), rel=1e-5)
        assert signed == pytest.approx(sums[:, i, j].mean(), rel=1e-4)
    assert len(found.pairs) == 6 and (np.diff(found.mean) <= 0).all()
    i, j = found.pairs[0]
    spread = 1.96 * np.abs(sums[:, i, j]).std() / np.sqrt(28)
    assert found.interval[0] >= spread * 0.999 and found.interval[0] < spread * 1.1
    assert pair_strengths(table, engine, [0]) == []


def test_errors_of_pairs_come_from_standard_errors_where_there_are_any(table):
    engine = table.engine("expected")
    matrices = engine.interaction([0, 1])
    standard = engine.interactions.standard_error([0, 1])
    assert pair_errors(engine, [0, 1], matrices) == pytest.approx(1.96 * 2 * standard, rel=1e-3)
    engine = table.engine("integrated_hessians")
    matrices = engine.interaction([0])
    share = engine.relative_error[0] * np.linalg.norm(matrices[0]) / 4
    assert pair_errors(engine, [0], matrices) == pytest.approx(np.full((1, 4, 4), 2 * share))


def test_a_row_of_the_sheet_has_its_own_names(table):
    top = table.engine("top")
    found = row_matrix(table, top, top.interactions, 0)
    largest = np.abs(top.attribution([0])[0]).argsort()[::-1][:2]
    assert found.rows == (*(FEATURES[k] for k in largest), "rest") and found.is_square
    names, value, error = found.strongest(1)[0]
    i, j = (found.rows.index(name) for name in names)
    assert value == pytest.approx(found.values[i, j] + found.values[j, i]) and error > 0
    one = table.engine("one")
    found = row_matrix(table, one, one.interactions, 0)
    assert found.rows == ("debt",) and found.columns == tuple(FEATURES) and len(found.pairs) == 3
    assert ("debt", "debt") not in [names for names, _, _ in found.strongest(10)]


def test_every_engine_gets_the_figures_that_apply(table):
    figures, reasons = drawn(table)
    assert list(figures) == [
        "interactions-integrated_hessians", "interaction-rows-integrated_hessians",
        "dependence-integrated_hessians",
        "interactions-expected", "interaction-rows-expected", "dependence-expected",
        "interaction-rows-one", "interaction-rows-top",
    ]  # fmt: skip
    assert any("one: its rows look at different groups" in reason for reason in reasons)
    assert drawn(table, "gradients")[1] == [
        "no engine leaves interactions; integrated_hessians and expected_hessians do"
    ]
    texts = [text.get_text() for text in figures["interaction-rows-top"].texts]
    assert "sample 0" in texts


def test_images_have_no_dependence_plot_and_superpixels_no_summary(images):
    figures, reasons = drawn(images)
    assert list(figures) == ["interactions-patches", "interaction-rows-patches", "interaction-rows-superpixels"]
    assert any("no table of features" in reason for reason in reasons)
    engine = images.engine("superpixels")
    found = row_matrix(images, engine, engine.interactions, 0)
    present = np.unique(engine.interactions.segments(0))
    assert found.rows == tuple(f"segment {k}" for k in present)


def test_the_file_is_checked_with_its_matrices(table):
    arrays = {data.name.rsplit("/", 1)[-1] for data in table.engine("top").row_arrays()}
    assert {"interaction", "row_sum_gap", "nodes", "top"} <= arrays
    assert table.engine("gradients").interactions is None
    table.verify()


def test_long_names_lose_what_every_pixel_has():
    assert brief("X[channel 0, height 3, width 12]", 20) == "X[0, 3, 12]"
    assert brief("worst radius", 20) == "worst radius"
    assert brief("a very long name of a feature", 12) == "a very l…ure"
