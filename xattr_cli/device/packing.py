"""How many points one device call takes: found from the network's activations, halved when memory runs out."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import RunError

__all__ = ["FEWEST_ROWS", "Packing", "activation_bytes", "automatic_rows", "give_back_memory", "is_out_of_memory"]

log = logging.getLogger(__name__)

# What one call may hold for its backward pass. On a CPU, activations much beyond the last-level cache
# slow it down, but the weights must be read once per call and want to be shared by many rows: measured
# best on two cores were 512 rows (14 MiB) for a digits CNN, 512 (9 MiB) for a BiLSTM, 64-128 (110-220 MiB,
# weights 45 MiB) for ResNet-18 at 64², 8 (170 MiB) at 224². On a GPU a call must be large enough to fill it.
CPU_BYTES = 16 * 2**20
CPU_BYTES_PER_WEIGHT_BYTE = 4
GPU_MEMORY_SHARE = 1 / 8
MOST_ROWS = 4096
# Calls of one to three rows go through other kernels, and round otherwise: on an AVX-512 CPU the gradients
# of a CNN, two MLPs and a GRU have the same bits for any number of rows from 4 on, and for none below.
# At a kink such a difference is no rounding any more: 8e-6 of the map in one of 60 rows of the digits CNN.
FEWEST_ROWS = 4

# torch, C++, cuBLAS and cuDNN, oneDNN
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "could not create a memory object",
)

Result = TypeVar("Result")


def activation_bytes(forward: Callable[[], Tensor], rows: int) -> int:
    """Bytes per row that `forward`, run with gradients on `rows` rows, keeps for its backward pass."""
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.requires_grad or tensor.grad_fn is not None or tensor.shape[:1] == (rows,):
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()
    total = sum(seen.values()) + output.numel() * output.element_size()
    return max(1, total // rows)


def automatic_rows(bytes_per_row: int, weight_bytes: int, device: torch.device) -> int:
    """Rows per device call: a power of two that depends on the network and the kind of device alone.

    The same for every run of a job, so that two runs, or a killed and a resumed one, evaluate rows in
    calls of the same shape and get the same bits. At least `FEWEST_ROWS`.

    Arguments:
        bytes_per_row: that a call holds for each row.
        weight_bytes: of all parameters together.
        device: of the computation.
    """
    budget = float(max(CPU_BYTES, CPU_BYTES_PER_WEIGHT_BYTE * weight_bytes))
    if device.type == "cuda":
        budget = torch.cuda.get_device_properties(device).total_memory * GPU_MEMORY_SHARE
    rows = int(max(FEWEST_ROWS, min(budget / bytes_per_row, MOST_ROWS)))
    return 1 << (rows.bit_length() - 1)


class Packing:
    """The number of rows per device call, and what to do when the device runs out of memory.

    Calls come in four shapes only: `rows`, and a half, a quarter and an eighth of it for the end of a
    batch of points, but none of fewer than four rows; the last one is padded. So a row is evaluated in a
    call of one of these shapes however many other rows happen to wait, and hardly a call is wasted.

    Attributes:
        rows: of a full call.
        fixed: the network takes no other number of rows; running out of memory is then fatal.
    """

    def __init__(self, rows: int, *, fixed: bool = False) -> None:
        self.rows = rows
        self.fixed = fixed

    def run(
        self, count: int, call: Callable[[slice, int], Result], again: Callable[[int], int] = lambda stop: 0
    ) -> Iterator[Result]:
        """`call(part, rows)` for consecutive parts of `count` points, in order, none left out.

        Arguments:
            call: evaluates the points of `part`, filled up to `rows` rows.
            again: how many of the last points before `stop` the next call begins with again; fewer than a
                call takes.

        Raises:
            RunError: memory ran out with a single row, or with a network of fixed batch size.
        """
        start = 0
        while start < count:
            rows = self._rows_of_call(count - start)
            part = slice(start, min(start + rows, count))
            result, shortage = None, ""
            try:
                result = call(part, rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                shortage = str(error).splitlines()[0]
            # outside the except block: the traceback would keep the tensors of the failed call alive
            if shortage:
                self._halve(shortage)
            elif result is not None:
                yield result
                start = part.stop if part.stop == count else part.stop - again(part.stop)

    def recover(self, rows: int) -> None:
        """Go on after calls of `rows` rows failed beside too many others: in calls that still round alike."""
        self.rows = max(self.rows, min(rows, FEWEST_ROWS))

    def calls(self, count: int) -> int:
        """How many calls `count` points take."""
        calls = 0
        while count > 0:
            count -= self._rows_of_call(count)
            calls += 1
        return calls

    def _rows_of_call(self, waiting: int) -> int:
        rows, least = self.rows, max(min(self.rows, FEWEST_ROWS), self.rows // 8)
        while not self.fixed and rows > waiting and rows // 2 >= least:
            rows //= 2
        return rows

    def _halve(self, shortage: str) -> None:
        """Take half as many rows per call from now on: memory has run out."""
        if self.rows == 1 or self.fixed:
            raise RunError(f"out of memory with {self.rows} rows per device call, the fewest possible: {shortage}")
        self.rows //= 2
        log.warning("out of memory; going on with %d rows per device call (%s)", self.rows, shortage)
        give_back_memory()


def give_back_memory() -> None:
    """Let go of what a failed attempt has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory, of the device or of the process, ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(sign in text for sign in OUT_OF_MEMORY)
