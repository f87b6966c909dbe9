"""The score that fits what the outputs of a network mean, and what their labels leave in doubt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...datasets import Samples
from ...device.outputs import OutputView
from ...device.scores import Auto, Logit, Probability, Score, Sigmoid
from ...errors import JobError
from ...job.config import Job

__all__ = ["doubts", "suited"]


def suited(
    score: Score, view: OutputView, samples: Samples, names: Sequence[str]
) -> tuple[Score, tuple[str, ...]]:
    """The score that fits what the outputs mean, and what is said about it."""
    classes = (view.shape or (1,))[view.class_axis]
    if classes == 1 and type(score) is Auto and _are_two_classes(samples, names):
        score = Probability() if view.scale == "probability" else Logit()
        named = f" {names[1]!r}" if len(names) == 2 else ""
        meaning = "the probability" if view.scale == "probability" else "the log-odds"
        return score, (
            f"one output and two classes of labels: a binary classifier; the output is {meaning} of class "
            f"1{named} (score: raw takes it as a number)",
        )
    several = samples.read(0, 1).several
    if several is not None and score.is_of_classes and bool(np.isin(several, (0, 1)).all()):
        raise JobError(
            f"score: {score}: every sample has several labels (multi-hot), and {score} is of classes of which one "
            "is right. Use score: sigmoid, logit or raw."
        )
    if view.scale == "independent" and score.is_of_classes:
        return _independent(score)
    return score, _scale_notes(score, view)


def doubts(job: Job, view: OutputView, samples: Samples, names: Sequence[str]) -> tuple[str, ...]:
    """What labels and outputs say about each other that may not be what was meant."""
    classes, labels = (view.shape or (1,))[view.class_axis], samples.known_labels()
    several = samples.read(0, 1).several
    regression = several is not None and not np.isin(several, (0, 1)).all()
    if regression and classes > 1 and job.target.select in ("predicted", "second"):
        return (
            f"labels are values of a regression, of which target: {job.target.select} takes the largest; name an "
            "output with target: {index: ...}, or explain all",
        )
    if classes == 1 and labels is not None and np.issubdtype(labels.dtype, np.integer) and not names:
        numbers = np.unique(labels[labels >= 0]).tolist()
        if len(numbers) == 2 and numbers != [0, 1]:
            return (
                f"one output and the labels {numbers[0]} and {numbers[1]}: explained as a number; those of a "
                "binary classifier are 0 and 1",
            )
    return ()


def _are_two_classes(samples: Samples, names: Sequence[str]) -> bool:
    labels = samples.known_labels()
    if labels is not None and not np.issubdtype(labels.dtype, np.integer):
        return False
    return len(names) == 2 or (labels is not None and set(np.unique(labels).tolist()) == {0, 1})


def _independent(score: Score) -> tuple[Score, tuple[str, ...]]:
    if isinstance(score, Probability):
        return Sigmoid(), (
            "outputs are probabilities of independent labels already (in [0, 1], but their sum is not 1): score "
            "probability takes them as they are",
        )
    raise JobError(
        f"score: {score}: the outputs are probabilities of independent labels (in [0, 1], but their sum is not "
        f"1), and {score} is of classes of which one is right. Use score: sigmoid, raw or logit."
    )


def _scale_notes(score: Score, view: OutputView) -> tuple[str, ...]:
    if view.scale == "free" or (not score.takes_logits and view.scale != "probabilities"):
        return ()
    what = {
        "probabilities": "probabilities already (not negative, with sum 1)",
        "probability": "a probability already (in [0, 1], wherever inputs are pushed)",
        "independent": "probabilities of independent labels already (in [0, 1])",
    }[view.scale]
    how = (
        f"score {score} does not apply a softmax or sigmoid again"
        if score.takes_logits
        else "explained as they are"
    )
    return (f"outputs are {what}: {how}",)
