"""The merge: cheap for many parts, gone on with after a kill, through links, and beside other containers."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from store.test_store import ATTRIBUTES, MAP, PROCESSES, ROWS, compute, job, part_columns

from xattr_cli.errors import StoreError
from xattr_cli.store import PartSet, ResultColumn, Shard, checkpointed, parts, parts_folder
from xattr_cli.store.durable import durable_file, remove_stale_temporaries

PARTS = 24
REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST")  # places in a file


def write_parts(output, compression="none"):
    """Parts of every kind of column; of lengths, too, that make merged chunks overlap two parts."""
    with PartSet.open(output, job(parts=PARTS, rows=PARTS * ROWS), compression=compression) as whole:
        for part in whole.missing():
            whole.write(part, part_columns(part, shape=(3, 64, 64)), ATTRIBUTES)


def merge(output, *, seconds=0.0):
    """Merge, making a checkpoint after every part, and slowly enough to be killed in between."""
    checkpointed.SECONDS_BETWEEN_CHECKPOINTS = seconds
    with PartSet.existing(output) as found:
        found.merge({"seed": 7})


def contents(path):
    """Everything that is in a file: values, types and attributes by path."""
    found = {}
    with h5py.File(path) as file:

        def visit(name, item):
            attributes = {k: np.asarray(v).tolist() for k, v in item.attrs.items() if k not in REFERENCES}
            is_data = isinstance(item, h5py.Dataset)
            is_text = is_data and h5py.check_string_dtype(item.dtype) is not None
            values = (
                (str(item.dtype), item.asstr()[()].tolist() if is_text else item[()].tobytes()) if is_data else ()
            )
            found[name] = values, attributes

        file.visititems(visit)
        found[""] = {key: np.asarray(value).tolist() for key, value in file.attrs.items()}
    return found


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_killed_merge_is_gone_on_with_and_ends_with_the_same_contents(tmp_path, compression):
    output, reference = tmp_path / "r.h5", tmp_path / "reference.h5"
    for path in (output, reference):
        write_parts(path, compression)
    merge(reference, seconds=60)
    draw, ends, progress = random.Random(compression), [], []
    while not output.exists():
        process = PROCESSES.Process(target=merge, args=(output,))
        process.start()
        if len(ends) < 12:
            process.join(draw.uniform(0.02, 0.25))
            process.kill()
        process.join()
        ends.append(process.exitcode)
        assert process.exitcode in (0, -signal.SIGKILL)
        state = parts_folder(output) / "merge.state"
        if state.exists():
            progress.append(json.loads(state.read_bytes().partition(b"\n")[0])["parts"])
    assert progress == sorted(progress)  # nothing that a checkpoint had was done again
    assert contents(output) == contents(reference)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert not (parts_folder(output) / "merge.state").exists()


def test_every_checkpoint_makes_the_whole_file_if_the_merge_dies_right_after_it(tmp_path, monkeypatch):
    """Copies of the file as it was after each checkpoint, with half-written pages, all merge to the same."""
    output, reference = tmp_path / "r.h5", tmp_path / "reference.h5"
    for path in (output, reference):
        write_parts(path, "gzip")
    merge(reference, seconds=60)
    temporary = tmp_path / ".r.h5.merge.tmp"
    kept, save = [], checkpointed.MergeState.save

    def remember(state, checkpoint, pages):
        save(state, checkpoint, pages)
        kept.append((temporary.read_bytes(), state.path.read_bytes()))

    monkeypatch.setattr(checkpointed.MergeState, "save", remember)
    merge(output)
    monkeypatch.undo()
    assert len(kept) > PARTS
    for number, (content, state) in enumerate(kept[::5]):
        torn = bytearray(content)
        for at in json.loads(state.partition(b"\n")[0])["pages"]:
            torn[at * 4096 : at * 4096 + 100] = b"\xff" * len(torn[at * 4096 : at * 4096 + 100])
        temporary.write_bytes(bytes(torn) + b"new things that nobody knows of" * (number % 3))
        (parts_folder(output) / "merge.state").write_bytes(state)
        output.unlink()
        merge(output, seconds=60)
        assert contents(output) == contents(reference)


def stopped_merge(output):
    """A merge that ends after its first checkpoint; the part that it was to go on with."""
    tell = checkpointed.Checkpoints.tell

    def stop(self, *arguments):
        tell(self, *arguments)
        raise StoreError("stopped")

    checkpointed.Checkpoints.tell = stop
    try:
        with pytest.raises(StoreError, match="stopped"):
            merge(output)
    finally:
        checkpointed.Checkpoints.tell = tell
    return json.loads((parts_folder(output) / "merge.state").read_bytes().partition(b"\n")[0])["parts"]


def test_a_part_that_was_computed_again_begins_the_merge_again(tmp_path):
    output = tmp_path / "r.h5"
    write_parts(output)
    assert stopped_merge(output) == 1
    columns = part_columns(0, shape=(3, 64, 64))
    with PartSet.open(output, job(parts=PARTS, rows=PARTS * ROWS)) as begun:
        begun.write(0, {**columns, MAP: replace(columns[MAP], values=columns[MAP].values + 1)}, ATTRIBUTES)
    merge(output)
    with h5py.File(output) as file:
        np.testing.assert_array_equal(file[MAP][:ROWS], columns[MAP].values + 1)


@pytest.mark.parametrize(
    "damage", [lambda path: os.truncate(path, 100), lambda path: path.write_bytes(b"x"), Path.unlink]
)
@pytest.mark.parametrize("which", ["file", "state"])
def test_a_merge_that_cannot_be_gone_on_with_is_begun_again(tmp_path, damage, which):
    output = tmp_path / "r.h5"
    write_parts(output)
    stopped_merge(output)
    damage(tmp_path / ".r.h5.merge.tmp" if which == "file" else parts_folder(output) / "merge.state")
    merge(output)
    with h5py.File(output) as file:
        expected = np.concatenate([part_columns(part, shape=(3, 64, 64))[MAP].values for part in range(PARTS)])
        np.testing.assert_array_equal(file[MAP], expected)


# --- cost ---------------------------------------------------------------------------------------


def many_parts(output, count):
    """A set of `count` parts with the 45 datasets of a job of four engines, each of a few numbers."""
    with PartSet.open(output, job(parts=count, rows=count)) as many:
        columns = {f"engines/e/{n:02d}": ResultColumn(np.ones((1, 16), "f4")) for n in range(45)}
        for part in range(count):
            many.write(part, columns)


def calls_of_merge(output, count):
    """How many functions are called, in Python and in C, to merge so many parts."""
    many_parts(output, count)
    calls = 0

    def note(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        merge(output, seconds=60)
    finally:
        sys.setprofile(None)
    return calls


def test_merging_many_parts_is_cheap(tmp_path):
    """Every part costs the same, however many there are: about 70 calls for each of its 45 datasets.

    10,000 parts take less than 30 s of processor time then: 3 ms a part.
    """
    few, more, most = (calls_of_merge(tmp_path / f"{count}.h5", count) for count in (40, 80, 120))
    assert most - more == pytest.approx(more - few, rel=0.02)
    assert (most - more) / 40 / 45 < 100


def test_a_shard_looks_into_its_own_parts_only(tmp_path, monkeypatch):
    many_parts(tmp_path / "r.h5", 40)
    opened, look = [], parts._defect
    monkeypatch.setattr(parts, "_defect", lambda path, expected: opened.append(path.name) or look(path, expected))
    with PartSet.open(tmp_path / "r.h5", job(parts=40, rows=40), shard=Shard((3,), 20)) as own:
        assert own.missing(Shard((3,), 20)) == [] and own.absent() == []
    assert opened == ["part-00003.h5", "part-00023.h5"]


# --- links and containers -----------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_an_output_that_is_a_link_is_written_through(tmp_path, exists):
    disk, home = tmp_path / "disk", tmp_path / "home"
    disk.mkdir()
    home.mkdir()
    target, link = disk / "real.h5", home / "r.h5"
    if exists:
        target.write_text("what was there before")
    link.symlink_to(os.path.relpath(target, home))
    compute(link)
    assert link.is_symlink() and link.readlink() == Path("../disk/real.h5")
    with h5py.File(target) as file:
        assert len(file["rows/id"]) == 48
    assert parts_folder(link) == parts_folder(target)  # one job, whatever it is called by
    assert [path.name for path in home.iterdir()] == ["r.h5"]


def write_for_a_while(path, ready, go_on):
    with durable_file(path) as descriptor:
        os.write(descriptor, b"whole")
        ready.set()
        go_on.wait()


def test_a_temporary_of_a_container_whose_processes_cannot_be_seen_stays(tmp_path, monkeypatch):
    """Another container of this host name: its process ids say nothing here, all of them seem to be dead."""
    ready, go_on = PROCESSES.Event(), PROCESSES.Event()
    process = PROCESSES.Process(target=write_for_a_while, args=(tmp_path / "part-00000.h5", ready, go_on))
    process.start()
    ready.wait()
    monkeypatch.setattr("xattr_cli.store.durable._is_alive", lambda pid: False)
    remove_stale_temporaries(tmp_path)
    go_on.set()
    process.join()
    assert process.exitcode == 0 and (tmp_path / "part-00000.h5").read_text() == "whole"
    abandoned = tmp_path / f".part-00001.h5.{socket.gethostname()}.123456.0123abcd.tmp"
    abandoned.touch()
    remove_stale_temporaries(tmp_path)
    assert not abandoned.exists()
