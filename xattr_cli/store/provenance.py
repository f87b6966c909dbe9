"""Provenance: the root attributes that say where a result comes from and how to get it again."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from .manifest import FORMAT, Manifest

__all__ = ["identity_attributes", "provenance"]


def identity_attributes(manifest: Manifest) -> dict[str, Any]:
    """What ties a result to its job: the job and its hash, and those of checkpoint and dataset."""
    return {
        "format": FORMAT,
        "job": manifest.job_yaml,
        "job_hash": manifest.job_hash,
        "job_identity": json.dumps(manifest.identity),
        "checkpoint_hash": manifest.checkpoint_hash,
        "dataset_hash": manifest.dataset_hash,
    }


def provenance(
    *,
    package_version: str,
    torch_version: str,
    device: str,
    seed: int,
    started: float,
    command_line: str,
    model_notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What computed a result, where and when; the time of the call is its end.

    Arguments:
        device: name of the accelerator or processor.
        started: seconds since the epoch, as `time.time()` has them.
        model_notes: what was done to the checkpoint or the network before it was explained.
    """
    return {
        "package_version": package_version,
        "torch_version": torch_version,
        "device": device,
        "seed": seed,
        "host": socket.gethostname(),
        "started": _utc(started),
        "ended": _utc(datetime.now(timezone.utc).timestamp()),
        "command_line": command_line,
        "model_notes": "\n".join(model_notes),
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
