"""Recurrent layers step by step: fused kernels show nothing of the gates whose products need secants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from .elementwise import RULES, Elementwise
from .pairs import Pairs
from .products import Product

__all__ = ["RECURRENT"]

ROWS = Pairs(0, 1)
"""Of the states (rows, hidden) of a step; packed sequences are sorted by length, which keeps paths together."""

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Tensor, Any], State]
"""(gates of the input, state, recurrent weight, recurrent bias) to the next state, the output first."""


def _apply(name: str, z: Tensor) -> Tensor:
    found: Tensor = Elementwise.apply(z, RULES[name](), ROWS, False)
    return found


def _product(a: Tensor, b: Tensor) -> Tensor:
    if not (a.requires_grad and b.requires_grad):
        return a * b
    found: Tensor = Product.apply(a, b, ROWS, ROWS)
    return found


def _lstm_step(given: Tensor, state: State, weight: Tensor, bias: Any) -> State:
    gates = given + linear(state[0], weight, bias)
    entering, keeping, candidate, leaving = gates.chunk(4, 1)
    opened = _apply("sigmoid", torch.cat([entering, keeping, leaving], 1))
    entering, keeping, leaving = opened.chunk(3, 1)
    cell = _product(keeping, state[1]) + _product(entering, _apply("tanh", candidate))
    return _product(leaving, _apply("tanh", cell)), cell


def _gru_step(given: Tensor, state: State, weight: Tensor, bias: Any) -> State:
    (before,) = state
    size = before.shape[1]
    kept = linear(before, weight, bias)
    reset, update = _apply("sigmoid", given[:, : 2 * size] + kept[:, : 2 * size]).chunk(2, 1)
    candidate = _apply("tanh", given[:, 2 * size :] + _product(reset, kept[:, 2 * size :]))
    return (candidate + _product(update, before - candidate),)


def _plain_step(name: str) -> Step:
    def step(given: Tensor, state: State, weight: Tensor, bias: Any) -> State:
        return (_apply(name, given + linear(state[0], weight, bias)),)

    return step


def _direction(
    step: Step, inputs: Sequence[Tensor], state: State, weights: Sequence[Tensor], biased: bool
) -> tuple[list[Tensor], State]:
    """Outputs of every step, and the last states, of inputs (rows, features) whose rows may become fewer."""
    bias = (weights[2], weights[3]) if biased else (None, None)
    outputs = []
    ended: list[State] = []  # of the sequences that are over, the shortest first
    given = linear(torch.cat([*inputs]), weights[0], bias[0])
    for gates in torch.split(given, [len(step_inputs) for step_inputs in inputs]):
        if len(gates) < len(state[0]):
            ended.append(tuple(part[len(gates) :] for part in state))
            state = tuple(part[: len(gates)] for part in state)
        state = step(gates, state, weights[1], bias[1])
        outputs.append(state[0])
    last = zip(state, *ended[::-1], strict=True)
    return outputs, tuple(torch.cat(parts) for parts in last)


def _backwards(
    step: Step, inputs: Sequence[Tensor], state: State, weights: Sequence[Tensor], biased: bool
) -> tuple[list[Tensor], State]:
    """The same from the last step to the first: rows may become more, each beginning with the state given."""
    bias = (weights[2], weights[3]) if biased else (None, None)
    outputs = []
    given = linear(torch.cat([*inputs]), weights[0], bias[0])
    steps = torch.split(given, [len(step_inputs) for step_inputs in inputs])
    now = tuple(part[:0] for part in state)
    for gates in steps[::-1]:
        if len(gates) > len(now[0]):
            fresh = (part[len(now[0]) : len(gates)] for part in state)
            now = tuple(torch.cat(parts) for parts in zip(now, fresh, strict=True))
        now = step(gates, now, weights[1], bias[1])
        outputs.append(now[0])
    return outputs[::-1], now


def _layers(
    step: Step, inputs: list[Tensor], first: State, weights: Sequence[Tensor], biased: bool, ways: int, layers: int
) -> tuple[list[Tensor], State]:
    """Outputs of the last layer, step by step, and the last states (layers · ways, rows, hidden)."""
    each, states = 4 if biased else 2, []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            number = layer * ways + way
            run = _backwards if way else _direction
            own = weights[number * each : (number + 1) * each]
            found, state = run(step, inputs, tuple(part[number] for part in first), own, biased)
            outputs.append(found)
            states.append(state)
        inputs = [torch.cat(parts, 1) for parts in zip(*outputs, strict=True)]
    return inputs, tuple(torch.stack(parts) for parts in zip(*states, strict=True))


def _recurrent(step: Step, parts: int, *args: Any) -> Any:
    """A layer of torch as `torch.lstm` and its like are called, with a padded batch or a packed one."""
    packed = isinstance(args[1], Tensor) and args[1].dtype == torch.int64 and args[1].ndim == 1
    data, *rest = args
    sizes = rest.pop(0) if packed else None
    state, weights, biased, layers, dropout, training, both = rest[:7]
    first = tuple(state) if parts > 1 else (state,)
    batch_first = not packed and bool(rest[7])
    projected = parts > 1 and first[0].shape[-1] != first[1].shape[-1]
    if (dropout and training) or projected or data.ndim != (2 if packed else 3):
        return NotImplemented
    if sizes is None:
        inputs = [*(data.transpose(0, 1) if batch_first else data)]
    else:
        inputs = [*torch.split(data, sizes.tolist())]
    outputs, last = _layers(step, inputs, first, weights, biased, 2 if both else 1, layers)
    whole = torch.stack(outputs, 1 if batch_first else 0) if sizes is None else torch.cat(outputs)
    return (whole, *last)


def _rule(step: Step, parts: int) -> Callable[..., Any]:
    def rule(pairing: Any, writes: bool, *args: Any) -> Any:
        pairing.bends.hide()  # the steps are many, and every one of them bends
        return _recurrent(step, parts, *args)

    return rule


RECURRENT = {
    "lstm": _rule(_lstm_step, 2),
    "gru": _rule(_gru_step, 1),
    "rnn_tanh": _rule(_plain_step("tanh"), 1),
    "rnn_relu": _rule(_plain_step("relu"), 1),
}
"""Recurrent layers by their name in torch."""
