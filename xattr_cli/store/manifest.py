"""The manifest: what a set of parts, or a finished file, was computed from, and how two of them differ."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import h5py

from ..errors import StoreError
from .durable import reason

__all__ = [
    "FORMAT",
    "Manifest",
    "changes",
    "code_changes",
    "finished_output",
    "identity_attributes",
    "provenance",
    "read_manifest",
    "refuse_other_code",
]

FORMAT = "xattr-cli/1"

_LONGEST_VALUE = 100
_HASH = re.compile(r'"(sha256:)?(?P<start>[0-9a-f]{8})[0-9a-f]{56}"')
"""Of which the first 8 characters are shown, in brackets as `inspect` has them."""


@dataclass(frozen=True)
class Manifest:
    """What the parts of one job have in common.

    Attributes:
        job_yaml: the job with all its defaults, for people.
        identity: the part of the job that decides its numbers; nested, JSON-able.
        checkpoint_hash, dataset_hash: fingerprints of what the job names.
        parts: number of parts.
        rows: number of rows of all parts together.
        plan: how the device is used, such as `batch_rows`; never compared, reused by a resume.
        code: what computes: "modules" name → hash of the source, "versions" package → version.
    """

    job_yaml: str
    identity: dict[str, Any]
    checkpoint_hash: str
    dataset_hash: str
    parts: int
    rows: int
    plan: dict[str, Any]
    code: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def job_hash(self) -> str:
        """SHA-256 of `identity`."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Text of `manifest.json`."""
        return json.dumps({"format": FORMAT, **vars(self)}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `to_json()` again.

        Raises:
            ValueError: not a manifest of this format.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT!r}")
        if set(content) != {each.name for each in fields(cls)}:
            raise ValueError("it lacks a key, or has one too many")
        return cls(**content)

    def changes(self, asked: Manifest) -> list[str]:
        """How `asked` differs from this one in what decides its numbers, a line per dotted key."""
        return changes(self.decisive(), asked.decisive())

    def code_changes(self, asked: Manifest) -> list[str]:
        """How the code of `asked` differs from that of this one, a line per module or package."""
        return code_changes(self.code, asked.code)

    def decisive(self) -> dict[str, Any]:
        """All that decides the numbers, but for the code."""
        hashes = {"checkpoint_hash": self.checkpoint_hash, "dataset_hash": self.dataset_hash}
        return {**self.identity, **hashes, "rows": self.rows}


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`; None if there is none.

    Raises:
        StoreError: the file cannot be read or is no manifest of this format.
    """
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read: {error}. --overwrite starts again; or choose another output.path."
        ) from error


def changes(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """A line per dotted key whose value differs, with the old and the new value; of hashes, the beginnings."""
    old, new = dict(_leaves(stored)), dict(_leaves(asked))
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: was {_shown(old.get(key))}, now {_shown(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def code_changes(stored: Mapping[str, Mapping[str, str]], asked: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line per module whose source differs, and per package of another version.

    A package that only one of the two has loaded says nothing about the other.
    """
    old, new = stored.get("modules", {}), asked.get("modules", {})
    names = {name: name for name in sorted({*old, *new}) if old.get(name) != new.get(name)}
    lines = changes(
        {f"module {n}": old[n] for n in names if n in old}, {f"module {n}": new[n] for n in names if n in new}
    )
    old, new = stored.get("versions", {}), asked.get("versions", {})
    return lines + changes({k: old[k] for k in old if k in new}, {k: new[k] for k in old if k in new})


def _shown(text: str | None) -> str:
    if text is None:
        return "(absent)"
    if found := _HASH.fullmatch(text):
        return f"[{found['start']}]"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _leaves(tree: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values, as JSON text so that tuples equal lists and NaN equals NaN."""
    for key, value in tree.items():
        dotted = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, dotted)
        else:
            yield dotted, json.dumps(value, ensure_ascii=False)


def identity_attributes(manifest: Manifest) -> dict[str, Any]:
    """What ties a result to its job: the job and its hash, and those of checkpoint and dataset."""
    return {
        "format": FORMAT,
        "job": manifest.job_yaml,
        "job_hash": manifest.job_hash,
        "job_identity": json.dumps(manifest.identity),
        "checkpoint_hash": manifest.checkpoint_hash,
        "dataset_hash": manifest.dataset_hash,
        "code": json.dumps(manifest.code),
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


_WAY_OUT = "Use --overwrite to replace it, or choose another output.path."


def finished_output(
    output: Path, asked: Manifest, *, overwrite: bool = False, accept_changes: bool = False
) -> bool:
    """Whether the result of this very job lies at `output`: a file is only ever put there complete.

    Arguments:
        asked: what the job is now.
        overwrite: take whatever is there for nothing.
        accept_changes: take the result of other code for the one that is asked for.

    Raises:
        StoreError: another file is there; names what is different, if it is the result of another job or code.
    """
    if overwrite or not output.exists():
        return False
    stored, code = _read_identity(output)
    changed = changes(stored, {key: value for key, value in asked.decisive().items() if key != "rows"})
    if changed:
        raise StoreError(f"{output}: is the result of another job:{_listed(changed)}\n{_WAY_OUT}")
    if not accept_changes:
        refuse_other_code(code_changes(code, asked.code), f"{output}: was computed by other code")
    return True


def refuse_other_code(changed: Sequence[str], what: str) -> None:
    """Refuse to go on with what other code has computed.

    Raises:
        StoreError: `changed` names something; begins with `what`.
    """
    if changed:
        raise StoreError(
            f"{what}:{_listed(changed)}\nUse --accept-changes if that changes no number (the result will say so), "
            "--overwrite to compute it again, or choose another output.path."
        )


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"\n  {line}" for line in lines)


def _read_identity(output: Path) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    try:
        with h5py.File(output, "r", locking=False) as file:
            attributes = dict(file.attrs)
        if attributes["format"] != FORMAT:
            raise ValueError(f"its format is {attributes['format']!r}, not {FORMAT!r}")
        hashes = {key: attributes[key] for key in ("checkpoint_hash", "dataset_hash")}
        return {**json.loads(attributes["job_identity"]), **hashes}, json.loads(attributes.get("code", "{}"))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{output}: is not a result of xattr-cli: {reason(error)}. {_WAY_OUT}") from error
