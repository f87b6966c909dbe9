"""Does a network have kinks? Its operations tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["SMOOTH_OPERATIONS", "kinked_operations"]

SMOOTH_OPERATIONS = frozenset(
    """
    _adaptive_avg_pool2d _cudnn_rnn _log_softmax _native_batch_norm_legit_no_training
    _native_multi_head_attention _scaled_dot_product_efficient_attention
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _softmax
    _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy _unsafe_view add addbmm addcdiv addcmul addmm
    alias arange as_strided avg_pool1d avg_pool2d avg_pool3d baddbmm bmm cat celu chunk clone
    constant_pad_nd contiguous convolution copy_ cos cosh cumsum detach div dot elu embedding empty
    empty_like erf exp expand expm1 fill_ flatten flip full full_like gather gelu glu gru imag index
    index_select lift_fresh linear log log1p log_sigmoid log_sigmoid_forward logsumexp lstm masked_fill
    matmul mean mish mkldnn_convolution mkldnn_rnn_layer mm movedim mul mv narrow native_batch_norm
    native_group_norm native_layer_norm neg new_empty new_zeros ones ones_like permute pixel_shuffle pow
    real reciprocal repeat reshape rsqrt rsub scalar_tensor select sigmoid silu sin sinh size slice
    softmax softplus split split_with_sizes sqrt square squeeze stack std sub sum t tan tanh transpose
    tril triu unbind unflatten unsafe_chunk unsafe_split unsqueeze var var_mean view zero_ zeros
    zeros_like
    """.split()
)
"""Operations without kinks, by their name in ATen; everything that is not listed counts as kinked."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def kinked_operations(forward: Callable[[], object]) -> list[str]:
    """Operations of one forward pass that may have kinks; an empty list means that it is smooth.

    Used to choose the formula of the error bar, where a wrong "kinked" costs some evaluations and a
    wrong "smooth" would understate errors: hence a list of what is known to be smooth.
    """
    with torch.no_grad(), _Recorder() as recorder:
        forward()
    if not recorder.names:
        return ["(none could be seen)"]
    return sorted(name for name in recorder.names if not _is_smooth(name))


def _is_smooth(name: str) -> bool:
    return name in SMOOTH_OPERATIONS or name.rstrip("_") in SMOOTH_OPERATIONS
