"""Which device and which precision a job runs in."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

import torch
from torch import nn

from ..errors import JobError

__all__ = ["describe_devices", "device_name", "own_device", "select_device", "select_dtype", "stored_dtype"]


def select_device(name: str) -> torch.device:
    """The device of `compute.device`; `auto` takes the first CUDA device, else Apple's, else the CPU.

    In a process of torchrun, `auto` and `cuda` take the CUDA device that is its own.

    Raises:
        JobError: the device does not exist on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return own_device(os.environ, torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise JobError(
                f"compute.device: {name!r}: this machine has {count or 'no'} CUDA "
                f"device{'' if count == 1 else 's'}. Use auto or cpu."
            )
        if name == "cuda":
            return own_device(os.environ, count)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise JobError(f"compute.device: {name!r}: not available on this machine. Use auto or cpu.")
    return device


def own_device(environment: Mapping[str, str], count: int) -> torch.device:
    """The CUDA device of this process among `count`: torchrun and srun number the processes of a machine.

    More processes than devices share them in turn; without either it is the first.
    """
    rank = environment.get("LOCAL_RANK") or environment.get("SLURM_LOCALID") or "0"
    return torch.device("cuda", int(rank) % count)


def select_dtype(precision: str, module: nn.Module) -> torch.dtype:
    """The floating-point type of the computation; `auto` keeps that of the first parameter.

    Half-precision checkpoints are computed in float32: interior gradients of networks with kinks do
    not survive 8 or 11 bits.
    """
    if precision in ("float32", "float64"):
        return torch.float64 if precision == "float64" else torch.float32
    return torch.float64 if stored_dtype(module) == torch.float64 else torch.float32


def stored_dtype(module: nn.Module) -> torch.dtype:
    """The floating-point type of a network's first weight; float32 if it has none."""
    tensors = [*module.parameters(), *module.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def device_name(device: torch.device) -> str:
    """What the device calls itself, for the record."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def describe_devices() -> dict[str, str]:
    """What can be computed on: the name that `compute.device` has for it → what it is."""
    found = {"cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}"}
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    if torch.backends.mps.is_available():
        found["mps"] = "GPU of Apple"
    return found
