"""From the outputs of a network to the one number per row that is explained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, PrivateAttr, model_serializer
from torch import Tensor

from ..errors import JobError, ModelError, suggestion
from ..importing import import_callable, importable_from
from ..registry import SCORES, Plugin

__all__ = [
    "Auto",
    "Entropy",
    "Function",
    "LogProbability",
    "Logit",
    "Loss",
    "Margin",
    "Probability",
    "Raw",
    "Score",
    "Sigmoid",
    "choose_targets",
    "predictions",
]


class Score(Plugin, ABC):
    """A kind of score in the job file, named by `score:`; its fields are the options below that name.

    Example:
        >>> class Halved(Score):
        ...     '''Half of each output.'''
        ...
        ...     def of_all(self, outputs):
        ...         return outputs / 2
        >>> Halved().of_all(torch.tensor([[1.0, 4.0]]))
        tensor([[0.5000, 2.0000]])
    """

    @property
    def takes_outputs_as_they_are(self) -> bool:
        """Whether every score is an output of the network, for what feeds outputs back."""
        return False

    @property
    def takes_logits(self) -> bool:
        """Whether outputs that are probabilities must be turned into logits for it."""
        return False

    @property
    def is_of_classes(self) -> bool:
        """Whether the classes are taken to exclude each other: their probabilities sum to 1."""
        return False

    @property
    def takes_any_shape(self) -> bool:
        """Whether it reads the network's output itself, of any shape and kind, by `of_output`."""
        return False

    def named(self, classes: Sequence[str]) -> Score:
        """This score, its class names replaced by their numbers.

        Arguments:
            classes: names of the outputs, as far as they are known.

        Raises:
            JobError: there is no such class.
        """
        return self

    def evidence(self, outputs: Tensor) -> Tensor:
        """(n, targets) by which the predicted class is the greatest: the scores, unless said otherwise."""
        return self.of_all(outputs)

    def of_output(self, output: Any, context: Mapping[str, Tensor]) -> Tensor:
        """(n, targets) of an output of any shape; only if `takes_any_shape`."""
        raise NotImplementedError

    @abstractmethod
    def of_all(self, outputs: Tensor) -> Tensor:
        """Scores of every target, row by row, differentiable by autograd; twice for Hessians.

        Arguments:
            outputs: (n, outputs) as the network returns them.

        Returns:
            (n, targets); the greatest is the predicted one, or that of `evidence`.
        """

    @model_serializer(mode="wrap")
    def _tagged(self, handler: Any) -> Any:
        options = handler(self)
        return {self.registered_name: options} if options else self.registered_name

    def __str__(self) -> str:
        """As a job file has it."""
        options = ", ".join(f"{name}: {value}" for name, value in self)
        return f"{self.registered_name} {{{options}}}" if options else self.registered_name


@SCORES.register("raw", "none", "output")
class Raw(Score):
    """An output as it is."""

    @property
    def takes_outputs_as_they_are(self) -> bool:
        return True

    def of_all(self, outputs: Tensor) -> Tensor:
        return outputs


@SCORES.register("auto")
class Auto(Raw):
    """An output as it is, which for a classifier is its logit."""


class _OfLogits(Score):
    """A score that reads outputs as logits."""

    @property
    def takes_logits(self) -> bool:
        return True


class _OfClasses(_OfLogits):
    """A score of classes of which one is right."""

    @property
    def is_of_classes(self) -> bool:
        return True


@SCORES.register("logit")
class Logit(_OfLogits):
    """An output as it is; a single one is the log-odds of class 1, so that class 0 has its negative.

    Of outputs that are probabilities already, their logarithm (which differs from the logits by a number that all
    classes share), or of a single one, or of independent ones, the log-odds.
    """

    def of_all(self, outputs: Tensor) -> Tensor:
        return _signed(outputs) if outputs.shape[1] == 1 else outputs


@SCORES.register("probability", "softmax", "prob", "proba")
class Probability(_OfClasses):
    """The softmax of the outputs; of a single one, the log-odds of class 1, the probabilities of 0 and 1."""

    def of_all(self, outputs: Tensor) -> Tensor:
        return _signed(outputs).sigmoid() if outputs.shape[1] == 1 else outputs.softmax(dim=1)


@SCORES.register("log_probability", "log_softmax", "log_prob")
class LogProbability(_OfClasses):
    """The logarithm of the probability."""

    def of_all(self, outputs: Tensor) -> Tensor:
        return _log_probabilities(outputs)


@SCORES.register("sigmoid")
class Sigmoid(_OfLogits):
    """The sigmoid of each output by itself: of labels that do not exclude each other."""

    def of_all(self, outputs: Tensor) -> Tensor:
        return (_signed(outputs) if outputs.shape[1] == 1 else outputs).sigmoid()


@SCORES.register("margin")
class Margin(_OfLogits):
    """An output minus the best of the others, or minus a given one; positive for the class that is predicted.

    The margin of a single output, the log-odds of class 1, is the log-odds.
    """

    against: int | str | None = Field(
        default=None, description="number or name of the class that is subtracted; null: the best other one"
    )

    def named(self, classes: Sequence[str]) -> Margin:
        if not isinstance(self.against, str):
            return self
        if self.against not in classes:
            raise JobError(
                f"score.margin.against: {self.against!r}: no such class.{suggestion(self.against, classes)}"
            )
        return Margin(against=list(classes).index(self.against))

    def of_all(self, outputs: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            return _signed(outputs)
        if self.against is None:
            best, where = outputs.topk(2, dim=1)
            is_best = torch.arange(outputs.shape[1], device=outputs.device) == where[:, :1]
            return outputs - torch.where(is_best, best[:, 1:], best[:, :1])
        number = int(self.against)
        if not 0 <= number < outputs.shape[1]:
            raise JobError(
                f"score.margin.against: {self.against}: out of range; the model has {outputs.shape[1]} outputs, "
                f"0 to {outputs.shape[1] - 1}."
            )
        return outputs - outputs[:, number : number + 1]

    def evidence(self, outputs: Tensor) -> Tensor:
        return Logit().of_all(outputs)


@SCORES.register("loss", "cross_entropy", "nll")
class Loss(_OfClasses):
    """Cross-entropy −log p to the target, which is the loss of training with `target: label`."""

    def of_all(self, outputs: Tensor) -> Tensor:
        return -_log_probabilities(outputs)

    def evidence(self, outputs: Tensor) -> Tensor:
        return Logit().of_all(outputs)


@SCORES.register("entropy")
class Entropy(_OfClasses):
    """Entropy −Σ p log p of the predicted distribution, in nats; the same whatever the target is."""

    def of_all(self, outputs: Tensor) -> Tensor:
        logs = _log_probabilities(outputs)
        return -(logs.exp() * logs).sum(dim=1, keepdim=True).expand_as(logs)

    def evidence(self, outputs: Tensor) -> Tensor:
        return Logit().of_all(outputs)


@SCORES.register("function")
class Function(Score):
    """A Python function of the network's output: f(outputs), f(outputs, target) or f(outputs, target, context).

    `outputs` is what the network returns (of `model.output`), n samples first. A function of it alone returns (n,)
    scores, one per sample, or (n, targets). With `target`, (n,) numbers of outputs, it returns (n,) and is called
    for each. `context` holds the inputs that are not explained, by name.
    """

    function: str = Field(description="module:callable, found next to the job file or installed")
    kwargs: dict[str, Any] = Field(default={}, description="further keyword arguments")

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Remember the folder of the job file, as paths do."""
        self._folder = Path((context or {}).get("folder", Path.cwd()))

    @property
    def takes_any_shape(self) -> bool:
        return True

    @cached_property
    def _call(self) -> Callable[..., Any]:
        with importable_from(self._folder):
            return import_callable(self.function, self._folder, "score.function")

    @cached_property
    def _takes(self) -> int:
        """How many of outputs, target and context it takes."""
        given = [p for p in signature(self._call).parameters.values() if p.name not in self.kwargs]
        return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in given)

    def of_all(self, outputs: Tensor) -> Tensor:
        return self.of_output(outputs, {})

    def of_output(self, output: Any, context: Mapping[str, Tensor]) -> Tensor:
        """(n, targets) what the function makes of an output.

        Raises:
            ModelError: it returns something else.
        """
        if self._takes < 2:
            return self._checked(self._call(output, **self.kwargs))
        if not isinstance(output, Tensor) or output.ndim < 2:
            raise ModelError(
                f"score.function: {self.function} takes a target, but the network returns no tensor of (n, "
                "outputs). Name a part of it as model.output, or let the function take the outputs alone."
            )
        more = (context,) if self._takes > 2 else ()
        numbers = (torch.full((len(output),), k, device=output.device) for k in range(output.shape[1]))
        return torch.cat([self._checked(self._call(output, k, *more, **self.kwargs)) for k in numbers], dim=1)

    def _checked(self, scores: Any) -> Tensor:
        if not isinstance(scores, Tensor) or scores.ndim not in (1, 2) or not scores.is_floating_point():
            what = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise ModelError(
                f"score.function: {self.function} returned {what}; a floating tensor (n,) of a score per sample, "
                "or (n, targets), is needed."
            )
        return scores[:, None] if scores.ndim == 1 else scores


def _log_probabilities(outputs: Tensor) -> Tensor:
    """(n, classes); of a single output, the log-odds of class 1, those of 0 and 1."""
    if outputs.shape[1] == 1:
        return torch.nn.functional.logsigmoid(_signed(outputs))
    return outputs.log_softmax(dim=1)


def _signed(outputs: Tensor) -> Tensor:
    """(n, 2) log-odds of the classes 0 and 1."""
    # -z and z differ by 2z, but each class's own log-odds are what its logit means here
    return torch.cat([-outputs, outputs], dim=1)


def predictions(scores: Tensor) -> Tensor:
    """(n,) predicted class (int64), or the predicted value itself (float64) if there is one target."""
    return scores[:, 0].double() if scores.shape[1] == 1 else scores.argmax(dim=1)


def choose_targets(
    scores: Tensor,
    labels: Tensor | None,
    select: str,
    index: Sequence[int],
    count: int,
    column: np.ndarray | None = None,
) -> Tensor:
    """(n, k) int64: the k targets explained for each sample.

    Arguments:
        scores: (n, targets).
        labels: (n,) class indices, needed if `select` is `label`.
        select, count: of the job's `target`.
        index: numbers of the targets that the job names.
        column: (n, k) targets of each sample, where they differ; needed if `select` is `column`. They come first.
    """
    n, targets = scores.shape
    if column is not None:
        return torch.from_numpy(column)
    if select == "all":
        return torch.arange(targets).expand(n, targets)
    if select == "index":
        return torch.tensor(tuple(index)).expand(n, len(index))
    if select == "top":
        return scores.topk(count, dim=1).indices
    if targets == 1:
        return torch.zeros(n, 1, dtype=torch.int64)
    if select == "second":
        return scores.topk(2, dim=1).indices[:, 1:]
    if select == "label" and labels is not None:
        return labels.to(torch.int64)[:, None]
    return scores.argmax(dim=1, keepdim=True)
