"""Functions that are linear in what changes along a path: their derivative is its own secant."""

from __future__ import annotations

__all__ = ["is_linear", "is_product"]

_LINEAR = frozenset(
    """
    __get__ __getitem__ __setitem__ __set__ __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __neg__ __mul__
    __rmul__ __imul__ __truediv__ __itruediv__ __div__ __idiv__ __matmul__ __rmatmul__ __len__ __iter__
    __contains__ __hash__ __bool__ __repr__ __format__ __deepcopy__ __reversed__ add addmm addbmm addmv addr
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d alpha_dropout as_strided as_tensor atleast_1d
    atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bfloat16 bilinear block_diag bmm
    broadcast_tensors broadcast_to cat channel_shuffle chain_matmul chunk clone column_stack concat concatenate
    constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d copy
    cpu cuda cumsum detach diag diagonal diff dim div divide dot double dropout dropout1d dropout2d
    dropout3d dsplit dstack einsum element_size embedding equal expand expand_as feature_alpha_dropout
    feature_dropout fill_ flatten flip fliplr flipud float fold frobenius ger get_device gather half hsplit
    hstack identity index_add index_copy index_fill index_put index_select inner interpolate is_complex
    is_contiguous is_floating_point is_inference is_leaf is_same_size isnan isfinite isinf item kron lerp linear
    lp masked_fill masked_select matmul mean meshgrid mm moveaxis movedim mul multiply mv narrow
    native_batch_norm ndimension nelement neg negative new_empty new_full new_ones new_tensor new_zeros numel
    numpy ones_like outer pad permute pixel_shuffle pixel_unshuffle positive ravel real register_hook repeat
    repeat_interleave requires_grad_ reshape reshape_as resolve_conj resolve_neg retain_grad roll rot90 rsub
    rand_like randn_like empty_like zeros_like full_like scatter scatter_add select size slice split
    split_with_sizes squeeze stack storage_offset stride sub subtract sum swapaxes swapdims t take
    take_along_dim tensor_split tensordot tile to tolist trace transpose tril triu true_divide type type_as
    unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample view view_as vsplit vstack
    _pack_padded_sequence _pad_packed_sequence nanmean nansum eq ne lt le gt ge greater less greater_equal
    less_equal not_equal __eq__ __ne__ __lt__ __le__ __gt__ __ge__ logical_and logical_or logical_not argmax
    argmin argsort any all count_nonzero nonzero isclose allclose
    """.split()
)
"""By their names in torch. Comparisons and the like carry no gradient: what is made of them shows in the sums."""


def is_linear(name: str) -> bool:
    """Whether a function of torch keeps its derivative, as far as it is linear in what changes.

    Products are, if one of the factors does not change along the path; the other ones have rules of their own.
    """
    return name in _LINEAR


_PRODUCTS = frozenset(
    """
    addbmm addmm addmv addr baddbmm batch_norm bilinear bmm chain_matmul conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d div divide dot einsum ger inner kron linear matmul mm mul multiply mv outer
    tensordot true_divide __div__ __idiv__ __imul__ __itruediv__ __matmul__ __mul__ __rmatmul__ __rmul__
    __truediv__
    """.split()
)


def is_product(name: str) -> bool:
    """Whether a function of torch is linear in each of its factors alone, and not in several that change."""
    return name in _PRODUCTS
