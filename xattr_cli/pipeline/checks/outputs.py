"""What the outputs of a network are, found on the first samples: their axes, their meaning, their batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets import Samples, finite_rows
from ...device import Packing, Scorer
from ...device.outputs import POSITIONS, OutputView, Scale
from ...errors import Interrupted, JobError, ModelError, suggestion
from ...job.config import Job
from ...job.target import PREDICTED_POSITIONS, Mask
from ...models import LoadedModel
from ...samples import Batch, Layout
from .scores import doubts, suited

__all__ = ["PROBE_SAMPLES", "probe_batch", "settle_outputs"]

PROBE_SAMPLES = 4
CALLS = (2, 3)
HARD_WIRED = (1, *range(2, 17), 20, 24, 25, 32, 50, 64, 100, 128)
"""Sizes of a batch that are tried where a network takes no other."""
MORE_SAMPLES = 64
SCALES = (10.0, -10.0, 100.0)
"""Of inputs, at which outputs that merely happen to lie in [0, 1] leave it."""
SUM_TOLERANCE = 1e-3


def settle_outputs(
    job: Job, model: LoadedModel, samples: Samples, scorer: Scorer
) -> tuple[Scorer, tuple[str, ...]]:
    """The scorer with what is known of the network's outputs and batches, and notes on what was found.

    A network that fails here, whatever the batch, is left for the checks that follow, which say why.

    Raises:
        JobError: the job asks for something that outputs of this kind do not have.
        ModelError: no part of the outputs is a score for every sample.
    """
    score = scorer.score.named(samples.classes or model.outputs)
    scorer = replace(scorer, score=score, view=OutputView(part=job.model.part))
    trial = _Trial.of(scorer, samples)
    mask = _mask(job, samples)
    trial, outputs, notes = _first_outputs(trial, job.compute.batch_rows, mask)
    scorer = replace(scorer, packing=trial.scorer.packing, withheld=trial.scorer.withheld)
    if outputs is None or not isinstance(outputs[-1], Tensor):
        return scorer, notes
    if outputs[-1].is_complex():
        raise ModelError(
            "the model returns complex numbers, which are no scores: let it return their size or their real part, "
            "or read one out of them with score: {function: module:callable}."
        )
    shape, axis = _shape(outputs, trial.sizes)
    names = samples.classes or model.outputs
    if samples.outputs or job.target.select == "continuation":
        return _of_continuations(job, samples, scorer, shape, axis), notes
    view = OutputView(job.model.part, axis, shape, _class_axis(job, shape, names))
    if score.takes_any_shape:  # which has no places of its own, whatever the shape
        return replace(scorer, view=replace(view, reduce="sum")), notes
    view = replace(view, reduce=_reduction(job, view), mask=mask)
    if view.positions:
        notes += (_positions_note(view),)
    view = replace(view, scale=_scale(replace(trial, scorer=replace(trial.scorer, view=view)), samples))
    score, told = suited(score, view, samples, names)
    told = (*told, *doubts(job, view, samples, names))
    return replace(scorer, view=view, score=score), (*notes, *told)


def _of_continuations(job: Job, samples: Samples, scorer: Scorer, shape: tuple[int, ...], axis: int) -> Scorer:
    """The scorer of output tokens that the dataset names.

    Raises:
        JobError: the job asks for other outputs, or the dataset or the score has no such tokens.
        ModelError: the network does not return logits of every output token.
    """
    target, reduce = job.target, job.target.reduce
    if not samples.outputs:
        raise JobError(
            f"target: 'continuation': dataset kind {job.dataset.registered_name!r} has no continuations. Use "
            "dataset kind prompts."
        )
    if target.select != "continuation" or isinstance(reduce, Mask):
        raise JobError(
            "target: dataset kind 'prompts' asks for the tokens of continuations. Use target: continuation for "
            "a row per output token, or {select: continuation, reduce: sum} (or mean) for a row per sample."
        )
    if scorer.score.takes_any_shape:
        raise JobError(
            f"score: {scorer.score}: reads outputs itself, and knows no output tokens. Use another score."
        )
    tokens = sum(spec.shape[0] for spec in samples.inputs if spec.name in samples.outputs)
    if len(shape) != 2 or shape[0] != tokens:
        raise ModelError(
            f"the model returns {_batched(shape)}; dataset kind prompts needs logits (n, {tokens}, "
            "vocabulary), one for each output token. Use model kind transformers with task: continuation."
        )
    view = OutputView(job.model.part, axis, shape, class_axis=1, reduce=reduce, given=samples.outputs)
    return replace(scorer, view=view)


# --- running the network ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trial:
    """The network with all of its inputs as context: nothing is explained yet.

    Attributes:
        scorer: whose `packing` knows the batch size if the network takes only one.
        context: of some samples.
        sizes: of the calls that were made.
    """

    scorer: Scorer
    context: Mapping[str, Tensor]
    sizes: tuple[int, ...] = CALLS

    @classmethod
    def of(cls, scorer: Scorer, samples: Samples) -> _Trial:
        plain = replace(scorer, sites=(), layout=Layout(()))
        return cls(plain, plain.placed(probe_batch(samples, PROBE_SAMPLES))[1])

    def returned(self, rows: int) -> Any:
        """What the network returns for a batch of so many rows."""
        return self.picked({name: _repeated(tensor, rows) for name, tensor in self.context.items()}, rows)

    def picked(self, context: Mapping[str, Tensor], rows: int) -> Any:
        view = self.scorer.view
        with torch.no_grad(), self.scorer.exact_arithmetic():
            here = {name: tensor.clone() for name, tensor in context.items()}
            returned = self.scorer.returned(torch.empty(rows, 0, device=self.scorer.device), here)
            return view.picked(returned, whole=self.scorer.score.takes_any_shape)


def _repeated(tensor: Tensor, rows: int) -> Tensor:
    return tensor[torch.arange(rows, device=tensor.device) % len(tensor)]


def _first_outputs(trial: _Trial, asked: Any, mask: str) -> tuple[_Trial, list[Any] | None, tuple[str, ...]]:
    """What the network returns in batches that it takes; None if it takes none that was tried."""
    fixed = trial.scorer.packing.rows if trial.scorer.packing.fixed else 0
    ways = [trial]
    if mask and mask != POSITIONS:  # a mask need not be an input of the network
        ways.append(replace(trial, scorer=replace(trial.scorer, withheld=trial.scorer.withheld | {mask})))
    for way in ways:
        for sizes in [(fixed,)] if fixed else [CALLS]:
            outputs = _tried(way, sizes)
            if outputs is not None:
                return replace(way, sizes=sizes), outputs, ()
    if fixed:
        return trial, None, ()
    for way in ways:
        for rows in [asked] if isinstance(asked, int) else HARD_WIRED:
            outputs = _tried(way, (rows,))
            if outputs is not None and (rows in (1, asked) or _counts(outputs[0], rows)):
                packing = Packing(rows, fixed=True)
                settled = replace(way, scorer=replace(way.scorer, packing=packing), sizes=(rows,))
                return settled, outputs, (f"the network runs in batches of {rows} only, and so it does here",)
    return trial, None, ()


def _counts(output: Any, rows: int) -> bool:
    """Whether an axis of an output counts the samples; what is no tensor is left to the score."""
    return not isinstance(output, Tensor) or rows in output.shape


def _tried(trial: _Trial, sizes: Sequence[int]) -> list[Any] | None:
    try:
        return [trial.returned(rows) for rows in sizes]
    except (Interrupted, ModelError):
        raise
    except Exception:  # whatever is wrong with the network, the checks that follow say it
        return None


def probe_batch(samples: Samples, count: int) -> Batch:
    """The first `count` samples, but finite ones if there are any among a few more: NaN proves nothing."""
    batch = samples.read(0, min(count, len(samples)))
    if finite_rows(batch).all():
        return batch
    more = samples.read(0, min(MORE_SAMPLES, len(samples)))
    chosen = np.flatnonzero(finite_rows(more))[:count]
    return more.take(chosen) if len(chosen) else batch


# --- axes ---------------------------------------------------------------------------------------


def _shape(outputs: Sequence[Tensor], sizes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """The shape of one sample's output, and the axis that counts the samples."""
    first, last = tuple(outputs[0].shape), tuple(outputs[-1].shape)
    if first == () and sizes == (1,):
        return (), 0
    axes = [i for i, size in enumerate(first) if size == sizes[0]]
    if len(sizes) > 1:
        axes = [i for i in axes if len(last) == len(first) and last[i] == sizes[1]]
    rest = [(*first[:i], *first[i + 1 :]) for i in axes]
    if len(sizes) > 1:
        axes = [i for i, shape in zip(axes, rest, strict=True) if shape == (*last[:i], *last[i + 1 :])]
    if not axes:
        if sizes == (1,):  # a single sample that lost its axis
            return first, 0
        told = " and ".join(f"{tuple(t.shape)} for {n} samples" for t, n in zip(outputs, sizes, strict=True))
        raise ModelError(
            f"the model returns a tensor of shape {told}: no axis of it counts the samples, and each needs a "
            "score of its own. If it averages or sums over the batch, let it return what it averages; name "
            "another part of its output as model.output if it returns several."
        )
    return (*first[: axes[0]], *first[axes[0] + 1 :]), axes[0]


def _class_axis(job: Job, shape: tuple[int, ...], names: Sequence[str]) -> int:
    """Which axis of a sample's output counts the classes."""
    axis, axes = job.target.axis, len(shape)
    if axis is not None:
        place = axis - 1 if axis > 0 else axes + axis
        if not 0 <= place < axes:
            raise JobError(
                f"target.axis: {axis}: the model's outputs have the shape {_batched(shape)}; "
                f"allowed are 1 to {axes}, or -1 for the last."
            )
        return place
    if axes < 2:
        return 0
    named = [place for place, size in enumerate(shape) if names and size == len(names)]
    if len(named) == 1:
        return named[0]
    return 0 if axes > 2 else 1  # channels of pictures come first, those of steps and tokens last


def _mask(job: Job, samples: Samples) -> str:
    """The context whose positions count; empty for all."""
    reduce = job.target.reduce
    if not isinstance(reduce, Mask):
        return ""
    if reduce.mask == PREDICTED_POSITIONS:
        return POSITIONS
    known = [spec.name for spec in samples.inputs]
    if reduce.mask not in known:
        raise JobError(
            f"target.reduce.mask: {reduce.mask!r}: the dataset has no such input."
            f"{suggestion(reduce.mask, [*known, PREDICTED_POSITIONS])}"
        )
    return reduce.mask


def _reduction(job: Job, view: OutputView) -> Any:
    reduce = job.target.reduce
    if reduce == "none" or view.positions:
        return reduce.take if isinstance(reduce, Mask) else reduce
    raise JobError(
        f"target.reduce: the model returns one score per class, of shape {_batched(view.shape or ())}: there are "
        "no positions to reduce. Leave it out."
    )


def _batched(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['n', *map(str, shape)])})"


def _positions_note(view: OutputView) -> str:
    shape = view.shape or ()
    axis = view.class_axis + 1
    where = "×".join(map(str, view.positions))
    return (
        f"outputs {_batched(shape)}: {shape[view.class_axis]} classes along axis {axis}, {where} "
        "positions (target.axis names another axis)"
    )


# --- meaning ------------------------------------------------------------------------------------


def _scale(trial: _Trial, samples: Samples) -> Scale:
    """Whether outputs are probabilities already: at the samples, and wherever inputs are pushed."""
    first = trial.scorer.packing.rows if trial.scorer.packing.fixed else min(len(samples), PROBE_SAMPLES)
    outputs = _classes_last(trial, trial.context, first)
    if outputs is None or not _in_unit(outputs):
        return "free"
    if outputs.shape[-1] > 1 and bool(((outputs.sum(dim=-1) - 1).abs() <= SUM_TOLERANCE).all()):
        return "probabilities"
    for context, rows in _pushed(trial, samples):
        beyond = _classes_last(trial, context, rows)
        if beyond is not None and not _in_unit(beyond):
            return "free"
    return "probability" if outputs.shape[-1] == 1 else "independent"


def _in_unit(values: Tensor) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _pushed(trial: _Trial, samples: Samples) -> Iterator[tuple[Mapping[str, Tensor], int]]:
    """Inputs far from the first samples, and more samples."""
    size = trial.scorer.packing.rows
    rows = size if trial.scorer.packing.fixed else min(len(samples), PROBE_SAMPLES)
    for factor in SCALES:
        pushed = {n: t * factor if t.is_floating_point() else t for n, t in trial.context.items()}
        yield pushed, rows
    for start in range(rows, min(len(samples), MORE_SAMPLES), rows):
        batch = samples.read(start, min(start + rows, len(samples)))
        yield trial.scorer.placed(batch)[1], rows


def _classes_last(trial: _Trial, context: Mapping[str, Tensor], rows: int) -> Tensor | None:
    """(rows, ..., classes) outputs; None if the network does not run there, or returns integers."""
    view = trial.scorer.view
    try:
        inputs = {name: _repeated(tensor, rows) for name, tensor in context.items()}
        outputs = view.rows_first(trial.picked(inputs, rows), rows)
    except Interrupted:
        raise
    except Exception:  # far from data a network may refuse its inputs
        return None
    if not outputs.is_floating_point():
        return None
    return outputs[:, None] if outputs.ndim == 1 else outputs.movedim(1 + view.class_axis, -1)
