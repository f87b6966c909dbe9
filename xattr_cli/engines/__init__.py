"""Attribution methods: one file each, named as in its paper; importing this package registers them."""

from . import (
    ace,
    expected_gradients,
    expected_hessians,
    gradients,
    icc,
    integrated_gradients,
    integrated_hessians,
    interior_gradients,
    sobol,
)

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
