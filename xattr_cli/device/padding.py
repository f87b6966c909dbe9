"""Padded sequences: padding takes no part in an explanation, and calls are no longer than their longest row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..samples import InputSpec

__all__ = ["mask_of", "masks_in", "pinned", "real_key", "shortened"]

_PREFIX = "real:"


def real_key(sequence: str) -> str:
    """Under which name the mask (n, steps) of a sequence travels with the context of rows."""
    return _PREFIX + sequence


def masks_in(context: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sequence -> (n, steps) bool, False where a step is padding."""
    return {name.removeprefix(_PREFIX): t for name, t in context.items() if name.startswith(_PREFIX)}


def mask_of(spec: InputSpec, masks: Mapping[str, Tensor]) -> Tensor | None:
    """(n, steps) bool, or (n, steps, steps) of an input over pairs of steps; None if nothing of it is padding."""
    real = masks.get(spec.sequence)
    if real is None or not spec.pairs:
        return real
    return real[:, :, None] & real[:, None, :]


def pinned(values: Tensor, own: Tensor | float, real: Tensor) -> Tensor:
    """Values where steps are real, and `own` where they are padding: no gradient is left there.

    Arguments:
        values: (n, steps, ...).
        own: what stands in the padding of the rows themselves, (n, steps, ...) or a number.
        real: (n, steps) bool, or (n, steps, steps).
    """
    return torch.where(real.reshape(*real.shape, *[1] * (values.ndim - real.ndim)), values, own)


def shortened(
    tensors: Mapping[str, Tensor], specs: Sequence[InputSpec], masks: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and masks without the steps at the end that are padding in every row.

    Arguments:
        tensors: input -> (n, *shape).
        specs: of the inputs.
        masks: as from `masks_in`.
    """
    lengths = {sequence: _longest(real) for sequence, real in masks.items()}
    cut = {
        spec.name: _cut(tensors[spec.name], lengths[spec.sequence], spec.pairs)
        for spec in specs
        if spec.sequence in lengths
    }
    return {**tensors, **cut}, {name: real[:, : lengths[name]] for name, real in masks.items()}


def _cut(values: Tensor, steps: int, pairs: bool) -> Tensor:
    return values[:, :steps, :steps] if pairs else values[:, :steps]


def _longest(real: Tensor) -> int:
    """Steps up to the last real one of any row; at least one."""
    steps = torch.arange(1, real.shape[1] + 1, device=real.device)
    return max(1, int((steps * real.any(dim=0)).max()))
