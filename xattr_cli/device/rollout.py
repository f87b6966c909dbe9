"""Autoregressive roll-out: a network that predicts the next step of a sequence, fed with its own predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..samples import Layout
from .scorer import Scorer

__all__ = ["Rollout"]


@dataclass(frozen=True)
class Rollout:
    """A network (n, steps, channels) → (n, channels) as a dynamical system.

    Attributes:
        scorer: the network on sequences of the dataset's length; one explained input (steps, channels).
        window: steps that it is given at each prediction, the last ones; None for all that there are.
    """

    scorer: Scorer
    window: int | None = None

    @property
    def steps(self) -> int:
        """Length of the sequences of the dataset."""
        return self.scorer.layout.specs[0].shape[0]

    @property
    def channels(self) -> int:
        """Values per step."""
        return self.scorer.layout.specs[0].shape[1]

    @property
    def seen(self) -> int:
        """How many steps the last prediction sees."""
        return self.steps if self.window is None else self.window

    def scorer_of(self, steps: int) -> Scorer:
        """The network as a function of flat sequences of another length."""
        spec = replace(self.scorer.layout.specs[0], shape=(steps, self.channels))
        return replace(self.scorer, inputs=(spec,), layout=Layout((spec,)))

    def predict(self, sequences: Tensor) -> Tensor:
        """(n, channels) of the step after sequences (n, steps, channels) of any length."""
        seen = sequences if self.window is None else sequences[:, -self.window :]
        return self.scorer_of(seen.shape[1]).scores(seen.flatten(start_dim=1), {})

    def continued(self, sequences: Tensor, step: int) -> Tensor:
        """The sequences (n, steps, channels) with all that follows `step` replaced by predictions."""
        rolled = sequences.clone()
        for later in range(step + 1, self.steps):
            rolled[:, later] = self.predict(rolled[:, :later])
        return rolled

    def sensitivity(self, sequences: Tensor, scale: Tensor) -> Tensor:
        """(seen,) how much the prediction after the sequences hangs on each step that it sees.

        Root mean square, over sequences, of the Frobenius norm of the Jacobian, in units of `scale`
        (channels,) on both sides.
        """
        scorer = self.scorer_of(self.seen)
        points = sequences[:, -self.seen :].flatten(start_dim=1)
        total = points.new_zeros(self.seen, dtype=torch.float64)
        for target in range(self.channels):

            def call(part: slice, rows: int, target: int = target) -> Tensor:
                which = torch.full((part.stop - part.start,), target, device=points.device)
                return scorer.gradients_of_call(points[part], {}, [which], rows)[0][1]

            with scorer.exact_arithmetic():
                gradients = torch.cat(list(scorer.packing.run(len(points), call)))
            relative = gradients.view(-1, self.seen, self.channels).double() * (scale / scale[target]).double()
            total += relative.square().sum(dim=2).mean(dim=0)
        return total.sqrt()
