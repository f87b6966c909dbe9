"""Checks before the first gradient: can this network be explained on these data as the job asks?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .config import Job
from .device import Scorer, scores_of
from .errors import DataError, JobError, ModelError
from .samples import Batch, InputSpec, Layout

__all__ = [
    "check_explained_inputs",
    "check_labels",
    "check_model",
    "check_targets",
    "check_values_finite",
]


def check_explained_inputs(job: Job, inputs: tuple[InputSpec, ...]) -> Layout:
    """The layout of the inputs that the job explains.

    Raises:
        JobError: an unknown input is named.
        DataError: an explained input has no gradient because it holds integers.
    """
    known = [spec.name for spec in inputs]
    for name in job.explain.inputs:
        if name not in known:
            raise JobError(f"explain.inputs: {name!r}: the dataset has no such input. It has: {known}.")
    layout = Layout.of(inputs, job.explain.inputs or None)
    for spec in layout.specs:
        if not np.issubdtype(spec.dtype, np.floating):
            raise DataError(
                f"dataset: input {spec.name!r} holds {spec.dtype}, which has no gradient: every map would "
                "be silently zero. If these are measurements or pixels, convert them (dataset.dtype: "
                "float32); if they are category or token ids, explain what they are embedded into."
            )
    return layout


def check_model(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> int:
    """Run the network on a few rows, and make sure that it can be explained.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of the first samples, and what goes with them.

    Returns:
        The number of targets.

    Raises:
        ModelError: the network does not run on these shapes, gives something else than scores, cuts the
            gradient to an explained input, is random in eval mode, or mixes the rows of a batch.
    """
    _check_gradient_path(scorer, points, context)
    with scorer.exact_arithmetic():
        first = scorer.scores(points, context)
        _check_deterministic(first, scorer.scores(points, context))
        if not scorer.packing.fixed and len(points) > 1:
            _check_rows_independent(scorer, points, context, first)
    return first.shape[1]


def _check_gradient_path(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> None:
    # every input is a leaf of its own here, so that the one without a gradient can be named
    explained = scorer.layout.split(points)
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in explained.items()}
    together = torch.cat(scorer.layout.flatten(leaves), dim=1)
    with torch.enable_grad(), scorer.exact_arithmetic():
        filled, filling = scorer.fill(together, context, scorer.packing.rows)
        outputs = _run(scorer, filled, filling)
        scores = scores_of(outputs, scorer.score)
        # unequal weights: probabilities sum to 1 whatever the input is
        total = (scores * torch.arange(1, scores.shape[1] + 1, device=scores.device)).sum()
        if not total.requires_grad:
            raise ModelError(
                f"the model's output does not depend differentiably on {_names(leaves)}: it ignores the "
                "input, or rounds, detaches or takes an argmax on the way. Every map would be zero."
            )
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    ignored = [name for name, g in zip(leaves, gradients, strict=True) if g is None or not g.any()]
    if len(ignored) == len(leaves) and torch.isfinite(total):
        ignored = [name for name, g in zip(leaves, gradients, strict=True) if g is None]
    if ignored:
        raise ModelError(
            f"the model ignores {_names(ignored)}: no gradient reaches it from any output on the first "
            f"{len(points)} samples. Explain the other inputs only (explain: {{inputs: [...]}}), or check "
            "the order in which the dataset hands its inputs to the model."
        )


def _run(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> Tensor:
    try:
        return scorer.outputs(points, context)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(f"{s.name} {(len(points), *s.shape)} {s.dtype}" for s in scorer.inputs)
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"the model does not run on the dataset's inputs ({shapes}): {reason}. "
            "Check the dataset's shape and order of inputs against what the model was trained on."
        ) from error


def _check_deterministic(first: Tensor, again: Tensor) -> None:
    if not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise ModelError(
            "the model gives different scores for the same input: dropout or another random layer is "
            "active although it was put into eval mode. A program exported or traced in train mode must "
            "be exported again after model.eval()."
        )


def _check_rows_independent(
    scorer: Scorer, points: Tensor, context: Mapping[str, Tensor], together: Tensor
) -> None:
    alone = scorer.scores(points[:1], {name: tensor[:1] for name, tensor in context.items()})
    scale = together.nan_to_num().abs().max().clamp(min=1e-12)
    if bool(((alone - together[:1]).abs() > 1e-3 * scale).any()):
        raise ModelError(
            "the model's score for a sample depends on the other samples of its batch (batch normalisation "
            "in train mode, or an operation across the batch axis): no attribution of one sample exists."
        )


def check_targets(job: Job, targets: int, has_labels: bool) -> None:
    """Make sure that the targets that the job names exist.

    Raises:
        JobError: an index or a count is too large, or labels are asked for that the dataset does not have.
    """
    target = job.target
    outputs = f"the model has {targets} outputs, 0 to {targets - 1}"
    for index in target.index:
        if index >= targets:
            raise JobError(f"target.index: {index}: out of range; {outputs}.")
    if target.select == "top" and target.count > targets:
        raise JobError(f"target.top: {target.count}: too many; {outputs}.")
    if target.select == "label" and targets > 1 and not has_labels:
        raise JobError("target: 'label': the dataset has no labels. Set dataset.labels, or target: predicted.")


def check_labels(labels: np.ndarray | None, targets: int) -> None:
    """Make sure that every label names an output.

    Raises:
        DataError: labels that are no outputs of the model; names the first of them.
    """
    if labels is None or targets == 1:
        return
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"dataset.labels: {labels.dtype} values are no classes, but target: label needs the index of "
            f"one of the model's {targets} outputs."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= targets))
    if len(wrong):
        examples = ", ".join(f"sample {i} has {labels[i]}" for i in wrong[:3])
        raise DataError(
            f"dataset.labels: {len(wrong)} labels are out of range ({examples}); the model has {targets} "
            f"outputs, 0 to {targets - 1}."
        )


def check_values_finite(batch: Batch) -> None:
    """Refuse samples that hold NaN or infinity.

    Raises:
        DataError: names the first of them.
    """
    bad = np.zeros(len(batch), dtype=bool)
    for values in batch.inputs.values():
        if np.issubdtype(values.dtype, np.floating):
            bad |= ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        listed = ", ".join(str(i) for i in batch.index[bad][:5])
        raise DataError(
            f"dataset: {bad.sum()} of {len(batch)} samples looked at contain NaN or infinity (samples {listed}). "
            "Clean the data, or set dataset.nonfinite: quarantine to explain the others."
        )


def _names(names: Mapping[str, object] | list[str]) -> str:
    listed = ", ".join(repr(name) for name in names)
    return f"input {listed}" if len(names) == 1 else f"inputs {listed}"
