"""Shards: the share of a job's parts that one of several parallel processes computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import JobError

__all__ = ["Shard", "gaps", "ranges"]

_SLURM = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Shard:
    """Every `count`-th part: part p belongs to the shard with p % count == index % count.

    Attributes:
        index: from 1 to `count`.
        count: number of shards.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise JobError(f"--shard {self}: the number of shards must be 1 or more.")
        if not 1 <= self.index <= self.count:
            raise JobError(
                f"--shard {self}: the shard must be one of 1/{self.count} to {self.count}/{self.count}."
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def owns(self, part: int) -> bool:
        """Whether the shard computes that part (parts count from 0)."""
        return part % self.count == self.index % self.count

    def parts(self, total: int) -> list[int]:
        """The parts of the shard, if there are `total` of them all together."""
        return [part for part in range(total) if self.owns(part)]

    @classmethod
    def of_part(cls, part: int, count: int) -> Shard:
        """The shard that computes `part` if there are `count` of them."""
        return cls(part % count or count, count)

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "i/N", i from 1 to N; 0/N is the same as N/N, so counting from 0 covers everything too.

        Raises:
            JobError: not of that form, or out of range.
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text, re.ASCII)
        if match is None:
            raise JobError(f"--shard {text!r}: must look like 2/4, the second of four shards.")
        index, count = int(match[1]), int(match[2])
        return cls(index or count, count)

    @classmethod
    def from_slurm(cls, environ: Mapping[str, str]) -> Shard | None:
        """The shard of a Slurm array task, or None outside of an array job.

        Arguments:
            environ: environment with SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP and _COUNT.

        Raises:
            JobError: a variable is missing or no number, or the array is not an evenly spaced range,
                so that the place of a task in it is unknown.
        """
        if f"{_SLURM}ID" not in environ:
            return None
        task, first, last = (_slurm_number(environ, name) for name in ("ID", "MIN", "MAX"))
        step = _slurm_number(environ, "STEP", default=1)
        count = (last - first) // step + 1 if step > 0 else 0
        if _slurm_number(environ, "COUNT", default=count) != count or (task - first) % max(step, 1):
            raise JobError(
                f"{_SLURM}ID={task}: the array is not an evenly spaced range such as --array=1-8, "
                "so the shard of a task cannot be told; give it as --shard i/N."
            )
        return cls((task - first) // step + 1, count)

    @classmethod
    def from_torchrun(cls, environ: Mapping[str, str]) -> Shard | None:
        """The shard of a process that torchrun has launched, or None outside of it.

        Raises:
            JobError: a variable is missing or no number.
        """
        if "TORCHELASTIC_RUN_ID" not in environ:
            return None
        try:
            return cls(int(environ["RANK"]) + 1, int(environ["WORLD_SIZE"]))
        except (KeyError, ValueError) as error:
            raise JobError(f"torchrun: RANK and WORLD_SIZE do not tell the shard ({error}).") from None


def _slurm_number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(f"{_SLURM}{name}")
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        shown = "is not set" if text is None else f"is {text!r}, not a number"
        raise JobError(f"{_SLURM}{name} {shown}: give the shard as --shard i/N.") from None


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
    shards = {Shard.of_part(part, shard_counts[0]) for part in missing}
    listed = ", ".join(str(shard) for shard in sorted(shards, key=lambda shard: shard.index))
    return text + f"run --shard {listed} again, or the whole job without --shard."


def ranges(numbers: Sequence[int]) -> str:
    """Increasing numbers in short, such as "3, 7-9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
