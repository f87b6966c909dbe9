"""Which functions of torch have a kink, and what smooth function stands in for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch.nn import functional

from . import activations, maxima
from .pools import adaptive_max_pool, max_pool

__all__ = ["KINKED", "Replacement", "replacements"]


@dataclass(frozen=True)
class Replacement:
    """What stands in for a function of torch.

    Attributes:
        name: of the function, as torch calls it.
        form: takes β and the function's arguments; NotImplemented if the function has no smooth form for these.
        described: what the form is, in a word.
        in_place: the function writes its result into its first argument.
        indices: the function returns the indices of maxima beside them.
    """

    name: str
    form: Callable[..., Any]
    described: str
    in_place: bool = False
    indices: bool = False


_FORMS: dict[str, tuple[Callable[..., Any], str]] = {
    "relu": (activations.ramp, "softplus"),
    "relu6": (activations.relu6, "clipped softplus"),
    "leaky_relu": (activations.leaky_relu, "leaky softplus"),
    "prelu": (activations.prelu, "leaky softplus"),
    "_prelu_kernel": (activations.prelu, "leaky softplus"),
    "rrelu": (activations.rrelu, "leaky softplus"),
    "rrelu_with_noise": (activations.noisy_rrelu, "leaky softplus"),
    "hardtanh": (activations.hardtanh, "clipped softplus"),
    "hardsigmoid": (activations.hardsigmoid, "clipped softplus"),
    "hardswish": (activations.hardswish, "clipped softplus"),
    "softshrink": (activations.softshrink, "softplus"),
    "threshold": (activations.threshold, "softplus"),
    "elu": (activations.elu, "elu and softplus"),
    "selu": (activations.selu, "elu and softplus"),
    "softsign": (activations.softsign, "softplus"),
    **dict.fromkeys(("abs", "absolute"), (activations.magnitude, "softplus")),
    **dict.fromkeys(("clamp", "clip"), (activations.clamp, "clipped softplus")),
    "clamp_min": (activations.clamp_min, "softplus"),
    "clamp_max": (activations.clamp_max, "softplus"),
    "maximum": (maxima.maximum, "log-sum-exp"),
    "minimum": (maxima.minimum, "log-sum-exp"),
    "max": (maxima.max_or_maximum, "log-sum-exp"),
    "min": (maxima.min_or_minimum, "log-sum-exp"),
    "amax": (maxima.amax, "log-sum-exp"),
    "amin": (maxima.amin, "log-sum-exp"),
    **{f"max_pool{axes}d": (max_pool(axes), "log-sum-exp pool") for axes in (1, 2, 3)},
    **{f"adaptive_max_pool{axes}d": (adaptive_max_pool(axes), "log-sum-exp pool") for axes in (1, 2, 3)},
}

KINKED = frozenset(_FORMS)
"""Names of the functions that have smooth forms."""

_HOMES = (torch, torch.Tensor, functional, torch._C._nn)


@cache
def replacements() -> Mapping[Any, Replacement]:
    """Function of torch → what stands in for it.

    A function has many names, such as `torch.relu`, `Tensor.relu_`, `functional.relu` and
    `torch.ops.aten.relu.default`: modules, people, and programs of `torch.export` call it by different ones.
    """
    table: dict[Any, Replacement] = {}
    for name, (form, described) in _FORMS.items():
        for suffix in ("", "_", "_with_indices"):
            for function in _functions(name + suffix):
                # of the adaptive pools, those written in Python leave the indices out unless they are asked for
                always = name.startswith("adaptive") and not isinstance(function, FunctionType)
                indices = suffix == "_with_indices" or always
                table[function] = Replacement(name, form, described, suffix == "_", indices)
    return table


def _functions(name: str) -> Iterator[Any]:
    for home in _HOMES:
        if hasattr(home, name):
            yield getattr(home, name)
    packet = getattr(torch.ops.aten, name, None)
    if packet is not None:
        yield packet
        yield from (getattr(packet, overload) for overload in packet.overloads())
