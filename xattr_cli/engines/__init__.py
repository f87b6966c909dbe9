"""Attribution methods, each named as in its paper; importing this package registers them."""

from .ace.engine import AverageCausalEffects
from .interactions.expected_hessians import ExpectedHessians
from .interactions.integrated_hessians import IntegratedHessians
from .path.deeplift import DeepLift
from .path.expected_gradients import ExpectedGradients
from .path.gradients import InputXGradient, Saliency
from .path.integrated_gradients import IntegratedGradients
from .path.interior_gradients import InteriorGradients
from .path.noise import SmoothGrad
from .removal.occlusion import Occlusion
from .removal.shapley import ShapleyValues
from .sensitivity.icc import IntrinsicCausalContributions
from .sensitivity.sobol import SobolIndices

__all__ = [
    "AverageCausalEffects",
    "DeepLift",
    "ExpectedGradients",
    "ExpectedHessians",
    "InputXGradient",
    "IntegratedGradients",
    "IntegratedHessians",
    "InteriorGradients",
    "IntrinsicCausalContributions",
    "Occlusion",
    "Saliency",
    "ShapleyValues",
    "SmoothGrad",
    "SobolIndices",
]
