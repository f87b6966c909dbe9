"""A network seen without its kinks: softplus for ReLU, and its like, wherever the network calls one.

Calls are replaced on their way from the network to torch, by a `TorchFunctionMode` around its forward pass. Three
ways were compared on the networks of torchvision with less than 45 million weights (34 of 46 have kinks) and on 13
transformers of the library of that name (BERT, ALBERT, GPT-2, Llama, OPT, T5, DeBERTa; 5 have kinks):

| way | torchvision | transformers | does not see |
|---|---|---|---|
| exchange the modules | 28 of 34 | 5 of 5 | functions: `functional.relu(x)`, `x.abs()` |
| rewrite a traced graph (`torch.fx`) | 34 of 34 | 0 of 5 | whatever cannot be traced: branches, loops, hooks |
| replace the calls | 34 of 34 | 5 of 5 | TorchScript, autograd Functions, compiled code |

Programs of `torch.export` call operations of ATen one by one, which are replaced alike. What a network does
without calling such a function (a mask `x > 0`, a sort) is found by `device.curvature.kinks`, which sees
every operation.

The drift is what is paid for curvature. For the digits network of the README (200 test images, logit of the
predicted class, relative to its difference from a black image), in the median and at most: β = 10 7 % and 17 %;
β = 30 1.5 % and 4 %; β = 100 0.35 % and 1 %. A call of torch costs 10 µs more, which is 10 % of a Hessian-vector
product of an MLP 30-128-128-1 at 256 rows, and 1 % at 2,048.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import JobError
from ..repairs import plain_checkpoints
from .calls import Call
from .constants import Constants, tensors_in
from .table import Replacement, replacements

__all__ = ["SmoothedModule", "smoothed"]


def smoothed(module: nn.Module, beta: float = 10.0, explained: Sequence[int] | None = None) -> SmoothedModule:
    """A network in which every kink that has a smooth form is replaced by it, for second derivatives.

    The module itself is not touched: nothing has to be undone, and both can be used side by side. The forms are
    those of `surgery_activations`, `surgery_maxima` and `surgery_pools`; all tend to the original as β → ∞.

    Arguments:
        module: a network of Python code or a program of `torch.export`; of TorchScript nothing can be replaced.
        beta: sharpness of the softplus, per unit of what the activation is given.
        explained: positions of the arguments of `forward` that are explained; None for all. What does not
            depend on them stays as it is.

    Raises:
        JobError: β is not a positive number.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> smooth = smoothed(network, beta=10)
        >>> _ = smooth(torch.zeros(1, 2))
        >>> smooth.replacements
        ('relu -> softplus(β=10) ×1',)
    """
    if not (isinstance(beta, int | float) and math.isfinite(beta) and beta > 0):
        raise JobError(f"smoothing.beta: {beta!r}: must be a positive number, such as 10.")
    return SmoothedModule(module, float(beta), explained)


class SmoothedModule(nn.Module):
    """A network without kinks around the original, whose weights it shares; made by `smoothed`.

    Attributes:
        network: the original.
        beta: sharpness of the softplus.
        replacements: what the last forward pass replaced, such as "relu -> softplus(β=10) ×3".
        kept: kinks that the last forward pass met and left, such as "clamp(min=1e-12) ×1".
    """

    def __init__(self, network: nn.Module, beta: float, explained: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self.beta = beta
        self.explained = None if explained is None else frozenset(explained)
        self._weights = (*network.parameters(), *network.buffers())
        self.replacements: tuple[str, ...] = ()
        self.kept: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the original is called, and what it returns."""
        constants = Constants(self._weights, self._context(args, kwargs))
        # a checkpointed part is computed again during the backward pass, when no mode is there to replace anything
        with plain_checkpoints(), _Smoothing(self.beta, constants) as mode:
            outputs = self.network(*args, **kwargs)
        self.replacements, self.kept = _listed(mode.replaced), _listed(mode.kept)
        return outputs

    def _context(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
        if self.explained is None:
            return []
        others = [value for position, value in enumerate(args) if position not in self.explained]
        return list(tensors_in((others, kwargs)))


class _Smoothing(TorchFunctionMode):
    """While open, calls of functions of torch that have a kink get to their smooth forms."""

    def __init__(self, beta: float, constants: Constants) -> None:
        super().__init__()
        self.beta = beta
        self.constants = constants
        self.replaced: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        constants = self.constants
        constant = all(tensor in constants for tensor in tensors_in((args, kwargs)))
        replacement = None if constant else replacements().get(func)
        result = NotImplemented
        if replacement is not None:
            result = self._smooth(replacement, func, args, kwargs)
        if result is NotImplemented:
            result = func(*args, **kwargs)
        constants.follow(func, args, constant, result)
        return result

    def _smooth(self, replacement: Replacement, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = Call.of(func, args, kwargs)
        if call is None or not call.input.is_floating_point():
            return NotImplemented
        in_place = replacement.in_place or call.in_place
        # what is written over is copied first: the derivatives of the smooth form need it
        source = call.input.clone() if in_place else call.input
        result = replacement.form(self.beta, source, *call.args, **call.kwargs)
        if result is NotImplemented:
            self.kept[f"{replacement.name}{call}"] += 1
            return NotImplemented
        self.replaced[f"{replacement.name} -> {replacement.described}(β={self.beta:g})"] += 1
        if in_place:
            return call.input.copy_(result)
        if not replacement.indices:
            return result
        with torch.no_grad():
            return result, func(*args, **kwargs)[1]


def _listed(counts: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{what} ×{count}" for what, count in counts.items())
