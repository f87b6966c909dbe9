"""`xattr-cli status`: the truth about a job, from outside, without disturbing it."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from helpers.cli import digits_job, fork, invoke, parts_of, run

from xattr_cli.store.status import StatusReader

PARTS, PART_ROWS = 12, 4
ROWS = PARTS * PART_ROWS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("status")
    digits_job(folder, ROWS, compute={"batch_rows": 128}, output={"part_rows": PART_ROWS})
    assert fork(folder, "--version").wait() == 0
    return folder


def start(folder, name, *arguments):
    return fork(folder, "run", folder / "job.yaml", "--set", f"output.path={name}", *arguments)


def status(folder, name, *arguments):
    """What `xattr-cli status JOB --json` says."""
    outcome = invoke("status", folder / "job.yaml", "--set", f"output.path={name}", "--json", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_a_running_job_is_seen_and_then_stopped_and_then_done(folder):
    name = "followed.h5"
    assert status(folder, name)["state"] == "not begun"
    process = start(folder, name)
    process.wait_for(lambda: len(parts_of(folder, name)) >= 3)
    os.kill(process.pid, signal.SIGSTOP)  # what is seen shall not change while it is compared
    found = status(folder, name)
    done = len(parts_of(folder, name))
    assert (found["state"], found["rows"], found["rows_done"]) == ("running", ROWS, done * PART_ROWS)
    assert (found["parts"], found["parts_done"]) == (PARTS, done)
    [worker] = found["workers"]
    assert worker["shard"] is None and worker["holder"].startswith(f"process {process.pid} on ")
    assert found["rows_per_second"] > 0
    assert found["seconds_left"] == pytest.approx((ROWS - done * PART_ROWS) / found["rows_per_second"])
    for path in (folder / name, folder / f"{name}.parts"):
        assert json.loads(invoke("status", path, "--json").stdout)["rows_done"] == done * PART_ROWS
    process.signal(signal.SIGKILL)
    process.wait()
    found = status(folder, name)
    assert (found["state"], found["workers"], found["seconds_left"]) == ("stopped", [], None)
    assert start(folder, name).wait() == 0
    found = status(folder, name)
    assert (found["state"], found["rows_done"]) == ("done", ROWS)
    engines = json.loads(invoke("inspect", folder / name, "--json").stdout)["engines"]
    for label, counts in found["engines"].items():
        assert counts == {key: engines[label][key] for key in counts}


def test_shards_at_work_and_rows_not_converged_are_counted(folder):
    name, hard = "shards.h5", ("--set", "engines={integrated_gradients: {rtol: 1.0e-7, max_nodes: 257}}")
    processes = []
    for index, first in ((1, "part-00001.h5"), (3, "part-00000.h5")):
        # one after the other: who is not stopped at once may be done
        processes.append(start(folder, name, *hard, "--shard", f"{index}/3"))
        processes[-1].wait_for(lambda first=first: first in parts_of(folder, name))
        os.kill(processes[-1].pid, signal.SIGSTOP)
    found = status(folder, name, *hard)
    assert [worker["shard"] for worker in found["workers"]] == ["1/3", "3/3"]
    counts = found["engines"]["integrated_gradients"]
    assert counts["not_converged"] > 0 and sum(counts.values()) == found["rows_done"]
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait() == 0
    assert status(folder, name, *hard)["state"] == "stopped"
    assert start(folder, name, *hard, "--shard", "2/3").wait() == 0
    text = invoke("status", folder / name).stdout
    assert "computed; now: xattr-cli merge JOB" in text and f"rows     {ROWS} of {ROWS} (100.0%)" in text
    assert f"integrated_gradients: {ROWS} not converged" in text


def test_looking_never_keeps_a_run_from_its_lock(folder):
    """`status` takes the lock for a moment to see whether anybody has it."""
    name, is_over = "watched.h5", threading.Event()

    def look():
        while not is_over.is_set():
            StatusReader(folder / name).read()

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(6):
            process = start(folder, name, "--shard", "2/6")
            assert process.wait() == 0, process.stderr
    finally:
        is_over.set()
        for watcher in watchers:
            watcher.join()


def test_watching_ends_with_the_job(folder):
    name = "watch.h5"
    process = start(folder, name)
    process.wait_for(lambda: parts_of(folder, name) != [])
    outcome = invoke("status", folder / "job.yaml", "--set", f"output.path={name}", "--watch", "--json")
    states = [json.loads(line)["state"] for line in outcome.stdout.splitlines()]
    assert outcome.exit_code == 0 and states[-1] == "done" and "stopped" not in states
    assert process.wait() == 0


def test_a_damaged_part_does_not_count(folder):
    name = "damaged.h5"
    run(folder / "job.yaml", "--set", f"output.path={name}", "--shard", "1/2", "--quiet")
    (folder / f"{name}.parts" / "part-00001.h5").write_bytes(b"nothing")
    found = status(folder, name)
    assert (found["parts_done"], found["rows_done"]) == (PARTS // 2 - 1, ROWS // 2 - PART_ROWS)


def test_what_is_neither_job_nor_result_is_refused(folder, tmp_path):
    outcome = invoke("status", tmp_path / "nothing.h5")
    assert outcome.exit_code == 2
    assert "nothing.h5: there is no such job file, no such result, and no parts of one" in outcome.stderr
