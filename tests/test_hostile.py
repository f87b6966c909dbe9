"""Broken and hostile files: one message, exit code 2, within two seconds; nothing of theirs is run."""

from __future__ import annotations

import gzip
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from helpers.cli import invoke, run, write_data, write_job

from xattr_cli.cli.printing import printable
from xattr_cli.datasets.array_files import open_array_file
from xattr_cli.datasets.stored import contained
from xattr_cli.datasets.stored.contained import ContainedHdf5
from xattr_cli.errors import DataError, JobError, ResultError, XattrError, reported
from xattr_cli.store.results.reader import Results
from xattr_cli.untrusted.yaml_text import parse_yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """A folder with good data."""
    write_data(tmp_path)
    return tmp_path


def refused(*arguments, text, **options):
    """The one message of a command that ends with 2 within two seconds of processor time."""
    began = time.process_time()
    outcome = invoke(*arguments, **options)
    assert outcome.exit_code == 2, outcome.output
    assert outcome.stderr.startswith("Error: ") and text in outcome.stderr, outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 12
    assert time.process_time() - began < 2
    return outcome.stderr


# --- jobs ---------------------------------------------------------------------------------------

ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k0: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 9)}], k{new}: 1}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
GOOD = "dataset: {kind: arrays, path: data.npz}\nengines: [saliency]\noutput: {path: out.h5}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: " + "[" * 600 + "]" * 600, "nested more than 64 levels"),
        ("model: " + "{a: " * 600 + "1" + "}" * 600, "nested more than 64 levels"),
        ("- " * 100_000, "nested more than 64 levels"),
        ("[" * 100_000, "nested more than 64 levels"),
        (ALIASES, "more than 200,000 values"),
        (MERGES, "more than 200,000 values"),
        ("a: &a [*a]", "an anchor stands for something that contains it"),
        ("model: !!bool abc", "not valid YAML"),
        ("model: !!timestamp", "not valid YAML"),
        ("model: !!timestamp 2024-13-45", "not valid YAML"),
        ("model: !!binary é", "not valid YAML"),
        ("model: 9" + "9" * 5000, "not valid YAML"),
        (GOOD + "model: {kind: python, factory: 'a:b', checkpoint: \"x\\0y\"}", "holds a NUL character"),
        (GOOD + 'model: {kind: python, factory: "a:b", checkpoint: "\\ud800"}', "half of a character"),
        (GOOD + f"model: {{kind: python, factory: 'a:b', checkpoint: {'n' * 300}}}", "is too long for a file"),
        (GOOD + f"model: {{kind: python, factory: 'a:b', checkpoint: {'n/' * 3000}}}", "is too long for a file"),
        (GOOD + "model: {kind: python, factory: 'a:b'}\ncompute: {threads: 9223372036854775807}", ".threads"),
        (GOOD + "model: {kind: python, factory: 'a:b'}\ncompute: {batch_rows: 10000000000000000000}", "64 bits"),
        (GOOD + "".join(f"key{i}: {i}\n" for i in range(30_000)), "more faults like these"),
        (GOOD + "model: {kind: python, factory: 'a:b'}\ncompute: {batch_rows: 2147483647}", "compute.batch_rows"),
        ("\x00\x01\x02", "not valid YAML"),
        ("", "must be a mapping"),
    ],
)  # fmt: skip
def test_a_hostile_job_is_refused_at_once(folder, text, told):
    (folder / "job.yaml").write_text(text)
    refused("plan", folder / "job.yaml", text=told)
    refused("run", "-", input=text, text=told)


def test_a_job_may_be_as_long_as_a_list_of_genes(folder):
    names = [f"gene{i}" for i in range(30_000)]
    assert parse_yaml(f"features: [{', '.join(names)}]", "the job", JobError) == {"features": names}


def test_an_alias_may_be_used_often():
    assert len(parse_yaml("a: &a {k: 1}\n" + "".join(f"b{i}: *a\n" for i in range(500)), "it", JobError)) == 501


def test_a_job_larger_than_any_is_not_read(folder):
    with (folder / "job.yaml").open("wb") as file:
        file.truncate(2**31)
    refused("plan", folder / "job.yaml", text="more than 16 MiB")


def test_a_graph_nested_without_end_is_refused(folder):
    (folder / "graph.yaml").write_text("- " * 100_000)
    (folder / "graph.json").write_text("[" * 100_000)
    for name, told in (("graph.yaml", "nested more than 64"), ("graph.json", "not valid JSON")):
        job = write_job(folder, engines={"icc": {"graph": name}})
        refused("plan", job, text=told)


@pytest.mark.parametrize(
    "graph", [{"a": [["b"]]}, [1], {"nodes": [[1]], "edges": [[[1], 2]]}, {"edges": [[{}, {}]]}]
)
def test_a_graph_of_the_wrong_form_is_refused(folder, graph):
    refused("plan", write_job(folder, engines={"icc": {"graph": graph}}), text="graph")


# --- pipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["npz", "npy", "h5", "csv", "parquet"])
def test_a_pipe_as_dataset_does_not_block(folder, ending):
    os.mkfifo(folder / f"pipe.{ending}")
    kind = "table" if ending in ("csv", "parquet") else "arrays"
    job = write_job(folder, dataset={"kind": kind, "path": f"pipe.{ending}", "labels": None})
    refused("plan", job, text=f"pipe.{ending} is a pipe")


def test_a_pipe_as_anything_else_does_not_block_either(folder):
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.h5")
    os.mkfifo(folder / "pipe.yaml")
    refused("plan", write_job(folder, model={"checkpoint": "pipe"}), text="is a pipe")
    refused(
        "plan", write_job(folder, model={"kind": "torchscript", "factory": None, "path": "pipe"}), text="is a pipe"
    )
    refused("plan", folder / "pipe.yaml", text="is a pipe")
    refused("inspect", folder / "pipe.h5", text="is a pipe")
    refused("plan", write_job(folder, engines={"icc": {"graph": "pipe.yaml"}}), text="pipe")
    refused("plan", write_job(folder, output={"path": "pipe.h5"}), text="not a regular file")


def test_a_job_may_come_from_a_pipe_that_the_shell_has_opened(folder):
    reading, writing = os.pipe()
    os.write(writing, b"engines: []")
    os.close(writing)
    refused("plan", f"/dev/fd/{reading}", text="model: this key is missing")
    os.close(reading)


# --- bombs --------------------------------------------------------------------------------------


def zeros_of(size):
    """The deflated entry of so many zeros, as a .npy, in pieces."""
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (12, 3), }"
    return header.ljust(127) + b"\n", size


def test_a_megabyte_that_unpacks_to_a_gigabyte_is_refused(folder):
    with (
        zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("X.npy", "w") as file,
    ):
        file.write(zeros_of(0)[0])
        for _ in range(1024):
            file.write(bytes(2**20))
    assert (folder / "bomb.npz").stat().st_size < 2 * 2**20
    refused("plan", write_job(folder, dataset={"path": "bomb.npz", "labels": None}), text="decompression bomb")


def test_a_table_that_swells_is_refused(folder):
    with gzip.open(folder / "bomb.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"a,b,c\n")
        for _ in range(300):
            file.write(b"0,0,0\n" * 2**18)
    table = {"kind": "table", "labels": None}
    refused("plan", write_job(folder, dataset={**table, "path": "bomb.csv.gz"}), text="decompression bomb")
    columns = pandas.DataFrame({name: np.zeros(4_000_000, np.float64) for name in "abcdefghij"})
    columns.to_parquet(folder / "bomb.parquet")
    refused("plan", write_job(folder, dataset={**table, "path": "bomb.parquet"}), text="decompression bomb")


def test_an_array_that_nobody_has_written_is_refused(folder):
    with h5py.File(folder / "bomb.h5", "w") as file:
        file.create_dataset("X", (2**40, 3), "f4", chunks=(1024, 3))
        file.create_dataset("row", (12, 2**31), "f4", chunks=(1, 2**20), compression="gzip")
    for name in ("X", "row"):
        job = write_job(folder, dataset={"path": "bomb.h5", "inputs": name, "labels": None})
        refused("plan", job, text="never written")


def png(width, height):
    """A grey picture of zeros."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 64)))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_refused(folder):
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(png(40_000, 40_000))
    job = write_job(folder, dataset={"kind": "images", "path": "pictures", "labels": None})
    refused("plan", job, text="decompression bomb")
    (folder / "pictures" / "a.png").write_bytes(png(10_000, 10_000))  # of which Pillow only warns
    refused("plan", job, text="decompression bomb")


def test_a_picture_that_is_a_program_is_not_run(folder, monkeypatch):
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {folder}/canary\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    )
    refused(
        "plan",
        write_job(folder, dataset={"kind": "images", "path": "pictures", "labels": None}),
        text="damaged or no picture",
    )
    assert not (folder / "canary").exists()


# --- HDF5 ---------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """An HDF5 file of an array and of texts."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.arange(36, dtype=">f8").reshape(12, 3)
        file["group/texts"] = np.array(["ä", "", "c"], dtype=object)
        file["one"] = np.float32(2)
    return tmp_path / "a.h5"


def test_arrays_from_another_process_are_those_of_the_file(stored):
    file = open_array_file(stored, "dataset.path")
    assert file.names() == ["X", "group/texts", "one"]
    x = file.array("X", "dataset.inputs")
    assert x.shape == (12, 3) and x.dtype == ">f8"
    np.testing.assert_array_equal(x[2:5], np.arange(6, 15).reshape(3, 3))
    np.testing.assert_array_equal(x[::4], np.arange(36).reshape(12, 3)[::4])
    np.testing.assert_array_equal(np.asarray(x), np.arange(36).reshape(12, 3))
    assert x[12:].shape == (0, 3) and float(np.asarray(file.array("one", "it"))) == 2
    assert file.array("group.texts", "dataset.texts")[:].tolist() == ["ä".encode(), b"", b"c"]
    with pytest.raises(DataError, match="no array 'Y'"):
        file.array("Y", "dataset.inputs")
    file.close()


def test_what_brings_hdf5_down_is_one_error_here(stored):
    file = ContainedHdf5(stored, "dataset.path")
    array, sources = file.array("X", "dataset.inputs")
    assert sources == [stored]
    os.kill(file._process.pid, signal.SIGSEGV)
    with pytest.raises(DataError, match=r"a\.h5: is damaged: it has brought HDF5 down \(SIGSEGV\)"):
        array[:]
    file.close()


def test_what_hdf5_never_finishes_is_one_error_here(stored, monkeypatch):
    file = ContainedHdf5(stored, "dataset.path")
    array, _ = file.array("X", "dataset.inputs")
    monkeypatch.setattr(contained, "PATIENCE", 0.2)
    os.kill(file._process.pid, signal.SIGSTOP)
    with pytest.raises(DataError, match="has not read it in"):
        array[:]
    file.close()


@pytest.fixture
def endless(tmp_path):
    """Texts of which a byte was inserted where their lengths are kept: HDF5 looks for the rest for ever."""
    path = tmp_path / "endless.h5"
    with h5py.File(path, "w") as file:
        file["text"] = np.array([f"aa{number % 10}" for number in range(12)], dtype=h5py.string_dtype())
    content = path.read_bytes()
    lengths = content.index(b"GCOL") + 32
    path.write_bytes(content[:lengths] + b"5" + content[lengths:])
    return path


def test_a_file_on_which_hdf5_goes_round_in_circles_is_one_error_soon(endless):
    file = ContainedHdf5(endless, "dataset.path")
    texts, _ = file.array("text", "dataset.texts")
    with pytest.raises(
        DataError, match=r"endless\.h5: is damaged: it has kept HDF5 busy without end \(SIGVTALRM\)"
    ):
        texts[:]
    file.close()


def test_the_other_process_ends_with_this_one(stored):
    code = (
        "import os, sys; from pathlib import Path; from xattr_cli.datasets.stored.contained import ContainedHdf5\n"
        "print(ContainedHdf5(Path(sys.argv[1]), 'it')._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, stored], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == -9
    deadline = time.monotonic() + 10
    while Path(f"/proc/{done.stdout.strip()}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{done.stdout.strip()}/exe").exists()


# --- results ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    write_data(folder)
    run(write_job(folder), "--quiet")
    return folder / "out.h5"


def changed(result, tmp_path, change):
    """A copy of the result after `change(file)`."""
    path = tmp_path / "changed.h5"
    path.write_bytes(result.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_links_and_views_to_other_files_are_refused(result, tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    link = changed(
        result, tmp_path, lambda f: f.__setitem__("engines/x", h5py.ExternalLink(str(tmp_path / "pipe.h5"), "/"))
    )
    refused("inspect", link, text="is a link to another file")

    def view(file):
        layout = h5py.VirtualLayout((20,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (20,))
        del file["rows/id"]
        file.create_virtual_dataset("rows/id", layout)

    refused("inspect", changed(result, tmp_path, view), text="its values lie in other files")


def test_a_result_that_claims_a_terabyte_is_refused(result, tmp_path):
    def claim(file):
        del file["rows/id"]
        file.create_dataset("rows/id", (2**40,), "i8", chunks=(1024,))

    refused("inspect", changed(result, tmp_path, claim), text="are stored")


def test_what_a_library_raises_about_a_result_is_one_message(result, tmp_path):
    path = changed(
        result, tmp_path, lambda file: file["engines/integrated_gradients"].attrs.__setitem__("options", "[" * 900)
    )
    refused("inspect", path, text="nested more than 64")
    path = changed(result, tmp_path, lambda file: file["rows"].__delitem__("target"))
    for command in ("inspect", "plot"):
        refused(command, path, text="target")


def test_names_in_a_file_cannot_move_the_cursor(result, tmp_path):
    path = changed(result, tmp_path, lambda file: file.attrs.__setitem__("format", "\x1b[2Jgone\u202e"))
    message = refused("inspect", path, text="not a result file")
    assert "\x1b" not in message and "\u202e" not in message and "\\x1b" in message
    assert printable("a\tb\nü→\x07") == "a\tb\nü→\\x07"
    assert len(printable("x" * 10**6)) < 2100


CRASHING = """
import h5py, os, signal, sys
import click
from xattr_cli.cli import CONTAINED, main
from xattr_cli.cli.reading import ReadingCommand

@main.command(cls=ReadingCommand)
@click.argument("file")
def crash(file):
    {what}

main(["crash", "out.h5"], prog_name="xattr-cli", obj=CONTAINED)
"""


@pytest.mark.parametrize(
    ("what", "code", "told"),
    [
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            2,
            "Error: out.h5: has brought down the process that read it (SIGSEGV)",
        ),
        (
            "os.kill(os.getpid(), signal.SIGBUS)",
            2,
            "Error: out.h5: has brought down the process that read it (SIGBUS)",
        ),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("h5py.File('endless.h5')['text'][:]", 2, "Error: out.h5: has kept HDF5 busy without end (SIGVTALRM)"),
    ],
)
def test_a_file_that_crashes_hdf5_or_keeps_it_busy_does_not_do_so_to_the_command(endless, what, code, told):
    done = subprocess.run(
        [sys.executable, "-c", CRASHING.format(what=what)],
        capture_output=True,
        text=True,
        cwd=endless.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == code and done.stderr.startswith(told), done.stderr
    assert len(done.stderr.splitlines()) == bool(told)


# --- whatever else ------------------------------------------------------------------------------


def test_a_key_of_a_thousand_lines_is_one_line_of_the_message(tmp_path):
    key = "n\n" * 1000
    done = invoke("plan", write_job(tmp_path, **{key: 1}))
    told = done.stderr.splitlines()
    assert done.exit_code == 2 and len(told) == 1 and len(told[0]) < 500
    assert told[0].startswith(r"Error: n\nn\n") and "unknown key" in told[0]


def test_whatever_is_raised_becomes_one_line_but_our_own_errors_stay():
    with (
        pytest.raises(DataError, match=r"^it is damaged \(ValueError: first\)\.$"),
        reported("it is damaged", DataError),
    ):
        raise ValueError("first\nsecond")
    with pytest.raises(DataError, match="not enough memory"), reported("it", DataError):
        np.empty(2**50)
    with pytest.raises(ResultError), reported("it", DataError):
        raise ResultError("mine")
    assert issubclass(ResultError, XattrError)


def test_a_truncated_result_has_exit_code_2_in_python_too(result, tmp_path):
    (tmp_path / "cut.h5").write_bytes(result.read_bytes()[:3000])
    with pytest.raises(ResultError) as caught:
        Results.open(tmp_path / "cut.h5")
    assert caught.value.exit_code == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the forked process tells its memory as Linux does")
def test_a_few_files_of_each_family_end_cleanly(tmp_path):
    """What `make fuzz` does with thousands."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.fuzz", "--seed", "16", "--count", "12", "--table", tmp_path / "table.md"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    rows = [
        line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| ")
    ]
    assert [row[1:3] for row in rows[1:]] == [["12", "12"]] * 4


def test_a_command_that_takes_long_to_end_is_not_taken_for_stuck():
    """At its end Python takes its handlers away: a timer that still runs would end the process by a signal."""
    program = (
        "import time\n"
        "from xattr_cli.untrusted.stuck import Watchdog\n"
        "class Slow:\n"
        "    def __del__(self, clock=time.process_time):\n"
        "        end = clock() + 0.5\n"
        "        while clock() < end: pass\n"
        "slow, watchdog = Slow(), Watchdog(0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
