"""Tokens that act together: an LSTM that knows what "not" does, and its padded sentences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cli import datasets, run, write_job

from xattr_cli.registry import FIGURES
from xattr_cli.reports.drawing.selection import Drawing, select
from xattr_cli.reports.interactions.matrix import row_matrix
from xattr_cli.store.results.reader import Results

negation = pytest.importorskip("helpers.negation", reason="tokenizers is not installed")

TEXTS = [
    "the film is not good",
    "the cast of the film was not really dull",
    "the film is good",
    "the plot was really tedious",
]
AT = "engines/integrated_hessians"
MODEL = {"factory": "helpers.negation:reader", "checkpoint": "reader.pt"}
DATA = {"kind": "text", "path": "texts.txt", "tokenizer": "tokenizer.json", "labels": None}
BASELINE = {"kind": "token", "token": 0}
ENGINES = {
    "integrated_hessians": {"groups": "tokens", "baseline": BASELINE, "rtol": 0.01},
    "integrated_gradients": {"baseline": BASELINE, "rtol": 0.005},
}


def job(folder, name, **dataset):
    return write_job(
        folder, f"{name}.yaml", model=MODEL, dataset={**DATA, **dataset}, explain={"embedding": "auto"},
        engines=ENGINES, score="raw", target={"index": 0}, output={"path": f"{name}.h5"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("negation")
    torch.save(negation.trained().state_dict(), place / "reader.pt")
    negation.save_tokenizer(place / "tokenizer.json")
    (place / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    return place


@pytest.fixture(scope="module")
def output(folder):
    run(job(folder, "out"), "--quiet")
    return folder / "out.h5"


def matrix_of(output, row):
    """Γ of a sentence, the same without the diagonal, and its words."""
    with Results.open(output) as results:
        engine = results.engine("integrated_hessians")
        found = row_matrix(results, engine, engine.interactions, row)
    return found.values, found.values - np.diag(np.diag(found.values)), list(found.rows)


def test_sums_close_for_tokens_of_an_lstm(output):
    found = datasets(output)
    matrix = found[f"{AT}/interaction"].astype(float)
    change = found[f"{AT}/score_input"] - found[f"{AT}/score_baseline"]
    assert matrix.shape == (4, 9, 9) and (found[f"{AT}/status"] == 0).all()
    within = 0.01 * float(np.abs(change).max())
    assert matrix.sum((1, 2)) == pytest.approx(change, abs=within)
    assert matrix.sum(2) == pytest.approx(found["engines/integrated_gradients/reduced"], abs=within)
    assert np.abs(matrix - matrix.swapaxes(1, 2)).max() < 1e-4 * np.abs(matrix).max()


def test_not_turns_round_what_the_next_word_says(output):
    matrix, off, words = matrix_of(output, 0)
    negated, good = words.index("not"), words.index("good")
    assert words == TEXTS[0].split()
    assert off[negated, good] == pytest.approx(off.min(), rel=1e-3) and off.min() < -2
    assert matrix[good, good] > 2 and matrix.sum() < -2  # the word alone praises, the sentence does not
    _, off, words = matrix_of(output, 1)
    assert off[words.index("not"), words.index("dull")] == pytest.approx(off.max(), rel=1e-3) and off.max() > 2
    matrix, off, _ = matrix_of(output, 2)
    assert np.abs(off).max() < 0.2 * matrix[-1, -1]


def test_a_padded_sentence_has_zeros_on_its_padding_and_what_it_has_alone(folder, output):
    found = datasets(output)[f"{AT}/interaction"]
    for row, text in enumerate(TEXTS):
        length = len(text.split())
        assert not found[row, length:].any() and not found[row, :, length:].any()
    (folder / "one.txt").write_text(TEXTS[2] + "\n")
    run(job(folder, "alone", path="one.txt"), "--quiet")
    alone = datasets(folder / "alone.h5")[f"{AT}/interaction"][0]
    assert alone.shape == (4, 4)
    assert found[2, :4, :4] == pytest.approx(alone, abs=1e-4 * float(np.abs(alone).max()))


def test_the_heat_map_has_the_words_along_it(output):
    with Results.open(output) as results:
        drawn = FIGURES.get("interactions")().draw(select(results, ["integrated_hessians"], 4, None))
        figures = {item.stem: item.figure for item in drawn if isinstance(item, Drawing)}
    sheet = figures["interaction-rows-integrated_hessians"]
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in sheet.axes]
    assert TEXTS[0].split() in ticks and TEXTS[1].split() in ticks


CLOSED_FORM = """
import torch


class Products(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 3, dtype=torch.float64)
        torch.nn.init.normal_(self.embedding.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, ids):
        e = self.embedding(ids)
        return (e[:, 0] * e[:, 1]).sum(1, keepdim=True) + e[:, 2].square().sum(1, keepdim=True)
"""


def test_embeddings_in_float64_have_the_interactions_of_the_closed_form(tmp_path):
    (tmp_path / "closed_form.py").write_text(CLOSED_FORM)
    ids = np.random.default_rng(0).integers(0, 10, (5, 3))
    np.save(tmp_path / "ids.npy", ids)
    job = write_job(
        tmp_path,
        model={"factory": "closed_form:Products"},
        dataset={"kind": "arrays", "path": "ids.npy", "labels": None},
        explain={"embedding": "embedding"},
        engines={"integrated_hessians": {"groups": "tokens", "rtol": 1e-9}},
        score="raw",
        target={"index": 0},
        output={"path": "out.h5"},
    )
    run(job, "--quiet")
    matrix = datasets(tmp_path / "out.h5")[f"{AT}/interaction"]
    namespace = {}
    exec(CLOSED_FORM, namespace)
    e = namespace["Products"]().embedding.weight.detach().numpy()[ids]
    quarter, square = (e[:, 0] * e[:, 1]).sum(1) / 4, (e[:, 2] ** 2).sum(1)
    expected = np.zeros((5, 3, 3))
    expected[:, :2, :2] = quarter[:, None, None]
    expected[:, 2, 2] = square
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix, expected, rtol=1e-8, atol=1e-10)
