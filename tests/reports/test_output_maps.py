"""Heat maps of continuations: output tokens by the tokens before them, as a figure and in the report."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers.cli import invoke, run, write_job
from matplotlib.image import AxesImage
from test_token_reports import text_file

from xattr_cli.reports.drawing.selection import select
from xattr_cli.reports.rows.output_maps import OutputReader
from xattr_cli.reports.rows.outputs import OutputPages
from xattr_cli.store.results.reader import Results

helpers = pytest.importorskip("helpers.continuations", reason="transformers is not installed")
RECORDS = [
    {"text": "the cat <b> sat", "continuation": "on the mat"},
    {"text": "a good dog", "continuation": "ran"},
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Three output tokens of one prompt and one of another; prompt and prefix are explained."""
    folder = tmp_path_factory.mktemp("outputs")
    helpers.save_network(folder / "gpt2", "gpt2")
    path = helpers.write_records(folder, RECORDS)
    job = write_job(
        folder,
        model={"kind": "transformers", "factory": None, "path": str(folder / "gpt2")},
        dataset={"kind": "prompts", "path": str(path), "labels": None, "continuation": "continuation"},
        explain={"embedding": ["source", "prefix"], "reduce": "sum"},
        target="continuation",
        engines={"ig": {"engine": "integrated_gradients", "baseline": {"kind": "zero"}}},
    )
    run(job)
    return folder / "out.h5"


def test_a_matrix_has_the_attributions_of_the_file(file):
    with Results.open(file) as results:
        reader = OutputReader(results, list(results.engines.values()))
        assert reader.samples == [0, 1]
        [found] = reader.maps(0)
        ig = results.engine("ig")
        source, prefix = (ig.attribution([0, 1, 2], name).sum(-1) for name in ("source", "prefix"))
    assert found.outputs == ("on", "the", "mat")
    assert found.tokens == ("the", "cat", "<unk>", "sat", "on", "the")
    assert found.parts == (("source", 0), ("prefix", 4))
    assert found.values == pytest.approx(np.concatenate([source[:, :4], prefix[:, :2]], axis=1), abs=1e-6)
    assert found.limit == pytest.approx(np.abs(found.values).max(), rel=0.3)
    assert (found.values[0, 4:] == 0).all() and found.values[1, 5] == 0  # what comes later moves nothing
    assert found.values[1, 4] != 0 and found.values[2, 5] != 0


def test_the_figure_shows_every_output_token_of_a_sample(file):
    with Results.open(file) as results:
        pages = list(OutputPages().draw(select(results, None, 1, None)))
        [found] = OutputReader(results, list(results.engines.values())).maps(0)
    assert [page.stem for page in pages] == ["outputs-0"]
    axes = pages[0].figure.axes[0]
    [image] = axes.findobj(AxesImage)
    assert np.allclose(image.get_array(), found.values)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["on", "the", "mat"]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(found.tokens)


def test_the_report_has_the_same_numbers_and_names_rows_by_their_tokens(file, tmp_path):
    assert invoke("report", file, "-o", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    heat = page[page.index('id="continuations"') :]
    first = heat[heat.index("sample 0, ig") : heat.index("sample 1, ig")]
    lines = re.findall(r'<th scope="row" dir="auto">(\w+)</th>(.*?)</tr>', first, re.DOTALL)
    assert [name for name, _ in lines] == ["on", "the", "mat"]
    shown = [
        [float(text.replace("−", "-")) for text in re.findall(r'title="([^"]*)"', cells)] for _, cells in lines
    ]
    with Results.open(file) as results:
        [found] = OutputReader(results, list(results.engines.values())).maps(0)
        assert results.row_target(2) == "mat"
    assert np.array(shown) == pytest.approx(found.values, rel=0.06, abs=1e-3)
    assert "&lt;unk&gt;" in first and "<unk>" not in first
    assert re.search(r"<i>target</i> mat", page) and "<i>predicted</i>" not in page
    assert 'id="phrases"' not in page


def test_other_files_have_no_such_figure(tmp_path):

    with Results.open(text_file(tmp_path / "texts.h5")) as results:
        assert OutputReader(results, list(results.engines.values())).samples == []
