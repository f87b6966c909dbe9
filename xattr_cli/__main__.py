"""`python -m xattr_cli` is the same as `xattr-cli`; signals are heard before anything is imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _stop(number: int, _frame: FrameType | None) -> None:
    text = f"Error: {signal.Signals(number).name}: stopped; the same command goes on where it was.\n"
    os.write(2, text.encode())
    os._exit(75)


def _hear_signals() -> None:
    """A run that is stopped ends with 75; other commands with the signal's own code; none with a traceback."""
    if sys.argv[1:2] == ["run"]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__" or os.path.basename(sys.argv[0]) == "xattr-cli":  # noqa: PTH119 - 20 ms without pathlib
    _hear_signals()

from .cli import CONTAINED  # noqa: E402
from .cli import main as _group  # noqa: E402

__all__ = ["main"]


def main() -> None:
    """Run the command that `sys.argv` holds, in a process that does nothing else."""
    _group(prog_name="xattr-cli", obj=CONTAINED)


if __name__ == "__main__":
    main()
