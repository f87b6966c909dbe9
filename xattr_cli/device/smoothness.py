"""Does a network have kinks? Its operations tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["SMOOTH_OPERATIONS", "kinked_operations"]

SMOOTH_OPERATIONS = frozenset(
    """
    _adaptive_avg_pool2d _cudnn_rnn _log_softmax _native_batch_norm_legit_no_training
    _native_multi_head_attention _scaled_dot_product_efficient_attention
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _softmax
    _thnn_fused_gru_cell _thnn_fused_lstm_cell _unsafe_view add addbmm addcdiv addcmul addmm alias arange
    as_strided avg_pool1d avg_pool2d avg_pool3d baddbmm bmm cat celu chunk clone constant_pad_nd contiguous
    convolution copy_ cos cosh cumsum detach div dot embedding empty empty_like erf exp expand expm1 fill_
    flatten flip full full_like gather gelu glu gru imag index index_select lift_fresh linear log log1p
    log_sigmoid log_sigmoid_forward logsumexp lstm masked_fill matmul mean mish mkldnn_convolution
    mkldnn_rnn_layer mm movedim mul mv narrow native_batch_norm native_group_norm native_layer_norm neg
    new_empty new_zeros ones ones_like permute pixel_shuffle real reciprocal repeat reshape rsqrt rsub
    scalar_tensor select sigmoid silu sin sinh size slice softmax softplus split split_with_sizes square
    squeeze stack sub sum t tan tanh transpose tril triu unbind unflatten unsafe_chunk unsafe_split
    unsqueeze var var_mean view zero_ zeros zeros_like
    """.split()
)
"""Operations without kinks, by their name in ATen; everything that is not listed counts as kinked."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False
        self.kinked: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen = True
        name = func.overloadpacket.__name__
        if not _is_smooth(name.rstrip("_") or name, name, args, kwargs or {}):
            self.kinked.add(name)
        return func(*args, **(kwargs or {}))


def kinked_operations(forward: Callable[[], object]) -> list[str]:
    """Operations of one forward pass that may have kinks; an empty list means that it is smooth.

    Used to choose the formula of the error bar, where a wrong "kinked" costs some evaluations and a
    wrong "smooth" would understate errors: hence a list of what is known to be smooth.

    Arguments:
        forward: runs the network as explanations do, that is with gradients: inference has fused
            kernels of its own, which hide what they do.
    """
    with _Recorder() as recorder:
        forward()
    return sorted(recorder.kinked) if recorder.seen else ["(none could be seen)"]


def _is_smooth(plain: str, name: str, args: Any, kwargs: Any) -> bool:
    """Whether an operation is smooth; some are for some of their arguments only."""
    if plain == "elu":  # slopes at 0: alpha · scale · input_scale and scale; SELU has a kink
        given = dict(zip(("alpha", "scale", "input_scale"), args[1:], strict=False)) | dict(kwargs)
        return bool(abs(given.get("alpha", 1) * given.get("input_scale", 1) - 1) < 1e-6)
    if plain == "pow":  # not |x| written as (x * x) ** 0.5
        exponent = args[1] if len(args) > 1 else kwargs.get("exponent")
        return isinstance(exponent, int | float) and float(exponent).is_integer() and exponent > 0
    if plain == "_to_copy":  # rounding to integers is a staircase
        dtype = kwargs.get("dtype")
        return dtype is None or dtype.is_floating_point or not args[0].is_floating_point()
    return name in SMOOTH_OPERATIONS or plain in SMOOTH_OPERATIONS
