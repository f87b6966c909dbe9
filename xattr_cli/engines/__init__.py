"""Attribution methods: one file each, named as in its paper; importing this package registers them."""

from .ace import engine as ace
from .interactions import expected_hessians, integrated_hessians
from .path import expected_gradients, gradients, integrated_gradients, interior_gradients
from .sensitivity import icc, sobol

__all__ = [
    "ace",
    "expected_gradients",
    "expected_hessians",
    "gradients",
    "icc",
    "integrated_gradients",
    "integrated_hessians",
    "interior_gradients",
    "sobol",
]
