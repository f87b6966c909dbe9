"""From what a network returns to scores: which part, which axis counts samples or classes, which positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ModelError, suggestion
from .parts import named_parts
from .scores import Score

__all__ = ["POSITIONS", "OutputView", "Scale"]

Scale = Literal["free", "probabilities", "probability", "independent"]
"""What outputs are: nothing in particular; probabilities that sum to 1; a single one; one for each label."""

POSITIONS = "predicted class of each position"
"""In the context of rows: (rows, positions) int64, of the samples themselves."""

_TINY = 1e-37


@dataclass(frozen=True)
class OutputView:
    """How scores are read from what a network returns.

    Attributes:
        part: a key, position or attribute, or several joined by dots; None for the only tensor there is.
        batch_axis: which axis of the tensor counts the samples.
        shape: of one sample's output; None if that is not known yet.
        class_axis: of `shape`, which counts the classes; the others are positions.
        reduce: how the scores of all positions become one per class.
        mask: name of the context whose positions count; empty for all.
        scale: what the outputs are already.
        given: names of the contexts (rows, positions) that say which class is asked for at each position, -1 for
            none; the scores of a second one, whose positions follow, are subtracted. Empty where any may be.
    """

    part: str | int | None = None
    batch_axis: int = 0
    shape: tuple[int, ...] | None = None
    class_axis: int = 0
    reduce: Literal["none", "sum", "mean"] = "none"
    mask: str = ""
    scale: Scale = "free"
    given: tuple[str, ...] = ()

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape without the classes; empty if there are no positions."""
        shape = self.shape or ()
        return (*shape[: self.class_axis], *shape[self.class_axis + 1 :])

    @property
    def places(self) -> tuple[int, ...]:
        """The shape of the targets of a sample where each position has its own; empty if none has."""
        return (self.shape or ()) if self.positions and self.reduce == "none" and not self.given else ()

    def with_classes(self, classes: int) -> OutputView:
        """The same, of scores whose classes are as many as given."""
        shape = self.shape or ()
        return replace(self, shape=(*shape[: self.class_axis], classes, *shape[self.class_axis + 1 :]))

    def picked(self, returned: Any, *, whole: bool = False) -> Any:
        """The part of an output that is explained.

        Arguments:
            returned: by the network.
            whole: take it also if it is not a tensor.

        Raises:
            ModelError: there is no such part, or none is named and there are several.
        """
        output = returned
        for name in [] if self.part is None else str(self.part).split("."):
            output = _part(output, name)
        return output if whole or isinstance(output, Tensor) else _only_tensor(output)

    def rows_first(self, tensor: Tensor, rows: int) -> Tensor:
        """(rows, *shape) of an output; a single sample may have lost its axis, by squeeze().

        Raises:
            ModelError: it does not have as many samples as rows.
        """
        if rows == 1 and (tuple(tensor.shape) == self.shape or (self.shape is None and tensor.ndim == 0)):
            return tensor[None]
        by_sample = tensor.movedim(self.batch_axis, 0) if 0 < self.batch_axis < tensor.ndim else tensor
        fits = by_sample.ndim > 0 and len(by_sample) == rows
        if fits and (self.shape is None or tuple(by_sample.shape[1:]) == self.shape):
            return by_sample
        usual = "" if self.shape is None else f", and {(rows, *self.shape)} elsewhere"
        raise ModelError(
            f"the model returns a tensor of shape {tuple(tensor.shape)} for {rows} rows{usual}; a score for every "
            "sample is needed. If it averages or sums over the batch, let it return what it averages; name "
            "another part of its output as model.output if it returns several."
        )

    def scores(self, score: Score, outputs: Any, context: Mapping[str, Tensor]) -> Tensor:
        """(rows, targets) of outputs (rows, *shape)."""
        if score.takes_any_shape:
            return score.of_output(outputs, context)
        return self._read(score.of_all, self._as_logits(outputs) if score.takes_logits else outputs, context)

    def evidence(self, score: Score, outputs: Any, context: Mapping[str, Tensor]) -> Tensor:
        """(rows, targets) by which the predicted one is the greatest."""
        if score.takes_any_shape:
            scores = score.of_output(outputs, context)
            fits = isinstance(outputs, Tensor) and outputs.shape == scores.shape
            return outputs if fits else scores
        return self._read(score.evidence, self._as_logits(outputs) if score.takes_logits else outputs, context)

    def classes_of_positions(self, outputs: Tensor) -> Tensor:
        """(rows, positions) int64, the class with the greatest output at each position."""
        return outputs.movedim(1 + self.class_axis, 1).flatten(2).argmax(dim=1)

    def _read(self, of_all: Callable[[Tensor], Tensor], outputs: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        if outputs.ndim <= 2:
            return of_all(outputs[:, None] if outputs.ndim == 1 else outputs)
        rows, last = len(outputs), outputs.movedim(1 + self.class_axis, -1)
        scores = of_all(last.reshape(-1, last.shape[-1]))
        targets = scores.shape[1]
        if self.given:
            return self._of_given(scores.reshape(rows, -1, targets), context)
        if self.reduce == "none":
            return scores.reshape(*last.shape[:-1], targets).movedim(-1, 1 + self.class_axis).flatten(1)
        each = scores.reshape(rows, -1, targets)
        weights = self._weights(each, context)
        total = each.sum(dim=1) if weights is None else (each * weights).sum(dim=1)
        if self.reduce == "sum":
            return total
        return total / (each.shape[1] if weights is None else weights.sum(dim=1).clamp(min=1))

    def _of_given(self, each: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """(rows, positions) scores of the classes that are asked for, or (rows, 1) if they are reduced."""
        of_inputs, start = [], 0
        for name in self.given:
            ids = context[name]
            at = each[:, start : start + ids.shape[1]].gather(2, ids.clamp(min=0)[..., None])[..., 0]
            at = torch.where(ids >= 0, at, 0)
            start += ids.shape[1]
            if self.reduce != "none":
                at = at.sum(dim=1, keepdim=True)
            if self.reduce == "mean":
                at = at / (ids >= 0).sum(dim=1, keepdim=True)
            of_inputs.append(at)
        if len(of_inputs) == 1:
            return of_inputs[0]
        first, second = of_inputs
        common = min(first.shape[1], second.shape[1])
        return torch.cat([first[:, :common] - second[:, :common], first[:, common:]], dim=1)

    def _weights(self, each: Tensor, context: Mapping[str, Tensor]) -> Tensor | None:
        """(rows, positions, 1 or classes) that every score counts with; None for all alike."""
        if not self.mask:
            return None
        mask = context[self.mask]
        if self.mask == POSITIONS:
            return torch.nn.functional.one_hot(mask, each.shape[2]).to(each.dtype)
        return (mask.reshape(len(each), -1, 1) != 0).to(each.dtype)

    def _as_logits(self, outputs: Tensor) -> Tensor:
        if self.scale == "free":
            return outputs
        if self.scale == "probabilities":
            return outputs.clamp(min=_TINY).log()
        return torch.logit(outputs, eps=torch.finfo(outputs.dtype).eps)

    def targets_at(self, place: tuple[int, ...]) -> int:
        """The number of the target at a place, one number for each axis of `places`."""
        strides = [prod(self.places[axis + 1 :]) for axis in range(len(self.places))]
        return sum(number * stride for number, stride in zip(place, strides, strict=True))


def _part(value: Any, name: str) -> Any:
    parts = named_parts(value)
    if parts is None:
        raise ModelError(
            f"model.output: {name!r}: the model returns {_describe(value)} there, which has no parts."
        )
    if name in parts:
        return parts[name]
    if name.isdecimal() and int(name) < len(parts):
        return list(parts.values())[int(name)]
    raise ModelError(f"model.output: {name!r}: the model returns no such part.{suggestion(name, parts)}")


def _only_tensor(value: Any) -> Tensor:
    """The only floating tensor among the parts of an output."""
    parts = named_parts(value) or {}
    tensors = {n: part for n, part in parts.items() if isinstance(part, Tensor) and part.is_floating_point()}
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    if not tensors and len(parts) == 1:
        [inner] = parts.values()
        if not isinstance(inner, Tensor):
            return _only_tensor(inner)
    shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in tensors.items())
    named = next(iter(tensors), "0")
    likely = next((name for name in tensors if "logit" in name or "score" in name), named)
    raise ModelError(
        f"the model returns {_describe(value)}, of which one tensor can be explained"
        + (f" ({shapes}). Say which: model: {{output: {likely}}}." if tensors else ", but there is none in it.")
    )


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
