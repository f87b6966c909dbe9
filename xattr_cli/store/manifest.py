"""The manifest: what a set of parts, or a finished file, was computed from, and how two of them differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import StoreError

__all__ = ["FORMAT", "Manifest", "changes", "read_manifest"]

FORMAT = "xattr-cli/1"

_LONGEST_VALUE = 100


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
    """

    job_yaml: str
    identity: dict[str, Any]
    checkpoint_hash: str
    dataset_hash: str
    parts: int
    rows: int
    plan: dict[str, Any]

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
        if set(content) != {field.name for field in fields(cls)}:
            raise ValueError("it lacks a key, or has one too many")
        return cls(**content)

    def changes(self, asked: Manifest) -> list[str]:
        """How `asked` differs from this one in what decides its numbers, a line per dotted key."""
        return changes(self._decisive(), asked._decisive())

    def _decisive(self) -> dict[str, Any]:
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
    """A line per dotted key whose value differs, with the old and the new value."""
    old, new = dict(_leaves(stored)), dict(_leaves(asked))
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: was {_shown(old.get(key))}, now {_shown(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _shown(text: str | None) -> str:
    if text is None:
        return "(absent)"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _leaves(tree: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values, as JSON text so that tuples equal lists and NaN equals NaN."""
    for key, value in tree.items():
        dotted = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, dotted)
        else:
            yield dotted, json.dumps(value, ensure_ascii=False)
