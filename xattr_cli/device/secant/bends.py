"""How many functions bend within each cell of a call: where at most one does, the cell is exact."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MANY", "Bends"]

MANY = 2
LOOKS = frozenset(2**power for power in range(1, 12))
"""Numbers of functions after which it is asked whether more can tell anything: asking makes a device wait."""


class Bends:
    """Counts what a backward pass sees: functions whose slope is not the same all over a cell.

    Between two nodes the path is straight, so functions that do not bend keep it straight: if a single one does,
    its argument moves on a line, and its secant is its mean slope there. The gradient of the cell is then the
    integral itself. (A unit may bend and bend back between two nodes where one before it bends: rare, and unseen.)

    Arguments:
        cells: of the call, one less than its rows.
    """

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._hidden = False
        self.begin()

    def begin(self) -> None:
        """A backward pass begins."""
        self._count: Tensor | None = None
        self._functions = 0
        self._settled = self._hidden

    def hide(self) -> None:
        """Some of the network runs where bends are not seen: no cell of this call counts as exact."""
        self._hidden = self._settled = True

    @property
    def settled(self) -> bool:
        """Whether many functions bend in every cell: there is nothing left to see."""
        return self._settled

    @property
    def seen(self) -> bool:
        """Whether any function that may bend lies between here and the score."""
        return self._functions > 0

    def add(self, bent: Tensor, functions: int = 1) -> None:
        """A function bends in some cells, (cells,) bool; or several do, one after another."""
        bent = bent.to(torch.int8) * functions
        self._count = bent if self._count is None else (self._count + bent).clamp_(max=MANY)
        self._functions += 1
        if self._functions in LOOKS:
            self._settled = bool((self._count >= MANY).all())

    def exact(self, like: Tensor) -> Tensor:
        """(cells,) bool, on the device of `like`: at most one function bends."""
        if self._settled or self._count is None:
            exact = not self._settled
            return torch.full((self._cells,), exact, dtype=torch.bool, device=like.device)
        return self._count < MANY
