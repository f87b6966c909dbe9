"""Checks before the first gradient: can this network be explained on these data as the job asks?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...datasets import finite_rows
from ...device import Scorer
from ...errors import DataError, JobError, ModelError, XattrError, suggestion
from ...job.config import Job
from ...job.target import Mask
from ...registry import Plugin
from ...samples import Batch, InputSpec, Layout
from .reasons import does_not_run
from .targets import outputs_text

__all__ = [
    "check_background",
    "check_class_count",
    "check_class_names",
    "check_explained_inputs",
    "check_gradient_path",
    "check_labels",
    "check_model",
    "check_output",
    "check_scores_finite",
    "check_values_finite",
    "labels_missing",
]

Context = Mapping[str, Tensor]

COUPLED = (
    "the model's score for a sample depends on the other samples of its batch (batch normalisation in train "
    "mode, or an operation across the batch axis): no attribution of one sample exists."
)


def check_output(job: Job) -> None:
    """Make sure that the result does not take the place of what it is computed from.

    Raises:
        JobError: `output.path` is a file that the model, the dataset or a baseline is read from.
    """
    output = job.output.path.resolve()
    for key, path in _files_read(job):
        if path.resolve() == output:
            raise JobError(f"output.path: {job.output.path} is {key}, which the job reads. Choose another path.")


def _files_read(job: Job) -> Iterator[tuple[str, Path]]:
    plugins: dict[str, Plugin] = {"model": job.model, "dataset": job.dataset}
    for label, engine in job.engines.items():
        baseline = getattr(engine, "baseline", None)
        if isinstance(baseline, Plugin):
            each = getattr(baseline, "each", ())
            plugins |= {f"engines.{label}.baseline.{number}": one for number, one in enumerate(each)}
            plugins[f"engines.{label}.baseline"] = baseline
    for at, plugin in plugins.items():
        for name in type(plugin).model_fields:
            value = getattr(plugin, name)
            if isinstance(value, Path):
                yield f"{at}.{name}", value


def check_explained_inputs(job: Job, inputs: tuple[InputSpec, ...]) -> Layout:
    """The layout of the inputs that the job explains; none if only tensors inside the network are explained.

    Raises:
        JobError: an unknown input is named, or none is there to be explained.
        DataError: an explained input has no gradient because it holds integers.
    """
    if job.explain.inside and not job.explain.inputs:
        return Layout(())
    known = [spec.name for spec in inputs]
    for name in job.explain.inputs:
        if name not in known:
            raise JobError(f"explain.inputs: {name!r}: the dataset has no such input.{suggestion(name, known)}")
    mask = job.target.reduce.mask if isinstance(job.target.reduce, Mask) else None
    explainable = [spec.name for spec in inputs if spec.explainable and spec.name != mask]
    layout = Layout.of(inputs, job.explain.inputs or explainable)
    for spec in layout.specs:
        if not np.issubdtype(spec.dtype, np.floating):
            raise DataError(
                f"dataset: input {spec.name!r} holds {spec.dtype}, which has no gradient: every map would "
                "be silently zero. If these are measurements or pixels, convert them (dataset.dtype: "
                "float32); if they are category or token ids, explain what they are embedded into: "
                f"explain: {{embedding: auto}}.{_beside(layout)}"
            )
    return layout


def _beside(layout: Layout) -> str:
    """What to explain where an input only goes with others."""
    others = [spec.name for spec in layout.specs if np.issubdtype(spec.dtype, np.floating)]
    return (
        f" If it only goes with the others, explain those: explain: {{inputs: [{', '.join(others)}]}}."
        if others
        else ""
    )


def check_model(scorer: Scorer, points: Tensor, context: Context) -> Tensor:
    """Run the network on a few rows, and make sure that it can be explained.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of some samples, and what goes with them; no more than the network
            takes in a call.

    Returns:
        (n, targets) scores.

    Raises:
        ModelError: the network does not run on these shapes, gives something else than scores, writes into
            its context, is random in eval mode, or mixes the rows of a batch.
    """
    scores = _scores(scorer, points, context)
    _check_deterministic(scores, _scores(scorer, points, context))
    _check_rows_independent(scorer, points, context)
    return scores


PATH_POSITIONS = (1 / 2, 1 / 4, 3 / 4, 1 / 16, 1 / 8, 3 / 8, 5 / 8, 7 / 8)


def check_gradient_path(
    scorer: Scorer, points: Tensor, context: Context, starts: Callable[[], Sequence[Tensor]]
) -> None:
    """Every explained input must move some output somewhere: at the samples, near by, or on the way to them.

    A network that is saturated at the samples, such as 1 − relu(1 − x), has its gradient on the path only.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of some samples, and what goes with them.
        starts: called if the samples alone do not decide; where paths to them begin, each (n, D) or (1, D).

    Raises:
        ModelError: the gradient to an explained input is cut, or zero wherever it was looked at.
    """
    unreached, failure = [spec.name for spec in scorer.layout.specs], ""
    for number, trial in enumerate(_trials(points, starts)):
        try:
            reached = _inputs_with_gradient(scorer, trial, context)
        except ModelError as error:
            if number == 0:  # at the samples themselves
                raise
            failure, reached = str(error.__cause__ or error).strip().partition("\n")[0], []
        unreached = [name for name in unreached if name not in reached]
        if not unreached:
            return
    others = " Explain the other inputs only (explain: {inputs: [...]}), or check the order in which the"
    advice = f"{others} dataset hands its inputs to the model." if len(scorer.inputs) > 1 else ""
    raise ModelError(
        f"the model ignores {_names(unreached)}: on the samples looked at, and on the way to them, its "
        "gradient is exactly zero for every output. The network does not use it, or it rounds, "
        f"detaches or takes an argmax on the way. Every map would be zero.{advice}"
        + (
            f" Where samples were changed for a trial, halved or with noise, it failed: {failure}."
            if failure
            else ""
        )
    )


def _trials(points: Tensor, starts: Callable[[], Sequence[Tensor]]) -> Iterator[Tensor]:
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0)).to(points)
    yield from (points, points / 2)
    yield points + noise * points.nan_to_num().std(correction=0).clamp(min=1)
    for start in (*starts(), torch.zeros_like(points[:1])):
        yield from (start.expand_as(points).lerp(points, t) for t in PATH_POSITIONS)


def _inputs_with_gradient(scorer: Scorer, points: Tensor, context: Context) -> list[str]:
    # every input is a leaf of its own here, so that the one without a gradient can be named
    leaves = {name: t.detach().clone().requires_grad_() for name, t in scorer.layout.split(points).items()}
    together = torch.cat(scorer.layout.flatten(leaves), dim=1)
    with torch.enable_grad(), scorer.exact_arithmetic():
        scores = _run(scorer, together, context)
        # unequal weights: probabilities sum to 1 whatever the input is
        total = (scores * torch.arange(1, scores.shape[1] + 1, device=scores.device)).sum()
        if not total.requires_grad:
            return []
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return [name for name, g in zip(leaves, gradients, strict=True) if g is not None and bool(g.any())]


def _scores(scorer: Scorer, points: Tensor, context: Context) -> Tensor:
    with torch.no_grad(), scorer.exact_arithmetic():
        return _run(scorer, points, context)


def _run(scorer: Scorer, points: Tensor, context: Context) -> Tensor:
    """Scores of one call of the network, as large as the points are many, or as it demands."""
    rows = scorer.packing.rows if scorer.packing.fixed else len(points)
    filled, filling = scorer.fill(points, context, rows)
    beside = {name: tensor.clone() for name, tensor in filling.items()}
    try:
        scores = scorer.graded(filled, beside)
    except XattrError:
        raise
    except Exception as error:
        raise does_not_run(scorer, len(filled), error) from error
    changed = [name for name in filling if not torch.equal(filling[name].nan_to_num(), beside[name].nan_to_num())]
    if changed:
        raise ModelError(
            f"the model writes into its {_names(changed)} (an operation such as mask.mul_(2)), which would "
            "spoil the data for what follows. Let its forward begin with a clone() of it."
        )
    return scores[: len(points)]


def _check_deterministic(first: Tensor, again: Tensor) -> None:
    if _differ(first, again, tolerance=1e-5):
        raise ModelError(
            "the model gives different scores for the same input: dropout or another random layer is "
            "active although it was put into eval mode. A program exported or traced in train mode must "
            "be exported again after model.eval()."
        )


def _check_rows_independent(scorer: Scorer, points: Tensor, context: Context) -> None:
    """The first row must score the same alone and in company; of a fixed batch, in any company."""
    together = _scores_in_company(scorer, points, context)
    try:
        alone = _scores(scorer, *_first(1, points, context))
    except ModelError as error:
        raise ModelError(f"{COUPLED} It does not run on one sample alone: {error.__cause__ or error}") from error
    if _differ(alone, together[:1], tolerance=1e-3):
        raise ModelError(COUPLED)


def _scores_in_company(scorer: Scorer, points: Tensor, context: Context) -> Tensor:
    if len(points) > 1 or scorer.packing.rows == 1:
        return _scores(scorer, points, context)
    beside = {name: torch.cat([tensor, tensor]) for name, tensor in context.items()}
    try:
        return _scores(scorer, torch.cat([points, points / 2]), beside)
    except ModelError:  # half a sample need not be an input that the network accepts
        return _scores(scorer, points, context)


def _differ(scores: Tensor, others: Tensor, tolerance: float) -> bool:
    """Whether scores are apart by more than the rounding of kernels that need not add in the same order."""
    scale = scores.nan_to_num(posinf=0, neginf=0).abs().max().clamp(min=1e-12)
    return bool(((scores - others).abs() > tolerance * scale).any())


def _first(count: int, points: Tensor, context: Context) -> tuple[Tensor, Context]:
    return points[:count], {name: tensor[:count] for name, tensor in context.items()}


def check_scores_finite(scores: Tensor) -> None:
    """Refuse a network that has no finite score for any of some finite samples.

    Raises:
        ModelError: it has none.
    """
    if not torch.isfinite(scores).any():
        raise ModelError(
            f"the model's scores are NaN or infinite for all of the {len(scores)} samples looked at, which are "
            "finite: every row would be quarantined. Check that the samples are scaled as in training "
            "(dataset.divide_by, mean, std), or set dataset.bad_rows: quarantine to go on."
        )


def check_background(background: Tensor, inputs: Tensor) -> None:
    """Refuse a set of baselines that holds nothing but the input itself: its maps would be zero everywhere.

    Arguments:
        background: (m, D).
        inputs: (n, D) of some rows.

    Raises:
        DataError: all of both are equal.
    """
    if bool((background == inputs[0]).all()) and bool((inputs == inputs[0]).all()):
        raise DataError(
            "baseline: the background holds nothing but the input itself, so every map would be zero. Draw "
            "it from other data, such as baseline: {kind: samples, dataset: {...}} of the training set."
        )


def check_class_names(classes: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse classes that are numbered otherwise than the model's outputs: labels would name the wrong ones.

    Arguments:
        classes: names of the classes in the dataset's order; empty if it knows none.
        outputs: names of the model's outputs; empty if it knows none.

    Raises:
        DataError: they are the same names in another order.
    """
    ours, theirs = ([name.lower() for name in names] for names in (classes, outputs))
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise DataError(
            f"dataset.class_names: the outputs of the model are {', '.join(outputs)}, but the dataset numbers its "
            f"classes {', '.join(classes)}. Set dataset.class_names: [{', '.join(outputs)}]."
        )


def check_class_count(names: Sequence[str], targets: int) -> None:
    """Refuse a list of class names that is too short or too long for the network: names would be wrong.

    Arguments:
        names: of the outputs, as the job gives them; empty if it gives none.
        targets: outputs that can be explained; one may be the raw score of two classes.

    Raises:
        DataError: their numbers differ.
    """
    if names and len(names) != targets and (len(names), targets) != (2, 1):
        named = "1 name" if len(names) == 1 else f"{len(names)} names"
        raise DataError(
            f"dataset.class_names: {named}, but {outputs_text(targets)}. Name every output, in their order."
        )


def check_labels(labels: np.ndarray | None, targets: int, first: int = 0, *, patient: bool = False) -> None:
    """Make sure that every label names an output.

    Arguments:
        labels: of consecutive samples; None if there are none.
        targets: outputs that can be explained.
        first: position of the first of these samples in the dataset.
        patient: let samples pass that have no label, −1 or NaN.

    Raises:
        DataError: labels that are no outputs of the model; names the first of them.
    """
    if labels is None or targets == 1:
        return
    if patient and not (missing := labels_missing(labels)).all():
        labels = np.where(missing, labels[~missing][0], labels)
    if not np.issubdtype(labels.dtype, np.integer) and np.isnan(labels).all():
        raise DataError(
            "dataset.labels: every sample has several labels, so target: label names no output. Use target: "
            "{index: [...]}, all, or {column: NAME}."
        )
    if not np.issubdtype(labels.dtype, np.integer) and bool((labels != np.floor(labels)).any()):
        raise DataError(
            f"dataset.labels: {labels.dtype} values are no classes, but target: label needs the index of "
            f"one of the model's {targets} outputs."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= targets))
    if len(wrong):
        examples = ", ".join(f"sample {first + i} has {labels[i]:g}" for i in wrong[:3])
        raise DataError(
            f"dataset.labels: {len(wrong)} of {len(labels)} labels are out of range ({examples}); "
            f"{outputs_text(targets)}."
        )


def labels_missing(labels: np.ndarray) -> np.ndarray:
    """(n,) bool: which samples have no label."""
    missing: np.ndarray = labels == -1 if np.issubdtype(labels.dtype, np.integer) else np.isnan(labels)
    return missing


def check_values_finite(batch: Batch) -> None:
    """Refuse samples that hold NaN or infinity.

    Raises:
        DataError: names the first of them.
    """
    bad = ~finite_rows(batch)
    if bad.any():
        listed = ", ".join(str(i) for i in batch.index[bad][:5])
        raise DataError(
            f"dataset: {bad.sum()} of {len(batch)} samples looked at contain NaN or infinity (samples {listed}). "
            "Clean the data, or set dataset.bad_rows: quarantine to explain the others."
        )


def _names(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names)
    return f"input {listed}" if len(names) == 1 else f"inputs {listed}"
