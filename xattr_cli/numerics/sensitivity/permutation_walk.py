"""Walks from one draw to another and back that change one node at a time, for many nodes.

A walk of a draw (U, V) starts at U, gives the nodes the noise of V one after the other, in an order of its own,
and then gives them that of U again in the same order: 2d points, of which number k and k + d share nothing.
With y the response, s_k = (y_k + y_{k+d}) / 2 and t_k = (y_k − y_{k+d}) / 2 for k < d, s_d = s_0 and t_d = −t_0,
all estimates are quadratic in the steps Δt_p = t_p − t_{p+1} and Δs_p = s_p − s_{p+1}, p being the node's place
in the order. They stay the same when outputs are shifted, and are 0 for a node without influence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RoundWalk", "last_node_first"]


@dataclass(frozen=True)
class RoundWalk:
    """Walks there and back.

    Attributes:
        places: (draws, nodes) int64, when each node of a draw changes.

    Example:
        >>> RoundWalk(torch.tensor([[1, 0]])).takes_v(slice(0, 1), slice(0, 4)).int()[0].tolist()
        [[0, 0], [0, 1], [1, 1], [1, 0]]
    """

    places: Tensor

    @property
    def nodes(self) -> int:
        """d."""
        return self.places.shape[1]

    @property
    def points(self) -> int:
        """2d."""
        return 2 * self.nodes

    def takes_v(self, draws: slice, points: slice) -> Tensor:
        """(draws, points, nodes) bool, whose noise comes from V."""
        position, time = self.places[draws, None], torch.arange(self.points)[points, None]
        return (position < time) & (time <= position + self.nodes)

    def shapley(self, draws: slice, outputs: Tensor) -> dict[str, Tensor]:
        """Shapley values, first-order and total indices, and the variance that they are shares of.

        A walk in a random order is a random order from each of its 2d points, and read backwards as well
        (Goda 2021, "A simple algorithm for global sensitivity analysis with Shapley effects", has one of these
        4d readings). Together they give Δt_p (t_0 + … + t_p − t_{p+1} − … − t_{d−1}) / d. The four points
        around the two changes of a node give its first-order index (Δt² − Δs²) / 2 and its total index
        (Δt² + Δs²) / 2.

        Arguments:
            draws: whose outputs these are; their orders must be equally likely.
            outputs: (draws, 2d, targets).

        Returns:
            sums over the draws, (nodes, targets) each, and the variance (targets,).
        """
        _, t, steps_s, steps_t = _halves(outputs)
        so_far = t.cumsum(dim=1)
        gains = steps_t * (2 * so_far - so_far[:, -1:]) / self.nodes
        by_place = {
            "shapley": gains,
            "first_order": (steps_t.square() - steps_s.square()) / 2,
            "total": (steps_t.square() + steps_s.square()) / 2,
        }
        variance = 2 * t.square().mean(dim=1).sum(dim=0)
        return {**self._by_node(by_place, draws), "variance": variance}

    def topological(self, draws: slice, outputs: Tensor) -> dict[str, Tensor]:
        """Gains of every node to those before it in an order, for walks that change the last node first.

        While the walk has changed the last k nodes, the others are still shared with its start, and have the
        worth t_0 t_k − (s_0 − s_k)² / 2 up to a constant: the mean of Goda's estimate and of the double difference
        (y_0 − y_{k+d}) (y_k − y_d) / 2, less uncertain than either.

        Arguments:
            draws: whose outputs these are; their walks must run against topological orders.
            outputs: (draws, 2d, targets).

        Returns:
            sums over the draws, (nodes, targets), and the variance (targets,) that they are shares of.
        """
        s, t, steps_s, steps_t = _halves(outputs)
        # (s_0 − s_{p+1})² − (s_0 − s_p)², as a product that is 0 where s does not change
        bends = steps_s * (2 * s[:, :1] - 2 * s + steps_s)
        gains = t[:, :1] * steps_t + bends / 2
        variance = 2 * t[:, 0].square().sum(dim=0)
        return {**self._by_node({"topological": gains}, draws), "topological_variance": variance}

    def _by_node(self, by_place: Mapping[str, Tensor], draws: slice) -> dict[str, Tensor]:
        """Sums over draws of what stands by place (draws, d, targets), by node."""
        places = self.places[draws, :, None]
        return {
            name: values.gather(1, places.expand(*places.shape[:2], values.shape[2])).sum(dim=0)
            for name, values in by_place.items()
        }


def last_node_first(positions: Tensor) -> Tensor:
    """(draws, nodes) when each node changes in a walk against an order, from its place in the order.

    Example:
        >>> last_node_first(torch.tensor([[0, 2, 1]])).tolist()
        [[2, 0, 1]]
    """
    return positions.shape[1] - 1 - positions


def _halves(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """s, t, Δs and Δt, (draws, d, targets) each, of outputs (draws, 2d, targets)."""
    there, back = outputs.chunk(2, dim=1)
    s, t = (there + back) / 2, (there - back) / 2
    next_s = torch.cat([s[:, 1:], s[:, :1]], dim=1)
    next_t = torch.cat([t[:, 1:], -t[:, :1]], dim=1)
    return s, t, s - next_s, t - next_t
