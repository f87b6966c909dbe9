"""Where the nodes of a causal graph are drawn: causes left of their effects, by networkx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    import networkx
except ImportError:
    networkx = None

__all__ = ["layered", "networkx"]


def layered(nodes: int, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """(nodes, 2) places within ±1: in x by the generation of a node, in y by its place in its generation.

    Within a generation nodes are ordered by the mean height of their causes, so that few arrows cross.
    """
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges)
    layers: dict[int, list[int]] = {}
    height: dict[int, float] = {}
    for layer, generation in enumerate(networkx.topological_generations(graph)):
        layers[layer] = sorted(generation, key=lambda node: _mean_height(graph, node, height))
        for place, node in enumerate(layers[layer]):
            height[node] = place - (len(generation) - 1) / 2
    placed = networkx.multipartite_layout(graph, subset_key=layers, align="vertical")
    return np.array([placed[node] for node in range(nodes)], dtype=np.float64)


def _mean_height(graph: Any, node: int, height: dict[int, float]) -> tuple[float, int]:
    causes = list(graph.predecessors(node))
    return (sum(height[cause] for cause in causes) / len(causes) if causes else 0.0, node)
