"""What derivatives need and fast kernels lack: other kernels during an explanation, and nothing left behind.

Measured on the CPU with torch 2.15, double backward against forward over reverse (`torch.func.jvp` of `grad`):

| part of a network | as it is | repaired |
|---|---|---|
| LSTM, GRU, RNN (native) | both | both |
| LSTM, float32 on the CPU (oneDNN) | double backward alone | both |
| LSTM, GRU, RNN on CUDA (cuDNN) | in eval mode not even a gradient | double backward alone, RNN both (*) |
| packed sequences | double backward alone | double backward alone |
| `scaled_dot_product_attention`, `MultiheadAttention`, transformer layers | a gradient alone | both |
| reentrant checkpoints | not even `autograd.grad` | both |
| other checkpoints | double backward alone | both |
| `torch.compile` | forward over reverse alone | both |
| full backward hooks | double backward alone, and not with in-place activations | both |
| in-place activations | both | |
| in-place operations on what the backward pass needs | not even a gradient | double backward alone |
| weight norm, spectral norm and other parametrisations | both | |

(*) as torch's table of derivatives has it: the fused cells have a differentiable backward, and no forward mode.
The measurements are those of `tests/models/test_repairs.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .watching import OperationWatch

__all__ = ["Repair", "Repairs", "find_repairs", "plain_checkpoints", "repaired"]

_ATTENTION_LAYERS = nn.MultiheadAttention | nn.TransformerEncoder | nn.TransformerEncoderLayer
_CUDNN = {"_cudnn_rnn", "miopen_rnn"}
_ONEDNN = {"mkldnn_rnn_layer"}
_FUSED_ATTENTION = {
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
}


@dataclass(frozen=True)
class Repair:
    """One thing that is done for the time of an explanation.

    Attributes:
        note: what is done, for the record.
        begin: does it, and undoes it on leaving.
    """

    note: str
    begin: Callable[[], AbstractContextManager[Any]]


@dataclass
class Repairs:
    """What a network needs so that derivatives of it exist; found by `find_repairs`.

    Attributes:
        found: each of them.
    """

    found: tuple[Repair, ...] = ()
    _depth: int = field(default=0, repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done, for the record; empty if nothing is."""
        return tuple(repair.note for repair in self.found)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While open, the repairs are in force: for the forward pass and for the backward passes alike.

        May be opened again inside. Afterwards, also after an exception, every flag and hook is as it was.
        """
        with ExitStack() as stack:
            for repair in self.found if self._depth == 0 else ():
                stack.enter_context(repair.begin())
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1


@contextmanager
def repaired(
    module: nn.Module, call: Callable[[Tensor], Tensor], points: Tensor, order: int = 2
) -> Iterator[tuple[str, ...]]:
    """Lend out a network whose derivatives exist; arguments as for `find_repairs`.

    Yields:
        What was done.

    Example:
        >>> attention = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
        >>> x = torch.zeros(1, 3, 4, requires_grad=True)
        >>> with repaired(attention, attention, x) as notes:
        ...     (gradient,) = torch.autograd.grad(attention(x).square().sum(), x, create_graph=True)
        ...     (curvature,) = torch.autograd.grad(gradient.sum(), x)
        >>> notes[0]
        'attention is computed by the math kernel: the fused ones have no second derivatives'
    """
    repairs = find_repairs(module, call, points, order)
    with repairs.applied():
        yield repairs.notes


def find_repairs(module: nn.Module, call: Callable[[Tensor], Tensor], points: Tensor, order: int = 2) -> Repairs:
    """What a network needs so that its derivatives exist, found by running it once.

    Arguments:
        module: the network.
        call: runs it; takes points and returns outputs.
        points: a few of them, on the device of the network.
        order: of the derivatives, 1 or 2.
    """
    repairs, compiler = [*_hooks(module)], [*_compiler(module)]
    checkpointed = 0

    def count() -> None:
        nonlocal checkpointed
        checkpointed += 1

    # what is compiled hides its operations
    with (
        Repairs((*repairs, *compiler)).applied(),
        plain_checkpoints(count),
        torch.enable_grad(),
        _Kernels() as kernels,
    ):
        call(_leaf(points) * 1)
    if checkpointed:
        note = f"{checkpointed} checkpointed calls keep their activations instead of computing them again"
        repairs.append(Repair(note, plain_checkpoints))
    repairs += [*_other_kernels(kernels.seen, order), *_fast_path(module, order)]
    with Repairs((*repairs, *compiler)).applied():
        if _is_spoiled(call, points):
            note = "what in-place operations write over is copied first: derivatives need it"
            repairs.append(Repair(note, torch.autograd.graph.allow_mutation_on_saved_tensors))
    return Repairs((*compiler, *repairs) if order > 1 else tuple(repairs))


class _Kernels(OperationWatch):  # type: ignore[no-untyped-call]
    """Remembers which operations of ATen run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **kwargs)


def _leaf(points: Tensor) -> Tensor:
    return points.detach().clone().requires_grad_()


def _is_spoiled(call: Callable[[Tensor], Tensor], points: Tensor) -> bool:
    """Whether an in-place operation writes over what the backward pass needs."""
    leaf = _leaf(points)
    with torch.enable_grad():
        outputs = call(leaf * 1)
    try:
        torch.autograd.grad(outputs.sum(), leaf, allow_unused=True)
    except RuntimeError as error:
        return "modified by an inplace operation" in str(error)
    return False


def _other_kernels(seen: Collection[str], order: int) -> Iterator[Repair]:
    if _CUDNN & set(seen):
        note = "recurrent layers run without cuDNN, which has no derivatives in eval mode"
        yield Repair(note, lambda: _switched_off(torch.backends.cudnn))
    if order > 1 and _ONEDNN & set(seen):
        note = "recurrent layers run without oneDNN, which has no forward-mode derivatives"
        yield Repair(note, lambda: _switched_off(torch.backends.mkldnn))
    if order > 1 and _FUSED_ATTENTION & set(seen):
        note = "attention is computed by the math kernel: the fused ones have no second derivatives"
        yield Repair(note, lambda: sdpa_kernel(SDPBackend.MATH))


@contextmanager
def _switched_off(library: Any) -> Iterator[None]:
    enabled = library.enabled
    library.enabled = False
    try:
        yield
    finally:
        library.enabled = enabled


def _fast_path(module: nn.Module, order: int) -> Iterator[Repair]:
    # it is taken without gradients only; but both kinds of pass should compute the same function
    if order > 1 and any(isinstance(part, _ATTENTION_LAYERS) for part in module.modules()):
        yield Repair("attention layers do not take their fast path", _without_fast_path)


@contextmanager
def _without_fast_path() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _compiler(module: nn.Module) -> Iterator[Repair]:
    compiled = [name for name, part in module.named_modules() if _is_compiled(part)]
    if compiled:
        layers = ", ".join(name.removesuffix("._orig_mod") or "the network" for name in compiled)
        note = f"torch.compile is left out ({layers}): it has no second derivatives"
        yield Repair(note, lambda: torch.compiler.set_stance("force_eager"))


def _is_compiled(part: nn.Module) -> bool:
    return hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None


def _hooks(module: nn.Module) -> Iterator[Repair]:
    hooked = [name for name, part in module.named_modules() if part._backward_hooks or part._backward_pre_hooks]
    if hooked:
        layers = ", ".join(name or "the network" for name in hooked)
        note = f"backward hooks are left out ({layers}): they may change gradients, and see every evaluation"
        yield Repair(note, lambda: _without_hooks(module))


@contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    hooks = [h for part in module.modules() for h in (part._backward_hooks, part._backward_pre_hooks)]
    before = [dict(each) for each in hooks]
    for each in hooks:
        each.clear()
    try:
        yield
    finally:
        for each, content in zip(hooks, before, strict=True):
            each.update(content)


_MADE_OF = (
    "CheckpointFunction",
    "_checkpoint_without_reentrant_generator_impl",
    "_checkpoint_without_reentrant_generator",
)


@contextmanager
def plain_checkpoints(count: Callable[[], None] = lambda: None) -> Iterator[None]:
    """While open, `torch.utils.checkpoint.checkpoint(function, *args)` is `function(*args)`.

    The reentrant kind works with `.backward()` alone, not with `torch.autograd.grad`; the other one works with
    that, but not with `torch.func`. Both run the function again in the backward pass, when modes that were active
    in the forward pass are not. A network calls `checkpoint` by whatever name it has imported it; so what that
    function is made of is replaced.

    Arguments:
        count: called for every checkpointed call, unless this is opened inside another.
    """
    content = vars(torch_checkpoint)
    before = {name: content[name] for name in _MADE_OF if name in content}
    plain = next((part for part in before.values() if isinstance(part, _Plain)), None) or _Plain(count)
    content.update(dict.fromkeys(before, plain))
    try:
        yield
    finally:
        content.update(before)


class _Plain:
    """What stands in for the autograd Function of one kind of checkpoint, and for the generator of the other."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def apply(self, function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        self._count()
        return function(*args)

    def __call__(self, *_args: Any, **_kwargs: Any) -> Iterator[None]:
        self._count()
        yield
