"""Progress on a terminal: what stands on the screen while a job runs, when it is done, and when it is stopped."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
from helpers.cli import digits_job, write_data, write_job

from xattr_cli.errors import ExitCode

COLUMNS, LINES = 72, 24
TESTS = Path(__file__).parents[1]


class Terminal:
    """A command on a terminal of 72 columns, and every screen that it has shown."""

    def __init__(self, folder, *arguments):
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.seen = []
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        command = shlex.join([sys.executable, "-m", "xattr_cli", *map(str, arguments)])
        # the first terminal that a new session opens is the one whose ^C it gets
        name = os.ttyname(slave)
        environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec <{name} >{name} 2>&1; exec {command}"],
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read(self, until=None, seconds=90.0):
        """Read to the end, or until a screen fulfils a condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    text = os.read(self.master, 65536)
                except OSError:  # nobody has it open: the end, or not yet the beginning
                    if self.process.poll() is not None:
                        break
                    time.sleep(0.01)
                    continue
                for piece in re.split(rb"(?<=[\r\n])", text):  # a bar is drawn behind a return to the line's begin
                    self.stream.feed(piece)
                    self.seen.append(self.lines)
                if until is not None and any(until(lines) for lines in self.seen):
                    return
        assert until is None, self.seen

    def code(self):
        code = self.process.wait(30)
        os.close(self.master)
        return code


def bars(lines):
    return [line for line in lines if "%|" in line]


def test_one_bar_at_a_time_and_none_left(tmp_path):
    job = digits_job(
        tmp_path, 60, engines={"integrated_gradients": None, "saliency": None}, output={"part_rows": 20}
    )
    terminal = Terminal(tmp_path, "run", job, "--overwrite")
    terminal.read()
    assert terminal.code() == ExitCode.DONE, terminal.lines
    assert max(len(bars(lines)) for lines in terminal.seen) == 1
    assert not any("?row/s" in line and "/60" not in line for lines in terminal.seen for line in lines)
    assert bars(terminal.lines) == []
    assert any(line.startswith("file ") for line in terminal.lines)


def test_a_part_of_slow_rows_moves_and_nothing_remains_of_it_when_it_is_stopped(tmp_path):
    write_data(tmp_path)
    background = {"kind": "samples", "dataset": {"kind": "arrays", "path": "data.npz"}}
    engines = {"saliency": None, "expected_gradients": {"baseline": background, "rtol": 0.01}}
    job = write_job(tmp_path, model={"factory": "helpers.networks:sleepy"}, engines=engines)
    terminal = Terminal(tmp_path, "run", job, "--overwrite")
    # the first of two engines is done with the only part
    terminal.read(until=lambda lines: any("10/20" in line for line in bars(lines)))
    os.write(terminal.master, b"\x03")
    terminal.read()
    assert terminal.code() == ExitCode.RESUMABLE
    assert bars(terminal.lines) == []
    assert "".join(terminal.lines).endswith(
        "Error: SIGINT: stopped; finished parts are kept, the same command resumes."
    )
