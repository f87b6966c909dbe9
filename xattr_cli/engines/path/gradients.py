"""Saliency and input × gradient: the two cheap references, the t = 1 end of every sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...registry import ENGINES
from ..base import Explanation, LocalEngine, exact

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["InputXGradient", "Saliency"]


@ENGINES.register("saliency", "gradient", "gradients", "vanilla_gradient")
class Saliency(LocalEngine):
    """Absolute gradient of the score at the input, |∇f(x)|.

    Says what the score is sensitive to at x itself; it is blind where the network saturates, and it does
    not sum to anything. Exact, so its error bar is 0.

    Reference: Simonyan, Vedaldi, Zisserman 2013, arXiv 1312.6034, section 3.
    """

    signed: bool = Field(default=False, description="keep the sign of the gradient")

    def explain(self, block: Block) -> Explanation:
        values, gradients = block.input_gradient()
        return exact(gradients if self.signed else gradients.abs(), values)


@ENGINES.register("input_x_gradient", "gradient_x_input", "input_times_gradient", "gxi")
class InputXGradient(LocalEngine):
    """Input times gradient, x ⊙ ∇f(x): the first-order guess at what each feature contributes.

    Equals integrated gradients from a zero baseline for networks that are linear along the path, and is
    misleading where they saturate. Exact, so its error bar is 0.

    Reference: Shrikumar et al. 2016, arXiv 1605.01713.
    """

    def explain(self, block: Block) -> Explanation:
        values, gradients = block.input_gradient()
        return exact(block.inputs * gradients, values)
