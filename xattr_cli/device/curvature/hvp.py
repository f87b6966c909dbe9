"""Products of the Hessian with many directions, at the points of one device call; three ways to compute them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["WAYS", "Products", "Score", "Way", "has_dead_end", "nodes_of"]

Score = Callable[[Tensor], Tensor]
"""(k, D) points to (k,) scores, each of its own point alone."""

Products = tuple[Tensor, Tensor, Iterator[Tensor]]
"""Scores (k,), gradients (k, D), and for each chunk of directions (c, k, D) the products H v of the same shape."""

_ONLY_ONCE = "torch::autograd::Error"

Way = Callable[[Score, Tensor, Iterable[Tensor]], Products]


def double_backward(score: Score, points: Tensor, chunks: Iterable[Tensor]) -> Products:
    """The gradient's own graph, run backward for all directions of a chunk at once.

    Points share their forward and first backward pass among the directions.
    """
    leaf, values, gradient = _differentiable_gradient(score, points)

    def products() -> Iterator[Tensor]:
        for directions in chunks:
            with _quiet():
                yield _backward(gradient, leaf, directions, is_grads_batched=True)

    return values, gradient.detach(), products()


def one_by_one(score: Score, points: Tensor, chunks: Iterable[Tensor]) -> Products:
    """The gradient's own graph, run backward once for every direction: works wherever there is a Hessian."""
    leaf, values, gradient = _differentiable_gradient(score, points)

    def products() -> Iterator[Tensor]:
        for directions in chunks:
            yield torch.stack([_backward(gradient, leaf, direction) for direction in directions])

    return values, gradient.detach(), products()


def forward_over_reverse(score: Score, points: Tensor, chunks: Iterable[Tensor]) -> Products:
    """The derivative of the gradient along all directions of a chunk at once, carried forward with it."""
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        values = score(leaf)
        gradient = _gradient(values, leaf, create_graph=False)
    slope = torch.func.grad(lambda at: score(at).sum())

    def along(direction: Tensor) -> Tensor:
        product: Tensor = torch.func.jvp(slope, (points.detach(),), (direction,))[1]
        return product

    def products() -> Iterator[Tensor]:
        for directions in chunks:
            with _quiet():
                yield torch.func.vmap(along)(directions)

    return values.detach(), gradient, products()


WAYS: Mapping[str, Way] = {
    "double_backward": double_backward,
    "forward_over_reverse": forward_over_reverse,
    "one_by_one": one_by_one,
}
"""Name -> way. The last one is the plainest, and the one that the others are held against."""


def has_dead_end(score: Score, points: Tensor) -> bool:
    """Whether a part of the score can be differentiated only once: torch leaves it out without a word."""
    gradient = _differentiable_gradient(score, points)[2]
    return any(node.name() == _ONLY_ONCE for node in nodes_of(gradient.grad_fn))


def nodes_of(root: Any) -> Iterator[Any]:
    """All nodes of a graph of derivatives."""
    ahead, seen = [root], set[Any]()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            ahead += [inner for inner, _ in node.next_functions]


def _differentiable_gradient(score: Score, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A leaf at the points, the scores there, and their gradients with a graph of their own."""
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        values = score(leaf)
        return leaf, values.detach(), _gradient(values, leaf, create_graph=True)


def _gradient(values: Tensor, leaf: Tensor, *, create_graph: bool) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(values.sum(), leaf, create_graph=create_graph, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def _backward(gradient: Tensor, leaf: Tensor, directions: Tensor, *, is_grads_batched: bool = False) -> Tensor:
    # a score that is linear in the points has a gradient without a graph
    if not gradient.requires_grad:
        return torch.zeros_like(directions)
    (gradients,) = torch.autograd.grad(
        gradient, leaf, directions, retain_graph=True, allow_unused=True, is_grads_batched=is_grads_batched
    )
    return torch.zeros_like(directions) if gradients is None else gradients.detach()


@contextmanager
def _quiet() -> Iterator[None]:
    """vmap tells where it falls back to a loop; the time that this takes is measured, see `second_order`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        # of torch's own rules for forward mode, which are loaded at their first use
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        yield
