"""SmoothGrad (Smilkov, Thorat, Kim, Viégas, Wattenberg 2017)."""

import numpy as np
from pydantic import Field

from xattr_cli.plugins import Explanation, LocalEngine


class SmoothGrad(LocalEngine):
    """SmoothGrad, the mean of ∇f(x + ε) over ε ~ N(0, noise²).

    The draws belong to the sample, so that no row depends on its batch; their spread is the error bar.

    Reference: Smilkov et al. 2017, arXiv 1706.03825, section 3.
    """

    noise: float = Field(default=0.1, gt=0, description="standard deviation of ε, as the network is given it")
    draws: int = Field(default=64, ge=2, description="gradients per row")

    def explain(self, block):
        rows, size = block.inputs.shape
        noise = np.stack([block.generator(row).standard_normal((self.draws, size)) for row in range(rows)])
        points = block.inputs[:, None] + self.noise * block.inputs.new_tensor(noise)
        _, gradients = block.gradients(points)
        mean = gradients.mean(dim=1)
        standard_error = gradients.std(dim=1) / self.draws**0.5
        relative_error = standard_error.norm(dim=1) / mean.norm(dim=1)
        return Explanation(
            attribution=mean,
            relative_error=relative_error,
            evaluations=mean.new_full((rows,), self.draws).long(),
            score_input=block.input_scores(),
            maps={"standard_error": standard_error},
        )
