"""`compute.memory`: what a job holds beside network and data, and what happens when memory runs out anyway."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch
from helpers.cli import datasets, differences, digits_job, fork, invoke, relative, run, write_data, write_job
from helpers.peaks import growth
from torch import nn

from xattr_cli.engines.base import LocalEngine, exact
from xattr_cli.job.config import load_job
from xattr_cli.numerics.paths import node_record
from xattr_cli.numerics.paths.node_record import NodeRecord
from xattr_cli.pipeline.explain import explain_rows
from xattr_cli.pipeline.memory import Footprint, WorkingMemory
from xattr_cli.pipeline.opening import open_session

MIB = 2**20
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells how much is mapped")

NETWORK = """
import torch
from torch import nn

def build(features):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 4), nn.Tanh())
"""


def wide_job(folder, rows, features, name="job.yaml", **sections):
    """A job whose rows are long: what is held for each of them counts, not the network."""
    (folder / "wide_network.py").write_text(NETWORK)
    x = np.random.default_rng(0).normal(size=(rows, features)).astype(np.float32)
    np.save(folder / "wide.npy", x)
    model = {"factory": "wide_network:build", "kwargs": {"features": features}}
    sections.setdefault("dataset", {"path": "wide.npy", "labels": None})
    return write_job(folder, name, model=model, **sections)


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "binding", "rows", "of_cells"),
    [
        (10_000, False, 4, 16),  # as many as it takes for a path to be cut seldom
        (10_000, False, 64, 64),  # are there already
        (850, False, 4, 8),  # 16 would take more than may be held
        (100, False, 4, 4),
        (10_000, True, 4, 16),
        (850, True, 4, 4),  # half of it is for rows that are worked on
    ],
)
def test_calls_of_cells_have_sixteen_rows_where_memory_allows(memory, binding, rows, of_cells):
    working = WorkingMemory(Footprint(part=0, call=100, row=1), memory, binding=binding)
    assert working.rows_of_cells(rows) == of_cells


def test_calls_of_cells_leave_room_for_a_row():
    working = WorkingMemory(Footprint(part=0, call=3, row=60), 100, binding=True)
    assert working.missing(4) is None
    assert working.rows_of_cells(4) == 8 and working.missing(8) is None
    assert working.missing(16) == 108


@pytest.mark.parametrize(
    ("memory", "rows_per_call", "rows_at_once"),
    [
        (10_000, 64, 88),  # 10,000 - 1,000 - 64 · 10 are left for rows of 94
        (2_000, 32, 7),  # 64 calls of 10 would take more than half of 1,000
        (1_200, 8, 1),
        (1_010, 4, 1),  # too little for anything: the least there is
    ],
)
def test_memory_is_allotted_to_calls_and_rows(memory, rows_per_call, rows_at_once):
    working = WorkingMemory(Footprint(part=1_000, call=10, row=94), memory, binding=True)
    assert working.rows_per_call(64) == rows_per_call
    assert working.rows_at_once(rows_per_call) == rows_at_once
    least = 1_000 + 10 * rows_per_call + 94
    assert working.missing(rows_per_call) == (least if least > memory else None)


def test_memory_that_nobody_named_bounds_the_rows_but_no_call():
    working = WorkingMemory(Footprint(part=1_000, call=10, row=100), 1_200, binding=False)
    assert working.rows_per_call(64) == 64
    assert working.rows_at_once(64) == 6  # half of the memory, however large a call is
    assert working.missing(64) is None


def test_what_once_ran_out_of_memory_is_not_tried_again():
    working = WorkingMemory(Footprint(part=0, call=1, row=1), 100, binding=False)
    assert working.rows_at_once(10) == 90
    working.allow(45)
    assert working.rows_at_once(10) == 45


def test_errors_found_for_some_rows_at_a_time_are_those_of_all_together(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    record = NodeRecord(torch.randn(37, 200, generator=generator))
    u = torch.rand(37, 50, generator=generator, dtype=torch.float64)
    u[::3, 30:] = torch.inf
    first = record.expect(u)
    slot, column = torch.nonzero(u.isfinite(), as_tuple=True)
    record.add(slot, first + column, torch.randn(len(slot), 200, generator=generator))
    record.sort()
    together = record.errors()
    monkeypatch.setattr(node_record, "BLOCK_BYTES", 5 * 50 * 128 * 4)
    for name, numbers in vars(record.errors()).items():
        assert torch.equal(numbers, getattr(together, name)), name


# --- the job ------------------------------------------------------------------------------------


def settled(path, *overrides):
    """Rows per call, rows at once, rows of a part."""
    with open_session(load_job(str(path), overrides)) as session:
        rows = session.scorer.packing.rows
        return rows, session.settings.working.rows_at_once(rows), session.parts.part_rows


def test_less_memory_makes_calls_and_pieces_smaller_but_no_parts(tmp_path):
    job = digits_job(tmp_path, 40, engines={"integrated_gradients": {"max_nodes": 65}})
    free = settled(job)
    tight = settled(job, "compute.memory=2MiB")
    assert free[0] == 512 and free[1] > 512
    assert 4 <= tight[0] < 512 and 1 <= tight[1] < 40
    assert tight[2] == free[2] == 1024
    assert settled(job, "compute.memory=2MiB", "compute.batch_rows=64")[0] == 64


@pytest.mark.parametrize("target", ["predicted", {"top": 3}])
def test_no_map_depends_on_how_many_rows_are_worked_on_at_once(tmp_path, target):
    sections = {"target": target, "output": {"part_rows": 32}}
    job = digits_job(tmp_path, 40, **sections)
    calls = ["--set", "compute.batch_rows=32"]
    run(job, "--quiet", "--set", "output.path=free.h5", *calls)
    run(job, "--quiet", "--set", "compute.memory=9MiB", *calls)
    assert settled(job, "compute.memory=9MiB", "compute.batch_rows=32")[1] < 12
    found, expected = datasets(tmp_path / "out.h5"), datasets(tmp_path / "free.h5")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "f" and values.ndim > 1:
            assert relative(found[name], values).max() <= 1e-6, name
        elif values.dtype.kind != "f":
            assert np.array_equal(found[name], values), name


def test_memory_that_does_not_suffice_for_a_row_is_refused(tmp_path):
    job = digits_job(tmp_path, 40)
    outcome = invoke("run", job, "--set", "compute.memory=1MiB")
    assert outcome.exit_code == 2 and not (tmp_path / "out.h5.parts").exists()
    for words in (
        "compute.memory: 1 MiB is not enough, a single row needs about",
        "output.part_rows",
        "max_nodes",
    ):
        assert words in outcome.stderr


def test_the_plan_tells_what_the_rows_hold(tmp_path):
    job = digits_job(tmp_path, 40, engines={"integrated_gradients": {"max_nodes": 65}})
    words = ["--set", "compute.memory=2MiB"]
    plan = json.loads(invoke("plan", job, "--json", *words).stdout)
    assert 1 <= plan["rows_at_once"] < 40 and MIB < plan["working_bytes"] <= 2 * MIB
    assert f"of it rows   at most {plan['working_bytes'] / MIB:.0f} MiB" in invoke("plan", job, *words).stdout
    assert json.loads(invoke("plan", job, "--json").stdout)["rows_at_once"] == 40


def test_a_resumed_run_calls_as_it_began_unless_memory_is_shorter(tmp_path):
    job = digits_job(tmp_path, 24, engines={"integrated_gradients": {"max_nodes": 65}}, output={"part_rows": 8})
    run(job, "--quiet", "--shard", "1/2", "--set", "compute.memory=8MiB")
    plan = json.loads(next((tmp_path / "out.h5.parts").glob("*.json")).read_text())["plan"]
    assert plan["batch_rows"] < 512
    run(job, "--quiet")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["batch_rows"] == plan["batch_rows"]


# --- the truth ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted in other units elsewhere")
def test_a_run_holds_what_it_may_and_no_more(tmp_path):
    def job(name, rows, memory):
        engines = {"integrated_gradients": {"rtol": 0.5, "max_nodes": 33}}
        return wide_job(
            tmp_path, 300, 20_000, f"{name}.yaml", engines=engines,
            compute={"memory": memory, "threads": 1, "arithmetic": "float32"},
            dataset={"path": "wide.npy", "labels": None, "limit": rows}, output={"path": f"{name}.h5"},
        )  # fmt: skip

    capped, free = growth(
        job("first", 4, "256MiB"), job("capped", 300, "160MiB"), job("free", 300, "4GiB"), folders=(tmp_path,)
    )
    mapped = 300 * 20_000 * 4 / MIB  # pages of the data are counted, too
    assert capped < 160 + mapped < capped + free
    assert free > 80
    assert relative(*(datasets(tmp_path / f"{name}.h5")["engines/integrated_gradients/attribution"]
                      for name in ("capped", "free"))).max() < 1e-6  # fmt: skip


# --- out of memory all the same -----------------------------------------------------------------


class Greedy(LocalEngine):
    """Takes more memory than there is for more than ten rows."""

    registered_name: ClassVar[str] = "greedy"
    tag: ClassVar[str] = "engine"

    def explain(self, block):
        if len(block.inputs) > 10:
            torch.empty(2**50)
        scores, gradients = block.gradients(block.inputs[:, None])
        return exact(block.inputs * gradients[:, 0], scores[:, 0])


@pytest.mark.parametrize("target", ["predicted", "all"])
def test_rows_that_do_not_fit_are_worked_on_in_halves(tmp_path, caplog, target):
    """A real failure, outside of any device call."""
    write_data(tmp_path)
    job = load_job(str(write_job(tmp_path, target=target, engines={"greedy": {"engine": "saliency"}})))
    job.engines["greedy"] = Greedy()
    with open_session(job) as session:
        rows = slice(3, session.parts.rows - 1)
        columns, _ = explain_rows(session, rows)
        warned = [record.args[0] for record in caplog.records]
        assert warned == ([8] if target == "predicted" else [38, 18, 6])  # pieces end where a sample does
        lone = [explain_rows(session, slice(row, row + 1))[0] for row in range(rows.start, rows.stop)]
    for name, column in columns.items():
        pieces = [piece[name].values for piece in lone]
        expected = pieces[0] if column.axis == "constant" else np.concatenate(pieces)
        assert column.values.dtype == expected.dtype and column.values.shape == expected.shape, name
        if column.values.dtype.kind == "f":
            np.testing.assert_allclose(column.values, expected, atol=1e-6, err_msg=name)
        else:
            assert np.array_equal(column.values, expected), name


@LINUX
@pytest.mark.slow
def test_a_process_short_of_memory_works_on_fewer_rows(tmp_path, monkeypatch):
    """A real failure: 640 rows take 2 GB, half of it at once, where the process may take 1 GB more."""
    monkeypatch.syspath_prepend(tmp_path)
    sections = {"compute": {"arithmetic": "float32", "batch_rows": 64}, "output": {"part_rows": 640}}
    job = wide_job(
        tmp_path, 640, 65_536, engines={"integrated_gradients": {"rtol": 0.5, "max_nodes": 9}}, **sections
    )
    run(job, "--quiet", "--set", "compute.memory=1GiB", "--set", "output.path=capped.h5")
    tight = fork(tmp_path, "run", job, "--set", "compute.memory=64GiB", spare_memory=2**30)
    assert tight.wait() == 0, tight.stderr
    assert "out of memory; going on with 320 rows at once (" in tight.stderr
    found, expected = datasets(tmp_path / "out.h5"), datasets(tmp_path / "capped.h5")
    at = "engines/integrated_gradients/attribution"
    assert relative(found[at], expected[at]).max() < 1e-6
    assert np.array_equal(found["rows/sample"], np.arange(640))


RELUCTANT = """
import numpy as np
from xattr_cli.datasets import Samples
from xattr_cli.samples import Batch, InputSpec

class Reluctant(Samples):
    '''Reads no more than 64 samples at once.'''

    def __init__(self):
        self.x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
        self.inputs = (InputSpec('x', (3,), self.x.dtype),)
        self.fingerprint = 'reluctant'

    def __len__(self):
        return 200

    def read(self, start, stop):
        if stop - start > 64:
            np.empty(2**50)
        return Batch(np.arange(start, stop), {'x': self.x[start:stop]}, None)
"""


def test_a_part_that_cannot_be_read_at_once_is_read_in_pieces(tmp_path, monkeypatch, caplog):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reluctant.py").write_text(RELUCTANT)
    dataset = {"kind": "python", "factory": "reluctant:Reluctant", "bad_rows": "quarantine"}
    job = write_job(tmp_path, dataset={**dataset, "path": None, "labels": None}, output={"store_inputs": "all"})
    run(job, "--quiet")
    assert [record.args[0] for record in caplog.records] == [100, 50]
    found = datasets(tmp_path / "out.h5")
    assert np.array_equal(found["rows/sample"], np.arange(200))
    assert found["inputs/x/values"].shape == (200, 3)
    run(job, "--quiet", "--set", "output.part_rows=50", "--set", "output.path=parts.h5")
    assert differences(tmp_path / "out.h5", tmp_path / "parts.h5") == []


class Hungry(nn.Module):
    """Wants more memory than there is, once it is asked for maps."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.inner = nn.Linear(3, 4)

    def forward(self, x):
        self.calls += 1
        if self.calls > 400:  # not while the network is looked at
            torch.empty(2**50)
        return torch.tanh(self.inner(x))


def hungry():
    torch.manual_seed(0)
    return Hungry()


def test_memory_that_suffices_for_no_row_ends_the_run_with_a_message(tmp_path, caplog):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=x)
    engines = {"integrated_gradients": {"rtol": 1e-6, "rule": "gradient"}}
    model = {"factory": "test_memory_cap:hungry"}
    job = write_job(tmp_path, model=model, dataset={"labels": None}, engines=engines, compute={"batch_rows": 4})
    outcome = run(job, code=1)
    assert "out of memory" in outcome.stderr and "Traceback" not in outcome.stderr
    assert "going on with 1 rows at once" in caplog.text
