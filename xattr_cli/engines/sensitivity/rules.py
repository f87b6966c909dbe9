"""What the options of `icc` and `sobol` mean for so many nodes: which estimator, how many draws, at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import JobError
from ...numerics.sensitivity.contributions import Rule
from ...numerics.sensitivity.entropy import EntropyRule, entropy_evaluations
from ...numerics.sensitivity.polynomial_chaos import Chaos, Family
from ...numerics.sensitivity.sums import Sampling, evaluations_per_draw

if TYPE_CHECKING:
    from .options import ContributionEngine, IccOptions, SobolOptions

__all__ = ["entropy_rule", "first_round", "rule_of", "surrogate_of", "wants_pairs"]

MOST_EXACT = 16
AUTO_EXACT = 5
"""Nodes up to which all subsets err as little as walks of as many evaluations (`make bench-icc`)."""
AUTO_SAMPLES = 2048
AUTO_PAIRED = 128
"""Outer draws of a study of entropies, over all replicates."""
AUTO_PAIRS = 64
MOST_CONTROLLED = 32


def rule_of(
    options: ContributionEngine,
    nodes: int,
    *,
    has_arrows: bool,
    memory_bytes: int,
    pairs: bool = False,
    surrogate: Chaos | None = None,
) -> Rule:
    """The rule that the options ask for.

    Arguments:
        options: of the engine.
        nodes: how many there are.
        has_arrows: whether any causes another.
        memory_bytes: bound on what is held at once.
        pairs: closed second-order indices are wanted.
        surrogate: that is fitted on the way, for all subsets.

    Raises:
        JobError: too many nodes for all subsets, or a first round that exceeds `max_evaluations`.
    """
    exact = _is_exact(options, nodes)
    sampling = Sampling(exact, pairs, options.replicates, memory_bytes, surrogate if exact else None)
    cost = options.replicates * evaluations_per_draw(nodes, sampling, has_arrows=has_arrows)
    asked = AUTO_SAMPLES if options.samples == "auto" else options.samples
    draws = _power_of_two(-(-asked // options.replicates))
    while options.samples == "auto" and draws > 1 and draws * cost > options.max_evaluations:
        draws //= 2
    if draws * cost > options.max_evaluations:
        raise JobError(
            f"max_evaluations: {options.max_evaluations:,} are fewer than the {draws * cost:,} of the first "
            f"round: {options.replicates} replicates of {draws} draws, {cost // options.replicates:,} evaluations "
            "each. Raise it, lower samples, or choose another estimator."
        )
    return Rule(sampling, draws, options.rtol, options.max_evaluations)


def first_round(rule: Rule, nodes: int, *, has_arrows: bool) -> int:
    """Evaluations of the first round."""
    per_draw = evaluations_per_draw(nodes, rule.sampling, has_arrows=has_arrows)
    return rule.draws * rule.sampling.replicates * per_draw


def entropy_rule(options: IccOptions, nodes: int, *, has_arrows: bool, memory_bytes: int) -> EntropyRule:
    """The rule for an entropy.

    Raises:
        JobError: too many nodes for all subsets, or a first round that exceeds `max_evaluations`.
    """
    exact = _is_exact(options, nodes)
    asked = AUTO_PAIRED if options.samples == "auto" else options.samples
    draws = max(4, _power_of_two(-(-asked // options.replicates)))
    cost = entropy_evaluations(nodes, draws, options.replicates, exact=exact, has_arrows=has_arrows)
    if cost > options.max_evaluations:
        raise JobError(
            f"max_evaluations: {options.max_evaluations:,} are fewer than the {cost:,} of the first round: "
            f"{options.replicates} replicates of {draws} draws, each with {draws} of the other nodes. Raise it, "
            "lower samples, or choose another estimator."
        )
    return EntropyRule(exact, options.replicates, draws, options.rtol, options.max_evaluations, memory_bytes)


def wants_pairs(options: SobolOptions, nodes: int) -> bool:
    """Whether closed second-order indices are to be estimated."""
    return nodes <= AUTO_PAIRS if options.pairs == "auto" else options.pairs


def surrogate_of(options: ContributionEngine, families: Sequence[Family], targets: int) -> Chaos | None:
    """The polynomials that are fitted on the way, if the options want any and they can help.

    Arguments:
        options: of the engine.
        families: per coordinate of the uniform noise.
        targets: outputs.
    """
    if options.control == "none" or targets > MOST_CONTROLLED:
        return None
    chaos = Chaos.largest(families)
    return chaos if chaos.degree > 1 else None


def _is_exact(options: ContributionEngine, nodes: int) -> bool:
    if options.estimator == "auto":
        return nodes <= AUTO_EXACT
    if options.estimator == "exact" and nodes > MOST_EXACT:
        raise JobError(
            f"estimator: exact takes all 2^d subsets of d = {nodes} nodes; it is for {MOST_EXACT} at most. "
            "Use walk, or auto."
        )
    return options.estimator == "exact"


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
