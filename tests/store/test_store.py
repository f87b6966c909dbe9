"""The store: what is finished survives any death of the process, and the result never depends on one."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from xattr_cli.errors import DataError, Interrupted, JobError, RunError, StoreError
from xattr_cli.store import (
    Manifest,
    PartSet,
    ResultColumn,
    Shard,
    check_writable,
    discard_leftovers,
    finished_output,
    parts_folder,
    provenance,
)
from xattr_cli.store.checksums import seal
from xattr_cli.store.columns import chunk_shape
from xattr_cli.store.durable import temporary_for
from xattr_cli.store.scheduler import launched_by

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["xattr_cli.store", "pytest"])

COMPRESSIONS = ["none", "gzip", "lzf"]
PARTS, ROWS = 6, 8  # rows of one part
MAP = "engines/ig/attribution"


def job(**changes):
    identity = {
        "model": {"kind": "python"},
        "engines": {"ig": {"engine": "integrated_gradients", "rtol": 0.05}},
    }
    manifest = Manifest("model: …\n", identity, "c" * 64, "d" * 64, PARTS, PARTS * ROWS, {"batch_rows": 64})
    return replace(manifest, **changes)


def part_columns(part, rows=ROWS, shape=(3, 16, 16)):
    rng = np.random.default_rng(part)
    stored = 5 if part == 0 else 0
    return {
        "rows/id": ResultColumn(np.arange(part * rows, (part + 1) * rows), axes=("row",)),
        "rows/key": ResultColumn(np.array([f"bild-{part}-{i}-ä.png" for i in range(rows)])),
        MAP: ResultColumn(
            rng.normal(size=(rows, *shape)).astype("f4"), axes=("row", "channel", "height", "width")
        ),
        "engines/ig/status": ResultColumn(rng.integers(0, 3, rows).astype("i1"), axes=("row",)),
        "engines/ig/converged": ResultColumn(rng.random(rows) < 0.5),
        "engines/ig/alpha": ResultColumn(np.array([0.0, 0.5, np.nan]), "constant", ("alpha",)),
        "classes": ResultColumn(np.array(["kat", "Ñandú"], dtype=object), "constant"),
        "scale": ResultColumn(np.float64(255), "constant"),
        "samples/index": ResultColumn(np.arange(stored), "samples"),
        "inputs/X/values": ResultColumn(rng.random((stored, 4)), "samples"),
    }


ATTRIBUTES = {"engines/ig": {"engine": "integrated_gradients", "options": "rtol: 0.05\n"}}


def compute(output, compression="none", shard=None):
    """A whole run: resume, write what is missing, and merge if that was all."""
    with PartSet.open(output, job(), compression=compression, shard=shard) as parts:
        for part in parts.missing(shard):
            parts.write(part, part_columns(part), ATTRIBUTES)
        if not parts.missing():
            parts.merge({"seed": 7})


def expected(name):
    return np.concatenate([part_columns(part)[name].values for part in range(PARTS)])


def part_file(output, part):
    return parts_folder(output) / f"part-{part:05d}.h5"


def temporaries(folder):
    return [path.name for path in folder.rglob("*.tmp")]


# --- what is written is what is read ------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_result_is_the_concatenation_of_the_parts(tmp_path, compression):
    output = tmp_path / "new" / "folder" / "result.h5"
    compute(output, compression)
    with h5py.File(output) as file:
        for name in ("rows/id", MAP, "engines/ig/status", "engines/ig/converged", "inputs/X/values"):
            assert file[name].dtype == expected(name).dtype
            assert file[name][()].tobytes() == expected(name).tobytes()
        assert file["rows/key"].asstr()[()].tolist() == expected("rows/key").tolist()
        assert file["samples/index"][()].tolist() == [0, 1, 2, 3, 4]
        assert file["classes"].asstr()[()].tolist() == ["kat", "Ñandú"]
        np.testing.assert_array_equal(file["engines/ig/alpha"], [0, 0.5, np.nan])
        assert file["scale"].shape == () and file["scale"][()] == 255
        assert [d.label for d in file[MAP].dims] == ["row", "channel", "height", "width"]
        assert dict(file["engines/ig"].attrs) == ATTRIBUTES["engines/ig"]
        assert dict(file["rows/id"].attrs).keys() == {"DIMENSION_LABELS", "DIMENSION_LIST", "crc32"}
        assert (file[MAP].compression or "none") == compression


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
@pytest.mark.parametrize("shape", [(3, 224, 224), (5, 300, 300), (1, 28, 28)])
def test_compressed_maps_survive_the_merge(tmp_path, compression, shape):
    """Chunks of a whole row and of a part of one are copied as they are, chunks of many rows are not."""
    parts_of_maps = [np.random.default_rng(i).integers(-3, 3, (3, *shape)).astype("f4") for i in range(3)]
    with PartSet.open(tmp_path / "r.h5", job(parts=3, rows=9), compression=compression) as parts:
        for part, maps in enumerate(parts_of_maps):
            parts.write(part, {MAP: ResultColumn(maps)})
        parts.merge({})
    with h5py.File(tmp_path / "r.h5") as file:
        assert file[MAP][()].tobytes() == np.concatenate(parts_of_maps).tobytes()
        assert file[MAP].id.get_storage_size() < 0.7 * file[MAP].nbytes


def test_root_attributes_tie_the_result_to_its_job(tmp_path):
    compute(tmp_path / "result.h5")
    with h5py.File(tmp_path / "result.h5") as file:
        assert file.attrs["format"] == "xattr-cli/1"
        assert file.attrs["job"] == "model: …\n"
        assert file.attrs["checkpoint_hash"] == "c" * 64
        assert file.attrs["job_hash"] == job().job_hash
        assert file.attrs["seed"] == 7
        assert "complete" not in file.attrs


def test_text_that_hdf5_cannot_hold_is_replaced(tmp_path):
    column = ResultColumn(np.array(["caf\udce9.png", "a\0b"], dtype=object))
    with PartSet.open(tmp_path / "r.h5", job(parts=1, rows=2)) as parts:
        parts.write(0, {"rows/key": column}, {"rows": {"note": "a\0b"}})
        parts.merge({})
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["rows/key"].asstr()[()].tolist() == ["caf\ufffd.png", "a\ufffdb"]
        assert file["rows"].attrs["note"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("shape", "itemsize", "chunk"),
    [
        ((5000, 3, 224, 224), 4, (1, 3, 224, 224)),  # 588 KiB: a row
        ((5000, 1, 28, 28), 4, (256, 1, 28, 28)),  # 3.1 KiB: 256 rows are the last power of two in 1 MiB
        ((100, 1, 28, 28), 4, (100, 1, 28, 28)),
        ((10**6,), 8, (2**17,)),
        ((50, 16, 3, 224, 224), 4, (1, 1, 3, 224, 224)),
        ((50, 2000, 1000), 8, (1, 131, 1000)),
        ((2, 10**6), 8, (1, 2**17)),
    ],
)
def test_chunk_is_whole_rows_or_a_slab_of_one(shape, itemsize, chunk):
    assert chunk_shape(shape, itemsize) == chunk
    assert np.prod(chunk) * itemsize <= 2**20


@pytest.mark.parametrize(
    ("values", "axis", "axes", "message"),
    [
        (np.float64(1), "rows", (), "a scalar cannot be a column along 'rows'"),
        (np.zeros((2, 3)), "rows", ("row",), r"axes \('row',\) do not fit values of shape \(2, 3\)"),
        (np.array([None]), "rows", (), "nothing but str"),
    ],
)
def test_impossible_columns_are_refused(values, axis, axes, message):
    with pytest.raises(ValueError, match=message):
        ResultColumn(values, axis, axes)


def test_columns_of_a_part_must_be_equally_long(tmp_path):
    with PartSet.open(tmp_path / "r.h5", job()) as parts, pytest.raises(ValueError, match="a: 2, b: 3"):
        parts.write(0, {"a": ResultColumn(np.zeros(2)), "b": ResultColumn(np.zeros(3))})


def test_provenance_says_what_ran_where_and_when():
    found = provenance(
        package_version="0.1.0",
        torch_version="2.8",
        device="cpu",
        seed=3,
        started=0.0,
        command_line="xattr-cli run job.yaml",
        model_notes=["eval mode", "12 ReLU"],
    )
    assert found["started"] == "1970-01-01T00:00:00+00:00"
    assert found["ended"].endswith("+00:00") and found["ended"] > "2025"
    assert found["host"] == socket.gethostname()
    assert found["model_notes"] == "eval mode\n12 ReLU"


# --- sudden death -------------------------------------------------------------------------------


def run_for(seconds, output, compression):
    """Compute in a process of its own, killed after some seconds; returns its exit code."""
    process = PROCESSES.Process(target=compute, args=(output, compression))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_killed_runs_end_with_the_same_bytes_as_an_uninterrupted_one(tmp_path, compression):
    reference = tmp_path / "reference.h5"
    started = time.monotonic()
    assert run_for(None, reference, compression) == 0
    duration = time.monotonic() - started
    rng, codes = random.Random(compression), []
    while codes.count(-signal.SIGKILL) < 12:
        output = tmp_path / f"{len(codes)}.h5"
        while not output.exists():
            codes.append(run_for(rng.uniform(0, duration), output, compression))
        compute(output, compression)
        assert output.read_bytes() == reference.read_bytes()
        assert temporaries(tmp_path) == []
    assert set(codes) <= {0, -signal.SIGKILL}


def test_signal_during_a_write_is_raised_after_it_and_drops_the_part(tmp_path):
    def interrupt(_number, _frame):
        raise Interrupted("stopped")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        large = part_columns(0, shape=(3, 256, 256))
        with PartSet.open(tmp_path / "r.h5", job(), compression="gzip") as parts:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Interrupted):
                parts.write(0, large)
            assert signal.getsignal(signal.SIGALRM) is interrupt
            assert parts.finished() == [] and temporaries(tmp_path) == []
            parts.write(0, part_columns(0))
            assert parts.finished() == [0]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def _truncate_to_nothing(path):
    os.truncate(path, 0)


def _overwrite_with_text(path):
    path.write_text("not HDF5")


def _lose_the_last_attribute(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    _seal_again(path)


def _change_checkpoint(path):
    with h5py.File(path, "r+") as file:
        file.attrs["checkpoint_hash"] = "x"
    _seal_again(path)


def _seal_again(path):
    with path.open("r+b") as file:
        seal(file.fileno())


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_truncate, "cut off"),
        (_truncate_to_nothing, "cut off"),
        (_overwrite_with_text, "checksum at its end is missing"),
        (_lose_the_last_attribute, "is not complete"),
        (_change_checkpoint, "belongs to another job (other checkpoint_hash)"),
    ],
)
def test_damaged_part_is_reported_and_computed_again(tmp_path, caplog, damage, word):
    output = tmp_path / "r.h5"
    compute(output)
    merged = output.read_bytes()
    damage(part_file(output, 2))
    with PartSet.open(output, job()) as parts, caplog.at_level(logging.WARNING):
        assert parts.missing() == [2]
        assert parts.finished() == [0, 1, 3, 4, 5]
    [record] = caplog.records  # once, however often it is looked at
    assert "part-00002.h5" in record.message and "computed again" in record.message
    assert word in record.message
    compute(output)
    assert output.read_bytes() == merged


def test_stale_temporaries_of_dead_processes_only_are_deleted(tmp_path):
    output = tmp_path / "r.h5"
    folder = parts_folder(output)
    folder.mkdir()
    dead = subprocess.Popen(["true"])
    dead.wait()
    own = temporary_for(folder / "part-00003.h5").name
    names = {
        "dead": own.replace(f".{os.getpid()}.", f".{dead.pid}."),
        "alive": own.replace(f".{os.getpid()}.", f".{os.getppid()}."),
        "elsewhere": f".part-00003.h5.node7.{dead.pid}.tmp",
        "foreign": ".mine.tmp",
    }
    for name in names.values():
        (folder / name).touch()
    merging = tmp_path / temporary_for(output).name.replace(f".{os.getpid()}.", f".{dead.pid}.")
    other_job = tmp_path / merging.name.replace("r.h5", "s.h5")
    merging.touch()
    other_job.touch()
    PartSet.open(output, job()).close()
    assert sorted(temporaries(folder)) == sorted(v for k, v in names.items() if k != "dead")
    assert not merging.exists() and other_job.exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from store.test_store import compute
from xattr_cli.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    compute(Path(sys.argv[1]), sys.argv[2])
except StoreError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize(("limit", "file"), [(20_000, "part-00000.h5"), (90_000, "r.h5")])
def test_full_disk_is_one_message_and_the_run_can_be_resumed(tmp_path, compression, limit, file):
    output = tmp_path / "r.h5"
    command = [sys.executable, "-c", FULL_DISK, str(output), compression, str(limit)]
    full = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert full.returncode == 1, full.stderr
    assert full.stderr == ""  # nothing from HDF5, not even at exit
    assert f"{file}: cannot be written: File too large. All parts finished before are kept" in full.stdout
    assert temporaries(tmp_path) == [] and not output.exists()
    compute(output, compression)
    with h5py.File(output) as found:
        assert np.array_equal(found[MAP], expected(MAP))


# --- parts of another job -----------------------------------------------------------------------


def test_parts_of_another_job_are_refused_naming_what_changed(tmp_path):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job()) as parts:
        parts.write(0, part_columns(0))
    identity = {"model": {"kind": "python"}, "engines": {"sal": {"engine": "saliency"}, "ig": {"rtol": 0.01}}}
    with pytest.raises(StoreError) as refused:
        PartSet.open(output, job(identity=identity, dataset_hash="e"))
    text = str(refused.value)
    assert "r.h5.parts: holds parts of another job" in text
    assert "\n  engines.ig.rtol: was 0.05, now 0.01\n" in text
    assert '\n  engines.ig.engine: was "integrated_gradients", now (absent)\n' in text
    assert '\n  engines.sal.engine: was (absent), now "saliency"\n' in text
    assert '\n  dataset_hash: was [dddddddd], now "e"\n' in text
    assert "model" not in text.replace("model:", "") and "--overwrite" in text and "output.path" in text


@pytest.mark.parametrize("shard", [None, Shard((2,), 3)])
def test_a_job_of_which_nothing_durable_came_does_not_stand_in_the_way_of_another(tmp_path, shard):
    output = tmp_path / "r.h5"
    PartSet.open(output, job(), shard=shard).close()  # as a kill leaves it
    other = job(dataset_hash="e", parts=2, rows=2 * ROWS, plan={"batch_rows": 3})
    with PartSet.open(output, other, shard=shard) as parts:
        assert parts.manifest == other
        parts.write(1, part_columns(1))
    with pytest.raises(StoreError, match="holds parts of another job"):
        PartSet.open(output, job())
    assert PartSet.existing(output).manifest == other


def test_steps_on_the_way_to_a_part_stand_in_the_way(tmp_path):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job()) as parts:
        parts.keep("ace", "block 0", {"sum": np.ones(3)})
    with pytest.raises(StoreError, match="holds parts of another job"):
        PartSet.open(output, job(dataset_hash="e"))
    with PartSet.open(output, job()) as parts:
        assert parts.recall("ace", "block 0")["sum"].tolist() == [1, 1, 1]


def test_a_shard_at_work_is_not_taken_over(tmp_path):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job(), shard=Shard((1,), 3)) as parts:
        with pytest.raises(StoreError, match=r"holds parts of another job:\n  dataset_hash"):
            PartSet.open(output, job(dataset_hash="e"), shard=Shard((2,), 3))
        assert PartSet.existing(output).manifest == job()
        parts.write(1, part_columns(1))
        assert parts.finished() == [1]


def failing(output, error, shard=None, work=lambda parts: None):
    """A run that does some work and fails."""
    with pytest.raises(type(error)), PartSet.open(output, job(), shard=shard) as parts:
        work(parts)
        raise error


@pytest.mark.parametrize("shard", [None, Shard((1,), 3)])
def test_a_wrong_job_leaves_no_folder(tmp_path, shard):
    output = tmp_path / "r.h5"
    failing(output, DataError("a constant column"), shard)
    assert list(tmp_path.iterdir()) == []
    compute(output)
    with h5py.File(output) as file:
        assert np.array_equal(file[MAP][()], expected(MAP))


@pytest.mark.parametrize(
    "work",
    [
        lambda parts: parts.write(3, part_columns(3)),
        lambda parts: parts.keep("ace", "block 0", {"sum": np.ones(3)}),
    ],
)
@pytest.mark.parametrize("shard", [None, Shard((1,), 3)])
def test_what_a_wrong_job_has_finished_stays(tmp_path, work, shard):
    output = tmp_path / "r.h5"
    failing(output, DataError("too few rows"), shard, work)
    failing(output, DataError("too few rows"), shard)
    assert len(list(parts_folder(output).glob("part-*.h5")) + list(parts_folder(output).glob("memo-*.h5"))) == 1
    assert PartSet.existing(output).manifest == job()


@pytest.mark.parametrize("error", [RunError("out of memory"), Interrupted("SIGTERM"), StoreError("disk full")])
def test_what_the_same_command_may_go_on_from_stays(tmp_path, error):
    failing(tmp_path / "r.h5", error)
    assert PartSet.existing(tmp_path / "r.h5").manifest == job()


def test_a_wrong_job_leaves_the_folder_to_the_shards_at_work(tmp_path):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job(), shard=Shard((1,), 3)) as parts:
        failing(output, DataError("too few rows"), Shard((2,), 3))
        parts.write(1, part_columns(1))
        assert parts.finished() == [1]
    failing(output, DataError("too few rows"), Shard((2,), 3))
    assert PartSet.existing(output).finished() == [1]


def test_files_that_are_not_the_stores_survive_a_wrong_job(tmp_path):
    output = tmp_path / "r.h5"
    parts_folder(output).mkdir()
    (parts_folder(output) / "notes.txt").touch()
    failing(output, DataError("too few rows"))
    assert [path.name for path in parts_folder(output).iterdir()] == ["notes.txt"]


def test_overwrite_starts_again_with_the_new_job(tmp_path):
    output = tmp_path / "r.h5"
    compute(output)
    other = job(checkpoint_hash="new", parts=2, rows=2 * ROWS)
    with PartSet.open(output, other, overwrite=True) as parts:
        assert parts.manifest == other
        assert parts.finished() == []
    assert list(parts_folder(output).glob("part-*")) == []


def test_overwrite_by_a_shard_spares_the_parts_of_the_others(tmp_path):
    output = tmp_path / "r.h5"
    compute(output)
    with PartSet.open(output, job(), overwrite=True, shard=Shard((1,), 3)) as parts:
        assert parts.missing() == [1, 4]
    with PartSet.open(output, job(dataset_hash="new"), overwrite=True, shard=Shard((1,), 3)) as parts:
        assert parts.missing() == [0, 1, 2, 3, 4, 5]


def test_resume_takes_the_stored_plan_and_number_of_parts(tmp_path):
    PartSet.open(tmp_path / "r.h5", job()).close()
    with PartSet.open(tmp_path / "r.h5", job(plan={"batch_rows": 1}, parts=99, job_yaml="")) as parts:
        assert parts.manifest == job()


@pytest.mark.parametrize("text", ["", "{}", '{"format": "xattr-cli/9"}', "[1]", '{"format": "xattr-cli/1"}'])
def test_damaged_manifest_is_refused_and_overwrite_helps(tmp_path, text):
    output = tmp_path / "r.h5"
    parts_folder(output).mkdir()
    (parts_folder(output) / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json: cannot be read: .*--overwrite"):
        PartSet.open(output, job())
    with PartSet.open(output, job(), overwrite=True) as parts:
        assert parts.manifest == job()


# --- the result that is there already -----------------------------------------------------------


def test_finished_output_is_recognised_and_that_of_another_job_refused(tmp_path):
    output = tmp_path / "r.h5"
    hashes = {"checkpoint_hash": "c" * 64, "dataset_hash": "d" * 64}
    assert not finished_output(output, job(**hashes))
    compute(output)
    assert finished_output(output, job(**hashes))
    hashes["checkpoint_hash"] = "retrained"
    with pytest.raises(StoreError, match=r'is the result.*\n  checkpoint_hash: was .cccccccc., now "retrained"'):
        finished_output(output, job(**hashes))
    assert not finished_output(output, job(**hashes), overwrite=True)


@pytest.mark.parametrize("content", [b"", b"text", "an empty HDF5 file", "format", "truncated"])
def test_foreign_file_in_the_place_of_the_result_is_refused(tmp_path, content):
    output = tmp_path / "r.h5"
    if content == "truncated":
        compute(output)
        _truncate(output)
    elif isinstance(content, bytes):
        output.write_bytes(content)
    else:
        with h5py.File(output, "w") as file:
            file.attrs.update({"format": "xattr-cli/2"} if content == "format" else {})
    with pytest.raises(StoreError, match=r"is not a result of xattr-cli: .*--overwrite"):
        finished_output(output, job())
    assert not finished_output(output, job(), overwrite=True)


def test_looking_whether_an_output_is_writable_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b" / "r.h5")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file/r.h5", "file is not a folder"),
        ("file/deeper/r.h5", "file is not a folder"),
        ("folder", "folder is not a regular file"),
        ("n" * 250 + ".h5", "File name too long"),
    ],
)
def test_unwritable_output_is_refused_before_anything_is_computed(tmp_path, place, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(JobError, match=f"^output.path: .*{message}"):
        check_writable(tmp_path / place)


def test_a_device_is_no_place_for_a_result():
    with pytest.raises(JobError, match="/dev/null is not a regular file"):
        check_writable(Path("/dev/null"))
    with pytest.raises(StoreError, match="cannot be used for the parts"):
        PartSet.open(Path("/dev/null/r.h5"), job())


# --- shards and locks ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("first", [0, 1])
def test_shards_share_all_parts_whether_counted_from_0_or_1(count, first):
    shards = [Shard.parse(f"{index}/{count}") for index in range(first, first + count)]
    assert sorted(part for shard in shards for part in shard.parts(13)) == list(range(13))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5/4", "--shard 5/4: the shard must be one of 1/4 to 4/4"),
        ("1/0", "--shard 1/0: the number of shards must be 1 or more"),
        ("a/b", "--shard 'a/b': must look like 2/4"),
        ("-1/4", "must look like 2/4"),
        ("2", "must look like 2/4"),
    ],
)
def test_malformed_shard_is_refused(text, message):
    with pytest.raises(JobError, match=message):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("2,5/64", (2, 5)),
        ("5,2,5/64", (2, 5)),
        ("0-2,7/8", (1, 2, 7, 8)),
        (" 3-3 / 4 ", (3,)),
        ("1-4/4", (1, 2, 3, 4)),
    ],
)
def test_a_list_of_shards_computes_the_parts_of_all_of_them(text, indices):
    shard = Shard.parse(text)
    assert shard.indices == indices
    each = [Shard((index,), shard.count).parts(200) for index in indices]
    assert shard.parts(200) == sorted(part for parts in each for part in parts)
    assert Shard.parse(str(shard)) == shard


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2,9/8", "must be one of 1/8 to 8/8"),
        ("5-2/8", "5-2 is no range of shards from 0 to 8"),
        ("2-9/8", "2-9 is no range"),
        ("2,/8", "must look like 2/4"),
        ("1-999999999/999999999", "at most 1,000,000 shards"),
    ],
)
def test_a_malformed_list_of_shards_is_refused(text, message):
    with pytest.raises(JobError, match=message):
        Shard.parse(text)


def array(tasks, task, begun=(), **more):
    """The shard of a task of `sbatch --array=TASKS`; each of `tasks` is a number."""
    first, last = min(tasks), max(tasks)
    step = tasks[1] - tasks[0] if len(tasks) > 1 and len({*np.diff(tasks)}) == 1 else 1
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": len(tasks), "STEP": step}
    environ = {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in values.items()}
    return launched_by({**environ, **more}, begun).shard


def test_outside_of_a_scheduler_there_is_no_shard():
    assert launched_by({}) is None
    # what the script of a batch job sees that srun has not started
    assert launched_by({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) is None


@pytest.mark.parametrize(
    ("tasks", "task", "shard"),
    [
        (range(1, 9), 3, Shard((3,), 8)),
        (range(8), 3, Shard((3,), 8)),
        (range(8), 0, Shard((8,), 8)),
        ([10, 20, 30, 40, 50], 30, Shard((3,), 5)),
        ([5, 6, 7, 8], 6, Shard((2,), 4)),
        ([1], 1, Shard((1,), 1)),
        ([0], 0, Shard((1,), 1)),
    ],
)
def test_a_task_of_a_whole_slurm_array_is_a_shard(tasks, task, shard):
    assert array([*tasks], task) == shard


@pytest.mark.parametrize(
    ("tasks", "task", "begun", "shard"),
    [
        ([2, 5, 7], 5, [8], Shard((5,), 8)),
        ([3], 3, [8], Shard((3,), 8)),
        ([0], 0, [8], Shard((8,), 8)),
        ([1], 1, [8], Shard((1,), 8)),
        ([2, 4, 6], 4, [8], Shard((4,), 8)),
        ([1, 2, 3, 4], 2, [8], Shard((2,), 8)),
        ([1, 2, 3, 4], 2, [4, 8], Shard((2,), 4)),
        ([*range(1, 17)], 12, [8], Shard((12,), 16)),  # cut anew: no shard of eight is meant
        ([*range(1, 17)], 2, [8, 16], Shard((2,), 16)),
        ([9], 9, [8, 16], Shard((9,), 16)),
    ],
)
def test_a_task_of_a_partial_slurm_array_is_one_of_the_shards_that_were_begun(tasks, task, begun, shard):
    assert array(tasks, task, begun) == shard


@pytest.mark.parametrize(("array_tasks", "processes"), [(1, 8), (3, 2)])
def test_processes_of_srun_share_what_their_task_computes(array_tasks, processes):
    shards = []
    for task in range(1, array_tasks + 1):
        for rank in range(processes):
            environ = {"SLURM_STEP_NUM_TASKS": str(processes), "SLURM_PROCID": str(rank)}
            if array_tasks > 1:
                shards.append(array([*range(1, array_tasks + 1)], task, **environ))
            else:
                shards.append(launched_by(environ).shard)
    assert sorted(part for shard in shards for part in shard.parts(50)) == list(range(50))


def test_processes_of_torchrun_are_joined():
    launch = launched_by({"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2"})
    assert launch.joined and launch.shard == Shard((2,), 2)


@pytest.mark.parametrize(
    ("tasks", "task", "begun", "message"),
    [
        ([3], 3, [], "TASK_ID=3: nothing tells of how many shards .* --shard \\$SLURM_ARRAY_TASK_ID/N"),
        ([2, 5, 7], 5, [], "nothing tells of how many shards"),
        ([9], 9, [8], "nothing tells of how many shards"),
        ([3], 3, [8, 16], "was cut into 8 and into 16 shards before; give it as --shard"),
    ],
)
def test_a_slurm_task_that_could_be_of_any_cut_is_refused(tasks, task, begun, message):
    with pytest.raises(JobError, match=message):
        array(tasks, task, begun)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN is not set, .*--shard i/N"),
        (
            {"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"},
            "SLURM_ARRAY_TASK_ID is 'x', not a number",
        ),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, "RANK is not set"),
    ],
)
def test_an_environment_that_lacks_something_is_refused(environ, message):
    with pytest.raises(JobError, match=message):
        launched_by(environ)


def test_shards_in_parallel_make_the_same_result(tmp_path):
    compute(tmp_path / "reference.h5")
    output = tmp_path / "r.h5"
    runs = [PROCESSES.Process(target=compute, args=(output, "none", Shard((i,), 3))) for i in (1, 2, 3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    with PartSet.existing(output) as parts:
        assert parts.finished() == [0, 1, 2, 3, 4, 5]
        parts.merge({"seed": 7})
    assert output.read_bytes() == (tmp_path / "reference.h5").read_bytes()


def test_incomplete_set_is_not_merged_and_the_missing_shards_are_named(tmp_path):
    output = tmp_path / "r.h5"
    manifest = job(parts=12, rows=12 * ROWS)
    with PartSet.open(output, manifest) as parts:
        for part in (0, 1, 2, 4, 5, 6, 10, 11):
            parts.write(part, part_columns(part))
        with pytest.raises(StoreError, match="parts 3, 7-9 of 12 are missing: run the same job again"):
            parts.merge({})
    with PartSet.open(output, manifest, shard=Shard((2,), 4)) as parts:
        parts.write(9, part_columns(9))
        with pytest.raises(StoreError, match="parts 3, 7-8 of 12 are missing: run --shard 3-4/4 again"):
            parts.merge({})
    assert not output.exists() and temporaries(tmp_path) == []


def test_merging_without_parts_says_so(tmp_path):
    with pytest.raises(StoreError, match=r"r\.h5\.parts: there are no parts of r\.h5; run the job first"):
        PartSet.existing(tmp_path / "r.h5")


def hold(output, ready):
    with PartSet.open(output, job()):
        ready.set()
        time.sleep(60)


def test_second_run_is_refused_until_the_first_is_killed(tmp_path):
    output = tmp_path / "r.h5"
    ready = PROCESSES.Event()
    first = PROCESSES.Process(target=hold, args=(output, ready))
    first.start()
    ready.wait()
    message = f"a run of this job is at work already \\(process {first.pid} on {socket.gethostname()}\\)"
    with pytest.raises(StoreError, match=message):
        PartSet.open(output, job(), overwrite=True)
    with pytest.raises(StoreError, match="a run of the whole job is at work"):
        PartSet.open(output, job(), shard=Shard((1,), 2))
    discard_leftovers(output)
    assert parts_folder(output).exists()
    first.kill()
    first.join()
    PartSet.open(output, job()).close()


def test_shards_exclude_their_like_and_a_whole_run(tmp_path):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job(), shard=Shard((1,), 2)), PartSet.open(output, job(), shard=Shard((2,), 2)):
        with pytest.raises(StoreError, match="shard 1/2 of this job is at work already"):
            PartSet.open(output, job(), shard=Shard((1,), 2))
        with pytest.raises(StoreError, match="a run of this job is at work"):
            PartSet.open(output, job())
        with pytest.raises(StoreError, match="another shard is at work"):
            PartSet.open(output, job(checkpoint_hash="new"), shard=Shard((1,), 3), overwrite=True)
    PartSet.open(output, job()).close()


# --- the end ------------------------------------------------------------------------------------


def test_discard_leaves_what_is_not_its_own(tmp_path):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job()) as parts:
        parts.discard()
    assert not parts_folder(output).exists()
    compute(output)
    for name in ("notes.txt", ".editor.tmp"):
        (parts_folder(output) / name).touch()
    discard_leftovers(output)
    assert sorted(p.name for p in parts_folder(output).iterdir()) == [".editor.tmp", "notes.txt"]
    discard_leftovers(tmp_path / "never.h5")


def test_merge_after_another_process_has_merged_and_discarded_is_fine(tmp_path):
    output = tmp_path / "r.h5"
    compute(output)
    late = PartSet.existing(output)
    discard_leftovers(output)
    late.merge({})
    output.unlink()
    with pytest.raises(StoreError, match="another process removed it"):
        late.merge({})


def _other_constant(columns):
    columns["scale"] = ResultColumn(np.float64(1), "constant")


def _other_type(columns):
    columns[MAP] = replace(columns[MAP], values=columns[MAP].values.astype("f8"))


def _one_less(columns):
    del columns["engines/ig/status"]


def _one_more(columns):
    columns["engines/ig/error"] = ResultColumn(np.zeros(ROWS))


def _fewer_rows(columns):
    columns |= part_columns(3, rows=ROWS - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_constant, "part-00003.h5: /scale is not what it is in the parts before"),
        (_other_type, f"part-00003.h5: {MAP} has another shape, type or axis"),
        (_one_less, "part-00003.h5: engines/ig/status is only in part-00000.h5"),
        (_one_more, "part-00003.h5: engines/ig/error is only in part-00003.h5"),
        (_fewer_rows, f"the parts have {PARTS * ROWS - 1} rows of .* not {PARTS * ROWS}"),
    ],
)
def test_contradicting_parts_are_not_merged(tmp_path, change, message):
    output = tmp_path / "r.h5"
    with PartSet.open(output, job()) as parts:
        for part in parts.missing():
            columns = part_columns(part)
            if part == 3:
                change(columns)
            parts.write(part, columns)
        with pytest.raises(StoreError, match=message):
            parts.merge({})
    assert not output.exists()


def growth_of_merge(output, megabytes):
    """Peak memory that the merge of parts of 8 MiB adds, in MiB, measured in a process of its own."""
    count = megabytes // 8
    columns = {"map": ResultColumn(np.ones((8, 2**18), "f4"))}
    with PartSet.open(output, job(parts=count, rows=8 * count)) as parts:
        for part in parts.missing():
            parts.write(part, columns)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        parts.merge({})
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def test_merge_takes_constant_memory(tmp_path):
    with PROCESSES.Pool(1) as pool:
        growth = pool.apply(growth_of_merge, (tmp_path / "r.h5", 160))
    assert (tmp_path / "r.h5").stat().st_size > 160 * 2**20
    assert growth < 24
