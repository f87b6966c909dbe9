"""A process that has imported all that a run needs, and forks one `xattr-cli` after another.

Each takes 20 ms to start instead of 3 s, so that a test can afford to kill many. A line of JSON on standard
input asks for something, a line of JSON on standard output answers.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import traceback
from pathlib import Path

import torch
import torch._dynamo  # torch imports it late, at the first dispatch mode

import xattr_cli.pipeline.planning
import xattr_cli.reports.summary  # noqa: F401 - with the line before, all that the commands import late
from xattr_cli.cli import main

PAGE = resource.getpagesize()


def start(request):
    """Fork a process that runs the command; its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            if request["spare_memory"] is not None:
                mapped = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
                limit = mapped + request["spare_memory"]
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            sys.argv = ["xattr-cli", *request["arguments"]]
            main(request["arguments"])
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def poll(pid):
    """Exit code of a process, negative for the signal that killed it; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    gc.freeze()  # a collection in the forked process would copy every page that it looks at
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = poll(request["poll"]) if "poll" in request else start(request)
        print(json.dumps(answer), flush=True)
    gc.unfreeze()
