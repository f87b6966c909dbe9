"""Figures of contributions: bars, graph, and the fit of the noise model, from the file alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.causal_jobs import CHAIN, PAIR, data_of, job_of
from helpers.cli import invoke, run

from xattr_cli.registry import FIGURES
from xattr_cli.reports.drawing.selection import Nothing, select
from xattr_cli.reports.drawing.style import styled
from xattr_cli.reports.drawing.words import number
from xattr_cli.reports.effects import causal_graph as contribution_graph
from xattr_cli.reports.effects import flow as flow_diagnostics
from xattr_cli.reports.html.indices import index_tables
from xattr_cli.store.results.reader import Results


@styled
def figures(kind, path, engines=None):
    """Stem → figure of everything that a kind draws, and the reasons for what it does not."""
    with Results.open(path) as results:
        items = list(FIGURES.get(kind)().draw(select(results, engines, 8, None)))
        for item in items:
            if not isinstance(item, Nothing):
                item.figure.draw_without_rendering()
    drawn = {item.stem: item.figure for item in items if not isinstance(item, Nothing)}
    return drawn, [item.reason for item in items if isinstance(item, Nothing)]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title, axes._left_title)]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A file with contributions along a graph, without one, and Sobol' indices, of three outputs."""
    folder = tmp_path_factory.mktemp("several")
    x = data_of("chain", 3)
    known = {"graph": CHAIN, "scm": "helpers.causal_networks:chain", "rtol": 0.05}
    job = job_of(folder, "three_outputs", x)
    lines = job.read_text().replace(
        "icc: {}",
        f"icc: {known}\n  plain: {{engine: icc, rtol: 0.05}}\n  sobol: {{rtol: 0.05}}".replace("'", '"'),
    )
    job.write_text(lines)
    run(job)
    return folder / "out.h5"


def test_bars_for_all_outputs_together_and_for_each_that_varies(several):
    drawn, reasons = figures("contributions", several)
    assert sorted(drawn) == sorted(
        f"contributions-{label}{target}" for label in ("icc", "plain", "sobol") for target in ("", "-0-0", "-1-1")
    )
    assert reasons == [
        f"{label}: the 4 outputs that vary most are drawn, 1 are not" for label in ("icc", "plain", "sobol")
    ]
    left, right = drawn["contributions-icc-1-1"].axes
    assert [bar.get_label() for bar in left.containers] == ["topological", "Shapley"]
    widths = [bar.get_width() for bar in left.containers[0]]
    np.testing.assert_allclose(widths, (0.8, 0.2, 0), atol=0.05)
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b", "c"]
    assert "indices of independent inputs (sobol)" in right.get_title(loc="left")
    assert "intrinsic causal contributions" in left.get_title(loc="left")
    assert "no causes known" in drawn["contributions-plain"].axes[0].get_title(loc="left")
    assert [bar.get_label() for bar in drawn["contributions-sobol"].axes[0].containers] == ["Shapley"]


def test_bars_beside_the_indices_of_the_noise_if_there_are_no_others(several):
    drawn, _ = figures("contributions", several, ["icc"])
    assert drawn["contributions-icc"].axes[1].get_title(loc="left").endswith("indices of the noise of each node")


def test_the_graph_shows_shares_and_arrows_from_causes_to_effects(several):
    drawn, _ = figures("causal_graph", several)
    assert sorted(drawn) == ["contribution-graph-icc", "contribution-graph-icc-0-0", "contribution-graph-icc-1-1"]
    axes = drawn["contribution-graph-icc-0-0"].axes[0]
    places = axes.collections[0].get_offsets()
    sizes = axes.collections[0].get_sizes()
    assert sizes[0] > 50 * sizes[1] and sizes[1] == pytest.approx(sizes[2])
    assert places[0, 0] < places[1, 0] < places[2, 0]
    arrows = [(patch._posA_posB[0][0], patch._posA_posB[1][0]) for patch in axes.patches]
    assert len(arrows) == 3 and all(cause < effect for cause, effect in arrows)
    assert any(text.startswith("a\n100 %") for text in texts(drawn["contribution-graph-icc-0-0"]))


def test_what_cannot_be_drawn_says_why(several, tmp_path, monkeypatch):
    assert figures("causal_graph", several, ["sobol"])[1] == [
        "no engine has a causal graph with edges; icc with graph or order has"
    ]
    assert figures("flow", several)[1] == ["no engine has fitted a flow; icc with a graph or an order does"]
    monkeypatch.setattr(contribution_graph, "networkx", None)
    drawn, reasons = figures("causal_graph", several)
    assert not drawn and reasons == ["the graph is laid out by networkx: pip install 'xattr-cli[icc]'"]


def test_nodes_of_a_generation_follow_their_causes():
    places = contribution_graph.layered(6, [(0, 2), (1, 3), (2, 5), (3, 4)])
    columns = {x: i for i, x in enumerate(sorted(set(places[:, 0].round(6))))}
    assert [columns[x] for x in places[:, 0].round(6)] == [0, 0, 1, 1, 2, 2]
    heights = places[:, 1]
    assert np.sign(heights[0] - heights[1]) == np.sign(heights[2] - heights[3]) == np.sign(heights[5] - heights[4])


def test_the_fit_of_a_flow_has_a_page_with_its_warnings(tmp_path):
    x = np.random.default_rng(0).standard_t(2, size=(400, 2)).astype(np.float32)
    options = {"graph": PAIR, "rtol": 0.2, "flow": {"epochs": 2}}
    run(job_of(tmp_path, "plain_sum", x, options=options))
    drawn, _ = figures("flow", tmp_path / "out.h5")
    figure = drawn["flow-icc"]
    assert len(figure.axes) == 5
    assert "under-trained" in figure.get_supxlabel()
    curve, normality, dependence, distance = figure.axes[:4]
    assert [line.get_label() for line in curve.lines] == ["training", "held out", "linear Gaussian model"]
    assert "Kolmogorov distance" in normality.get_legend().get_texts()[1].get_text()
    assert [label.get_text() for label in dependence.get_yticklabels()] == ["a", "b"]
    assert distance.get_xlim()[1] >= 0.1


def test_plot_draws_bars_graph_and_fit_from_the_file_alone(tmp_path):
    """Neither the network, nor the data, nor the flow are there any more."""
    options = {"graph": PAIR, "rtol": 0.2, "flow": {"epochs": 2}}
    (tmp_path / "job").mkdir()
    run(job_of(tmp_path / "job", "plain_sum", data_of("same", 2), options=options))
    (tmp_path / "job" / "out.h5").rename(tmp_path / "moved.h5")
    shutil.rmtree(tmp_path / "job")
    outcome = invoke("plot", tmp_path / "moved.h5", "--dpi", 40)
    assert outcome.exit_code == 0, outcome.stderr
    drawn = [Path(line).name for line in outcome.stdout.splitlines()]
    assert drawn == ["contributions-icc.png", "contribution-graph-icc.png", "flow-icc.png"]
    chosen = invoke("plot", tmp_path / "moved.h5", "--dpi", 40, "--kind", "causal_graph", "--to", tmp_path / "one")
    assert chosen.stdout.splitlines() == [str(tmp_path / "one" / "contribution-graph-icc.png")]
    assert all((tmp_path / "moved-plots" / name).stat().st_size > 2000 for name in drawn)


def test_a_legend_lies_on_no_bar(several):
    drawn, _ = figures("contributions", several)
    for stem, figure in drawn.items():
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes), stem
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0


def test_normal_quantiles():
    quantiles = flow_diagnostics.normal_quantiles(1000)
    assert quantiles[499] == pytest.approx(-quantiles[500])
    assert quantiles[974] == pytest.approx(1.9515, abs=1e-4)


def test_the_report_lists_indices_of_every_output_with_their_errors(several):
    with Results.open(several) as results:
        found = results.effects["sobol"]
        tables = list(index_tables(found))
        total, error = found.values("total"), found.values("total_standard_error")
        assert [table.title for table in tables] == [f"sobol, target {name}" for name in found.target_names]
        first = tables[1]
        assert first.heads == ("first order", "shapley", "total") and first.others == 0
        for name, *cells in first.lines:
            node = found.texts("nodes").index(name)
            assert cells[2] == f"{number(total[node, 1])} ± {number(error[node, 1])}"
        strengths = np.abs(found.values("first_order")[:, 1])
        assert [line[0] for line in first.lines] == [found.texts("nodes")[k] for k in np.argsort(-strengths)]
