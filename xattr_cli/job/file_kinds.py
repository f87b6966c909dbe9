"""What the name of a file says of what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["data_kind", "is_checkpoint", "is_csv", "model_kind"]

_CSV = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zst")
_DATA: Mapping[str, tuple[str, ...]] = {
    "table": (*_CSV, ".parquet"),
    "text": (".txt", ".jsonl"),
    "arrays": (".npz", ".npy", ".h5", ".hdf5"),
    "molecules": (".smi",),
}
_MODELS = {".onnx": "onnx", ".pt2": "exported"}
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def data_kind(path: str | Path) -> str | None:
    """Kind of dataset whose files are called like this; None if the name does not say.

    Example:
        >>> data_kind("test.npz"), data_kind("train.CSV.gz"), data_kind("notes")
        ('arrays', 'table', None)
    """
    return next((kind for kind, endings in _DATA.items() if str(path).lower().endswith(endings)), None)


def is_csv(path: str | Path) -> bool:
    """Whether it is a .csv file, compressed or not: a table, or texts."""
    return str(path).lower().endswith(_CSV)


def model_kind(path: str | Path) -> str | None:
    """Kind of model whose files hold the whole network and are called like this; None if the name does not say."""
    return _MODELS.get(Path(path).suffix.lower())


def is_checkpoint(path: str | Path) -> bool:
    """Whether files of that name hold weights, but not the network that they are of."""
    return Path(path).suffix.lower() in _CHECKPOINTS
