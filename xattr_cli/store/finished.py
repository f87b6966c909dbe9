"""Finished results: is the file at `output.path` already the answer to this job?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from ..errors import StoreError
from .durable import reason
from .manifest import FORMAT, changes

__all__ = ["finished_output"]

_WAY_OUT = "Use --overwrite to replace it, or choose another output.path."


def finished_output(
    output: Path,
    identity: Mapping[str, Any],
    checkpoint_hash: str,
    dataset_hash: str,
    *,
    overwrite: bool = False,
) -> bool:
    """Whether the result of this very job lies at `output`: a file is only ever put there complete.

    Arguments:
        identity: the part of the job that decides its numbers.
        overwrite: take whatever is there for nothing.

    Raises:
        StoreError: another file is there; names what is different, if it is the result of another job.
    """
    if overwrite or not output.exists():
        return False
    stored = _read_identity(output)
    asked = {**identity, "checkpoint_hash": checkpoint_hash, "dataset_hash": dataset_hash}
    changed = changes(stored, asked)
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise StoreError(f"{output}: is the result of another job:{lines}\n{_WAY_OUT}")
    return True


def _read_identity(output: Path) -> dict[str, Any]:
    try:
        with h5py.File(output, "r", locking=False) as file:
            attributes = dict(file.attrs)
        if attributes["format"] != FORMAT:
            raise ValueError(f"its format is {attributes['format']!r}, not {FORMAT!r}")
        hashes = {key: attributes[key] for key in ("checkpoint_hash", "dataset_hash")}
        return {**json.loads(attributes["job_identity"]), **hashes}
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{output}: is not a result of xattr-cli: {reason(error)}. {_WAY_OUT}") from error
