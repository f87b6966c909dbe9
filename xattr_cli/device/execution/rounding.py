"""How torch rounds the factors of float32 products: settled for a while, and then as the user has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cudnn, mkldnn

__all__ = ["rounded_products"]

Legacy = tuple[str, bool]


def _switches(*owners: Any) -> tuple[Any, ...]:
    """Those that this torch has: before 2.9 there are only the two legacy ones, for everything."""
    names = ("matmul", "conv", "rnn")
    settings = [getattr(owner, name) for owner in owners for name in names if hasattr(owner, name)]
    return tuple(switch for switch in settings if hasattr(switch, "fp32_precision"))


_CUDA = _switches(torch.backends.cuda, cudnn)
_CPU = _switches(mkldnn)


@contextmanager
def rounded_products(tf32: bool) -> Iterator[None]:
    """While open, products of float32 on CUDA round their factors to TF32, or not at all; on the CPU not at all.

    Torch has two generations of switches, refuses to read the older one where both disagree, and obeys the newer
    one. Here both say the same, whichever the user has turned, so that nothing that asks is refused. Algorithms
    of cuDNN are not chosen by timing meanwhile: two runs could choose two, and round differently.

    Arguments:
        tf32: whether factors keep 10 of their 23 bits.
    """
    before, benchmark = _legacy(), cudnn.benchmark
    precisions = [switch.fp32_precision for switch in _CUDA + _CPU]
    try:
        cudnn.benchmark = False
        _turn_legacy(("high" if tf32 else "highest", tf32))
        for switch in _CUDA:
            switch.fp32_precision = "tf32" if tf32 else "ieee"
        for switch in _CPU:
            switch.fp32_precision = "ieee"
        yield
    finally:
        cudnn.benchmark = benchmark
        _turn_legacy(before)
        for switch, precision in zip(_CUDA + _CPU, precisions, strict=True):
            _turn_back(switch, precision)


def _legacy() -> Legacy:
    """The legacy switches; their defaults where newer ones were turned and they may not be read."""
    try:
        matmul = torch.get_float32_matmul_precision()
    except RuntimeError:
        matmul = "highest"
    try:
        return matmul, cudnn.allow_tf32
    except RuntimeError:
        return matmul, True


def _turn_legacy(to: Legacy) -> None:
    torch.set_float32_matmul_precision(to[0])
    cudnn.allow_tf32 = to[1]


def _turn_back(switch: Any, precision: str) -> None:
    """What followed a switch above it follows that one again."""
    switch.fp32_precision = "none"
    if switch.fp32_precision != precision:
        switch.fp32_precision = precision
