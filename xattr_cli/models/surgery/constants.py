"""Which tensors of a forward pass do not depend on what is explained, and so need no smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import ReferenceType, ref

from torch import Tensor

__all__ = ["READS_NO_VALUES", "Constants", "tensors_in"]

READS_NO_VALUES = frozenset(
    """
    bernoulli empty_like full_like new_empty new_empty_strided new_full new_ones new_tensor new_zeros ones_like
    rand_like randint_like randn_like zeros_like
    """.split()
)
"""Functions whose result has the shape of a tensor that they are given, but not its values."""


class Constants:
    """Tensors known to be constant: weights, what is not explained, and what is computed of nothing else.

    The number of words `mask.sum(1).clamp(min=1)` that a mean is divided by is one of them; a softplus would make
    it 1.07 words. Whatever was not followed to its source (results of programs and of autograd Functions, say)
    does not count as constant.

    Arguments:
        known: tensors that are constant, and stay alive as long as this does.
    """

    def __init__(self, *known: Iterable[Tensor]) -> None:
        self._known = [{id(tensor) for tensor in group} for group in known]
        self._made: dict[int, ReferenceType[Tensor]] = {}
        self._spoiled: set[int] = set()

    def __contains__(self, tensor: Tensor) -> bool:
        made = self._made.get(id(tensor))
        if made is not None and made() is tensor:  # the identity of a freed tensor is given to another
            return True
        return any(id(tensor) in group for group in self._known) and id(tensor) not in self._spoiled

    def follow(self, function: Any, args: tuple[Any, ...], constant: bool, result: Any) -> None:
        """Remember what a function made.

        Arguments:
            function, args: what was called.
            constant: whether all tensors that it was given are constant.
            result: what it returned.
        """
        if constant or _name(function) in READS_NO_VALUES:
            self._made.update((id(tensor), ref(tensor)) for tensor in tensors_in((result,)))
        elif _writes(_name(function)):
            # into an array of zeros, say, which is constant no more
            for tensor in tensors_in((args[:1], result)):
                self._spoil(tensor)

    def _spoil(self, tensor: Tensor) -> None:
        for written in (tensor, tensor._base):
            if written is not None:
                self._made.pop(id(written), None)
                self._spoiled.add(id(written))


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, in nested containers too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            yield from tensors_in(value.values())


def _name(function: Any) -> str:
    """Without the overload that an operation of ATen has in its name."""
    return str(getattr(function, "__name__", "")).partition(".")[0]


def _writes(name: str) -> bool:
    return name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
