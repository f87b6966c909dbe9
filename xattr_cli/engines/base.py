"""What an attribution method is: options, the points it wants evaluated, and what it makes of them.

Nothing here or in the engines' files imports torch at run time, so that listing and documenting the
engines takes a fraction of a second; the tensors that a block hands over bring their own methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..registry import Plugin
from ..samples import Status

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..samples import InputSpec
    from .block import Block
    from .population import Population
    from .sweeps import SweepRequest

__all__ = ["Effects", "Engine", "Explanation", "LocalEngine", "PopulationEngine", "exact"]


@dataclass(frozen=True)
class Explanation:
    """What an engine says about a block of rows.

    Attributes:
        attribution: (rows, D), the map.
        relative_error: (rows,), reported bound on ‖map − truth‖ / ‖map‖; 0 for a closed form.
        evaluations: (rows,) gradients (and scores) that each row took.
        score_input: (rows,) f(x).
        score_baseline: (rows,) f(x'), for methods whose map sums to f(x) − f(x'); else None.
        status: (rows,) int8 of `samples.Status`; None derives it: rows whose map is not
            finite are quarantined, all others have converged.
        maps: more values of the input's shape: name -> (rows, D) or (rows, k, D).
        curves: other values per row: name -> (rows, ...).
        axes: labels for the axes of `maps` and `curves` between the row and the input's own.
        constants: name -> array or texts that are the same for all rows, such as a grid of α.

    Example:
        >>> import torch
        >>> saliency = exact(torch.tensor([[3.0, -4.0]]), torch.tensor([2.0]))
        >>> saliency.attribution.tolist(), saliency.relative_error.tolist()
        ([[3.0, -4.0]], [0.0])
    """

    attribution: Tensor
    relative_error: Tensor
    evaluations: Tensor
    score_input: Tensor
    score_baseline: Tensor | None = None
    status: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray | tuple[str, ...]] = field(default_factory=dict)


def exact(attribution: Tensor, scores: Tensor) -> Explanation:
    """An explanation without error: a closed form of one gradient per row, for which there is no tolerance.

    Arguments:
        attribution: (rows, D), the map.
        scores: (rows,) f(x).

    Example:
        >>> import torch
        >>> exact(torch.zeros(2, 3), torch.ones(2)).evaluations.tolist()
        [1, 1]
    """
    nothing = scores.double().abs() * 0  # NaN where the score is, and never -0
    return Explanation(
        attribution=attribution,
        relative_error=nothing,
        evaluations=nothing.nan_to_num().long() + 1,
        score_input=scores,
        status=(nothing.nan_to_num() + int(Status.NOT_JUDGED)).char(),
    )


@dataclass(frozen=True)
class Effects:
    """What an engine says about a whole dataset.

    Attributes:
        values: name -> numbers or texts; a name may hold slashes, such as "regressor/weights". One
            named `importance`, (D,) or (D, targets) and not negative, ranks the features.
        evaluations: of the network; every row of a forward or gradient pass counts as one.
        converged: False if the tolerance was not reached within the cap.
        axes: labels for the axes of a value, such as ("feature", "alpha", "target").

    Example:
        >>> import numpy as np
        >>> importance = np.array([0.7, 0.3])
        >>> Effects({"importance": importance}, 128, axes={"importance": ("feature",)}).converged
        True
    """

    values: Mapping[str, np.ndarray | tuple[str, ...]]
    evaluations: int
    converged: bool = True
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Engine(Plugin, ABC):
    """An attribution method; its fields are its YAML options. See `LocalEngine` and `PopulationEngine`.

    Example:
        >>> issubclass(LocalEngine, Engine), issubclass(PopulationEngine, Engine)
        (True, True)
    """

    @property
    def second_order(self) -> bool:
        """Whether second derivatives are asked for, which some fast kernels do not have."""
        return False

    @property
    def differentiates(self) -> bool:
        """Whether gradients are asked for; else the network may be piecewise constant, or detach what it likes."""
        return True

    @property
    def layered(self) -> bool:
        """Whether layers inside the network are followed, which must be there as they are named."""
        return False


class LocalEngine(Engine):
    """An attribution method that gives every row its own map.

    Example:
        >>> class GradientTimesInput(LocalEngine):
        ...     '''∇f(x) ⊙ x, one gradient per row.'''
        ...     def explain(self, block):
        ...         scores, gradients = block.input_gradient()
        ...         return exact(gradients * block.inputs, scores)
        >>> GradientTimesInput().differentiates
        True
    """

    def path(self) -> SweepRequest | None:
        """The sweep that `explain` will ask for, known beforehand so that engines can share it; if any."""
        return None

    def values_per_row(self, specs: Sequence[InputSpec]) -> int:
        """Numbers that a row has beside its map, where they may be more than those of the map itself.

        Arguments:
            specs: of the explained tensors.
        """
        return 0

    def check(self, probe: Block) -> None:
        """Refuse what cannot work with this network and these data, before anything is computed.

        Arguments:
            probe: a block of the first rows.

        Raises:
            JobError: names the option, the value, what is allowed, and what to do.
        """

    @abstractmethod
    def explain(self, block: Block) -> Explanation:
        """The maps of a block of rows. A row's map must not depend on the other rows of its block."""


class PopulationEngine(Engine):
    """A method that speaks of a whole dataset: curves or indices per feature; perhaps of each row, too.

    Example:
        >>> import numpy as np
        >>> class RowCount(PopulationEngine):
        ...     '''How many rows there are: an engine that asks nothing of the network.'''
        ...     def study(self, population):
        ...         return Effects({"rows": np.array(len(population))}, evaluations=0)
        >>> RowCount().explains_rows
        False
    """

    @property
    def explains_rows(self) -> bool:
        """Whether `explain` gives each row a map, once the whole dataset has been studied."""
        return False

    def check(self, population: Population) -> None:
        """Refuse what cannot work with this network and these data, before anything is computed.

        Raises:
            JobError: names the option, the value, what is allowed, and what to do.
        """

    def expected_evaluations(self, population: Population) -> int | None:
        """How many evaluations `study` will take, if that can be told beforehand."""
        return None

    @abstractmethod
    def study(self, population: Population) -> Effects:
        """What the whole dataset says. It must not depend on the order or the blocks it is read in."""

    def explain(self, block: Block, effects: Mapping[str, np.ndarray]) -> Explanation:
        """The maps of a block of rows, from what `study` has found; only if `explains_rows`.

        Arguments:
            block: rows to explain.
            effects: the numbers among the values of `study`.
        """
        raise TypeError(f"{type(self).__name__} explains no rows")
