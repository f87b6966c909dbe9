"""A dataset in memory, studied by average causal effects; and networks whose effects are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.blocks import layout_of
from xattr_cli.device import Packing, Scorer
from xattr_cli.engines.ace.engine import AverageCausalEffects
from xattr_cli.engines.population import Population, PopulationBlock
from xattr_cli.registry import SCORES
from xattr_cli.samples import InputSpec, Layout


@dataclass
class InMemory:
    """Samples as a population reads them."""

    points: torch.Tensor
    context: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self):
        return len(self.points)

    def read(self, start, stop):
        points = self.points[start:stop]
        finite = torch.isfinite(points).all(dim=1)
        index = np.arange(start, start + len(points))[finite.numpy()]
        context = {name: tensor[start:stop][finite] for name, tensor in self.context.items()}
        return PopulationBlock(points[finite], context, index, None)

    def background(self, baseline):
        raise AssertionError("average causal effects take no baseline")


@dataclass
class Kept:
    """What was kept on the way, and how often anything was computed."""

    arrays: dict = field(default_factory=dict)
    computed: list = field(default_factory=list)

    def recall(self, label, name):
        return self.arrays.get((label, name))

    def keep(self, label, name, arrays):
        self.computed.append(name)
        self.arrays[label, name] = dict(arrays)


class Formula(nn.Module):
    """A function of flat samples (n, D), and of context, as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def population_of(
    module, samples, *, context=None, names=(), targets=None, rows=64, seed=0, memo=None, memory=2**30, axes=()
):
    """The workbench on which `module` is studied on samples (n, *shape), a tensor."""
    layout = layout_of(samples)
    if names or axes:
        spec = layout.specs[0]
        spec = InputSpec(spec.name, spec.shape, spec.dtype, tuple(axes), tuple(names))
        layout = Layout((spec,))
    context = context or {}
    beside = tuple(
        InputSpec(name, tuple(t.shape[1:]), np.dtype(str(t.dtype).removeprefix("torch.")))
        for name, t in context.items()
    )
    scorer = Scorer(
        module=module.eval().requires_grad_(False),
        inputs=(*layout.specs, *beside),
        layout=layout,
        score=SCORES.get("raw")(),
        device=samples.device,
        dtype=samples.dtype,
        packing=Packing(rows),
    )
    with torch.no_grad():
        outputs = scorer.outputs(samples[:1].flatten(1), {k: t[:1] for k, t in context.items()}).shape[1]
    told = []
    return Population(
        label="ace",
        seed=seed,
        scorer=scorer,
        targets=tuple(range(outputs)) if targets is None else targets,
        classes=(),
        memory_bytes=memory,
        output=Path("unused.h5"),
        source=InMemory(samples.flatten(1), context),
        memo=memo or Kept(),
        tell=told.append,
        stage=lambda label, done, total: None,
    )


def study(module, samples, *, options=None, **given):
    """The values of a study; `options` of the engine, `given` to `population_of`."""
    return effects(module, samples, options=options, **given).values


def effects(module, samples, *, options=None, **given):
    """Check and study, as a job does."""
    population = population_of(module, samples, **given)
    engine = AverageCausalEffects.model_validate(options or {})
    engine.check(population)
    return engine.study(population)
