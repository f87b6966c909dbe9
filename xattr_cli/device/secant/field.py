"""The cells of paths, packed into device calls: every row of a call is followed by its neighbour on the path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import RunError
from ...numerics.paths.field import Cells, Chains
from ..places import SharedPoints
from ..scorer import Rows, Scorer
from .mode import SecantMode

__all__ = ["SecantField", "secants_of_call"]


def secants_of_call(
    scorer: Scorer,
    points: Tensor,
    context: Mapping[str, Tensor],
    targets: Sequence[Tensor],
    rows: int,
    seen: Callable[[SecantMode], None] = lambda mode: None,
    *,
    watching: bool = True,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Values at the points of one call, and gradients of the cells between each of them and the next.

    One forward pass, and a backward pass for each of `targets`.

    Arguments:
        scorer: the network.
        points: (k, D), neighbours on paths side by side.
        context: name -> (k, *shape).
        targets: each (j,) int64, of the first j points.
        rows: of the call.
        seen: told which functions were replaced, and which were not.
        watching: for cells that are exact; if not, none is taken for it.

    Returns:
        For each of `targets`, values (j,), gradients (j, D), and (j,) bool, whether those are exact; what is said
        of the last point of a path means nothing.
    """
    scorer.interrupt()
    filled, filling = scorer.fill(points, context, rows)
    leaf = filled.detach().requires_grad_()
    mode = SecantMode(len(leaf))
    if not watching:
        mode.pairing.bends.hide()
    found = []
    with torch.enable_grad():
        with _uncompiled(), mode:
            scores = scorer.graded(leaf, filling)
        for number, target in enumerate(targets, 1):
            values = scores[: len(target)].gather(1, target[:, None])[:, 0]
            mode.pairing.bends.begin()
            (gradients,) = torch.autograd.grad(values.sum(), leaf, retain_graph=number < len(targets))
            exact = mode.pairing.bends.exact(leaf)
            found.append((values.detach(), gradients[: len(target)], exact[: len(target)]))
    seen(mode)
    return found


def _uncompiled() -> AbstractContextManager[Any]:
    """Parts of the network that were compiled run as they were written.

    Compiled while the functions of torch are replaced, the secants of one network may be taken for another's.
    Where nothing was compiled, the compiler is not there: to load it takes a second.
    """
    compiler = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if compiler else nullcontext()


@dataclass(frozen=True)
class SecantField:
    """The cells of paths of the rows of one block; see `numerics.paths.field.CellField`.

    Attributes:
        watching: for cells that are exact, which takes a fifth to a third more; if not, none is taken for it.
        left, replaced: names of the network's functions that kept their derivatives, and that did not.
    """

    scorer: Scorer
    rows: Rows
    watching: bool = True
    left: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)

    def cells(self, chains: Chains) -> Iterator[Cells]:
        """Evaluate all cells, each once, one device call at a time.

        A path that a call cuts goes on in the next call, at the node where it was cut.

        Raises:
            RunError: memory does not suffice for two rows.
        """
        places = SharedPoints.of(chains)
        last = chains.last[places.first].tolist()
        eager = self.scorer.eager

        def call(part: slice, rows: int) -> list[Cells]:
            if part.stop - part.start < 2:
                raise RunError("out of memory with 2 rows per device call, the fewest that hold a cell")
            members = [_numbers(some, chains.row) for some in places.members(part)]
            row = chains.row[members[0]]
            found = secants_of_call(
                eager,
                chains.take(members[0]),
                {name: tensor[row] for name, tensor in self.rows.context.items()},
                [self.rows.target[chains.row[some]] for some in members],
                # the axis of rows is told by its length: one that no axis of features is likely to have
                rows if eager.packing.fixed else rows + 1,
                self._see,
                watching=self.watching,
            )
            begins = ~chains.last[members[0]]
            begins[-1] = False
            return [_cells(some, begins, *numbers) for some, numbers in zip(members, found, strict=True)]

        def again(stop: int) -> int:
            return 0 if last[stop - 1] else 1

        with eager.exact_arithmetic():
            for cells in eager.packing.run(len(places), call, again):
                yield from cells

    def _see(self, mode: SecantMode) -> None:
        self.left.update(mode.left)
        self.replaced.update(mode.replaced)


def _numbers(part: slice | Tensor, like: Tensor) -> Tensor:
    return torch.arange(part.start, part.stop, device=like.device) if isinstance(part, slice) else part


def _cells(numbers: Tensor, begins: Tensor, values: Tensor, gradients: Tensor, exact: Tensor) -> Cells:
    """Of the points of one call that belong to one of its targets."""
    where = begins[: len(numbers)].nonzero()[:, 0]
    return Cells(numbers[where], values[where], values[where + 1], gradients[where], exact[where])
