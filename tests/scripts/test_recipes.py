"""The recipes for schedulers, run by the tools that are installed, with a shard killed or stopped in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.cli import differences, digits_job, invoke, parts_of, run

from xattr_cli.store.status import StatusReader

RECIPES = Path(__file__).parents[2] / "scripts" / "recipes"
ROWS, PART_ROWS = 240, 4


@pytest.fixture
def folder(tmp_path):
    """A job, the result of a plain run, and the command `xattr-cli` on the PATH of `environment`."""
    digits_job(tmp_path, ROWS, compute={"batch_rows": 128}, output={"part_rows": PART_ROWS})
    run(tmp_path / "job.yaml", "--quiet", "--set", "output.path=reference.h5")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "xattr-cli"
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -m xattr_cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


def start(folder, *arguments):
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(RECIPES.parents[1])
    return subprocess.Popen(
        [str(each) for each in arguments], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def signal_a_worker(folder, process, number):
    """Send a signal to the first process that has finished a part and is at work."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        workers = StatusReader(folder / "out.h5").read().workers if parts_of(folder) else []
        if workers:
            os.kill(int(workers[0].holder.split()[1]), number)
            return
        time.sleep(0.005)
    raise AssertionError(f"nobody was at work: {process.communicate(timeout=1)[0]}")


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.mark.slow
@needs("parallel")
def test_gnu_parallel_runs_a_killed_shard_again(folder):
    process = start(folder, "bash", RECIPES / "parallel.sh", "job.yaml", 2)
    signal_a_worker(folder, process, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert differences(folder / "out.h5", folder / "reference.h5") == []


@pytest.mark.slow
@needs("snakemake")
def test_snakemake_runs_a_stopped_shard_again(folder):
    arguments = ("--snakefile", RECIPES / "Snakefile", "--cores", 2, "--config", "job=job.yaml", "shards=2")
    process = start(folder, "snakemake", *arguments)
    signal_a_worker(folder, process, signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert differences(folder / "out.h5", folder / "reference.h5") == []


@pytest.mark.slow
@needs("nextflow")
def test_nextflow_runs_a_stopped_shard_again(folder):
    process = start(folder, "nextflow", "run", RECIPES / "main.nf", "--job", "job.yaml", "--shards", 2)
    signal_a_worker(folder, process, signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert differences(folder / "out.h5", folder / "reference.h5") == []


@needs("flock")
def test_a_night_of_cron_goes_on_where_the_last_one_ended(folder):
    def night(duration):
        return start(folder, "bash", RECIPES / "nightly.sh", folder / "job.yaml", duration)

    first = night("100s")
    signal_a_worker(folder, first, signal.SIGTERM)  # as `timeout` does when the night is over
    assert first.wait(100) == 0
    kept = len(parts_of(folder))
    assert 0 < kept < ROWS // PART_ROWS and not (folder / "out.h5").exists()
    both = [night("100s"), night("100s")]  # the later one leaves it to the other
    assert [each.wait(200) for each in both] == [0, 0], [each.communicate()[0] for each in both]
    assert invoke("status", folder / "job.yaml", "--json").exit_code == 0
    assert differences(folder / "out.h5", folder / "reference.h5") == []
