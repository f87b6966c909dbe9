"""A job on a real Slurm: an array whose tasks are queued again, killed and failed, and what is merged at last."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.cli import differences, digits_job, invoke
from helpers.slurm import is_installed, slurm_cluster

from xattr_cli.store.status import StatusReader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="needs root, and Debian's slurm-wlm and munge"),
]

ROOT = Path(__file__).parents[1]
SHARDS = 8
SLOW = """
import os, time, torch
from pathlib import Path
from xattr_cli.models.zoo import digits_cnn

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = digits_cnn()

    def forward(self, x):
        time.sleep(0.08)
        return self.network(x)

    def load_state_dict(self, state, **options):
        return self.network.load_state_dict(state, **options)

def build():
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if Path(__file__).with_name(f"fail-{task}").exists():
        raise RuntimeError("this node is broken")
    return Slow()
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        cluster.environment["PYTHONPATH"] = f"{ROOT}:{cluster.folder}"
        cluster.environment["OMP_NUM_THREADS"] = "1"
        yield cluster


@pytest.fixture(scope="module")
def folder(slurm):
    """A job, slow enough to be hit while it runs, and the result of a single run of it."""
    folder = slurm.folder
    (folder / "slow_network.py").write_text(SLOW)
    engines = {"saliency": None, "integrated_gradients": {"rtol": 0.01}}
    # three parts for each shard
    digits_job(
        folder, 12 * SHARDS, engines=engines, model={"factory": "slow_network:build"},
        compute={"batch_rows": 64, "compile": False}, output={"part_rows": 4},
    )  # fmt: skip
    command(slurm, "run", folder / "job.yaml", "--quiet", "--set", "output.path=reference.h5")
    return folder


def command(slurm, *arguments):
    """Standard output of `xattr-cli ARGUMENTS` on the login node."""
    words = [sys.executable, "-m", "xattr_cli", *map(str, arguments)]
    done = subprocess.run(words, env=slurm.environment, cwd=slurm.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def submitted(text):
    """Numbers of the array and of the merge that a script says it has submitted."""
    return re.fullmatch(r"submitted: array (\d+) of \d+ shards, then merge (\d+); logs in logs\n", text).groups()


def restarts(slurm, job, task):
    text = slurm.command("scontrol", "show", "job", f"{job}_{task}")
    return int(re.search(r"Restarts=(\d+)", text)[1])


def is_over(slurm, job):
    return not {*slurm.states(job).values()} & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"}


def worker(folder, shard):
    """Process id of a shard at work, as anybody can read it; None if it is not."""
    holders = [each.holder for each in StatusReader(folder / "out.h5").read().workers if each.shard == shard]
    return int(holders[0].split()[1]) if holders else None


def test_an_array_is_requeued_killed_failed_resubmitted_and_merged(slurm, folder):
    (folder / "fail-3").touch()
    script = command(slurm, "slurm", folder / "job.yaml", "--shards", SHARDS, "--time", "10", "--at-once", 4)
    (folder / "job.sh").write_text(script)
    array, merge = submitted(slurm.command("bash", "job.sh", cwd=folder) + "\n")

    # one is killed, and one is told that its time is nearly over, and goes on in another slot
    slurm.wait_for(lambda: worker(folder, "1/8") and worker(folder, "2/8"))
    os.kill(worker(folder, "2/8"), signal.SIGKILL)
    # not waited for: it goes on asking about a task that is queued again meanwhile
    asking = subprocess.Popen(["scancel", "--signal=USR1", "--batch", f"{array}_1"], env=slurm.environment)
    slurm.wait_for(lambda: restarts(slurm, array, 1) == 1)
    asking.terminate()
    asking.wait()

    slurm.wait_for(lambda: is_over(slurm, array) and is_over(slurm, merge), timeout=500)
    states = slurm.states(array)
    assert states == {**{str(task): "COMPLETED" for task in range(1, 9)}, "2": "FAILED", "3": "FAILED"}
    assert "USR1" in (folder / "logs" / f"job-{array}_1.log").read_text()
    assert "this node is broken" in (folder / "logs" / f"job-{array}_3.log").read_text()
    log = (folder / "logs" / f"job-merge-{merge}.log").read_text()
    assert slurm.states(merge) == {"": "FAILED"} and re.search(r"run --shard (2-)?3/8 again", log)
    assert not (folder / "out.h5").exists()

    # a task of one's own that says nothing of eight shards, and the script again for the one that failed
    (folder / "fail-3").unlink()
    mine = slurm.command(
        "sbatch", "--parsable", "--array=2", "--wrap", f"{sys.executable} -m xattr_cli run job.yaml", cwd=folder
    )
    slurm.wait_for(lambda: is_over(slurm, mine))
    assert "Slurm array job: computing shard 2/8" in next(folder.glob(f"slurm-{mine}_2.out")).read_text()
    array, merge = submitted(slurm.command("bash", "job.sh", "--array=3", cwd=folder) + "\n")
    slurm.wait_for(lambda: is_over(slurm, merge))
    assert (slurm.states(array), slurm.states(merge)) == ({"3": "COMPLETED"}, {"": "COMPLETED"})
    assert differences(folder / "out.h5", folder / "reference.h5") == []
    assert not (folder / "out.h5.parts").exists()


def test_usr1_comes_before_the_time_limit_and_the_task_goes_on(slurm, folder):
    """Nobody sends a signal here but Slurm; a task needs more than the minute that it is given."""
    options = ["--set", "output.path=limited.h5", "--set", "engines.integrated_gradients.rtol=0.001"]
    options += ["--set", "dataset.limit=24"]
    command(slurm, "run", folder / "job.yaml", "--quiet", *options[2:], "--set", "output.path=exact.h5")
    text = command(
        slurm, "slurm", folder / "job.yaml", *options, "--shards", 1, "--time", 1, "--warn", 30, "--submit"
    )
    array, merge = submitted(text)
    slurm.wait_for(lambda: is_over(slurm, merge), timeout=900)
    assert restarts(slurm, array, 1) >= 1
    assert (slurm.states(array), slurm.states(merge)) == ({"1": "COMPLETED"}, {"": "COMPLETED"})
    assert differences(folder / "limited.h5", folder / "exact.h5") == []


def test_processes_of_srun_share_the_job(slurm, folder):
    run = [sys.executable, "-m", "xattr_cli", "run", folder / "job.yaml", "--set", "output.path=stepped.h5"]
    slurm.environment["SLURM_TIMELIMIT"] = "5"
    done = subprocess.run(
        ["srun", "-n", "4", "-N", "4", *run], env=slurm.environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {f"Slurm step: computing shard {n}/4" for n in range(1, 5)} <= {*done.stderr.splitlines()}
    assert invoke("merge", folder / "job.yaml", "--set", "output.path=stepped.h5").exit_code == 0
    assert differences(folder / "stepped.h5", folder / "reference.h5") == []
