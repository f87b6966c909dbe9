"""Scores and gradients of any number of rows, of any mix of samples and targets, packed into device calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..models.repairs import Repairs
from ..numerics.paths.field import Evaluation, Part, PlainPoints, Points
from ..samples import Batch, InputSpec, Layout
from .execution.runner import Execution, Runner
from .outputs import POSITIONS, OutputView
from .packing import Packing
from .padding import mask_of, masks_in, pinned, real_key, shortened
from .patching import HookPoint, replaced
from .places import SharedPoints
from .scores import Score

__all__ = ["BlockField", "Rows", "Scorer"]


_Read = Callable[[OutputView, Any, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Rows:
    """A block of rows to explain: each a sample and a target.

    Attributes:
        inputs: (rows, D), the explained inputs laid out flat.
        context: name -> (rows, *shape), the inputs that are not explained.
        target: (rows,) int64.
        sample: (rows,) int64, on the CPU: index of the sample in the dataset, the identity for seeds.
    """

    inputs: Tensor
    context: Mapping[str, Tensor]
    target: Tensor
    sample: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, part: Part) -> Rows:
        """Some of the rows."""
        context = {name: tensor[part] for name, tensor in self.context.items()}
        sample = self.sample[part.cpu() if isinstance(part, Tensor) else part]
        return Rows(self.inputs[part], context, self.target[part], sample)

    @classmethod
    def joined(cls, pieces: Sequence[Rows]) -> Rows:
        """Several blocks as one."""
        if len(pieces) == 1:
            return pieces[0]
        return cls(
            inputs=torch.cat([piece.inputs for piece in pieces]),
            context={name: torch.cat([piece.context[name] for piece in pieces]) for name in pieces[0].context},
            target=torch.cat([piece.target for piece in pieces]),
            sample=torch.cat([piece.sample for piece in pieces]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """A frozen network on its device, seen as a function of flat rows.

    Nothing of it changes but the rows per call, when memory runs out; `dataclasses.replace` makes another one.

    Attributes:
        module: in eval mode, parameters frozen, on `device` in `dtype`.
        inputs: of the dataset, in the order in which the module takes them.
        layout: which of them are explained, and how they lie in a row.
        score: what is explained of the outputs.
        device, dtype: of the computation.
        packing: rows per call.
        interrupt: called before every device call; may raise to stop the computation there.
        sites: where the network passes those of the explained tensors that are no inputs.
        execution: how the network is run.
        repairs: what the network needs so that it can be differentiated.
        shortens: whether a call leaves out the steps that are padding in all of its rows.
        curvatures: what was settled about second derivatives; see `device.curvature`.
        view: how scores are read from what the network returns.
        constants: further keyword arguments of every call.
        feed: precision that the network is given its inputs in; None for `dtype`.
        folds: further networks like `module`; scores are means over all of them.
        withheld: inputs of the dataset that are no arguments of the network, such as a mask of its outputs.
        shift: taken off every explained number before the network sees it.
    """

    module: nn.Module
    inputs: tuple[InputSpec, ...]
    layout: Layout
    score: Score
    device: torch.device
    dtype: torch.dtype
    packing: Packing
    interrupt: Callable[[], None] = lambda: None
    sites: tuple[HookPoint, ...] = ()
    execution: Execution = field(default_factory=Execution)
    repairs: Repairs = field(default_factory=Repairs)
    shortens: bool = False
    curvatures: dict[str, Any] = field(default_factory=dict)
    view: OutputView = field(default_factory=OutputView)
    constants: Mapping[str, Any] = field(default_factory=dict)
    feed: torch.dtype | None = None
    withheld: frozenset[str] = frozenset()
    folds: tuple[nn.Module, ...] = ()
    shift: float = 0.0

    @cached_property
    def runner(self) -> Runner:
        """The network, run in its way."""
        return Runner(self.module, self.execution, self.constants)

    @property
    def each_fold(self) -> tuple[Scorer, ...]:
        """A scorer for every network, the first included; this one alone if there are no folds."""
        return self._of_folds if self.folds else (self,)  # not kept: it would never be let go of

    @cached_property
    def _of_folds(self) -> tuple[Scorer, ...]:
        return tuple(replace(self, module=module, folds=()) for module in (self.module, *self.folds))

    @cached_property
    def eager(self) -> Scorer:
        """The same without compilation, so that the network's functions can be seen as it calls them."""
        return (
            replace(self, execution=replace(self.execution, compiled=False)) if self.execution.compiled else self
        )

    @property
    def has_context(self) -> bool:
        """Whether the score depends on more than the point: other inputs, or padding."""
        is_padded = any(spec.sequence for spec in self.inputs)
        is_masked = self.view.mask == POSITIONS
        return bool(self.sites) or is_padded or is_masked or len(self.layout.specs) < len(self.inputs)

    def tensor(self, array: Any) -> Tensor:
        """(*shape) a numpy array on the device; floating-point values in the precision of the computation."""
        tensor = torch.as_tensor(array)
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        # page-locked memory is read while the program goes on; any other is read before this returns
        return tensor.to(device=self.device, dtype=dtype, non_blocking=self.device.type == "cuda")

    def outputs(self, points: Tensor, context: Mapping[str, Tensor]) -> Any:
        """(k, *shape) of (k, D) points: one call of the module, as it stands in the graph.

        What is not one tensor is handed on as it is, to a score that takes it.

        Raises:
            ModelError: the outputs are not one tensor, or do not have a row for each point.
        """
        output = self.view.picked(self.returned(points, context), whole=self.score.takes_any_shape)
        if not isinstance(output, Tensor):
            return output
        output = self.view.rows_first(output, len(points))
        return output.to(self.dtype) if output.is_floating_point() else output

    def returned(self, points: Tensor, context: Mapping[str, Tensor]) -> Any:
        """What the module returns for (k, D) points, of whatever kind."""
        # a copy: a network that begins with an in-place operation may not write into the data, nor into a leaf
        explained = self.layout.split(points - self.shift if self.shift else points.clone())
        masks = masks_in(context)
        tensors = {spec.name: _input(spec, explained, context, masks) for spec in self.inputs}
        if self.shortens:
            tensors, masks = shortened(tensors, self.inputs, masks)
        with replaced(self.sites, explained, masks):
            return self.called(tensors)

    def called(self, tensors: Mapping[str, Tensor]) -> Any:
        """What the module returns, of whatever kind, for all of its inputs (k, *shape) by name."""
        return self.runner(*[self._fed(tensor) for name, tensor in tensors.items() if name not in self.withheld])

    def _fed(self, values: Tensor) -> Tensor:
        return values.to(self.feed) if self.feed is not None and values.is_floating_point() else values

    def graded(self, points: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """(k, targets) scores of (k, D) points: one call of the module, as it stands in the graph."""
        if not self.folds:
            return self.read(self.outputs(points, context), context)
        return torch.stack([fold.graded(points, context) for fold in self.each_fold]).mean(dim=0)

    def read(self, outputs: Any, context: Mapping[str, Tensor]) -> Tensor:
        """(k, targets) scores of outputs (k, *shape)."""
        scores = self.view.scores(self.score, outputs, context)
        return scores.to(self.dtype) if scores.is_floating_point() else scores

    def evidence(self, points: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """(n, targets) of any number of points (n, D), by which the predicted target is the greatest."""
        return self._over(points, context, lambda view, *outputs: view.evidence(self.score, *outputs))

    def scores(self, points: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """(n, targets) of any number of points (n, D), without gradients."""
        return self._over(points, context, lambda view, *outputs: view.scores(self.score, *outputs))

    def _over(self, points: Tensor, context: Mapping[str, Tensor], read: _Read) -> Tensor:
        """(n, ...) what is read from the outputs of any points, without gradients; the mean over folds."""

        def call(part: slice, rows: int) -> Tensor:
            here = {name: tensor[part] for name, tensor in context.items()}
            return self._evaluated(points[part], here, rows, read)

        with torch.no_grad(), self.exact_arithmetic():
            return torch.cat(list(self.packing.run(len(points), call)))

    def evaluate(self, points: Tensor, context: Mapping[str, Tensor], rows: int) -> Tensor:
        """(k, targets) scores of the points of one call, filled up to `rows` rows."""
        return self._evaluated(points, context, rows, lambda view, *outputs: view.scores(self.score, *outputs))

    def _evaluated(self, points: Tensor, context: Mapping[str, Tensor], rows: int, read: _Read) -> Tensor:
        self.interrupt()
        filled, filling = self.fill(points, context, rows)
        of_folds = [read(self.view, fold.outputs(filled, filling), filling) for fold in self.each_fold]
        mean = of_folds[0] if len(of_folds) == 1 else torch.stack(of_folds).mean(dim=0, dtype=self.dtype)
        mean = mean.to(self.dtype) if mean.is_floating_point() else mean
        return mean if len(mean) == len(points) else mean[: len(points)]

    def fill(
        self, points: Tensor, context: Mapping[str, Tensor], rows: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Repeat the last row until the call has one of the shapes that calls have."""
        missing = rows - len(points)
        if missing <= 0:
            return points, context
        repeated = {name: _repeat_last(tensor, missing) for name, tensor in context.items()}
        return _repeat_last(points, missing), repeated

    def gradients_of_call(
        self, points: Tensor, context: Mapping[str, Tensor], targets: Sequence[Tensor], rows: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Values and gradients of several targets at the points of one call, filled up to `rows` rows.

        One forward pass, and a backward pass for each of `targets`.

        Arguments:
            points: (k, D).
            context: name -> (k, *shape).
            targets: each (j,) int64, of the first j points.
            rows: of the call.

        Returns:
            For each of `targets`, values (j,) and gradients (j, D).
        """
        self.interrupt()
        filled, filling = self.fill(points, context, rows)
        leaf = filled.detach().requires_grad_()
        evaluated = []
        with torch.enable_grad():
            scores = self.graded(leaf, filling)
            for number, target in enumerate(targets, 1):
                values = scores[: len(target)].gather(1, target[:, None])[:, 0]
                (gradients,) = torch.autograd.grad(values.sum(), leaf, retain_graph=number < len(targets))
                evaluated.append((values.detach(), gradients[: len(target)]))
        return evaluated

    @contextmanager
    def exact_arithmetic(self) -> Iterator[None]:
        """float32 means float32, TF32 off; and the repairs that the network needs are in force."""
        with self.runner.arithmetic(), self.repairs.applied():
            yield

    def placed(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Explained inputs (n, D) and context of a batch, on the device."""
        explained = {spec.name for spec in self.layout.specs}
        context = {name: self.tensor(values) for name, values in batch.inputs.items() if name not in explained}
        context |= {real_key(name): self.tensor(real) for name, real in batch.real.items()}
        points = self.flat(batch.inputs)
        if self.view.mask == POSITIONS:
            # which positions count is decided at the sample, and stays while its features are replaced
            read = self.view.classes_of_positions
            context[POSITIONS] = self.each_fold[0]._over(
                points, context, lambda view, outputs, beside: read(outputs)
            )
        return points, context

    def flat(self, inputs: Mapping[str, Any]) -> Tensor:
        """(n, D) of the explained tensors among arrays (n, *shape) by name, on the device."""
        pieces = [self.tensor(piece) for piece in self.layout.flatten(inputs)]
        if not pieces:
            rows = next((len(values) for values in inputs.values()), 0)
            return torch.empty(rows, 0, dtype=self.dtype, device=self.device)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def field(self, rows: Rows) -> BlockField:
        """The gradient field of a block of rows."""
        return BlockField(self, rows)


@dataclass(frozen=True)
class BlockField:
    """Scores and gradients at points that belong to rows of one block; see `numerics.paths.field.Field`."""

    scorer: Scorer
    rows: Rows

    def gradients(self, points: Points) -> Iterator[Evaluation]:
        """Evaluate all points, each once, one device call at a time.

        Points of the same place share a forward pass. Out of memory repeats a call in halves.
        """
        places = SharedPoints.of(points)

        def call(part: slice, rows: int) -> list[Evaluation]:
            members = places.members(part)
            row = points.row[members[0]]
            evaluated = self.scorer.gradients_of_call(
                points.take(members[0]),
                self._context(row),
                [self.rows.target[points.row[some]] for some in members],
                rows,
            )
            return [Evaluation(some, *numbers) for some, numbers in zip(members, evaluated, strict=True)]

        with self.scorer.exact_arithmetic():
            for evaluations in self.scorer.packing.run(len(places), call):
                yield from evaluations

    def values(self, points: PlainPoints, place: Tensor | None = None) -> Tensor:
        """(points,) scores of each point's own target; points of the same place are evaluated once."""
        every = torch.arange(len(points.row), device=points.row.device)
        place = every if place is None else place
        first = every[torch.diff(place, prepend=place[:1] - 1) > 0]
        scores = self.scorer.scores(points.take(first), self._context(points.row[first]))
        return scores[place, self.rows.target[points.row]]

    def _context(self, row: Tensor) -> dict[str, Tensor]:
        return {name: tensor[row] for name, tensor in self.rows.context.items()}


def _input(
    spec: InputSpec, explained: Mapping[str, Tensor], context: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> Tensor:
    if spec.name not in explained:
        return context[spec.name]
    values = explained[spec.name]
    real = mask_of(spec, masks)
    return values if real is None else pinned(values, 0.0, real)


def _repeat_last(tensor: Tensor, times: int) -> Tensor:
    return torch.cat([tensor, tensor[-1:].expand(times, *tensor.shape[1:])])
