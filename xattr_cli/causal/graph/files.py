"""Causal graphs as people write them down: YAML, GraphML, and what networkx saves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import JobError, nearest, reported
from .formats import read_adjacency_list, read_graph_json, read_graphml, read_yaml
from .graph import Graph, among, listed

__all__ = ["read_graph"]

_READERS = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".graphml": read_graphml,
    ".json": read_graph_json,
    ".adjlist": read_adjacency_list,
}
_SECTIONS = {"nodes", "edges", "parents"}


def read_graph(source: Path | str | Mapping[Any, Any], names: Sequence[str], folder: Path) -> Graph:
    """The causal graph that a job names or spells out.

    A mapping, or a YAML file that holds one, lists the direct causes of each node:

        displacement: [cylinders]
        weight: [cylinders]

    or, with sections, nodes of several columns and edges from cause to effect:

        nodes: {cylinders: , colour: [colour_red, colour_blue]}
        edges: [[cylinders, displacement], [cylinders, weight]]

    where `parents:` with a mapping as above may stand instead of `edges:`. GraphML (`.graphml`) and what
    networkx saves as JSON (`adjacency_data`, `node_link_data`; `.json`) or as a text of adjacency lists
    (`.adjlist`: the cause, then its effects) need networkx; there an edge leads from cause to effect, and a
    node's attribute `columns` may name the columns that it holds, with commas. The columns of a one-hot
    coded node are listed in the order of its categories.

    Arguments:
        source: a mapping, or the path of a file.
        names: of the columns of the data. All must be in the graph; a number stands for a position.
        folder: where a relative path starts.

    Raises:
        JobError: an unreadable file; an unknown column, or one that the graph misses; a cycle, a self-loop
            or a duplicate edge.
    """
    if isinstance(source, Mapping):
        with reported("graph: is none", JobError):  # such as a list where a name should be
            return _build(_from_mapping(source, "graph"), names)
    path = folder / Path(source).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise JobError(f"graph: {path}: unknown kind of file. Allowed: {', '.join(_READERS)}.")
    if not path.is_file():
        others = [p.name for p in path.parent.glob("*") if p.suffix in _READERS] if path.parent.is_dir() else []
        match = nearest(path.name, others)
        raise JobError(f"graph: {path}: no such file.{f' Did you mean {match!r}?' if match else ''}")
    found = reader(path)
    with reported(f"graph: {path} holds none", JobError):
        return _build(_from_mapping(found, f"graph: {path}"), names)


# --- what was written ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    """A graph as it was written, before its names are looked up.

    Attributes:
        nodes: name -> names of its columns; None if the node is the column of that name.
        edges: (cause, effect).
    """

    nodes: Mapping[Any, Sequence[Any] | None]
    edges: Sequence[tuple[Any, Any]]


def _from_mapping(mapping: Mapping[Any, Any], where: str) -> _Written:
    if not isinstance(mapping, Mapping) or not mapping:
        raise JobError(f"{where}: must be a mapping from each node to the list of its parents.")
    if set(mapping) & _SECTIONS and set(mapping) <= _SECTIONS:
        if "edges" in mapping and "parents" in mapping:
            raise JobError(f"{where}: edges and parents are both given; keep one of them.")
        nodes = _nodes(mapping.get("nodes"), where)
        edges = _edges(mapping.get("edges"), where) + _parent_edges(mapping.get("parents") or {}, where)
        return _Written({**dict.fromkeys(mapping.get("parents") or {}), **nodes}, edges)
    return _Written(dict.fromkeys(mapping), _parent_edges(mapping, where))


def _nodes(mapping: Any, where: str) -> dict[Any, list[Any] | None]:
    if mapping is None:
        return {}
    if isinstance(mapping, list):
        return dict.fromkeys(mapping)
    if not isinstance(mapping, Mapping):
        raise JobError(f"{where}: nodes must be a list of columns, or a mapping from nodes to their columns.")
    return {node: _names(columns, f"{where}: nodes.{node}") for node, columns in mapping.items()}


def _edges(content: Any, where: str) -> list[tuple[Any, Any]]:
    pairs = [] if content is None else content
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise JobError(f"{where}: edges must be a list of pairs [cause, effect], such as [[a, b], [b, c]].")
    return [(cause, effect) for cause, effect in pairs]


def _parent_edges(content: Any, where: str) -> list[tuple[Any, Any]]:
    if not isinstance(content, Mapping):
        raise JobError(f"{where}: parents must be a mapping from each node to the list of its parents.")
    return [
        (cause, effect)
        for effect, causes in content.items()
        for cause in _names(causes, f"{where}: the parents of {effect}") or ()
    ]


def _names(names: Any, where: str) -> list[Any] | None:
    """A list of names; one name may stand for itself, nothing for none."""
    if names is None or isinstance(names, list):
        return names
    if isinstance(names, str | int):
        return [names]
    raise JobError(f"{where} must be a list of names, not {names!r}.")


# --- looking names up ---------------------------------------------------------------------------


def _build(written: _Written, names: Sequence[str]) -> Graph:
    nodes = _resolved(written, names)
    holder = {column: node for node, columns in nodes.items() for column in columns}
    missing = [name for column, name in enumerate(names) if column not in holder]
    if missing:
        raise JobError(
            f"graph: misses {len(missing)} of {len(names)} columns: {listed(missing)}. Add each as a node; one "
            f"that nothing causes is written as `{missing[0]}: []`."
        )
    ordered = sorted(nodes, key=lambda node: min(nodes[node]))
    position = {node: place for place, node in enumerate(ordered)}
    causes: dict[str, list[int]] = {node: [] for node in ordered}
    for cause, effect in written.edges:
        causes[_spelled(effect, nodes, names)].append(position[_spelled(cause, nodes, names)])
    return Graph(
        tuple(ordered),
        tuple(tuple(causes[node]) for node in ordered),
        tuple(nodes[node] for node in ordered),
    )


def _resolved(written: _Written, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Columns per node, for the nodes that are declared and those that only edges mention."""
    nodes: dict[str, tuple[int, ...]] = {}
    for node, columns in written.nodes.items():
        if columns is None:
            column = _column(node, names)
            _add(nodes, names[column], (column,))
        else:
            held = tuple(_column(column, names) for column in columns)
            _add(nodes, str(node), held)
            if str(node) in names and names.index(str(node)) not in held:
                raise JobError(
                    f"graph: the node {node!r} has the name of a column that it does not hold; rename it."
                )
    _refuse_shared(nodes, names)
    inside = {column for columns in nodes.values() for column in columns}
    for name in _mentioned(written):
        if str(name) in nodes:
            continue
        column = _column(name, names)
        if names[column] in nodes:
            continue
        if column in inside:
            owner = next(node for node, columns in nodes.items() if column in columns)
            raise JobError(
                f"graph: the column {names[column]!r} is part of the node {owner!r}; name that instead."
            )
        _add(nodes, names[column], (column,))
    return nodes


def _mentioned(written: _Written) -> Iterable[Any]:
    return dict.fromkeys(name for edge in written.edges for name in edge)


def _spelled(name: Any, nodes: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> str:
    return str(name) if str(name) in nodes else names[_column(name, names)]


def _add(nodes: dict[str, tuple[int, ...]], name: str, columns: tuple[int, ...]) -> None:
    if name in nodes:
        raise JobError(f"graph: the node {name!r} is given twice.")
    if not columns:
        raise JobError(f"graph: the node {name!r} holds no columns.")
    nodes[name] = columns


def _refuse_shared(nodes: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> None:
    owner: dict[int, str] = {}
    for node, columns in nodes.items():
        for column in columns:
            if column in owner:
                other = f"the nodes {owner[column]!r} and {node!r}" if owner[column] != node else f"{node!r} twice"
                raise JobError(f"graph: the column {names[column]!r} belongs to {other}.")
            owner[column] = node


def _column(name: Any, names: Sequence[str]) -> int:
    """Position of a column: by name, or by number where that is no name."""
    text = str(name)
    if text in names:
        return list(names).index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise JobError(f"graph: no column is called {text!r}.{among(text, names)}")
