"""What a job may say about causes, from the job file to the result: graphs, kinds of columns, and refusals."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest
import yaml
from helpers.causal_jobs import CHAIN, PAIR, data_of, effects, job_of
from helpers.cli import invoke, run

QUICK = {"epochs": 60, "patience": 8}
EDGES = [("a", "b"), ("a", "c"), ("b", "c")]


# --- ways to state a graph ----------------------------------------------------------------------


def as_yaml(folder):
    (folder / "graph.yaml").write_text(yaml.safe_dump(CHAIN))
    return {"graph": "graph.yaml"}


def as_graphml(folder):
    nx.write_graphml(nx.DiGraph(EDGES), folder / "graph.graphml")
    return {"graph": "graph.graphml"}


def as_adjacency(folder):
    (folder / "graph.json").write_text(json.dumps(nx.adjacency_data(nx.DiGraph(EDGES))))
    return {"graph": "graph.json"}


def as_order(folder):
    return {"order": ["a", "b", "c"]}


@pytest.mark.parametrize("write", [as_yaml, as_graphml, as_adjacency, as_order])
def test_a_graph_may_stand_in_a_file_or_follow_from_an_order(write, tmp_path):
    options = {**write(tmp_path), "scm": "helpers.causal_networks:chain", "rtol": 0.02}
    run(job_of(tmp_path, "weighted_sum", data_of("chain", 3), options=options))
    found = effects(tmp_path)
    assert found["causal"] and found["edges"].tolist() == [[0, 1], [0, 2], [1, 2]]
    np.testing.assert_allclose(found["topological"][:, 0], (1 / 9, 4 / 9, 4 / 9), atol=0.02)


# --- kinds of columns, through a flow -----------------------------------------------------------


def test_a_one_hot_block_and_its_effect_through_a_fitted_flow(tmp_path):
    x = data_of("colour_then_size", 2, rows=2000)
    graph = {"nodes": {"colour": ["a", "b", "c"], "d": None}, "edges": [["colour", "d"]]}
    run(job_of(tmp_path, "colour_and_size", x, options={"graph": graph, "rtol": 0.005, "flow": QUICK}))
    found = effects(tmp_path)
    assert found["nodes"] == ("colour", "d") and found["flow/noise_names"] == ("colour", "d")
    shares = x[:, :3].mean(axis=0, dtype=np.float64)
    reached = np.array([3, 1 + 2 * 2, 2 * -1])
    colour = shares @ reached**2 - (shares @ reached) ** 2
    # of five seeds 0.0006 to 0.0023
    np.testing.assert_allclose(found["topological"][:, 0], np.array([colour, 4]) / (colour + 4), atol=0.02)


def test_integers_and_categories_through_a_fitted_flow(tmp_path):
    """A category of 0, 1, 2 shifts a whole number, which the output adds to a number of its own."""
    random = np.random.default_rng(2)
    kind = random.integers(0, 3, 2000)
    count = 4 * kind + random.binomial(24, 0.5, 2000)
    x = np.stack([kind, count, random.normal(size=2000)], axis=1).astype(np.float32)
    options = {"graph": {"a": [], "b": ["a"], "c": []}, "rtol": 0.005, "flow": QUICK}
    run(job_of(tmp_path, "plain_sum", x, options=options))
    found = effects(tmp_path)
    parts = np.array([25 * 2 / 3, 6, 1])
    # of five seeds 0.0018 to 0.0046
    np.testing.assert_allclose(found["topological"][:, 0], parts / parts.sum(), atol=0.03)


# --- what is refused ----------------------------------------------------------------------------


def refused(folder, x, options, network="product", **more):
    outcome = invoke("run", job_of(folder, network, x, options=options, **more))
    assert outcome.exit_code == 2, outcome.stderr
    assert not (folder / "out.h5").exists()
    return outcome.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": {"a": ["b"], "b": ["a"]}}, "engines.icc.graph: a → b → a is a cycle. A cause cannot"),
        ({"graph": {"a": [], "b": ["aa"]}}, "no column is called 'aa'. Allowed: a, b. Did you mean 'a'?"),
        ({"graph": {"b": []}}, "misses 1 of 2 columns: a."),
        ({"order": ["a"]}, "order: misses the column b"),
        ({"graph": PAIR, "order": ["a", "b"]}, "graph and order are both given"),
        ({"graph": "absent.yaml"}, "absent.yaml: no such file"),
        ({"flow": "absent.safetensors"}, "absent.safetensors: no such file"),
        ({"graph": PAIR, "scm": "helpers.causal_networks:folded"}, "is not invertible in the noise of 'b'"),
        ({"graph": PAIR, "scm": "helpers.causal_networks:absent"}, "absent"),
    ],
)
def test_causes_that_make_no_sense(tmp_path, options, message):
    assert message in refused(tmp_path, data_of("same", 2), options)


def test_data_that_no_flow_can_be_fitted_to(tmp_path):
    x = data_of("same", 2)
    few, same = tmp_path / "few", tmp_path / "same"
    few.mkdir()
    same.mkdir()
    assert "have 60 rows, but a flow over 2 columns needs at least 100" in refused(few, x[:60], {"graph": PAIR})
    x[:, 1] = 4
    assert "column 'b' is 4 in all 400 rows" in refused(same, x, {"graph": PAIR})
