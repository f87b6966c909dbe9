"""From the outputs of a network to the one number per row that is explained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from pydantic import model_serializer
from torch import Tensor

from ..registry import SCORES, Plugin

__all__ = ["Auto", "LogProbability", "Logit", "Probability", "Raw", "Score", "choose_targets", "predictions"]


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

    @abstractmethod
    def of_all(self, outputs: Tensor) -> Tensor:
        """Scores of every target, row by row, differentiable by autograd; twice for Hessians.

        Arguments:
            outputs: (n, outputs) as the network returns them.

        Returns:
            (n, targets); the greatest is the predicted one.
        """

    @model_serializer(mode="wrap")
    def _tagged(self, handler: Any) -> Any:
        options = handler(self)
        return {self.registered_name: options} if options else self.registered_name

    def __str__(self) -> str:
        """As a job file has it."""
        options = ", ".join(f"{name}: {value}" for name, value in self)
        return f"{self.registered_name} {{{options}}}" if options else self.registered_name


@SCORES.register("raw")
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


@SCORES.register("logit")
class Logit(Score):
    """An output as it is; a single one is the log-odds of class 1, so that class 0 has its negative."""

    def of_all(self, outputs: Tensor) -> Tensor:
        return _signed(outputs) if outputs.shape[1] == 1 else outputs


@SCORES.register("probability")
class Probability(Score):
    """The softmax of the outputs; of a single one, the log-odds of class 1, the probabilities of 0 and 1."""

    def of_all(self, outputs: Tensor) -> Tensor:
        return _signed(outputs).sigmoid() if outputs.shape[1] == 1 else outputs.softmax(dim=1)


@SCORES.register("log_probability")
class LogProbability(Score):
    """The logarithm of the probability."""

    def of_all(self, outputs: Tensor) -> Tensor:
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
    scores: Tensor, labels: Tensor | None, select: str, index: tuple[int, ...], count: int
) -> Tensor:
    """(n, k) int64: the k targets explained for each sample.

    Arguments:
        scores: (n, targets).
        labels: (n,) class indices, needed if `select` is `label`.
        select, index, count: of the job's `target`.
    """
    n, targets = scores.shape
    if select == "all":
        return torch.arange(targets).expand(n, targets)
    if select == "index":
        return torch.tensor(index).expand(n, len(index))
    if select == "top":
        return scores.topk(count, dim=1).indices
    if targets == 1:
        return torch.zeros(n, 1, dtype=torch.int64)
    if select == "label" and labels is not None:
        return labels.to(torch.int64)[:, None]
    return scores.argmax(dim=1, keepdim=True)
