"""Schedulers: which shard a process computes, as Slurm or torchrun tells it in its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import JobError
from .shard import Shard

__all__ = ["Launch", "launched_by"]

_TASK = "SLURM_ARRAY_TASK_"
_WAY_OUT = "give it as --shard $SLURM_ARRAY_TASK_ID/N, N being the number of all shards"


@dataclass(frozen=True)
class Launch:
    """How a scheduler has started this process beside its like.

    Attributes:
        shard: its share.
        scheduler: its name, for people.
        joined: all processes live and die together, so that the first may wait for the others and merge.
    """

    shard: Shard
    scheduler: str
    joined: bool = False


def launched_by(environ: Mapping[str, str], begun: Sequence[int] = ()) -> Launch | None:
    """The share of this process among those of torchrun, of a Slurm array or of `srun -n`; None outside of them.

    Arguments:
        environ: environment of the process.
        begun: into how many shards the parts that are there were cut (see `shard_counts`): a task of a partial
            array, such as --array=2,5,7, is one of these.

    Raises:
        JobError: a variable is missing or no number, or it cannot be told of how many shards a task is one.
    """
    if "TORCHELASTIC_RUN_ID" in environ:
        rank, world = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
        return Launch(Shard((rank + 1,), world), "torchrun", joined=True)
    processes = _number(environ, "SLURM_STEP_NUM_TASKS", 1)
    rank = _number(environ, "SLURM_PROCID", 0) if processes > 1 else 0
    if f"{_TASK}ID" in environ:
        # begun by tasks of several processes, there are that many times more shards
        tasks = [count // processes for count in begun if count % processes == 0]
        task = _array_shard(environ, tasks)
        place = (task.indices[0] - 1) * processes + rank + 1
        return Launch(Shard((place,), task.count * processes), "Slurm array job")
    return Launch(Shard((rank + 1,), processes), "Slurm step") if processes > 1 else None


def _array_shard(environ: Mapping[str, str], begun: Sequence[int]) -> Shard:
    task, first, last = (_number(environ, f"{_TASK}{name}") for name in ("ID", "MIN", "MAX"))
    step = max(1, _number(environ, f"{_TASK}STEP", 1))
    evenly_spaced = (last - first) // step + 1
    tasks = _number(environ, f"{_TASK}COUNT", evenly_spaced)
    is_whole = tasks == evenly_spaced and (task - first) % step == 0
    is_numbering = is_whole and step == 1 and first in (0, 1)
    if is_numbering and (tasks in begun or not begun):
        return Shard((task or tasks,), tasks)
    fitting = [count for count in begun if first >= 0 and last <= count]
    if len(fitting) == 1:
        return Shard((task or fitting[0],), fitting[0])
    if fitting:
        cuts = " and into ".join(map(str, fitting))
        raise JobError(f"{_TASK}ID={task}: the job was cut into {cuts} shards before; {_WAY_OUT}.")
    if is_numbering:
        return Shard((task or tasks,), tasks)
    if is_whole and tasks > 1:
        return Shard(((task - first) // step + 1,), tasks)
    raise JobError(
        f"{_TASK}ID={task}: nothing tells of how many shards this task is one, as the array is no range such as "
        f"--array=1-8 and no shard of the job has begun; {_WAY_OUT}."
    )


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        shown = "is not set" if text is None else f"is {text!r}, not a number"
        raise JobError(f"{name} {shown}, so the shard cannot be told: give it as --shard i/N.") from None
