"""What is said of maps that are made again, before they are, and how far they have got."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cli import invoke
from helpers.evaluation import result

from xattr_cli.evaluation import EvaluationOptions, evaluate_file
from xattr_cli.registry import METRICS

NETWORK = '''
"""The network of this folder."""
import torch
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
'''
SAMPLES, OUTPUTS = 7, 3
ENGINES = {"saliency": None, "integrated_gradients": {"rule": "midpoint", "nodes": 6}}
REMAKING = [name for name in METRICS.names() if METRICS.get(name).explains_again]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Of two engines that take as much for every map."""
    folder = tmp_path_factory.mktemp("again")
    (folder / "networks.py").write_text(NETWORK)
    np.savez(folder / "data.npz", X=np.random.default_rng(0).uniform(-1, 1, (SAMPLES, 4)))
    return result(folder, engines=ENGINES)


def evaluated(file, *metrics, **options):
    """What was foretold, and the rows that were told to be done."""
    foretold, done = [], []
    found = evaluate_file(
        file,
        EvaluationOptions(metrics=metrics, **options),
        trust=True,
        folder=file.parent,
        foretell=foretold.append,
        progress=lambda rows, total: done.append(rows),
    )
    return foretold, done, found


@pytest.mark.parametrize("name", REMAKING)
def test_as_many_maps_are_made_as_were_foretold(file, name):
    (text,), done, found = evaluated(file, name)
    maps, rows = int(text.split()[1]), SAMPLES * OUTPUTS
    assert f"makes {maps} maps of each of {rows} rows again" in text
    # told at the beginning and the end of the block, and of each map that each of both engines made
    assert len(done) == 2 + len(ENGINES) * maps
    assert done[-3] < done[-2] == done[-1] == rows
    spent = maps * rows * (1 + 6 + 2)  # saliency; midpoints, and the scores of both ends
    assert found.evaluations == spent + rows  # and the scores of the rows, which are checked
    told = int(text.partition("about ")[2].split()[0].replace(",", ""))
    assert told == pytest.approx(spent, rel=0.005)


def test_draws_depths_and_layers_are_counted(file):
    kinds = [
        {"kind": "max_sensitivity", "draws": 3}, {"kind": "avg_sensitivity", "draws": 3},  # of the same maps
        {"kind": "mprt", "steps": 2, "draws": 4}, {"kind": "emprt", "draws": 2}, "sparseness",
    ]  # fmt: skip
    (text,), done, _ = evaluated(file, *kinds, limit=5, engines=("saliency",))
    maps = 1 + 3 + 2 * 4 + 2
    assert text.startswith(f"makes {maps} maps of each of 5 rows again, about {maps * 5} evaluations; ")
    assert len(done) == 2 + maps


def test_nothing_is_foretold_where_no_map_is_made_again(file):
    foretold, done, _ = evaluated(file, "pgu", "sparseness")
    assert foretold == []
    assert done == [0, SAMPLES * OUTPUTS]


def test_the_dearest_engine_is_named_on_stderr_unless_it_is_to_be_quiet(file):
    asked = "evaluate", file, "--trust", "--folder", file.parent, "--metric", "random_logit"
    outcome = invoke(*asked)
    assert "most of them (89%) by integrated_gradients; --engine and --limit leave some out" in outcome.stderr
    assert "makes" not in outcome.stdout
    assert "maps of each" not in invoke(*asked, "--quiet").stderr
