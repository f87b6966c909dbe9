"""Shards: the share of a job's parts that one of several parallel processes computes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import JobError

__all__ = ["Shard", "gaps", "ranges", "shard_counts", "shard_lock"]

_MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """Every `count`-th part: part p belongs to the shard i with p % count == i % count.

    Attributes:
        indices: one shard or several of them, each from 1 to `count`; increasing.
        count: number of shards that the job is cut into.
    """

    indices: tuple[int, ...]
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise JobError(f"--shard {self}: the number of shards must be 1 or more.")
        if not all(1 <= index <= self.count for index in self.indices):
            raise JobError(
                f"--shard {self}: the shard must be one of 1/{self.count} to {self.count}/{self.count}."
            )

    def __str__(self) -> str:
        return f"{ranges(self.indices, ',')}/{self.count}"

    def owns(self, part: int) -> bool:
        """Whether the shard computes that part (parts count from 0)."""
        return (part % self.count or self.count) in self.indices

    def parts(self, total: int) -> list[int]:
        """The parts of the shard, if there are `total` of them all together."""
        return [part for part in range(total) if self.owns(part)]

    @classmethod
    def of_parts(cls, parts: Sequence[int], count: int) -> Shard:
        """The shards that compute `parts` if there are `count` of them."""
        return cls(tuple(sorted({part % count or count for part in parts})), count)

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "i/N", or a list such as "2,5-7/N"; 0/N is the same as N/N, for those who count from 0.

        Raises:
            JobError: not of that form, or out of range.
        """
        match = re.fullmatch(r"\s*(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)\s*/\s*(\d+)\s*", text, re.ASCII)
        if match is None:
            raise JobError(
                f"--shard {text!r}: must look like 2/4, the second of four shards, "
                "or like 2,5-7/64, a list of them."
            )
        count, indices = int(match[2]), set[int]()
        if count > _MOST_SHARDS:
            raise JobError(f"--shard {text!r}: a job is cut into at most {_MOST_SHARDS:,} shards.")
        for piece in match[1].split(","):
            first, _, last = piece.partition("-")
            if last and not int(first) <= int(last) <= count:
                raise JobError(f"--shard {text!r}: {piece} is no range of shards from 0 to {count}.")
            indices |= {*range(int(first), int(last or first) + 1)}
        return cls(tuple(sorted({index or count for index in indices})), count)


def shard_lock(index: int, count: int) -> str:
    """Name of the file whose lock is the right to compute a shard; it stays, and so says how a job was cut."""
    return f"shard-{index}-of-{count}.lock"


def shard_counts(folder: Path) -> list[int]:
    """Into how many shards the parts in a folder were cut so far, increasing: several if they were cut anew."""
    names = " ".join(path.name for path in folder.glob("shard-*.lock"))
    return sorted({int(count) for count in re.findall(r"-of-(\d+)\.lock", names)})


def gaps(missing: Sequence[int], parts: int, shard_counts: Sequence[int]) -> str:
    """Which parts are missing and how to get them, such as "parts 3, 7-9 of 12 are missing: run …".

    Arguments:
        missing: increasing, not empty.
        parts: number of all parts.
        shard_counts: into how many shards the job was cut so far.
    """
    one = len(missing) == 1
    text = f"part{'' if one else 's'} {ranges(missing)} of {parts} {'is' if one else 'are'} missing: "
    if len(shard_counts) != 1:
        return text + "run the same job again, which computes only what is missing."
    shards = Shard.of_parts(missing, shard_counts[0])
    return text + f"run --shard {shards} again, or the whole job without --shard."


def ranges(numbers: Sequence[int], separator: str = ", ") -> str:
    """Increasing numbers in short, such as "3, 7-9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return separator.join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
