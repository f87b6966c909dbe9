"""Causal graphs: what is read from files and mappings, what is refused, and what a graph tells."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from zuko.flows.autoregressive import MaskedAutoregressiveTransform

from xattr_cli.causal.graph.files import read_graph
from xattr_cli.causal.graph.graph import Graph
from xattr_cli.errors import JobError

CARS = ("cylinders", "displacement", "horsepower", "weight", "acceleration")
CAR_PARENTS = {
    "cylinders": [],
    "displacement": ["cylinders"],
    "weight": ["cylinders"],
    "horsepower": ["displacement"],
    "acceleration": ["displacement", "horsepower", "weight"],
}
CAR_EDGES = [(cause, effect) for effect, causes in CAR_PARENTS.items() for cause in causes]


def read(source, names=CARS, folder=Path()):
    return read_graph(source, names, folder)


def edges_of(graph):
    return {(graph.nodes[cause], graph.nodes[effect]) for cause, effect in graph.edges}


# --- reading ------------------------------------------------------------------------------------


def as_yaml(folder):
    text = "".join(f"{child}: [{', '.join(parents)}]\n" for child, parents in CAR_PARENTS.items())
    (folder / "graph.yaml").write_text(text)
    return "graph.yaml"


def as_yaml_edges(folder):
    edges = ", ".join(f"[{cause}, {effect}]" for cause, effect in CAR_EDGES)
    (folder / "graph.yml").write_text(f"edges: [{edges}]\n")
    return "graph.yml"


def as_graphml(folder):
    nx.write_graphml(nx.DiGraph(CAR_EDGES), folder / "graph.graphml")
    return "graph.graphml"


def as_adjacency_data(folder):
    (folder / "adjacency.json").write_text(json.dumps(nx.adjacency_data(nx.DiGraph(CAR_EDGES))))
    return "adjacency.json"


def as_node_link_data(folder):
    (folder / "links.json").write_text(json.dumps(nx.node_link_data(nx.DiGraph(CAR_EDGES), edges="links")))
    return "links.json"


def as_adjlist(folder):
    nx.write_adjlist(nx.DiGraph(CAR_EDGES), folder / "graph.adjlist")
    return "graph.adjlist"


def as_mapping(folder):
    return CAR_PARENTS


def as_sections(folder):
    return {"nodes": list(CARS), "parents": CAR_PARENTS}


WRITERS = [
    as_yaml, as_yaml_edges, as_graphml, as_adjacency_data, as_node_link_data, as_adjlist, as_mapping, as_sections,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_every_way_of_writing_a_graph_down_gives_the_same_one(write, tmp_path):
    graph = read(write(tmp_path), folder=tmp_path)
    assert graph.nodes == CARS, "nodes stand in the order of the columns"
    assert edges_of(graph) == set(CAR_EDGES)
    assert graph.columns == ((0,), (1,), (2,), (3,), (4,))


def test_an_absolute_path_stays_where_it_is(tmp_path):
    as_yaml(tmp_path)
    assert edges_of(read(tmp_path / "graph.yaml", folder=Path("/elsewhere"))) == set(CAR_EDGES)


def test_numbers_stand_for_positions_where_they_are_no_names():
    assert edges_of(read({0: [], 1: [0]}, ("X[0]", "X[1]"))) == {("X[0]", "X[1]")}
    assert edges_of(read({"1": ["0"], "0": []}, ("1", "0"))) == {("0", "1")}


def test_a_node_may_hold_several_columns_in_the_order_of_its_categories():
    source = {
        "nodes": {"colour": ["blue", "red"], "price": None},
        "edges": [["age", "price"], ["colour", "price"]],
    }
    graph = read(source, ("age", "red", "blue", "price"))
    assert graph.nodes == ("age", "colour", "price")
    assert graph.columns == ((0,), (2, 1), (3,))
    assert edges_of(graph) == {("age", "price"), ("colour", "price")}


def test_a_node_of_several_columns_can_be_written_in_graphml(tmp_path):
    written = nx.DiGraph([("age", "price"), ("colour", "price")])
    written.nodes["colour"]["columns"] = "red, blue"
    nx.write_graphml(written, tmp_path / "g.graphml")
    assert read("g.graphml", ("age", "red", "blue", "price"), tmp_path).columns == ((0,), (1, 2), (3,))


# --- refusing -----------------------------------------------------------------------------------

WRONG = {
    "cycle": (
        {"a": ["c"], "b": ["a"], "c": ["b"]},
        r"graph: a → b → c → a is a cycle",
    ),
    "cycle behind a root": ({"a": [], "b": ["a", "c"], "c": ["b"]}, r"b → c → b is a cycle"),
    "self-loop": ({"a": [], "b": ["b"], "c": []}, r"'b' is its own parent. Remove the edge b → b"),
    "unknown column": (
        {"a": [], "b": ["aa"], "c": []},
        r"no column is called 'aa'. Allowed: a, b, c. Did you mean 'a'\?",
    ),
    "unknown child": ({"a": [], "b": [], "c": [], "bb": ["a"]}, r"no column is called 'bb'.*Did you mean 'b'\?"),
    "missing column": ({"b": ["a"]}, r"misses 1 of 3 columns: c. .* `c: \[\]`"),
    "duplicate edge": ({"a": [], "b": ["a", "a"], "c": []}, r"the edge a → b is given twice"),
    "duplicate pair": (
        {"nodes": ["a", "b", "c"], "edges": [["a", "b"], ["a", "b"]]},
        r"the edge a → b is given twice",
    ),
    "edges and parents": (
        {"edges": [["a", "b"]], "parents": {"b": ["a"]}},
        r"edges and parents are both given",
    ),
    "no pair": ({"edges": [["a", "b", "c"]]}, r"edges must be a list of pairs \[cause, effect\]"),
    "parents of the wrong type": ({"a": {"b": 1}, "b": [], "c": []}, r"the parents of a must be a list of names"),
    "column in two nodes": (
        {"nodes": {"x": ["a", "b"], "y": ["b", "c"]}, "edges": []},
        r"the column 'b' belongs to the nodes 'x' and 'y'",
    ),
    "column twice in a node": ({"nodes": {"x": ["a", "a"], "b": None, "c": None}}, r"belongs to 'x' twice"),
    "edge to a part of a node": (
        {"nodes": {"x": ["a", "b"]}, "edges": [["a", "c"]]},
        r"the column 'a' is part of the node 'x'; name that instead",
    ),
    "node with a stranger's name": (
        {"nodes": {"c": ["a", "b"]}, "edges": []},
        r"the node 'c' has the name of a column that it does not hold",
    ),
    "empty": ({}, r"must be a mapping from each node to the list of its parents"),
}


@pytest.mark.parametrize("source, message", WRONG.values(), ids=WRONG)
def test_a_wrong_graph_is_refused_with_its_fault_named(source, message):
    with pytest.raises(JobError, match=message) as caught:
        read(source, ("a", "b", "c"))
    assert str(caught.value).startswith("graph: ")


def test_a_long_list_of_columns_is_not_spelled_out():
    names = [f"column{i}" for i in range(200)]
    with pytest.raises(JobError) as caught:
        read({"colunm7": []}, names)
    assert "Did you mean 'column7'?" in str(caught.value)
    assert len(str(caught.value)) < 150
    with pytest.raises(JobError, match=r"misses 199 of 200 columns: .* and 187 more"):
        read({"column0": []}, names)


FILES = {
    "no file": ("graph.yml", None, r"no such file"),
    "kind": ("graph.txt", "a: []", r"unknown kind of file. Allowed: .yaml, .yml, .graphml, .json, .adjlist"),
    "yaml": ("graph.yaml", "a: [", r"is not valid YAML, line 1"),
    "twice": ("graph.yaml", "a: []\nb: [a]\nb: []\n", r"line 3, column 1: the key 'b' is given twice"),
    "list": ("graph.yaml", "- a\n- b\n", r"must be a mapping"),
    "xml": ("graph.graphml", "<graphml", r"is not valid GraphML"),
    "json": ("graph.json", "{", r"is not valid JSON"),
    "plain json": ("graph.json", '{"a": ["b"]}', r"neither networkx's adjacency_data nor its node_link_data"),
    "odd json": ("graph.json", '{"adjacency": 3}', r"is not what networkx writes"),
    "bytes": ("graph.yaml", b"\xff\xfe\x00", r"cannot be read"),
}


@pytest.mark.parametrize("name, content, message", FILES.values(), ids=FILES)
def test_an_unreadable_file_is_named(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(JobError, match=message) as caught:
        read(name, ("a", "b"), tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_a_misspelt_file_is_found(tmp_path):
    as_yaml(tmp_path)
    with pytest.raises(JobError, match=r"Did you mean 'graph.yaml'\?"):
        read("grahp.yaml", folder=tmp_path)


def test_an_undirected_graph_says_nothing_about_causes(tmp_path):
    nx.write_graphml(nx.Graph([("a", "b")]), tmp_path / "g.graphml")
    with pytest.raises(JobError, match=r"is undirected. Causes need directed edges"):
        read("g.graphml", ("a", "b"), tmp_path)


# --- orders -------------------------------------------------------------------------------------


def test_an_order_allows_every_earlier_column_as_a_cause():
    graph = Graph.from_order(["c", "a", "b"], ("a", "b", "c"))
    assert graph.nodes == ("a", "b", "c")
    assert edges_of(graph) == {("c", "a"), ("c", "b"), ("a", "b")}
    assert [graph.nodes[node] for node in graph.order] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "order, message",
    [
        (["a", "b"], r"order: misses the column c"),
        (["a", "b", "c", "b"], r"order: b is given twice"),
        (["a", "b", "d"], r"order: no column is called 'd'. Allowed: a, b, c"),
    ],
)
def test_an_order_names_every_column_once(order, message):
    with pytest.raises(JobError, match=message):
        Graph.from_order(order, ("a", "b", "c"))


# --- what a graph tells -------------------------------------------------------------------------


def test_relatives_of_a_diamond():
    graph = read({"w": [], "z": ["w"], "x": ["w"], "y": ["z", "x"]}, ("w", "z", "x", "y"))
    assert graph.order == (0, 1, 2, 3)
    assert graph.ancestors == (frozenset(), {0}, {0}, {0, 1, 2})
    assert graph.descendants == ({1, 2, 3}, {3}, {3}, frozenset())


def test_order_follows_the_arrows_and_not_the_columns():
    graph = read({"a": ["b"], "b": ["c"], "c": []}, ("a", "b", "c"))
    assert graph.order == (2, 1, 0)


def test_rows_of_the_adjacency_are_children_as_zuko_has_it():
    graph = read({"a": [], "b": ["a"], "c": ["b"]}, ("a", "b", "c"))
    assert graph.adjacency().tolist() == [[True, False, False], [True, True, False], [False, True, True]]
    # zuko takes the same matrix: its transform of b looks at a, so it takes one pass per generation to invert
    assert MaskedAutoregressiveTransform(3, adjacency=graph.adjacency()).passes == 3


def test_random_graphs_agree_with_networkx():
    generator = np.random.default_rng(3)
    for _ in range(20):
        size = int(generator.integers(1, 9))
        label = generator.permutation(size)
        edges = [(label[i], label[j]) for i in range(size) for j in range(i + 1, size) if generator.random() < 0.4]
        parents = tuple(tuple(int(i) for i, j in edges if j == node) for node in range(size))
        graph = Graph(tuple(f"x{i}" for i in range(size)), parents)
        reference = nx.DiGraph(edges)
        reference.add_nodes_from(range(size))
        assert [set(a) for a in graph.ancestors] == [nx.ancestors(reference, node) for node in range(size)]
        assert [set(d) for d in graph.descendants] == [nx.descendants(reference, node) for node in range(size)]
        assert graph.order == tuple(nx.lexicographical_topological_sort(reference))


def test_a_cycle_in_a_random_graph_is_a_real_one():
    generator = np.random.default_rng(4)
    for _ in range(20):
        size = 6
        matrix = (generator.random((size, size)) < 0.35) & ~np.eye(size, dtype=bool)
        parents = tuple(tuple(np.flatnonzero(row).tolist()) for row in matrix)
        reference = nx.DiGraph([(int(cause), child) for child, causes in enumerate(parents) for cause in causes])
        if nx.is_directed_acyclic_graph(reference):
            continue
        with pytest.raises(JobError) as caught:
            Graph(tuple(map(str, range(size))), parents)
        path = str(caught.value).removeprefix("graph: ").partition(" is a cycle")[0].split(" → ")
        assert path[0] == path[-1] and len(set(path)) == len(path) - 1
        assert all(reference.has_edge(int(a), int(b)) for a, b in pairwise(path))
