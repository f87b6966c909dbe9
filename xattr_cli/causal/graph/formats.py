"""Files that hold a graph, read into one mapping of nodes and edges; an edge leads from cause to effect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...errors import JobError
from ...importing import import_optional

__all__ = ["read_adjacency_list", "read_graph_json", "read_graphml", "read_yaml"]


def read_yaml(path: Path) -> Any:
    """What a YAML file says; a key that is given twice is an error.

    Raises:
        JobError: unreadable, or not YAML.
    """
    try:
        return yaml.load(_text(path), _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise JobError(f"graph: {path} is not valid YAML{where}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise JobError(f"graph: {path} is not valid YAML: {error}.") from error


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
        given = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise JobError(f"graph: {path} is not valid JSON: {error}.") from error
    if not isinstance(given, dict) or not {"adjacency", "edges", "links"} & set(given):
        raise JobError(
            f"graph: {path} is neither networkx's adjacency_data nor its node_link_data. Write a mapping from "
            "each node to its parents as YAML."
        )
    try:
        if "adjacency" in given:
            graph = networkx.adjacency_graph(given)
        else:
            graph = networkx.node_link_graph(given, edges="edges" if "edges" in given else "links")
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
    return _sections(networkx.parse_adjlist(lines, create_using=networkx.DiGraph), path)


# --- helpers ------------------------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """YAML in which no key may be given twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return node


def _sections(graph: Any, path: Path) -> Mapping[str, Any]:
    if not graph.is_directed():
        raise JobError(f"graph: {path} is undirected. Causes need directed edges (networkx.DiGraph).")
    nodes = {node: _columns(attributes.get("columns")) for node, attributes in graph.nodes(data=True)}
    return {"nodes": nodes, "edges": [[cause, effect] for cause, effect in graph.edges()]}


def _columns(given: Any) -> Any:
    """The attribute `columns` of a node; a text holds names with commas."""
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else given


def _networkx(path: Path) -> Any:
    return import_optional("networkx", needed_by=f"graph: {path}", install="xattr-cli[icc]", error=JobError)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"graph: {path} cannot be read: {error}.") from error
