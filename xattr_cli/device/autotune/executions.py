"""Which way of running a network is the fastest that leaves the maps of the job's own first rows as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import Interrupted
from ..execution.runner import Arithmetic, Execution
from ..scorer import Scorer
from .trial import Trial, TrialOutcome
from .workload import Workload, bend_of

__all__ = ["Measured", "Pinned", "bookkeeping", "chosen_text", "measure_executions", "preferred"]

GAIN = 0.95
LOWER_GAIN = 0.8
"""A way must take less than this of the time of the one before it: a coin flip is not worth other bits, and still
less an arithmetic of fewer.
"""
BOOKKEEPING = {"cpu": 1e-6}
"""Seconds a gradient that a job takes beside the network, at least.

It was 4 µs for 20,000 rows of a table on two threads, whose MLP took .2 in float32 and .14 in bfloat16: nobody
would have noticed.
"""
ENOUGH = 0.8
SHARE_OF_JOB = 0.15


@dataclass(frozen=True)
class Pinned:
    """What the job file says of how the network is run; None leaves it to measurement."""

    channels_last: bool | None = None
    folded: bool | None = None
    arithmetic: str | None = None
    compiled: bool | None = None

    def allow(self, how: Execution) -> bool:
        """Whether a way of running agrees with everything that is pinned."""
        return all(wanted is None or getattr(how, name) == wanted for name, wanted in asdict(self).items())

    @property
    def base(self) -> Execution:
        """The plainest way that agrees."""
        return replace(Execution(), **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class Measured:
    """A way of running, as measured on the first rows of a job.

    Attributes:
        how: it is run.
        seconds: per gradient, in full calls; NaN if it failed or was not timed.
        drift: largest relative L2 distance of a map to that in true float32.
        verdict: chosen, slower, drifts, or why it failed.
    """

    how: Execution
    seconds: float
    drift: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return {**asdict(self), "how": str(self.how), "execution": asdict(self.how)}


def measure_executions(
    scorer: Scorer,
    inputs: Tensor,
    baselines: Tensor,
    context: Mapping[str, Tensor],
    target: Tensor,
    *,
    pins: Pinned,
    workload: Workload,
    tolerance: float,
) -> list[Measured]:
    """Time the ways of running a network that could pay off; the chosen one comes first.

    Maps are compared by a midpoint rule of a few nodes: the arithmetic of a network shows in each of them. How
    much they bend from node to node says how long the job will be, and so what trials it can afford.

    Arguments:
        scorer: the network.
        inputs, baselines: (n, D) the first rows of the job, and where their paths start.
        context, target: of these rows.
        pins: what the job file decides.
        workload: of the whole job.
        tolerance: of the drift.

    Returns:
        Only the plainest way, untimed, if the job is too short for any other to pay off; what is pinned is
        tried in any case.
    """
    trial = Trial(scorer, inputs, baselines, context, target)
    candidates = [how for how in _candidates(scorer) if pins.allow(how) and how != pins.base]
    plain = [Measured(pins.base, float("nan"), 0.0, "not measured")]
    is_plain = pins.base == Execution()
    if is_plain and trial.least_cost > SHARE_OF_JOB * workload.most:
        return plain
    exact = trial.run(Execution())
    budget = SHARE_OF_JOB * workload.gradients(bend_of(exact.gradients)) - trial.cost(pins.base)
    affordable = _affordable(trial, candidates, budget)
    if is_plain and not affordable:
        return plain
    truth = exact.gradients.sum(dim=0)
    base = _timed(trial, pins.base, exact, 0.0) if is_plain else _tried(trial, pins.base, truth)
    measured = [_judged(base, tolerance)]
    for how in affordable:
        if not any(_is_enough(measurement, measured[0], how) for measurement in measured):
            measured.append(_judged(_tried(trial, how, truth), tolerance))
    return _sorted(measured, bookkeeping(scorer.device))


def _affordable(trial: Trial, candidates: Sequence[Execution], budget: float) -> list[Execution]:
    """The first candidates whose trials cost no more than a budget, in gradients; dear ones are passed over."""
    chosen = []
    for how in candidates:
        if trial.cost(how) <= budget:
            budget -= trial.cost(how)
            chosen.append(how)
    return chosen


def _is_enough(measured: Measured, base: Measured, how: Execution) -> bool:
    """Whether a way is so much faster than the plain one that others of its kind need not be tried."""
    same_kind = (measured.how.arithmetic, measured.how.compiled) == (how.arithmetic, how.compiled)
    return same_kind and measured.verdict == "" and measured.seconds < ENOUGH * base.seconds


def _judged(measured: Measured, tolerance: float) -> Measured:
    drifts = measured.verdict == "" and not measured.drift <= tolerance
    return replace(measured, verdict="drifts") if drifts else measured


def bookkeeping(device: torch.device) -> float:
    """Seconds a gradient that a job takes beside the network, at least; 0 where they were not measured."""
    return BOOKKEEPING.get(device.type, 0.0)


def preferred(measured: Sequence[Measured], beside: float) -> Measured:
    """The first of them, or whichever is faster than the best so far by more than a coin flip.

    Arguments:
        measured: the plainest first.
        beside: see `bookkeeping`.

    Example:
        >>> plain, low = Measured(Execution(), 3e-7, 0, ""), Measured(Execution(arithmetic="tf32"), 1e-7, 0, "")
        >>> [str(preferred([plain, low], beside).how) for beside in (0.0, 1e-6)]
        ['tf32', 'float32']
    """
    best = measured[0]
    for one in measured[1:]:
        gain = GAIN if one.how.arithmetic == best.how.arithmetic else LOWER_GAIN
        if one.seconds + beside < gain * (best.seconds + beside):
            best = one
    return best


def _sorted(measured: list[Measured], beside: float) -> list[Measured]:
    """The chosen one first; what is pinned is not refused, only reported."""
    chosen = preferred([measured[0], *(one for one in measured[1:] if one.verdict == "")], beside)
    others = [
        replace(measurement, verdict=measurement.verdict or "slower")
        for measurement in measured
        if measurement is not chosen
    ]
    return [replace(chosen, verdict=chosen.verdict or "chosen"), *others]


def _candidates(scorer: Scorer) -> Iterator[Execution]:
    """Ways worth a look, the most promising first."""
    modules = [*scorer.module.modules()]
    convolves = any(isinstance(module, nn.Conv2d) for module in modules)
    folds = convolves and any(isinstance(module, nn.BatchNorm2d) for module in modules)
    for folded in (True, False) if folds else (False,):
        yield from (
            Execution(channels_last, folded) for channels_last in ((True, False) if convolves else (False,))
        )
    lower: tuple[Arithmetic, ...] = ("bfloat16",)
    if scorer.device.type == "cuda":
        lower = ("tf32", "float16", "bfloat16")
    if scorer.dtype == torch.float32:
        yield from (Execution(convolves, arithmetic=arithmetic) for arithmetic in lower)
    yield Execution(compiled=True)


def _tried(trial: Trial, how: Execution, truth: Tensor) -> Measured:
    """How far the maps drift in a way of running, and how long a gradient takes."""
    nothing = float("nan")
    try:
        measurement = trial.run(how)
        return _timed(trial, how, measurement, _drift(measurement.gradients.sum(dim=0), truth))
    except Interrupted:
        raise
    except Exception as error:  # whatever a backend raises: then it is not for this network
        return Measured(how, nothing, nothing, f"fails: {str(error).strip().partition(chr(10))[0]}"[:200])


def _timed(trial: Trial, how: Execution, outcome: TrialOutcome, drift: float) -> Measured:
    return Measured(how, trial.seconds(how) if outcome.seconds is None else outcome.seconds, drift, "")


def _drift(maps: Tensor, truth: Tensor) -> float:
    apart, size = (maps - truth).norm(dim=1), truth.norm(dim=1)
    return float(torch.where(apart == 0, 0.0, apart / size).max())


def chosen_text(measured: Sequence[Measured]) -> str:
    """The choice and why, in a line."""
    first = measured[0]
    tried = "; ".join(f"{measurement.how}: {measurement.verdict}" for measurement in measured[1:])
    why = "" if first.verdict == "not measured" else f" (drift {first.drift:.1e})"
    return f"{first.how}{why}" + (f"; {tried}" if tried else "")
