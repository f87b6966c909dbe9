"""Where a network has kinks: operation and layer. Second derivatives are blind there.

Of a piecewise-linear network all second derivatives are zero, with spikes between the pieces that no evaluation
hits: its interactions would be zero without a word. What counts as a kink here is

- an operation that is not known to have curvature, given values that depend on what is explained. Operations that
  are singular in single points and curved around them, such as a square root, are no kinks here;
- an operation given a value that depends on what is explained, but without a gradient: a mask `x > 0`, indices of
  a maximum, a detached value;
- an autograd Function written in Python, of which nothing is known.

What depends on weights and context alone may be as kinked as it likes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ...errors import ModelError
from ...models.surgery.activations import is_guard
from ...models.surgery.constants import READS_NO_VALUES, tensors_in
from ...models.surgery.smoothing import SmoothedModule
from ...models.surgery.table import KINKED
from ...models.watching import OperationWatch, python_functions
from .smoothness import is_real, is_smooth

__all__ = ["Kink", "LayerTracker", "check_curved", "locate_kinks"]

_CURVED = frozenset(
    """
    _conj _efficientzerotensor _embedding_bag _fft_c2c _fft_c2r _fft_r2c _fused_rms_norm
    _log_softmax_backward_data _scaled_dot_product_fused_attention_overrideable _to_copy _unsafe_index acos
    acosh affine_grid_generator argmax argmin asin asinh atan atan2 atanh bernoulli complex concat
    conj_physical convolution_overrideable copy cross digamma dist erfinv eye grid_sampler_2d
    grid_sampler_3d hypot i0 index_fill is_nonzero isfinite isinf isnan lgamma linalg_cross linalg_inv_ex
    linalg_solve_ex log10 log2 logaddexp2 logdet logit masked_scatter masked_select miopen_rnn mvlgamma
    nan_to_num native_dropout nonzero polar pow rand rand_like randn randn_like sinc slogdet special_erfcx
    special_expm1 special_i0e special_i1 special_log_ndtr special_ndtr special_ndtri special_xlog1py sqrt
    std std_mean take triangular_solve view_as_complex view_as_real xlogy
    """.split()
)
"""Operations that are curved, or linear, almost everywhere, beside `smoothness.SMOOTH_OPERATIONS`."""

_UNSEEING = READS_NO_VALUES | {"isfinite", "isinf", "isnan"}  # which are the same for all finite inputs
_BRANCHES = {"_local_scalar_dense": "item", "is_nonzero": "bool"}
_IDENTITIES = frozenset({"BackwardHookFunctionBackward"})
_MOST_LISTED = 6


@dataclass(frozen=True, order=True)
class Kink:
    """A kink of a network.

    Attributes:
        layer: dotted name of the layer that has it; "" for the network itself.
        operation: its name in ATen, or of an autograd Function.
        reason: why it counts as one, where the operation alone does not tell.
    """

    layer: str
    operation: str
    reason: str = ""

    def __str__(self) -> str:
        where = f"in layer {self.layer!r}" if self.layer else "in the network's own forward"
        return f"{self.operation} {where}" + (f" ({self.reason})" if self.reason else "")


def locate_kinks(network: nn.Module, forward: Callable[[], object]) -> tuple[Kink, ...]:
    """The kinks of a network where a forward pass meets them, sorted by layer.

    Arguments:
        network: the module that `forward` runs; of a smoothed one, the kinks that are left are found.
        forward: runs it with gradients, from inputs that want one, with the repairs that it needs in force:
            compiled code is not seen through, nor are reentrant checkpoints.
    """
    inner = network.network if isinstance(network, SmoothedModule) else network
    layers = LayerTracker(inner)
    watch = _Watch(layers)
    with layers.followed(watch.look_for_functions), watch:
        output = forward()
    watch.look_for_functions(output)
    in_programs = set(_kinks_in_programs(inner))
    told = {(kink.layer, kink.operation) for kink in in_programs}
    return tuple(sorted({*in_programs, *(k for k in watch.kinks if (k.layer, k.operation) not in told)}))


def check_curved(
    network: nn.Module,
    forward: Callable[[], object],
    allowed: Collection[str] = (),
    option: str = "smoothing.allow",
) -> tuple[Kink, ...]:
    """Refuse a network whose kinks second derivatives would miss.

    Arguments:
        network, forward: as for `locate_kinks`.
        allowed: operations to accept, such as "topk", everywhere or in one layer, such as "head.pool.topk".
        option: dotted key of the job that holds them, for the error.

    Returns:
        The kinks that are allowed.

    Raises:
        ModelError: names every other kink, its layer, and the way out.
    """
    kinks = locate_kinks(network, forward)
    refused = [kink for kink in kinks if not {kink.operation, f"{kink.layer}.{kink.operation}"} & set(allowed)]
    if refused:
        raise ModelError(_refusal(refused, network, option))
    return kinks


class _Watch(OperationWatch):  # type: ignore[no-untyped-call]
    """Follows what depends on the inputs, with a gradient or without."""

    def __init__(self, layers: LayerTracker) -> None:
        super().__init__()
        self.layers = layers
        self.kinks: set[Kink] = set()
        self._made: dict[int, Tensor] = {}  # kept alive: the identity of a freed tensor is given to another
        self._known: set[object] = set()

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        output = func(*args, **kwargs)
        tensors = list(tensors_in((args, kwargs)))
        with_gradient = any(tensor.requires_grad for tensor in tensors)
        # whether an output has a gradient is known later only; so it is asked where the output is used
        without = any(id(tensor) in self._made and not tensor.requires_grad for tensor in tensors)
        if with_gradient or without:
            if torch.is_grad_enabled():
                self._judge(func, args, kwargs, output, with_gradient and without)
            if func.overloadpacket.__name__ not in _UNSEEING:
                self._made.update((id(tensor), tensor) for tensor in tensors_in((output,)))
        return output

    def _judge(self, func: Any, args: Any, kwargs: Any, output: Any, is_mixed: bool) -> None:
        name = func.overloadpacket.__name__
        if name in _BRANCHES:
            self._add(_BRANCHES[name], "a number taken out of a tensor, which depends on the input")
        elif any(is_real(tensor) for tensor in tensors_in((output,))):
            if not _is_curved(func, args, kwargs):
                self._add(_plain(name))
            elif is_mixed:
                self._add(_plain(name), "given a value that depends on the input, but has no gradient")

    def look_for_functions(self, output: object) -> None:
        """Note the autograd Functions written in Python of which a layer's output was made."""
        for name in python_functions(output, self._known):
            if name not in _IDENTITIES:
                self._add(
                    name.removesuffix("Backward"), "an autograd Function of Python code, which is not seen through"
                )

    def _add(self, operation: str, reason: str = "") -> None:
        self.kinks.add(Kink(self.layers.name, operation, reason))


def _is_curved(func: Any, args: Any, kwargs: Any) -> bool:
    name = func.overloadpacket.__name__
    if is_smooth(func, args, kwargs):
        return True
    if func.namespace not in ("aten", "prims"):
        return False
    if _plain(name) in _DEPENDING_ON_ARGUMENTS:
        names = [argument.name for argument in func._schema.arguments]
        return _DEPENDING_ON_ARGUMENTS[_plain(name)]({**dict(zip(names, args, strict=False)), **kwargs})
    return name in _CURVED or _plain(name) in _CURVED


_DEPENDING_ON_ARGUMENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    **dict.fromkeys(
        ("clamp", "clamp_min", "clamp_max"), lambda given: is_guard(given.get("min"), given.get("max"))
    ),
    "linalg_vector_norm": lambda given: given.get("ord", 2) == 2,
    "norm": lambda given: given.get("p", 2) == 2,
    "_cdist_forward": lambda given: given["p"] == 2,
    "celu": lambda given: True,
    "softplus": lambda given: given.get("threshold", 20) >= 10,
}


def _plain(name: str) -> str:
    return name.rstrip("_") or name


def _kinks_in_programs(network: nn.Module) -> Iterator[Kink]:
    """Kinks in TorchScript, read from its code: what runs may be fused, and then no operation of it is seen."""
    inside: set[nn.Module] = set()
    for name, part in network.named_modules():
        if isinstance(part, torch.jit.ScriptModule) and part not in inside:
            inside.update(part.modules())
            for operation in _operations(part.inlined_graph):
                if operation in KINKED:
                    yield Kink(name, operation, "in TorchScript")


def _operations(graph: Any) -> Iterator[str]:
    for node in graph.nodes():
        yield _plain(node.kind().removeprefix("aten::"))
        for block in node.blocks():
            yield from _operations(block)


def _refusal(kinks: list[Kink], network: nn.Module, option: str) -> str:
    listed = "; ".join(map(str, kinks[:_MOST_LISTED])) + ("; …" if len(kinks) > _MOST_LISTED else "")
    names = ", ".join(sorted({kink.operation for kink in kinks}))
    if not isinstance(network, SmoothedModule):
        return (
            f"the network has kinks, where second derivatives are blind: {listed}. Interactions would be zero "
            "or wrong without a word. Let them be smoothed (smoothing: {beta: 10}), or accept them with "
            f"{option}: [{names}]."
        )
    program = " TorchScript cannot be changed: load the network with kind: python." * _has_program(network)
    return (
        f"the network has kinks that cannot be smoothed: {listed}. Second derivatives are blind there, and "
        f"interactions would be zero or wrong without a word.{program} Write that part with what can be smoothed "
        "(relu and its like, abs, clamp, max, max-pooling) or is smooth (kind: python), or, if it does not matter "
        f"here, accept it with {option}: [{names}]."
    )


def _has_program(network: nn.Module) -> bool:
    return any(isinstance(part, torch.jit.ScriptModule) for part in network.modules())


class LayerTracker:
    """Follows the layers of a network through a forward pass; no module is touched for it.

    Arguments:
        network: its submodules are called by their dotted names, itself by "".
    """

    def __init__(self, network: nn.Module) -> None:
        self._names = {id(part): name for name, part in network.named_modules()}
        self._running: list[str] = []

    @property
    def name(self) -> str:
        """Dotted name of the innermost layer that is running; "" for the network itself."""
        return self._running[-1] if self._running else ""

    @contextmanager
    def followed(
        self,
        left: Callable[[object], None] = lambda _output: None,
        entered: Callable[[object], None] = lambda _inputs: None,
    ) -> Iterator[None]:
        """While open, the layers that run are known.

        Arguments:
            left: called with what each layer returns, while it is still the running one.
            entered: called with what each layer is given, while it is not yet the running one.
        """

        def enter(module: nn.Module, args: Any) -> None:
            entered(args)
            self._running.append(self._names.get(id(module), self.name))

        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            left(output)
            self._running.pop()

        handles = [
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, always_call=True),
        ]
        try:
            with warnings.catch_warnings():
                # a compiled module is entered twice, and is the same layer both times
                warnings.filterwarnings("ignore", message=r".*global hooks on modules")
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._running.clear()
