"""How far what engines say of a whole dataset is from what they say of another one, or by another network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...store.results.effects import EffectResults

__all__ = ["EffectDifference", "compare_effects"]

_ERROR = "standard_error"


@dataclass(frozen=True)
class EffectDifference:
    """The difference of one array.

    Attributes:
        largest: greatest |b − a|, None if nothing is finite in both.
        in_standard_errors: greatest |b − a| in standard errors of the difference, None where there are none.
    """

    largest: float | None
    in_standard_errors: float | None


def compare_effects(a: EffectResults, b: EffectResults) -> dict[str, EffectDifference]:
    """Differences of all floating arrays that both have in one shape, by name; standard errors are units."""
    names = [name for name in a.names if name in b and not name.endswith(_ERROR)]
    compared = {}
    for name in names:
        one, two = a.read(name), b.read(name)
        if one.dtype.kind == "f" and one.shape == two.shape and one.ndim:
            apart = np.abs(two - one)
            errors = [_standard_error(each, name, one.shape) for each in (a, b)]
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = None if errors[0] is None or errors[1] is None else apart / np.hypot(errors[0], errors[1])
            compared[name] = EffectDifference(_greatest(apart), None if scaled is None else _greatest(scaled))
    return compared


def _standard_error(effects: EffectResults, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """(*shape) of an array: `NAME_standard_error`, or `standard_error` of the array named after the engine."""
    error = _ERROR if name == effects.engine else f"{name}_{_ERROR}"
    if error not in effects:
        return None
    values = effects.read(error)
    return values if values.shape == shape else None


def _greatest(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else None
