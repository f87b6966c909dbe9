"""The state of a fit, kept every few seconds, so that a kill loses those and not the minutes before."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

__all__ = ["FitMemory", "Keeper"]

SECONDS_BETWEEN = 5.0
_STATE = "state"


class FitMemory(Protocol):
    """Durable memory for a fit on its way."""

    def recall(self) -> Mapping[str, np.ndarray] | None:
        """What was kept last; None if nothing was, or if it is damaged."""

    def keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep this instead."""


class Keeper:
    """Keeps a state of tensors and numbers now and then.

    Arguments:
        memory: where; None for nowhere.
        state: the present state, as `torch.save` takes it.
    """

    def __init__(self, memory: FitMemory | None, state: Callable[[], Mapping[str, Any]]) -> None:
        self._memory = memory
        self._state = state
        self._last = time.monotonic()

    def recalled(self) -> Mapping[str, Any] | None:
        """The state that an earlier process has kept; None if there is none."""
        kept = None if self._memory is None else self._memory.recall()
        if kept is None or _STATE not in kept:
            return None
        return torch.load(io.BytesIO(kept[_STATE].tobytes()), weights_only=True)  # type: ignore[no-any-return]

    def now_and_then(self) -> None:
        """Keep the state if the last time was five seconds ago."""
        if time.monotonic() - self._last >= SECONDS_BETWEEN:
            self.now()

    def now(self) -> None:
        """Keep the state."""
        if self._memory is not None:
            buffer = io.BytesIO()
            torch.save(dict(self._state()), buffer)
            self._memory.keep({_STATE: np.frombuffer(buffer.getvalue(), np.uint8)})
        self._last = time.monotonic()
