"""Does a network have kinks? Its operations tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ...models.watching import OperationWatch, python_functions

__all__ = ["SMOOTH_OPERATIONS", "is_real", "is_smooth", "kinked_operations"]

SMOOTH_OPERATIONS = frozenset(
    """
    _adaptive_avg_pool2d _cudnn_rnn _log_softmax _native_batch_norm_legit_no_training
    _native_multi_head_attention _pack_padded_sequence _pad_packed_sequence _reshape_alias _safe_softmax
    _scaled_dot_product_cudnn_attention _scaled_dot_product_efficient_attention
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _softmax
    _thnn_fused_gru_cell _thnn_fused_lstm_cell _unsafe_view _weight_norm_interface add addbmm addcdiv
    addcmul addmm alias arange as_strided avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bilinear
    block_diag bmm cat channel_shuffle chunk clone col2im constant_pad_nd contiguous convolution cos cosh
    cumprod cumsum detach diag_embed diagonal dot einsum embedding empty empty_like erf erfc exp expand
    expm1 fill_ flatten flip full full_like gather gelu glu gru im2col imag index index_add index_copy
    index_put index_put_impl index_select lerp lift_fresh linear log log1p log_sigmoid log_sigmoid_forward
    logaddexp logcumsumexp logsumexp lstm masked_fill matmul mean mish mkldnn_convolution mkldnn_rnn_layer
    mm movedim mul mv narrow native_batch_norm native_group_norm native_layer_norm neg new_empty new_full
    new_ones new_zeros ones ones_like outer permute pixel_shuffle pixel_unshuffle prod real reciprocal
    reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d reshape rms_norm roll rot90 rsqrt rsub scalar_tensor scatter
    scatter_add select select_scatter sigmoid silu sin sinh size slice slice_scatter softmax split
    split_with_sizes square squeeze stack sub sum swapaxes t tan tanh trace transpose tril triu true_divide
    unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d var
    var_mean view view_as where zero_ zeros zeros_like
    """.split()
)
"""Operations without kinks, by their name in ATen; everything that is not listed counts as kinked.

Those that choose by a mask, such as `where`, are as smooth as the mask: a comparison that makes one is not.
"""


class _Recorder(OperationWatch):  # type: ignore[no-untyped-call]
    """Notes the kinked operations on what depends on `source`; on anything, if that is None."""

    def __init__(self, source: Tensor | None) -> None:
        super().__init__()
        self.seen = False
        self.kinked: set[str] = set()
        self._follows = source is not None
        # kept alive: the address of a freed storage may be given to another tensor
        self._dependent: dict[int, torch.UntypedStorage] = {}
        if source is not None:
            self._note(source)

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.seen = True
        depends = not self._follows or any(map(self._is_dependent, _tensors((args, kwargs))))
        if depends and not is_smooth(func, args, kwargs):
            self.kinked.add(func.overloadpacket.__name__)
        result = func(*args, **kwargs)
        if depends and self._follows:
            for tensor in _tensors(result):
                self._note(tensor)
        return result

    def _note(self, tensor: Tensor) -> None:
        # whole numbers have no slope: where they are made of others, that is found; and the sizes of batches,
        # beside packed sequences, depend on lengths alone
        if tensor.layout == torch.strided and is_real(tensor):
            storage = tensor.untyped_storage()
            self._dependent[storage._cdata] = storage

    def _is_dependent(self, tensor: Tensor) -> bool:
        return tensor.layout != torch.strided or tensor.untyped_storage()._cdata in self._dependent


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def is_real(tensor: Tensor) -> bool:
    """Whether its numbers may have slopes: whole ones and truth values have none."""
    return tensor.is_floating_point() or tensor.is_complex()


def kinked_operations(forward: Callable[[], object], source: Tensor | None = None) -> list[str]:
    """Operations of one forward pass that may have kinks; an empty list means that it is smooth.

    Used to choose the formula of the error bar, where a wrong "kinked" costs some evaluations and a
    wrong "smooth" would understate errors: hence a list of what is known to be smooth.

    Arguments:
        forward: runs the network as explanations do, that is with gradients: inference has fused
            kernels of its own, which hide what they do.
        source: what the network is explained by; only operations on what depends on it count, so that the
            comparisons that make an attention mask do not. None counts all.
    """
    with _Recorder(source) as recorder:
        output = forward()
    if not recorder.seen:
        return ["(none could be seen)"]
    return sorted(recorder.kinked.union(python_functions(output, set())))


def is_smooth(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation is smooth; some are for some of their arguments only."""
    name = func.overloadpacket.__name__
    plain = name.rstrip("_") or name
    if func.namespace not in ("aten", "prims"):
        return False
    decide = _DEPENDING_ON_ARGUMENTS.get(plain)
    if decide is None:
        return name in SMOOTH_OPERATIONS or plain in SMOOTH_OPERATIONS
    names = [argument.name for argument in func._schema.arguments]
    defaults = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
    return bool(decide({**defaults, **dict(zip(names, args, strict=False)), **kwargs}))


def _keeps_floating(source: Tensor, dtype: torch.dtype | None) -> bool:
    """Rounding to integers is a staircase."""
    return dtype is None or dtype.is_floating_point or not source.is_floating_point()


def _is_power(exponent: object) -> bool:
    return isinstance(exponent, int | float) and float(exponent).is_integer() and exponent > 0


_DEPENDING_ON_ARGUMENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    # slopes at 0 are alpha · scale · input_scale and scale: those of SELU differ
    "elu": lambda given: abs(given["alpha"] * given["input_scale"] - 1) < 1e-6,
    "celu": lambda given: given["alpha"] >= 0.1,
    "softplus": lambda given: given["threshold"] >= 10 and given["beta"] <= 100,
    "div": lambda given: given.get("rounding_mode") is None,
    "pow": lambda given: _is_power(given.get("exponent")),  # not |x| written as (x * x) ** 0.5
    "_to_copy": lambda given: _keeps_floating(given["self"], given.get("dtype")),
    "copy": lambda given: _keeps_floating(given["src"], given["self"].dtype),
}
