"""Studies of what the inputs contribute to the variance of the outputs, along a causal graph or independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...causal.flow.conditioner import import_zuko
from ...causal.model import CausalModel
from ...causal.opening import stated_graph
from ...errors import JobError, RunError
from ...numerics.sensitivity.contributions import Contributions, Rule, estimate_contributions
from ...numerics.sensitivity.entropy import EntropyRule, entropy_evaluations, estimate_entropies
from ...numerics.sensitivity.pick_freeze import Response
from ...numerics.sensitivity.polynomial_chaos import Family
from ..base import Effects
from .causal_model import model_of
from .data import gather_columns, independent_inputs, input_groups
from .effects import assemble_contributions
from .rules import entropy_rule, first_round, rule_of, surrogate_of, wants_pairs

if TYPE_CHECKING:
    from ..population import Population
    from .options import IccOptions, SobolOptions

__all__ = ["ContributionStudies"]


class ContributionStudies:
    """What `icc` and `sobol` do with a population."""

    def __init__(self, population: Population) -> None:
        self.population = population

    # --- along a causal graph ---

    def check_causal(self, options: IccOptions) -> None:
        """Refuse what cannot work, before anything is computed.

        Raises:
            JobError: names the option and what to do.
        """
        self._check_inputs()
        if options.measure == "entropy":
            self._check_classes()
        if options.is_causal and options.scm is None:
            import_zuko()
        self.expected_causal(options)

    def expected_causal(self, options: IccOptions) -> int:
        """Evaluations of the first round, as far as the job alone tells."""
        graph = stated_graph(options, self.population.names)
        nodes = len(self.population.names) if graph is None else len(graph)
        has_arrows = options.is_causal if graph is None else any(graph.parents)
        memory = self.population.memory_bytes
        if options.measure == "entropy":
            asked = entropy_rule(options, nodes, has_arrows=has_arrows, memory_bytes=memory)
            return entropy_evaluations(
                nodes, asked.draws, asked.replicates, exact=asked.exact, has_arrows=has_arrows
            )
        rule = rule_of(options, nodes, has_arrows=has_arrows, memory_bytes=self.population.memory_bytes)
        return first_round(rule, nodes, has_arrows=has_arrows)

    def causal(self, options: IccOptions) -> Effects:
        """Intrinsic causal contributions."""
        population = self.population
        studied = model_of(options, population)
        model = studied.model
        contributions, exact = self._causal_contributions(options, model)
        return assemble_contributions(
            contributions,
            exact=exact,
            replicates=options.replicates,
            measure=options.measure,
            nodes=model.nodes,
            members=model.columns,
            features=population.layout.size,
            ranking="topological",
            facts={**studied.facts, "causal": np.array(model.causal), "edges": _edges(model.parents)},
            axes={**studied.axes, "edges": ("edge", "end")},
        )

    def _causal_contributions(self, options: IccOptions, model: CausalModel) -> tuple[Contributions, bool]:
        """What was found, and whether from all subsets."""
        memory, has_arrows = self.population.memory_bytes, any(model.parents)
        if options.measure == "entropy":
            response = self._causal_response(model, lambda points: self.population.predicted(self._placed(points)))
            asked = entropy_rule(options, response.nodes, has_arrows=has_arrows, memory_bytes=memory)
            return self._estimate(response, asked), asked.exact
        response = self._causal_response(model, self._scores)
        rule = rule_of(
            options,
            response.nodes,
            has_arrows=has_arrows,
            memory_bytes=memory,
            surrogate=surrogate_of(options, ["hermite"] * response.dims, response.targets),
        )
        return self._estimate(response, rule), rule.sampling.exact

    def _causal_response(self, model: CausalModel, outputs: Callable[[Tensor], Tensor]) -> Response:
        """The outputs as a function of the noise; without arrows, of the inputs, each of which is mapped once."""
        device = self.population.scorer.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        noise_owner = torch.arange(len(model.nodes)).repeat_interleave(torch.tensor(model.noise_dims))

        def normal(uniform: Tensor) -> Tensor:
            noise: Tensor = torch.special.ndtri(uniform)
            return noise.to(device, dtype)

        if any(model.parents):
            return self._response(
                model.parents, noise_owner, noise_owner, normal, lambda noise: outputs(model.inputs(noise))
            )
        return self._response(
            model.parents,
            noise_owner,
            _owner(model.columns),
            lambda uniform: self._placed(model.inputs(normal(uniform))),
            outputs,
        )

    # --- independent inputs ---

    def check_independent(self, options: SobolOptions) -> None:
        """Refuse what cannot work, before anything is computed.

        Raises:
            JobError: names the option and what to do.
        """
        self._check_inputs()
        self.expected_independent(options)

    def expected_independent(self, options: SobolOptions) -> int:
        """Evaluations of the first round."""
        count = len(input_groups(options, self.population.names))
        return first_round(self._independent_rule(options, count, ()), count, has_arrows=False)

    def independent(self, options: SobolOptions) -> Effects:
        """Sobol' indices and Shapley effects."""
        population = self.population
        groups = input_groups(options, population.names)
        inputs = independent_inputs(options, groups, population.names, gather_columns(population))
        response = self._response(
            ((),) * len(groups),
            inputs.noise_owner,
            inputs.owner,
            lambda uniform: self._placed(inputs.rows(uniform)),
            self._scores,
        )
        rule = self._independent_rule(options, len(groups), inputs.families)
        return assemble_contributions(
            self._estimate(response, rule),
            exact=rule.sampling.exact,
            replicates=rule.sampling.replicates,
            nodes=[group.name for group in groups],
            members=[group.members.tolist() for group in groups],
            features=population.layout.size,
            ranking="total",
            left_out=["topological"],
        )

    def _independent_rule(self, options: SobolOptions, count: int, families: Sequence[Family]) -> Rule:
        return rule_of(
            options,
            count,
            has_arrows=False,
            memory_bytes=self.population.memory_bytes,
            pairs=wants_pairs(options, count),
            surrogate=surrogate_of(options, families, len(self.population.targets)) if families else None,
        )

    # --- both ---

    def _check_inputs(self) -> None:
        if self.population.has_context:
            raise JobError(
                "explain: the network takes inputs that are not explained, which differ from sample to sample; "
                "a variance over generated inputs needs all of them. Say explain: inputs, or wrap the network so "
                "that it fills in the others itself."
            )

    def _check_classes(self) -> None:
        scorer = self.population.scorer
        if self.population.outputs < 2:
            raise JobError(
                "measure: entropy is that of a predicted class, but the network has a single output and nothing "
                "says that it tells two classes apart. Name them as dataset.class_names, or use measure: variance."
            )
        independent = scorer.score.registered_name == "sigmoid" or scorer.view.scale == "independent"
        if scorer.view.places or independent:
            what = "a class at each position" if scorer.view.places else "labels that do not exclude each other"
            raise JobError(f"measure: entropy is that of one predicted class, but the outputs are {what}.")

    def _scores(self, points: Tensor) -> Tensor:
        return self.population.scores(self._placed(points))

    def _placed(self, points: Tensor) -> Tensor:
        scorer = self.population.scorer
        return points.to(scorer.device, scorer.dtype)

    def _response(
        self,
        parents: tuple[tuple[int, ...], ...],
        noise_owner: Tensor,
        owner: Tensor,
        prepare: Callable[[Tensor], Tensor],
        outputs: Callable[[Tensor], Tensor],
    ) -> Response:
        population = self.population
        return Response(
            parents,
            noise_owner,
            owner,
            prepare,
            outputs,
            targets=len(population.targets),
            row_bytes=24 * population.layout.size,
            epsilon=torch.finfo(population.scorer.dtype).eps,
        )

    def _estimate(self, response: Response, rule: Rule | EntropyRule) -> Contributions:
        population = self.population

        def generators(stream: int) -> np.random.Generator:
            return population.generator(1 + stream)

        if isinstance(rule, EntropyRule):
            contributions = estimate_entropies(
                response, rule, generators, classes=population.outputs, targets=population.targets,
                step=population.once, progress=population.progress,
            )  # fmt: skip
        else:
            contributions = estimate_contributions(
                response, rule, generators, step=population.once, progress=population.progress
            )
        self._refuse_constant(contributions)
        widest = float(contributions.half_width.nan_to_num().max())
        if widest > rule.rtol:
            population.warn(
                f"not converged: the widest 95 % interval of a share is ± {widest:.2g} after "
                f"{contributions.evaluations:,} evaluations, but rtol is {rule.rtol:g}. Raise max_evaluations or "
                "rtol."
            )
        return contributions

    def _refuse_constant(self, contributions: Contributions) -> None:
        constant = contributions.is_constant
        if constant.all():
            raise RunError(
                f"the output is constant: all {len(constant)} outputs studied stay the same (such as "
                f"{float(contributions.mean[0]):.6g}) over {contributions.draws:,} draws of the inputs, so there "
                "is no variance to share out. Look at the checkpoint, the score and the scaling of the inputs."
            )
        names = [name for name, same in zip(self.population.target_names, constant, strict=True) if same]
        if names:
            self.population.warn(f"constant, so without contributions: outputs {', '.join(names)}")


def _edges(parents: Sequence[Sequence[int]]) -> np.ndarray:
    """(edges, 2) int64 cause and effect."""
    pairs = [(cause, effect) for effect, causes in enumerate(parents) for cause in causes]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _owner(members: Sequence[Sequence[int]]) -> Tensor:
    """(D,) int64 node of every column."""
    owner = torch.empty(sum(map(len, members)), dtype=torch.int64)
    for node, columns in enumerate(members):
        owner[list(columns)] = node
    return owner
