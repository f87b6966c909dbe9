"""A real Slurm on this machine alone: munge, a controller and several node daemons, in a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ReturnToService=2
JobRequeue=1
KillWait=2
MinJobAge=3600
SlurmdTimeout=300
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def is_installed():
    """Whether everything that it takes is there."""
    return os.geteuid() == 0 and all(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in NEEDED)


class Cluster:
    """A running Slurm.

    Attributes:
        environment: in which its commands find it.
        folder: of its files and logs.
    """

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment

    def command(self, *arguments, cwd=None):
        """Standard output of a command of Slurm, which must succeed."""
        done = subprocess.run(
            [str(each) for each in arguments],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def states(self, job):
        """State of every task of a job: array task (or the job itself, as "") → such as "RUNNING"."""
        found = {}
        for line in self.command("scontrol", "--oneliner", "show", "job", job).splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            for task in _tasks(fields.get("ArrayTaskId", "")):
                found[task] = fields["JobState"]
        return found

    def wait_for(self, happened, timeout=300):
        """Wait until `happened()`."""
        deadline = time.monotonic() + timeout
        while not happened():
            assert time.monotonic() < deadline, self.command("squeue", "--array")
            time.sleep(0.5)


def _tasks(text):
    """Tasks of "3", of "4-8%2" or of "4,7", as texts."""
    found = []
    for piece in text.partition("%")[0].split(","):
        first, _, last = piece.partition("-")
        found += [str(n) for n in range(int(first), int(last or first) + 1)] if first else [""]
    return found


@contextmanager
def slurm_cluster(folder, nodes=4, cpus=2):
    """Start munge, a controller and node daemons; all are gone at the end."""
    port = _free_port(nodes + 1)
    listed = "\n".join(
        f"NodeName=n{n} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port + n} CPUs={cpus} "
        "RealMemory=8000 State=UNKNOWN"
        for n in range(1, nodes + 1)
    )
    text = CONFIGURATION.format(host=socket.gethostname(), port=port, folder=folder, nodes=listed)
    (folder / "slurm.conf").write_text(text)
    (folder / "state").mkdir()
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    environment["PATH"] = f"{environment['PATH']}:/usr/sbin:/sbin"
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o600)
    processes = []

    def start(name, *arguments):
        log = (folder / f"{name}.out").open("w")
        processes.append(subprocess.Popen(arguments, env=environment, stdout=log, stderr=log))
        log.close()

    try:
        files = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "log", "pid", "seed")]
        start("munged", "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        _wait((folder / "munge.socket").exists)
        start("slurmctld", "slurmctld", "-D")
        for n in range(1, nodes + 1):
            start(f"slurmd-{n}", "slurmd", "-D", "-N", f"n{n}")
        cluster = Cluster(folder, environment)
        _wait(lambda: _idle(environment) == nodes)
        yield cluster
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _idle(environment):
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], env=environment, capture_output=True, text=True
    )
    return len(done.stdout.split())


def _wait(happened, timeout=60):
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, "Slurm does not start"
        time.sleep(0.2)


def _free_port(count):
    for port in range(26817, 60000, 50):
        sockets = []
        try:
            for offset in range(count):
                sockets.append(socket.create_server(("127.0.0.1", port + offset)))
            return port
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise AssertionError("no free ports")
