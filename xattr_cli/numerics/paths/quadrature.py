"""Quadrature rules on [0, 1]: the one that adapts to each row, and fixed ones as in papers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["RULES", "AdaptiveRule", "FixedRule", "fixed_rule"]

RULES = ("midpoint", "trapezoid", "gauss_legendre", "riemann_right")


@dataclass(frozen=True)
class AdaptiveRule:
    """Trapezoid rules in u, with more nodes where they pay, until a row's reported error is at most `rtol`.

    Attributes:
        rtol: relative error at which a row stops.
        max_nodes: no row evaluates more gradients than this on its path.
        intervals: of the first trapezoid.
        warp: power p of t = u^p, the path position at a node u.

    Example:
        >>> AdaptiveRule(rtol=0.05, max_nodes=1024, intervals=6, warp=2.0).intervals
        6
    """

    rtol: float
    max_nodes: int
    intervals: int
    warp: float


@dataclass(frozen=True)
class FixedRule:
    """∫₀¹ h(t) dt ≈ Σ_k weights[k] h(nodes[k]).

    Attributes:
        nodes: (n,) float64, increasing.
        weights: (n,) float64, positive, summing to 1.
        error_share: of the distance between the rule's even and odd nodes, each taken as a rule, that a
            jump of the integrand can cost: half for rules symmetric in their cells, all for one-sided ones.

    Example:
        >>> thirds = FixedRule(np.array([1 / 6, 1 / 2, 5 / 6]), np.full(3, 1 / 3))
        >>> round(float(thirds.weights @ thirds.nodes), 12)
        0.5
    """

    nodes: np.ndarray
    weights: np.ndarray
    error_share: float = 0.5


def fixed_rule(name: str, nodes: int) -> FixedRule:
    """The rule `name` with `nodes` gradient evaluations.

    The trapezoid carries both end points and true weights: they sum to 1 (captum's sum to (n−1)/n).

    Arguments:
        name: one of `RULES`.
        nodes: number of nodes, at least 1 (2 for the trapezoid).

    Raises:
        ValueError: too few nodes, or an unknown rule.

    Example:
        >>> rule = fixed_rule("gauss_legendre", 2)
        >>> round(float(rule.weights @ rule.nodes**3), 12)
        0.25
    """
    if nodes < (2 if name == "trapezoid" else 1):
        raise ValueError(f"{name} needs more than {nodes} nodes")
    k = np.arange(nodes, dtype=np.float64)
    if name == "midpoint":
        return FixedRule((k + 0.5) / nodes, np.full(nodes, 1 / nodes))
    if name == "riemann_right":
        return FixedRule((k + 1) / nodes, np.full(nodes, 1 / nodes), error_share=1.0)
    if name == "trapezoid":
        weights = np.full(nodes, 1 / (nodes - 1))
        weights[[0, -1]] /= 2
        return FixedRule(k / (nodes - 1), weights)
    if name == "gauss_legendre":
        x, w = np.polynomial.legendre.leggauss(nodes)
        return FixedRule((x + 1) / 2, w / 2)
    raise ValueError(f"unknown rule {name!r}; known: {', '.join(RULES)}")
