"""The workbench of a population engine: a whole dataset, streamed, and the network to ask about it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from ..device import Scorer
from ..randomness import Purpose, dataset_generator
from ..samples import InputSpec, Layout, feature_names

__all__ = ["Memo", "Population", "PopulationBlock", "PopulationSource"]

BLOCK_BYTES = 16 * 2**20
MOST_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class PopulationBlock:
    """Some samples of the dataset, in order; those with NaN or infinity are left out.

    Attributes:
        points: (n, D), on the device.
        context: name -> (n, ...), the inputs that are not studied.
        index: (n,) int64, position of each sample in the dataset.
        labels: (n,) class or value; None if the dataset has none.
    """

    points: Tensor
    context: Mapping[str, Tensor]
    index: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.index)


class PopulationSource(Protocol):
    """Where a population gets its samples and baselines from."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(self, start: int, stop: int) -> PopulationBlock:
        """The finite samples among start ≤ i < stop."""

    def background(self, baseline: object) -> Tensor:
        """(m, D): the set of baselines that a kind stands for."""


class Memo(Protocol):
    """Durable memory for results on the way: a killed run that goes on finds what it had computed."""

    def recall(self, label: str, name: str) -> dict[str, np.ndarray] | None:
        """What was kept under that name; None if nothing was."""

    def keep(self, label: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays until the job is finished."""


@dataclass
class Population:
    """A whole dataset, and the network to ask about it.

    Attributes:
        label: the engine's key in the job.
        seed: of the job.
        scorer: the network on its device.
        targets: outputs that are studied.
        classes: names of the outputs; empty if the dataset knows none.
        memory_bytes: what the engine may hold at once, beside network and data.
        output: the result file.
        source: of samples and baselines.
        memo: of results on the way.
        stage: told the label, the steps done and the steps to do.
        warnings: what `warn` was told.
    """

    label: str
    seed: int
    scorer: Scorer
    targets: tuple[int, ...]
    classes: tuple[str, ...]
    memory_bytes: int
    output: Path
    source: PopulationSource
    memo: Memo
    tell: Callable[[str], None]
    stage: Callable[[str, int, int], None]
    warnings: list[str] = field(default_factory=list)

    # --- what it is ---

    @property
    def layout(self) -> Layout:
        """How the explained inputs lie in a row."""
        return self.scorer.layout

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """The explained inputs."""
        return self.layout.specs

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(D,) names of the features."""
        return feature_names(self.specs)

    @property
    def target_names(self) -> tuple[str, ...]:
        """(targets,) names of the outputs that are studied."""
        known = len(self.classes)
        return tuple(self.classes[t] if t < known else str(t) for t in self.targets)

    @property
    def samples(self) -> int:
        """Number of samples in the dataset."""
        return len(self.source)

    @property
    def has_context(self) -> bool:
        """Whether the network takes inputs that are not studied, and that differ from sample to sample."""
        return self.scorer.has_context

    # --- data and scores ---

    def blocks(self, rows: int | None = None) -> Iterator[PopulationBlock]:
        """All finite samples, in order, some at a time.

        Arguments:
            rows: samples per block; None for as many as take 16 MiB, 4096 at most.
        """
        step = rows or max(1, min(MOST_BLOCK_ROWS, BLOCK_BYTES // (4 * max(1, self.layout.size))))
        left_out = 0
        for start in range(0, self.samples, step):
            stop = min(start + step, self.samples)
            block = self.source.read(start, stop)
            left_out += stop - start - len(block)
            if len(block):
                yield block
        if left_out:
            self.warn(f"{left_out} of {self.samples} samples hold NaN or infinity, and are left out")

    def scores(self, points: Tensor, context: Mapping[str, Tensor] | None = None) -> Tensor:
        """(n, targets) scores of any number of points (n, D), without gradients."""
        return self.scorer.scores(points, context or {})[:, list(self.targets)]

    def predicted(self, points: Tensor) -> Tensor:
        """(n, 1) int64 predicted class of any number of points (n, D), among all outputs."""
        return self.scorer.evidence(points, {}).argmax(dim=1, keepdim=True)

    @cached_property
    def outputs(self) -> int:
        """Number of all outputs, whether studied or not."""
        some = self.source.read(0, 1)
        points = some.points if len(some) else self.scorer.tensor([[0.0] * self.layout.size])
        return self.scorer.evidence(points[:1], some.context).shape[1]

    def background(self, baseline: object) -> Tensor:
        """The set of baselines (m, D) of a baseline plugin."""
        return self.source.background(baseline)

    def generator(self, stream: int = 0) -> np.random.Generator:
        """Random numbers that belong to this engine of the job."""
        return dataset_generator(self.seed, Purpose.PLUGIN, (zlib.crc32(self.label.encode()) << 31) + stream)

    # --- on the way ---

    def once(self, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """`compute()`, or what it gave before the run was killed; the name says which step this is."""
        known = self.memo.recall(self.label, name)
        if known is None:
            known = dict(compute())
            self.memo.keep(self.label, name, known)
        return known

    def artifact(self, suffix: str) -> Path:
        """A file beside the result, such as `attributions.icc.flow.safetensors`."""
        return self.output.with_name(f"{self.output.stem}.{re.sub(r'[^A-Za-z0-9_-]', '_', self.label)}{suffix}")

    def warn(self, text: str) -> None:
        """Tell the user, once, and keep it in the result."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.tell(f"engines.{self.label}: {text}")

    def progress(self, done: int, total: int) -> None:
        """Say how far `study` is."""
        self.stage(self.label, done, total)
