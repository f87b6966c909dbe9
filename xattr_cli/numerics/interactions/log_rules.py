"""Nested quadrature with the logarithmic weights that turn a double integral over a path into a single one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre

__all__ = ["NODE_COUNTS", "LogRule", "NestedLogRules", "interpolatory_rule", "nested_log_rules"]

NODE_COUNTS = (5, 11, 23, 47, 95)
"""Nodes of each level. The next one, 191, would have weights of both signs whose sizes sum to 1,800."""


@dataclass(frozen=True)
class LogRule:
    """Weights of one level: each sum is exact where h is a polynomial of a degree below the number of nodes.

    Attributes:
        plain: (n,) of ∫₀¹ h(t) dt.
        log: (n,) of ∫₀¹ −ln t · h(t) dt.
        ramp: (n,) of ∫₀¹ −t ln t · h(t) dt.
        parts: (2, n), of h and of its derivative in ∫₀¹ (1 − 2t) h + t (1 − t) h' dt, which is 0 for every h.

    Example:
        >>> rule = interpolatory_rule(np.array([0.0, 1.0]))
        >>> rule.plain.round(12).tolist(), rule.log.round(12).tolist()
        ([0.5, 0.5], [0.75, 0.25])
    """

    plain: np.ndarray
    log: np.ndarray
    ramp: np.ndarray
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.plain)


@dataclass(frozen=True)
class NestedLogRules:
    """Rules on nodes each of which all later levels use again.

    Attributes:
        nodes: (most,) in (0, 1), those of the first level first.
        levels: the rule on the first `NODE_COUNTS[k]` nodes, for each k.
        shadow: the first level without its middle node, whose weights are 0: what that node is worth.

    Example:
        >>> rules = nested_log_rules()
        >>> round(float(rules.levels[0].log.sum()), 12)  # ∫ −ln t dt
        1.0
    """

    nodes: np.ndarray
    levels: tuple[LogRule, ...]
    shadow: LogRule


@cache
def nested_log_rules(max_nodes: int = NODE_COUNTS[-1]) -> NestedLogRules:
    """The levels of at most `max_nodes` nodes.

    The first has the nodes of Gauss and Legendre. With t = (1 − cos θ) / 2, each next one adds the middles
    between neighbours in θ, the ends 0 and π included: where Gauss nodes lie, near enough. `make
    bench-interactions` compares the levels with other rules of as many nodes.

    Raises:
        ValueError: fewer nodes than the first level has.

    Example:
        >>> len(nested_log_rules(20).levels)
        2
    """
    counts = [count for count in NODE_COUNTS if count <= max_nodes]
    if not counts:
        raise ValueError(f"the first level takes {NODE_COUNTS[0]} nodes, more than {max_nodes}")
    theta = np.arccos(-legendre.leggauss(NODE_COUNTS[0])[0])
    ordered = theta
    while len(ordered) < counts[-1]:
        ends = np.concatenate([[0.0], theta, [np.pi]])
        middles = (ends[1:] + ends[:-1]) / 2
        ordered, theta = np.concatenate([ordered, middles]), np.sort(np.concatenate([theta, middles]))
    nodes = np.sin(ordered / 2) ** 2
    outer = np.arange(NODE_COUNTS[0]) != NODE_COUNTS[0] // 2
    shadow = _spread(interpolatory_rule(nodes[: NODE_COUNTS[0]][outer]), outer)
    return NestedLogRules(nodes, tuple(interpolatory_rule(nodes[:count]) for count in counts), shadow)


def interpolatory_rule(nodes: np.ndarray) -> LogRule:
    """Weights that integrate the polynomial through the values at some nodes exactly.

    Arguments:
        nodes: (n,) in [0, 1], all different.

    Example:
        >>> rule = interpolatory_rule(np.array([0.0, 0.5, 1.0]))
        >>> (6 * rule.plain).round(12).tolist()  # Simpson's
        [1.0, 4.0, 1.0]
    """
    n = len(nodes)
    scale = np.sqrt(2 * np.arange(n) + 1)
    basis = legendre.legvander(2 * nodes - 1, n - 1) * scale
    plain, log, ramp, value, slope = np.linalg.solve(basis.T, (_moments(n) * scale).T).T
    return LogRule(plain, log, ramp, np.stack([value, slope]))


def _moments(n: int) -> np.ndarray:
    """(5, n): ∫ w P_k over [0, 1] of w = 1, −ln t, −t ln t, 1 − 2t and t (1 − t) with the Legendre polynomials.

    Those of −ln t are known in closed form; a factor t follows from the three-term recurrence.
    """
    k = np.arange(n)
    plain = (k == 0).astype(float)
    log = np.concatenate([[1.0], (-1.0) ** k[1:] / (k[1:] * (k[1:] + 1.0)), [(-1.0) ** n / (n * (n + 1.0))]])
    before = np.concatenate([[0.0], log[: n - 1]])
    ramp = ((k + 1) * log[1:] + (2 * k + 1) * log[:-1] + k * before) / (2 * (2 * k + 1))
    falling = np.where(k == 1, -1 / 3, 0.0)
    bump = np.where(k == 0, 1 / 6, np.where(k == 2, -1 / 30, 0.0))
    return np.stack([plain, log[:-1], ramp, falling, bump])


def _spread(rule: LogRule, used: np.ndarray) -> LogRule:
    """The same rule on more nodes, those that it does not use with weight 0."""

    def filled(weights: np.ndarray) -> np.ndarray:
        spread = np.zeros((*weights.shape[:-1], len(used)))
        spread[..., used] = weights
        return spread

    return LogRule(filled(rule.plain), filled(rule.log), filled(rule.ramp), filled(rule.parts))
