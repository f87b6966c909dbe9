"""Safetensors files: tensors and their names, and nothing that could run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...errors import ModelError

try:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
except ImportError:  # an optional dependency
    load_file = None  # type: ignore[assignment]

__all__ = ["read_safetensors"]


def read_safetensors(path: Path, option: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Arguments:
        path: the file.
        option: dotted key of the job that names it.

    Raises:
        ModelError: the package is not installed, or the file is damaged.
    """
    if load_file is None:
        raise ModelError(f"{option}: {path}: needs safetensors: pip install 'xattr-cli[safetensors]'")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{option}: {path}: is truncated or damaged, or no safetensors file ({error})."
        ) from error
