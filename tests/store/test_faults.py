"""Every step of the parts protocol fails once, in every way that a machine has; nothing is lost, and all is said.

A shim between the store and the operating system counts the calls of one kind and lets the n-th fail, as a full
disk or a file server does; the store itself, HDF5 and the files are real. The steps are not named: a counting run
finds how many there are.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest
from store.test_store import MAP, compute, expected, job, part_columns, temporaries

from xattr_cli.errors import StoreError, XattrError
from xattr_cli.pipeline.prefetch import Writer
from xattr_cli.store import PartSet, checkpointed, parts_folder

KINDS = {
    "write": (os, "pwrite", errno.EIO),
    "full disk": (os, "pwrite", errno.ENOSPC),
    "fsync": (os, "fsync", errno.EIO),
    "rename": (Path, "replace", errno.EACCES),
    "open": (os, "open", errno.EMFILE),
    "read": (os, "pread", errno.EIO),
    "truncate": (os, "ftruncate", errno.ENOSPC),
    "list": (os, "scandir", errno.EIO),
    "lock": (fcntl, "flock", errno.EIO),
}


class Shim:
    """Calls of one kind under `folder`: counted, and the one with the number `failing` fails.

    Attributes:
        calls: how many there were.
    """

    def __init__(self, call, failing, code):
        self.calls = 0
        self._call, self._failing, self._code = call, failing, code

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == self._failing:
            raise OSError(self._code, os.strerror(self._code))
        return self._call(*arguments, **options)


@contextmanager
def shimmed(kind, failing=0):
    where, name, code = KINDS[kind]
    real = getattr(where, name)
    shim = Shim(real, failing, code)
    # a method needs a function, which is bound to its path
    setattr(where, name, (lambda *a, **k: shim(*a, **k)) if where is Path else shim)
    try:
        yield shim
    finally:
        setattr(where, name, real)


@pytest.fixture(autouse=True)
def checkpoints_all_the_time(monkeypatch):
    """So that the steps of a checkpoint are among those that fail."""
    monkeypatch.setattr(checkpointed, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


def is_whole(output):
    with h5py.File(output) as file:
        return file[MAP][()].tobytes() == expected(MAP).tobytes()


@pytest.mark.parametrize("most", [8, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_step_may_fail_once(tmp_path, kind, most):
    """Begin, six parts, the merge: whichever call fails, it is one message, and the same command ends well."""
    with shimmed(kind) as shim:
        compute(tmp_path / "counted.h5")
    assert shim.calls > 0 and is_whole(tmp_path / "counted.h5")
    raised = 0
    # evenly spread over the whole protocol, where all of them would take too long
    for failing in sorted({1 + round(n * (shim.calls - 1) / (most - 1)) for n in range(most)}):
        output = tmp_path / f"{failing}" / "r.h5"
        output.parent.mkdir()
        with shimmed(kind, failing):
            try:
                compute(output)
            except XattrError as error:
                raised += 1
                assert str(error).count("\n") <= 1 and str(output.parent) in str(error)
                done = PartSet.existing(output).finished() if _has_manifest(output) else []
                for part in done:  # what counts as finished is whole
                    assert PartSet.existing(output).read(part, "engines/ig")["attribution"].tobytes() == (
                        part_columns(part)[MAP].values.tobytes()
                    )
        assert not output.exists() or is_whole(output)
        compute(output)
        assert is_whole(output), failing
        assert temporaries(output.parent) == [], failing
    assert raised > 0 or kind in ("lock", "read", "open", "list")


def _has_manifest(output):
    return (parts_folder(output) / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["write", "full disk", "fsync", "rename"])
def test_an_old_result_stays_until_the_new_one_is_whole(tmp_path, kind):
    output = tmp_path / "r.h5"
    compute(output)
    before = output.read_bytes()
    with shimmed(kind) as shim, PartSet.existing(output) as parts:
        parts.merge({"seed": 7})
    for failing in range(1, shim.calls, max(1, shim.calls // 12)):
        output.write_bytes(before)
        with shimmed(kind, failing), PartSet.existing(output) as parts:
            try:
                parts.merge({"seed": 8})
                assert is_whole(output)
            except StoreError:
                with h5py.File(output) as file:
                    # the old one, or the whole new one if only the folder could not be synced after the rename
                    assert file.attrs["seed"] in (7, 8) and file[MAP][()].tobytes() == expected(MAP).tobytes()


def test_a_lost_lock_does_not_let_two_processes_write_the_same_part(tmp_path):
    """Where the file server forgets a lock, both write: each part is still one of theirs, and whole."""
    output = tmp_path / "r.h5"
    first = PartSet.open(output, job())
    for descriptor in first._lock._descriptors:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    second = PartSet.open(output, job())
    failures = []

    def write(parts):
        try:
            for part in range(6):
                parts.write(part, part_columns(part))
        except XattrError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(parts,)) for parts in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and second.finished() == [0, 1, 2, 3, 4, 5]
    second.merge({"seed": 7})
    assert is_whole(output)
    first.close()
    second.close()


class Killed(BaseException):
    """What ends a thread without any `except Exception`."""


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_writer_thread_that_is_killed_is_not_taken_for_done(tmp_path, step, monkeypatch):
    output = tmp_path / "r.h5"
    where, name, _ = KINDS[step]
    real, calls = getattr(where, name), []

    def killed(*arguments, **options):
        calls.append(1)
        if threading.current_thread() is not threading.main_thread() and len(calls) > 3:
            raise Killed
        return real(*arguments, **options)

    done = []
    with PartSet.open(output, job()) as parts:
        monkeypatch.setattr(where, name, killed)
        with Writer[int].opened(parts.write, done.append) as writer:
            for part in range(6):
                writer.put(part, part_columns(part))
        monkeypatch.undo()
        assert done == parts.finished() == [0, 1, 2, 3, 4, 5]  # written again by who has asked
    compute(output)
    assert is_whole(output)
