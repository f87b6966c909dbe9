"""The way of one call: the frames of this package from the command to the network's gradient, as a job takes them.

python -m scripts.way configs/digits.yaml --set output.path=/tmp/maps.h5
"""

from __future__ import annotations

import collections
import sys
import traceback
from typing import Any

import torch

from xattr_cli.cli import main

PACKAGE = "/xattr_cli/"

Way = tuple[str, ...]


def frames() -> Way:
    """`file: function` of each frame of the package that is running, outermost first, from the command on."""
    stack = [frame for frame in traceback.extract_stack() if PACKAGE in frame.filename]
    named = [f"{frame.filename.rsplit(PACKAGE, 1)[1]}: {frame.name}" for frame in stack]
    return tuple(named[next(i for i, name in enumerate(named) if name.startswith("cli/run.py")) :])


def ways_of(arguments: list[str]) -> collections.Counter[Way]:
    """How often `torch.autograd.grad` was reached on each way while `xattr-cli run` did a job."""
    ways: collections.Counter[Way] = collections.Counter()
    plain = torch.autograd.grad

    def counted(*args: Any, **kwargs: Any) -> Any:
        ways[frames()] += 1
        return plain(*args, **kwargs)

    torch.autograd.grad = counted
    try:
        main(["run", "--overwrite", "--quiet", *arguments], standalone_mode=False)
    finally:
        torch.autograd.grad = plain
    return ways


if __name__ == "__main__":
    for way, count in ways_of(sys.argv[1:]).most_common():
        print(f"{len(way)} frames, {count} times")
        print("".join(f"    {frame}\n" for frame in way))
