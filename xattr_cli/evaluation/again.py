"""The maps of engines once more: for other inputs, other outputs, or a network with other weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..device import Scorer
from ..device.perturbation import shifted_back, shuffled_layers, top_layers
from ..engines.base import LocalEngine
from ..engines.block import Block
from ..metrics import CONTROL, Stream
from ..numerics.faithfulness.units import Units
from .rows import sample_generators

__all__ = ["ExplainedAgain"]

_Make = Callable[[Scorer, Tensor], Block]


@dataclass
class ExplainedAgain:
    """See `metrics.base.Again`. What engines would share when they explain rows, they share here.

    Attributes:
        engines: label -> engine, those that explain rows by themselves.
        block: the rows as they are.
        units: what is ranked.
        samples: (rows,) int64.
        together: how many rows are worked on at once.
        told: hears that one more map of every row is made.
    """

    engines: Mapping[str, LocalEngine]
    block: Block
    units: Units
    samples: np.ndarray
    together: int
    told: Callable[[], None] = lambda: None
    evaluations: int = 0
    _blocks: tuple[object, list[Block]] = ((), [])
    _unchanged: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels of the engines, the control last."""
        return (*self.engines, CONTROL)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers with weights of their own, the top one first."""
        return tuple(top_layers(self.block.scorer.module))

    def unchanged(self, name: str) -> np.ndarray:
        """(rows, units) of the rows as they are."""
        if name not in self._unchanged:
            self._unchanged[name] = self._maps(name, (), self.block.again)
        return self._unchanged[name]

    def near(self, name: str, noise: np.ndarray, draw: int) -> np.ndarray:
        """(rows, units) at inputs with noise (rows, D)."""

        def make(scorer: Scorer, part: Tensor) -> Block:
            inputs = self.block.inputs[part]
            return self.block.again(scorer, part, inputs + torch.from_numpy(noise[part.cpu()]).to(inputs))

        return self._maps(name, ("near", draw), make, also=noise)

    def of_targets(self, name: str, targets: np.ndarray) -> np.ndarray:
        """(rows, units) of other outputs (rows,)."""
        other = torch.from_numpy(targets).to(self.block.inputs.device)

        def make(scorer: Scorer, part: Tensor) -> Block:
            return self.block.again(scorer, part, target=other[part])

        return self._maps(name, ("targets",), make, also=targets)

    def reweighted(self, name: str, layers: Sequence[str], draw: int) -> np.ndarray:
        """(rows, units) through a network with shuffled weights in some layers."""
        # entered again for every engine: the same layers and draw give the same weights
        changed = shuffled_layers(self.block.scorer, layers, self.block.seed, draw)
        return self._maps(name, ("weights", *layers, draw), self.block.again, network=changed)

    def shifted(self, name: str, shift: float) -> np.ndarray:
        """(rows, units) at x + shift, through the network that takes the shift off."""

        def make(scorer: Scorer, part: Tensor) -> Block:
            return self.block.again(shifted_back(scorer, shift), part, self.block.inputs[part] + shift)

        return self._maps(name, ("shift", shift), make)

    def _maps(
        self,
        name: str,
        what: tuple[object, ...],
        make: _Make,
        *,
        also: np.ndarray | None = None,
        network: AbstractContextManager[Scorer] | None = None,
    ) -> np.ndarray:
        """The maps of what is explained now: blocks are kept until something else is, so that engines share them.

        Arguments:
            name: the engine's label, or the control.
            what: is explained, the same in any company.
            make: the block of some rows.
            also: an array of the rows, which tells what is explained apart.
            network: through which.
        """
        if name == CONTROL:
            return self._random(repr(what) if what else "")
        key, pieces = (*what, None if also is None else zlib.crc32(also.tobytes())), []
        with self.block.scorer.exact_arithmetic(), network or nullcontext(self.block.scorer) as scorer:
            if self._blocks[0] != key:
                self._blocks = key, [make(scorer, part) for part in self._parts()]
            for block in self._blocks[1]:
                explained = self.engines[name].explain(block)
                self.evaluations += int(explained.evaluations.sum())
                pieces.append(self.units.totals(explained.attribution.cpu().numpy()))
        self.told()
        return np.concatenate(pieces)

    def _parts(self) -> list[Tensor]:
        every = torch.arange(len(self.block.rows), device=self.block.inputs.device)
        return [every[start : start + self.together] for start in range(0, len(every), self.together)]

    def _random(self, what: str) -> np.ndarray:
        """Other random numbers for everything that is explained; those of the control itself for nothing else."""
        stream = Stream.CONTROL_AGAIN + zlib.crc32(what.encode()) if what else Stream.CONTROL
        generators = sample_generators(self.block.seed, self.samples, stream)
        return np.stack([each.random(self.units.count) for each in generators])
