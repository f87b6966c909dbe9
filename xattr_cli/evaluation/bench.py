"""The bench of an evaluation: a block of rows, and everything that metrics ask about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..device.padding import mask_of, masks_in, pinned
from ..engines.interactions.superpixels import superpixels
from ..errors import JobError
from ..metrics import CONTROL, Stream
from ..numerics.faithfulness.imputation import imputed
from ..numerics.faithfulness.units import Units
from ..numerics.stability import rank_correlation, relative_change
from ..pipeline.session import Session
from ..samples import InputSpec
from .again import ExplainedAgain
from .candidates import Candidate, LocalMap
from .masks import Masks
from .rows import EvaluatedBlock, sample_generators
from .scoring import Chosen, perturbed_scores, replaced_scores, target_scores

__all__ = ["Workbench"]

HELD_BYTES = 64 * 2**20
ROUNDING = 16
"""Machine epsilons by which a network's score may be off through rounding alone."""


@dataclass
class Workbench:
    """A block of rows, and what every metric needs of it; see `metrics.base.Bench`.

    Attributes:
        block: inputs, targets and replacements.
        session: the network on its device.
        units: what is replaced as one.
        candidates: in the order of the table.
        again: explains the rows once more.
        where: where the objects are; None if nobody said.
        evaluations: of the network so far.
    """

    block: EvaluatedBlock
    session: Session
    units: Units
    candidates: tuple[Candidate, ...]
    again: ExplainedAgain
    where: Masks | None = None
    evaluations: int = 0
    _once: dict[tuple[object, ...], np.ndarray] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """The explained inputs."""
        return self.session.layout.specs

    @property
    def outputs(self) -> int:
        """Number of scores."""
        return self.session.probe.targets.count

    @property
    def samples(self) -> np.ndarray:
        """(rows,) int64."""
        return self.block.samples

    @property
    def targets(self) -> np.ndarray:
        """(rows,) int64."""
        return self.block.targets

    @cached_property
    def attributions(self) -> Mapping[str, np.ndarray]:
        """Candidate -> (rows, units) float64, the control last."""
        maps = {one.name: one.attribution(self.block.positions, self.targets) for one in self.candidates}
        return {**maps, CONTROL: self.control}

    @cached_property
    def control(self) -> np.ndarray:
        """(rows, units) random numbers in [0, 1): the map of the control, and what orders ties."""
        return np.stack([generator.random(self.units.count) for generator in self.generators(Stream.CONTROL)])

    @cached_property
    def score_input(self) -> np.ndarray:
        """(rows,) f(x)."""
        self.evaluations += len(self.block.rows)
        return target_scores(self.session.scorer, self.block.rows)

    @cached_property
    def score_replaced(self) -> np.ndarray:
        """(rows, draws) f of the input with every unit replaced."""
        self.evaluations += len(self.block.rows) * self.block.replacement.draws
        return replaced_scores(self.session.scorer, self.block.rows, self.block.replacement)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(rows,) int64."""
        self.evaluations += len(self.block.rows)
        rows = self.block.rows
        return _numpy(self.session.scorer.evidence(rows.inputs, rows.context).argmax(dim=1))

    @cached_property
    def masks(self) -> np.ndarray:
        """(rows, units) bool.

        Raises:
            JobError: nobody said where the objects are.
        """
        if self.where is None:
            raise JobError("--masks: is needed to know where the objects are.")
        return self.where.of(self.samples, self.block.keys)

    @cached_property
    def real(self) -> np.ndarray:
        """(rows, D) bool, False in the padding of sequences."""
        masks, rows = masks_in(self.block.rows.context), len(self.samples)
        pieces = []
        for spec in self.specs:
            real, ones = mask_of(spec, masks), torch.ones(rows, *spec.shape, device=self.session.scorer.device)
            pieces.append(_numpy((ones if real is None else pinned(ones, 0.0, real)) > 0).reshape(rows, -1))
        return np.concatenate(pieces, axis=1)

    @property
    def epsilon(self) -> float:
        """Relative rounding error of a score."""
        return float(ROUNDING * torch.finfo(self.session.scorer.dtype).eps)

    def once(self, key: tuple[object, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """(*shape) what `make` makes when it is asked for first."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def generators(self, stream: int) -> Iterator[np.random.Generator]:
        """Random numbers of each row's sample."""
        return sample_generators(self.session.job.compute.seed, self.samples, stream)

    def pieces(self, bytes_per_row: int) -> Iterator[slice]:
        """Rows, so many at a time that an array of them fits."""
        held, rows = max(1, HELD_BYTES // max(1, bytes_per_row)), len(self.samples)
        return (slice(start, min(start + held, rows)) for start in range(0, rows, held))

    # --- replacing ---

    def scores_below(self, ranks: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(rows, points, draws) f with the units of rank < count replaced."""
        device_ranks, limits = self._on_device(ranks), self._on_device(counts)
        return self._scores(slice(None), lambda row, step: device_ranks[row] < limits[step, None], len(counts))

    def scores_alone(self, groups: np.ndarray, count: int) -> np.ndarray:
        """(rows, count, draws) f with the units of one group replaced."""
        device_groups = self._on_device(groups)
        return self._scores(slice(None), lambda row, step: device_groups[row] == step[:, None], count)

    def scores_masked(self, masks: np.ndarray, rows: slice) -> np.ndarray:
        """(k, subsets, draws) f with subsets replaced."""
        device_masks = self._on_device(masks)
        return self._scores(rows, lambda row, step: device_masks[row, step], masks.shape[1])

    def _scores(self, rows: slice, chosen: Chosen, steps: int) -> np.ndarray:
        part = self.block.part(rows)
        self.evaluations += len(part.rows) * steps * part.replacement.draws
        scorer = self.session.scorer
        return perturbed_scores(scorer, part.rows, part.replacement, self._unit_of, chosen, steps=steps)

    @cached_property
    def _unit_of(self) -> Tensor:
        return self._on_device(self.units.of)

    def differences(self) -> np.ndarray:
        """(rows, D) x − x̃, the mean over the draws."""
        turns = self.block.replacement
        others = sum((turns.table[turns.index[:, draw]].double() for draw in range(turns.draws)), torch.zeros(()))
        return _numpy(self.block.rows.inputs.double() - others / turns.draws)

    def numbers(self, name: str) -> np.ndarray:
        """(rows, D) a map before its numbers are added up; an index gives each number of a unit its share."""
        local = next((one for one in self.candidates if one.name == name and isinstance(one, LocalMap)), None)
        if local is not None:
            return local.numbers(self.block.positions).astype(np.float64)
        sizes = np.bincount(self.units.of, minlength=self.units.count)
        return np.asarray((self.attributions[name] / sizes)[:, self.units.of])

    # --- imputing ---

    def imputed_scores(self, ranks: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
        """(rows, points) f with the pixels of rank < count imputed."""

        def scored(points: Tensor, context: Mapping[str, Tensor], rows: Tensor) -> Tensor:
            scores = self.session.scorer.scores(points, context)
            return scores.gather(1, self.block.rows.target[rows][:, None])[:, 0].double()

        return self._imputed(ranks, counts, noise, scored)

    def imputed_predictions(self, ranks: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
        """(rows, points) int64, what the network predicts of the same."""

        def predicted(points: Tensor, context: Mapping[str, Tensor], rows: Tensor) -> Tensor:
            return self.session.scorer.evidence(points, context).argmax(dim=1)

        return self._imputed(ranks, counts, noise, predicted)

    def _imputed(
        self,
        ranks: np.ndarray,
        counts: np.ndarray,
        noise: float,
        judge: Callable[[Tensor, Mapping[str, Tensor], Tensor], Tensor],
    ) -> np.ndarray:
        """(rows, points) of what `judge` says of imputed images (k, D), their context, and their rows (k,)."""
        inputs, evaluated = self.block.rows.inputs, []
        channels, (height, width) = self.units.of.size // self.units.count, self.specs[0].shape[-2:]
        random = np.stack([each.standard_normal(inputs.shape[1]) for each in self.generators(Stream.IMPUTATION)])
        for rows in self.pieces(8 * 8 * len(counts) * inputs.shape[1]):
            images = inputs[rows].double().view(-1, 1, channels, height, width)
            images = images.expand(-1, len(counts), -1, -1, -1).flatten(0, 1)
            lacks = self._on_device(ranks[rows])[:, None] < self._on_device(counts)[:, None]
            lacks = lacks.view(-1, height, width)
            away = self._on_device(noise * random[rows]).view(-1, 1, channels, height, width)
            away = away.expand(-1, len(counts), -1, -1, -1).flatten(0, 1)
            points = torch.where(lacks[:, None], imputed(images, lacks) + away, images).flatten(1)
            row = torch.arange(rows.start, rows.stop, device=inputs.device).repeat_interleave(len(counts))
            context = {name: tensor[row] for name, tensor in self.block.rows.context.items()}
            evaluated.append(_numpy(judge(points.to(inputs.dtype), context, row)).reshape(-1, len(counts)))
        self.evaluations += len(inputs) * len(counts)
        return np.concatenate(evaluated)

    def segments(self, count: int) -> np.ndarray:
        """(rows, units) int64, superpixels of images; the units themselves of other inputs."""
        spec, rows = self.specs[0], len(self.samples)
        if len(self.specs) > 1 or spec.axes[-2:] != ("height", "width"):
            return np.tile(np.arange(self.units.count), (rows, 1))
        images = _numpy(self.block.rows.inputs).reshape(rows, *spec.shape)
        numbered = superpixels(images, count, "--metric irof")
        places = np.arange(spec.size) % numbered[0].size  # of numbers in flat rows: channels come first
        first = np.unique(self.units.of, return_index=True)[1]
        return np.asarray(numbered.reshape(rows, -1)[:, places[first]])

    # --- comparing ---

    def relative_change(self, changed: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """(rows,) ‖changed − reference‖ / ‖reference‖."""
        return _numpy(relative_change(self._on_device(changed), self._on_device(reference)))

    def rank_correlation(self, maps: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """(rows,) Spearman's correlation."""
        return _numpy(rank_correlation(self._on_device(maps), self._on_device(reference)))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.session.scorer.device)


def _numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
