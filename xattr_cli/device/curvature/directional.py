"""Second directional derivatives vᵀ ∇²f v of all outputs at once, at many points and along many directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import ModelError
from ..packing import is_out_of_memory
from ..scorer import Scorer
from .hvp import nodes_of

__all__ = ["DirectionalCurvature", "DirectionalField", "Pairs", "Scheme", "choose_scheme"]

PROBE_PAIRS = 8
PROBE_TARGETS = 16
# float32 rounding of a second derivative stays below a thousandth of the largest on the networks of the
# tests; what a scheme that an operation does not support gives is wrong by tens of per cent
AGREEMENT = 1e-2


class Scheme(IntEnum):
    """How the derivatives along a line are taken.

    The line x + εv makes every output a function of one number per row. `TRANSPOSED` gives the second
    derivative of all outputs in four backward passes, however many there are; nested forward mode, which
    does so too, took 1.1 to 3.3 times as long on eleven networks, and fails on four more (SiLU, GLU, LSTM,
    packed sequences). It is not for every network: torch's layer_norm, differentiated more than twice, is
    silently wrong by a tenth. `BACKWARD`, two passes per output, works wherever there is a Hessian.
    """

    TRANSPOSED = 0
    BACKWARD = 1


class Pairs(Protocol):
    """Many points and directions, made on demand so that they never lie in memory all at once."""

    def __len__(self) -> int:
        """Number of pairs."""

    def take(self, part: slice) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Points (k, D), directions (k, D) and context of the pairs of `part`."""


@dataclass(frozen=True)
class DirectionalCurvature:
    """What some consecutive pairs have.

    Attributes:
        part: which pairs.
        second: (k, targets), vᵀ ∇²f v.
    """

    part: slice
    second: Tensor


@dataclass(frozen=True)
class DirectionalField:
    """Second directional derivatives of some outputs of a network.

    Attributes:
        scorer: the network.
        targets: which outputs.
        scheme: how they are taken.
    """

    scorer: Scorer
    targets: tuple[int, ...]
    scheme: Scheme

    @property
    def passes(self) -> int:
        """Forward or backward passes beyond the first that a pair takes; what it costs."""
        return 2 * len(self.targets) if self.scheme == Scheme.BACKWARD else 4

    def evaluate(self, pairs: Pairs) -> Iterator[DirectionalCurvature]:
        """Evaluate all pairs, in order, one device call at a time; out of memory repeats a call in halves."""

        def call(part: slice, rows: int) -> DirectionalCurvature:
            line = _Line(self.scorer, *pairs.take(part), self.targets, rows)
            return DirectionalCurvature(part, line.second(self.scheme))

        with _differentiable(self.scorer):
            yield from self.scorer.packing.run(len(pairs), call)


def choose_scheme(scorer: Scorer, pairs: Pairs, targets: Sequence[int]) -> Scheme:
    """`TRANSPOSED` if it agrees with plain double backward passes on some of the pairs, else these.

    Raises:
        ModelError: the network has no second derivative.
    """
    if not len(pairs):
        return Scheme.BACKWARD
    some = tuple(targets)[:: -(-len(targets) // PROBE_TARGETS)]
    count = min(len(pairs), PROBE_PAIRS, scorer.packing.rows)
    rows = scorer.packing.rows if scorer.packing.fixed else count
    line = _Line(scorer, *pairs.take(slice(0, count)), some, rows)
    with _differentiable(scorer):
        try:
            line.refuse_dead_ends()
            truth = line.second(Scheme.BACKWARD)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(
                "the network has no second derivative, which the Taylor estimate of causal effects needs: "
                f"{str(error).splitlines()[0]}. Use estimator: empirical."
            ) from error
        # two passes for one output are fewer than the four that serve any number of them
        if len(targets) > 1 and _agrees(lambda: line.second(Scheme.TRANSPOSED), truth):
            return Scheme.TRANSPOSED
        return Scheme.BACKWARD


def _agrees(compute: Callable[[], Tensor], truth: Tensor) -> bool:
    try:
        derivatives = compute()
    except RuntimeError:
        return False
    scale = truth.abs().max()
    return bool(((derivatives - truth).abs() <= AGREEMENT * scale).all())


@contextmanager
def _differentiable(scorer: Scorer) -> Iterator[None]:
    """Kernels that can be differentiated twice: neither cuDNN's recurrent ones nor fused attention can."""
    with scorer.exact_arithmetic(), sdpa_kernel(SDPBackend.MATH):
        yield


class _Line:
    """The outputs along x + εv, for the pairs of one call, filled up to `rows` rows."""

    def __init__(
        self,
        scorer: Scorer,
        points: Tensor,
        directions: Tensor,
        context: Mapping[str, Tensor],
        targets: Sequence[int],
        rows: int,
    ) -> None:
        self._scorer = scorer
        self._count = len(points)
        self._points, self._context = scorer.fill(points, context, rows)
        self._directions, _ = scorer.fill(directions, {}, rows)
        self._targets = list(targets)

    def __call__(self, step: Tensor) -> Tensor:
        """(rows, targets) at one ε (rows,) per row."""
        points = torch.addcmul(self._points, step[:, None], self._directions)
        return self._scorer.graded(points, self._context)[:, self._targets]

    @property
    def start(self) -> Tensor:
        """ε = 0, a leaf."""
        return self._points.new_zeros(len(self._points)).requires_grad_()

    def second(self, scheme: Scheme) -> Tensor:
        """(k, targets) second derivatives of the pairs."""
        self._scorer.interrupt()
        compute = _transposed if scheme == Scheme.TRANSPOSED else _backward
        with torch.enable_grad():
            return compute(self, self.start)[: self._count].detach()

    def refuse_dead_ends(self) -> None:
        """Refuse a network parts of which can be differentiated only once: torch leaves them out without a word.

        Raises:
            RuntimeError: it has such a part.
        """
        step = self.start
        with torch.enable_grad():
            values = self(step)
            if not values.requires_grad:
                return
            vector = torch.ones_like(values, requires_grad=True)
            (first,) = torch.autograd.grad(values, step, vector, create_graph=True, allow_unused=True)
        known = (step, vector)
        for node in nodes_of(first.grad_fn if first is not None else None):
            leaf = getattr(node, "variable", step)
            if not any(leaf is one for one in known):
                raise RuntimeError("an operation of it can be differentiated only once")


def _transposed(line: _Line, step: Tensor) -> Tensor:
    first = _derivative(line(step), step, create_graph=True)
    return _derivative(first, step, create_graph=False)


def _derivative(values: Tensor, step: Tensor, *, create_graph: bool) -> Tensor:
    """(rows, targets) derivative of the values of each row by the row's own step.

    uᵀ ∂values/∂step is linear in u, so that its derivative by u is ∂values/∂step for all targets.
    """
    if not values.requires_grad:
        return torch.zeros_like(values)
    vector = torch.zeros_like(values, requires_grad=True)
    (product,) = torch.autograd.grad(values, step, vector, create_graph=True, allow_unused=True)
    if product is None or not product.requires_grad:
        return torch.zeros_like(values)
    (derivative,) = torch.autograd.grad(product.sum(), vector, create_graph=create_graph, allow_unused=True)
    return torch.zeros_like(values) if derivative is None else derivative


def _backward(line: _Line, step: Tensor) -> Tensor:
    return torch.stack([_second_of_one(column, step) for column in line(step).unbind(dim=1)], dim=1)


def _second_of_one(values: Tensor, step: Tensor) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(step)
    (first,) = torch.autograd.grad(values.sum(), step, create_graph=True, allow_unused=True)
    if first is None or not first.requires_grad:
        return torch.zeros_like(step)
    (second,) = torch.autograd.grad(first.sum(), step, retain_graph=True, allow_unused=True)
    return torch.zeros_like(step) if second is None else second
