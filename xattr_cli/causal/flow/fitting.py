"""Maximum likelihood of the mechanisms, stopped by rows that training never sees."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import DataError
from ..options import FlowOptions
from .encoding import Encoding, Targets
from .mechanisms import Mechanisms
from .resuming import FitMemory, Keeper

__all__ = ["Fit", "fit_mechanisms"]

AVERAGING = 0.98
"""Of the weights over the steps; what is evaluated and kept is this moving average."""
CLIP = 5.0
LOWERINGS = 2
LOWERING = 0.3
"""The learning rate is lowered so often, each time by this factor, before the fit ends."""
LEAST_HIDDEN, MOST_HIDDEN, UNITS_PER_SET = 64, 384, 12
LEAST_GAIN = 1e-3
"""Nats per row; a smaller rise of the held-out likelihood is no progress."""
LEAST_RESIDUAL = 1e-5
"""Of a column's deviation; float32 data that a column's parents determine leave about 1e-7."""


@dataclass(frozen=True)
class Fit:
    """Fitted mechanisms, and how the fit went.

    Attributes:
        mechanisms: with the weights of the best epoch, in float64.
        curve: (epochs + 1, 2) mean log-likelihood of training and held-out rows; the first is the linear
            Gaussian model that the fit starts from.
        held_out: positions of the rows that training never saw.
        best: epoch whose weights were kept; 0 if no epoch beats the start by a standard error.
        exhausted: the fit ended because it had no epochs left.
    """

    mechanisms: Mechanisms
    curve: np.ndarray
    held_out: np.ndarray
    best: int
    exhausted: bool


def fit_mechanisms(
    encoding: Encoding,
    rows: Tensor,
    options: FlowOptions,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    memory: FitMemory | None = None,
) -> Fit:
    """Fit the mechanisms to data by Adam, on the CPU; the global random state stays as it is.

    A fit that goes on from what a killed one has kept ends with the bits of an uninterrupted one.

    Arguments:
        encoding: of the rows.
        rows: (n, D) float64.
        options: of the fit.
        seed: of weights, split and batches.
        progress: told the epochs done and the most there can be; may raise to stop.
        memory: of the fit on its way; None for none.

    Raises:
        DataError: a column is a linear function of its parents, so that it has no noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mechanisms = Mechanisms(encoding, options.hidden or _hidden_units(encoding), options.bins)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)
    held = max(1, round(options.held_out * len(rows)))
    _start_linear(mechanisms, rows, generator)
    training = _Training(mechanisms, rows[order[held:]], rows[order[:held]], options, generator)
    with _one_thread():
        _train(training, options.epochs, progress, Keeper(memory, training.state))
    best = training.keep_best()
    return Fit(
        training.average.double().requires_grad_(False),
        np.array(training.curve),
        order[:held].numpy(),
        best,
        exhausted=not training.finished,
    )


def _train(training: _Training, epochs: int, progress: Callable[[int, int], None], keeper: Keeper) -> None:
    kept = keeper.recalled()
    if kept is not None:
        training.go_on(kept)
    while training.epochs < epochs and not training.finished:
        training.epoch(training.epochs + 1)
        try:
            progress(training.epochs, epochs)
        except BaseException:
            keeper.now()
            raise
        keeper.now_and_then()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads only wait for each other on networks as small as these: two took 6 times the CPU time of one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Training:
    """Adam on the likelihood, with averaged weights, a learning rate that is lowered, and the best epoch kept."""

    def __init__(
        self,
        mechanisms: Mechanisms,
        rows: Tensor,
        held_out: Tensor,
        options: FlowOptions,
        generator: torch.Generator,
    ) -> None:
        self.live = mechanisms
        self.average = copy.deepcopy(mechanisms).eval()
        self.rows, self.options, self.generator = rows, options, generator
        self.features = mechanisms.encoding.feature_rows(rows).float()
        self.held_targets = _single(mechanisms.encoding.targets(held_out, generator))
        self.held_features = mechanisms.encoding.feature_rows(held_out).float()
        trained = [weight for weight in mechanisms.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=options.learning_rate)
        self.start = self._held_out_likelihood()
        self.best, self.best_epoch = self.start, 0
        self.initial = self.best_weights = copy.deepcopy(self.average.state_dict())
        self.stale, self.lowered = 0, 0
        self.progressed = float(self.start.mean())
        targets = _single(mechanisms.encoding.targets(rows, generator))
        self.curve: list[tuple[float, float]] = [
            (self._likelihood(targets, self.features), float(self.start.mean()))
        ]

    @property
    def epochs(self) -> int:
        """How many have been trained."""
        return len(self.curve) - 1

    def state(self) -> dict[str, Any]:
        """All that an epoch changes."""
        return {
            "weights": [self.live.state_dict(), self.average.state_dict(), self.best_weights],
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "best": self.best,
            "numbers": [self.best_epoch, self.stale, self.lowered, self.progressed],
            "curve": self.curve,
        }

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Take up where `state` was called."""
        live, average, self.best_weights = state["weights"]
        self.live.load_state_dict(live)
        self.average.load_state_dict(average)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.best = state["best"]
        self.best_epoch, self.stale, self.lowered, self.progressed = state["numbers"]
        self.curve = [tuple(point) for point in state["curve"]]

    @property
    def finished(self) -> bool:
        """Whether the held-out likelihood has stopped rising."""
        return self.lowered == LOWERINGS and self.stale >= self.options.patience

    def epoch(self, number: int) -> None:
        """One pass over the training rows, and a look at the held-out ones."""
        # integers get fresh noise in every epoch
        targets = _single(self.live.encoding.targets(self.rows, self.generator))
        total = sum(self._step(targets[batch], self.features[batch]) for batch in self._batches())
        now = self._held_out_likelihood()
        self.curve.append((total / self._steps, float(now.mean())))
        if now.mean() > self.best.mean():
            self.best, self.best_epoch = now, number
            self.best_weights = copy.deepcopy(self.average.state_dict())
        self._pace(float(now.mean()))

    def keep_best(self) -> int:
        """Restore the weights of the best epoch, or the start if that is as good; its number."""
        gain = self.best - self.start
        error = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else gain.abs().sum()
        # on linear Gaussian data a few lucky epochs would only add noise to the least-squares fit
        significant = self.best_epoch > 0 and bool(gain.mean() > error)
        self.average.load_state_dict(self.best_weights if significant else self.initial)
        return self.best_epoch if significant else 0

    @property
    def _steps(self) -> int:
        return max(1, round(len(self.rows) / self.options.batch_rows))

    def _batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=self.generator)
        yield from order.tensor_split(self._steps)

    def _step(self, targets: Targets, features: Tensor) -> float:
        self.optimizer.zero_grad()
        likelihood = self.live.log_likelihood(targets, features).sum(dim=1).mean()
        (-likelihood).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.live.parameters(), CLIP)
        self.optimizer.step()
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.live.parameters(), strict=True):
                mean.lerp_(weight, 1 - AVERAGING)
        return float(likelihood.detach())

    def _pace(self, likelihood: float) -> None:
        """Lower the learning rate, and in the end stop, when there is no progress."""
        self.stale += 1
        if likelihood > self.progressed + LEAST_GAIN:
            self.progressed, self.stale = likelihood, 0
        if self.lowered < LOWERINGS and self.stale >= self.options.patience / 2:
            self.lowered, self.stale = self.lowered + 1, 0
            for group in self.optimizer.param_groups:
                group["lr"] *= LOWERING

    def _held_out_likelihood(self) -> Tensor:
        with torch.no_grad():
            return self.average.log_likelihood(self.held_targets, self.held_features).sum(dim=1)

    def _likelihood(self, targets: Targets, features: Tensor) -> float:
        with torch.no_grad():
            return float(self.average.log_likelihood(targets, features).sum(dim=1).mean())


def _hidden_units(encoding: Encoding) -> tuple[int, int]:
    """Width of the network: masked units serve nodes with the same parents, or more, only."""
    different = len(set(encoding.causes) - {()})
    width = min(max(LEAST_HIDDEN, UNITS_PER_SET * different), MOST_HIDDEN)
    return width, width


# --- the start ----------------------------------------------------------------------------------


def _start_linear(mechanisms: Mechanisms, rows: Tensor, generator: torch.Generator) -> None:
    """Set the least-squares part; all rows are used.

    With a few parameters per unit, what the held-out rows gain from having been seen is their number over
    that of the rows, in nats; the fit as a whole gains more from the sixth of the data.
    """
    encoding = mechanisms.encoding
    features = encoding.feature_rows(rows)
    targets = encoding.targets(rows, generator).values
    for position, unit in enumerate(encoding.numeric):
        seen = encoding.adjacency([unit])[0]
        design = torch.cat([features[:, seen], torch.ones_like(features[:, :1])], dim=1)
        weights = torch.linalg.lstsq(design, targets[:, position : position + 1]).solution[:, 0]
        residual = targets[:, position] - design @ weights
        spread = float(residual.std())
        if spread < LEAST_RESIDUAL:
            raise DataError(
                f"{encoding.noise_names[unit]!r} is a linear function of its parents in all {len(rows)} rows, "
                f"up to {spread:.1e} of its standard deviation. It has no noise of its own: leave it out of the "
                "inputs that are explained, or correct the graph."
            )
        mechanisms.linear[position, seen] = weights[:-1].float()
        mechanisms.offset[position] = float(weights[-1])
        mechanisms.spread[position] = spread


def _single(targets: Targets) -> Targets:
    """In float32, in which the mechanisms are trained."""
    return Targets(targets.values.float(), targets.numbers)
