"""How firm the maps of a block are: the same engine again, with weights or inputs that move a little."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ...device.perturbation import noisy_weights, shuffled_layers, top_layers
from ...engines.alternatives import explain_alternatives
from ...engines.base import Engine, Explanation, LocalEngine
from ...engines.block import Block
from ...errors import JobError
from ...job.config import Job
from ...job.stability import Stability
from ...numerics.stability import RunningMean, rank_correlation, relative_change
from ...randomness import Purpose, sample_generator
from ...store import ResultColumn

__all__ = ["check_stability", "judged_engines", "stability_columns"]

Draw = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""Number of a draw and rows (k,) → values (k, ...) and evaluations (k,)."""


def judged_engines(job: Job) -> tuple[str, ...]:
    """Labels of the engines whose maps are judged."""
    if job.stability is None:
        return ()
    asked = job.stability.engines
    return tuple(label for label in _with_maps(job) if not asked or label in asked)


def _with_maps(job: Job) -> list[str]:
    return [label for label, engine in job.engines.items() if isinstance(engine, LocalEngine)]


def check_stability(job: Job) -> None:
    """Refuse labels that no engine with maps has, before anything is computed.

    Raises:
        JobError: names the label and those that can be judged.
    """
    asked = () if job.stability is None else job.stability.engines
    local = _with_maps(job)
    for label in asked:
        if label not in local:
            raise JobError(
                f"stability.engines: {label!r} is no engine of this job that explains rows by itself; "
                f"those that do: {', '.join(local) or 'none'}."
            )


def stability_columns(
    job: Job, label: str, engine: Engine, block: Block, explanation: Explanation
) -> dict[str, ResultColumn]:
    """What is stored of an engine's firmness, in the group `stability` beside its maps; empty if nothing is asked.

    Arguments:
        job: what is asked for.
        label: of the engine.
        engine: it has made the explanation.
        block: the rows, as they are.
        explanation: of the block.
    """
    if job.stability is None or not isinstance(engine, LocalEngine) or label not in judged_engines(job):
        return {}
    judge = _Judge(job.stability, engine, block, explanation)
    values: dict[str, ResultColumn] = {}
    if job.stability.weights:
        values |= judge.moved("weights", judge.by_weights)
    if job.stability.inputs:
        values |= judge.moved("inputs", judge.by_inputs)
    if job.stability.randomise:
        values |= judge.randomised(job.stability.randomise)
    values["evaluations"] = _per_row(judge.evaluations)
    return {f"engines/{label}/stability/{name}": column for name, column in values.items()}


class _Judge:
    """The rows of a block, explained again and again."""

    def __init__(self, rule: Stability, engine: LocalEngine, block: Block, explanation: Explanation) -> None:
        self.rule, self.engine, self.block, self.explanation = rule, engine, block, explanation
        self.evaluations = torch.zeros(len(block.rows), dtype=torch.int64, device=block.inputs.device)

    def moved(self, name: str, draw: Draw) -> dict[str, ResultColumn]:
        """Mean change over draws, its standard error, the largest one, and what integration leaves open."""
        changes = self._drawn(draw, 2, self._is_sure)
        return {
            name: _per_row(changes.mean[:, 0]),
            f"{name}_standard_error": _per_row(changes.standard_error[:, 0]),
            f"{name}_highest": _per_row(changes.highest[:, 0]),
            f"{name}_integration_error": _per_row(changes.mean[:, 1]),
            f"{name}_draws": _per_row(changes.count),
        }

    def by_weights(self, draw: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Conditioning: through a network whose weights are noisy."""
        with noisy_weights(self.block.scorer, self.rule.weights, self.block.seed, draw) as scorer:
            return self._change(self._explained(self.block.again(scorer, rows, same_nodes=True)), rows)

    def by_inputs(self, draw: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Sensitivity: from inputs with noise, which belongs to the sample."""
        here = self.block.inputs[rows]
        samples = self.block.rows.sample[rows.cpu()].tolist()
        noise = np.stack([self._noise(sample, draw, here.shape[1]) for sample in samples])
        moved = here + torch.from_numpy(noise).to(here)
        again = self.block.again(self.block.scorer, rows, moved, same_nodes=True)
        return self._change(self._explained(again), rows)

    def randomised(self, steps: int) -> dict[str, ResultColumn]:
        """Rank correlation with the map, after each of some steps from the top."""
        names = top_layers(self.block.scorer.module)
        depths = sorted({-(-len(names) * step // steps) for step in range(1, steps + 1)} - {0})
        if not depths:
            return {}

        def draw(number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
            pairs = [self._shuffled(names[:depth], number, rows) for depth in depths]
            return torch.stack([pair[0] for pair in pairs], dim=1), sum((pair[1] for pair in pairs), 0 * rows)

        similar = self._drawn(draw, len(depths), self._is_sure_of_all)
        layers = np.array([names[depth - 1] or "(network)" for depth in depths], dtype=object)
        return {
            "randomised": ResultColumn(_numpy(similar.mean), axes=("row", "step")),
            "randomised_standard_error": ResultColumn(_numpy(similar.standard_error), axes=("row", "step")),
            "randomised_layers": ResultColumn(layers, axis="constant"),
        }

    def _shuffled(self, layers: list[str], draw: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        with shuffled_layers(self.block.scorer, layers, self.block.seed, draw) as scorer:
            changed = self._explained(self.block.again(scorer, rows))
        return rank_correlation(changed.attribution, self.explanation.attribution[rows]), changed.evaluations

    def _explained(self, block: Block) -> Explanation:
        return explain_alternatives(self.engine, lambda one: one.explain(block))

    def _noise(self, sample: int, draw: int, size: int) -> np.ndarray:
        generator = sample_generator(self.block.seed, sample, Purpose.STABILITY, draw)
        return self.rule.inputs * generator.standard_normal(size)

    def _change(self, changed: Explanation, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(k, 2), the relative change, and what both maps' reported errors could make of none."""
        before = self.explanation.relative_error[rows].double()
        change = relative_change(changed.attribution, self.explanation.attribution[rows])
        open_end = torch.hypot(before, changed.relative_error.double())
        return torch.stack([change, open_end], dim=1), changed.evaluations

    def _drawn(self, draw: Draw, width: int, is_settled: Callable[[RunningMean], Tensor]) -> RunningMean:
        """Draws of every row until it is settled, or has as many as it may; each stops alone."""
        mean = RunningMean((len(self.block.rows), width), self.block.inputs.device)
        for numbers in self._rounds():
            rows = torch.nonzero(~is_settled(mean) | (mean.count == 0))[:, 0]
            for number in numbers if len(rows) else ():
                values, evaluations = draw(number, rows)
                mean.add(rows, values)
                self.evaluations[rows] += evaluations
        return mean

    def _is_sure(self, changes: RunningMean) -> Tensor:
        """(rows,) whether the mean change is known well enough, or not finite."""
        mean = changes.mean[:, 0]
        return (changes.standard_error[:, 0] <= self.rule.rtol * mean) | ~torch.isfinite(mean)

    def _is_sure_of_all(self, similar: RunningMean) -> Tensor:
        """(rows,) the same of correlations, which are absolute."""
        return ((similar.standard_error <= self.rule.rtol) | ~torch.isfinite(similar.mean)).all(dim=1)

    def _rounds(self) -> Iterator[range]:
        done, stop = 0, self.rule.draws
        while done < self.rule.max_draws:
            yield range(done, stop)
            done, stop = stop, min(2 * stop, self.rule.max_draws)


def _per_row(values: Tensor) -> ResultColumn:
    return ResultColumn(_numpy(values), axes=("row",))


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.cpu().numpy()
    return array
