"""Files that hold a graph, read into one mapping of nodes and edges; an edge leads from cause to effect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import JobError, reported
from ...importing import import_optional
from ...untrusted.files import read_text
from ...untrusted.yaml_text import parse_yaml

__all__ = ["read_adjacency_list", "read_graph_json", "read_graphml", "read_yaml"]


def read_yaml(path: Path) -> Any:
    """What a YAML file says; a key that is given twice is an error.

    Raises:
        JobError: unreadable, or not YAML.
    """
    return parse_yaml(_text(path), f"graph: {path}", JobError)


def read_graphml(path: Path) -> Mapping[str, Any]:
    """Nodes and edges of a directed GraphML file.

    Raises:
        JobError: networkx is missing; not GraphML; edges without direction.
    """
    networkx = _networkx(path)
    try:
        graph = networkx.read_graphml(path)
    except Exception as error:  # networkx lets its parser's errors through, of many kinds
        raise JobError(f"graph: {path} is not valid GraphML: {type(error).__name__}: {error}.") from error
    return _sections(graph, path)


def read_graph_json(path: Path) -> Mapping[str, Any]:
    """Nodes and edges of what `networkx.adjacency_data` or `networkx.node_link_data` gave.

    Raises:
        JobError: networkx is missing; neither format; edges without direction.
    """
    networkx = _networkx(path)
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise JobError(f"graph: {path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict) or not {"adjacency", "edges", "links"} & set(content):
        raise JobError(
            f"graph: {path} is neither networkx's adjacency_data nor its node_link_data. Write a mapping from "
            "each node to its parents as YAML."
        )
    try:
        if "adjacency" in content:
            graph = networkx.adjacency_graph(content)
        else:
            graph = networkx.node_link_graph(content, edges="edges" if "edges" in content else "links")
    except Exception as error:  # whatever a wrong structure leads to
        raise JobError(f"graph: {path} is not what networkx writes: {type(error).__name__}: {error}.") from error
    return _sections(graph, path)


def read_adjacency_list(path: Path) -> Mapping[str, Any]:
    """Nodes and edges of a text whose lines name a cause, then its effects, as `networkx.write_adjlist` gives it.

    Raises:
        JobError: networkx is missing; unreadable.
    """
    networkx = _networkx(path)
    lines = _text(path).splitlines()
    with reported(f"graph: {path} is no adjacency list", JobError):
        return _sections(networkx.parse_adjlist(lines, create_using=networkx.DiGraph), path)


# --- helpers ------------------------------------------------------------------------------------


def _sections(graph: Any, path: Path) -> Mapping[str, Any]:
    if not graph.is_directed():
        raise JobError(f"graph: {path} is undirected. Causes need directed edges (networkx.DiGraph).")
    nodes = {node: _columns(attributes.get("columns")) for node, attributes in graph.nodes(data=True)}
    return {"nodes": nodes, "edges": [[cause, effect] for cause, effect in graph.edges()]}


def _columns(content: Any) -> Any:
    """The attribute `columns` of a node; a text holds names with commas."""
    return [name.strip() for name in content.split(",")] if isinstance(content, str) else content


def _networkx(path: Path) -> Any:
    return import_optional("networkx", needed_by=f"graph: {path}", install="xattr-cli[icc]", error=JobError)


def _text(path: Path) -> str:
    return read_text(path, f"graph: {path}", JobError)
