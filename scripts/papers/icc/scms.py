"""Three structural causal models of standard normal noise, and scores of their nodes: known to both programs.

Nothing but arithmetic, so that arrays of numpy (in the oracle's environment) and tensors (in a job) both go
through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MODELS", "Model"]

Mechanism = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Model:
    """Nodes x_j = m_j(parents) + s_j n_j with n_j standard normal, and a score of all of them.

    Attributes:
        parents: node -> its causes; causes come first.
        mechanisms: node -> m_j, given the values of its causes; none for roots.
        scales: node -> s_j.
        score: of the values of all nodes.
        formula: of all that, to be read.
    """

    parents: Mapping[str, tuple[str, ...]]
    mechanisms: Mapping[str, Mechanism]
    scales: Mapping[str, float]
    score: Mechanism
    formula: str

    def values(self, noise: Sequence[Any]) -> list[Any]:
        """Of all nodes, from the noise of each."""
        found: dict[str, Any] = {}
        for (node, causes), one in zip(self.parents.items(), noise, strict=True):
            found[node] = self.scales[node] * one
            if causes:
                found[node] = found[node] + self.mechanisms[node]([found[cause] for cause in causes])
        return list(found.values())


MODELS = {
    "linear chain": Model(
        {"A": (), "B": ("A",), "C": ("A", "B")},
        {"B": lambda v: 2 * v[0], "C": lambda v: v[1] - v[0]},
        {"A": 1.0, "B": 2.0, "C": 1.0},
        lambda v: v[0] - v[1] + 2 * v[2],
        "B = 2A + 2n, C = B − A + n, f = A − B + 2C",
    ),
    "fork": Model(
        {"A": (), "B": ("A",), "C": ("A",)},
        {"B": lambda v: v[0] - 0.1 * v[0] ** 3, "C": lambda v: 0.5 * v[0] ** 2},
        {"A": 1.0, "B": 0.5, "C": 0.7},
        lambda v: v[1] * v[2] + v[1],
        "B = A − A³/10 + n/2, C = A²/2 + .7n, f = BC + B",
    ),
    "diamond": Model(
        {"A": (), "B": ("A",), "C": ("A",), "D": ("B", "C")},
        {"B": lambda v: v[0] ** 2 / 2, "C": lambda v: 0.5 * v[0], "D": lambda v: v[0] + v[0] * v[1]},
        {"A": 1.0, "B": 0.5, "C": 1.0, "D": 0.5},
        lambda v: v[3] + v[1] ** 2,
        "B = A²/2 + n/2, C = A/2 + n, D = B + BC + n/2, f = D + B²",
    ),
}
"""Name -> model."""
