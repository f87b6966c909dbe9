"""Attribution methods: one file each, named as in its paper; importing this package registers them."""

from . import expected_gradients, gradients, integrated_gradients, interior_gradients

__all__ = ["expected_gradients", "gradients", "integrated_gradients", "interior_gradients"]
