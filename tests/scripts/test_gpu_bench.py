"""The script of the GPU benchmark, run without a GPU: every table is made, and a missing device is said."""

from __future__ import annotations

import pytest
import torch

from scripts.benchmarks.bench_gpu import (
    arithmetic_table,
    arithmetics,
    facts,
    in_float64,
    main,
    memory_table,
    peak_memory,
    quick_size,
    rounded,
    tables_on,
)
from scripts.benchmarks.bench_speed import Bare, Captum, percentile
from scripts.benchmarks.speed_cases import SpeedCase
from xattr_cli.models.zoo import mlp, sequence_classifier

CPU = torch.device("cpu")


@pytest.fixture
def case():
    torch.manual_seed(0)
    network = mlp(30, [64, 64], 2).eval().requires_grad_(False)
    return SpeedCase("MLP", network, torch.randn(5, 30))


def test_every_table_is_made():
    """That nothing is left out and nothing breaks: seconds of a few rows on a CPU say nothing."""
    size = quick_size()
    tables = {table.title: table for table in tables_on(CPU, size)}
    assert [*tables] == [
        "Time to maps that are right within 5 % in 95 % of the rows",
        "What a whole run costs beyond the bare network",
        "What TF32 does to captum's maps",
        "Ways of running a network",
        "10 targets of a sample",
        "Peak memory of the device",
        "Seconds per gradient",
    ]
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    assert all(table.markdown() for table in tables.values())
    ours, _, default, oracle = tables["Time to maps that are right within 5 % in 95 % of the rows"].rows
    assert "captum, n_steps 50" in default[2]
    assert oracle[3] < 50
    assert max(row[4] for row in (ours, default, oracle)) <= 0.05
    ways = {row[2]: row[-1] for row in tables["Ways of running a network"].rows}
    assert ways["bfloat16"] == "drifts"
    assert ways["float32, compiled"] in ("chosen", "slower")
    assert facts(CPU, size)["device"].startswith("cpu")


def test_rounding_of_captums_maps_is_measured_against_float64_at_the_same_nodes(case):
    on_cpu = case.on(CPU, tf32=False)
    rows = arithmetics(on_cpu, 1)
    assert [row[2] for row in rows] == ["float32", "torch's default", "TF32"]
    assert all(0 < row[5] < 1e-5 for row in rows)  # float32 in all of them, without a GPU
    assert len({row[8] for row in rows}) == 1  # the oracle's steps
    assert len(arithmetic_table(rows).rows) == 3
    double = in_float64(on_cpu)
    assert next(double.module.parameters()).dtype == torch.float64
    assert torch.equal(double.target, on_cpu.target)
    assert torch.equal(rounded(on_cpu, True).target, on_cpu.target)


def test_a_case_that_was_moved_computes_the_same_and_leaves_the_first_alone(case):
    moved = case.on(CPU, tf32=False)
    assert moved.module is not case.module
    assert torch.equal(Captum(moved, 20, 64).attribute(), Captum(case, 20, 64).attribute())
    assert percentile(moved, Captum(moved, 50, 64).attribute()) < 0.05
    Bare(moved, 4, False).run(10)
    assert moved.module.training is case.module.training is False


def test_recurrent_layers_stay_in_eval_mode_where_there_is_no_cudnn():
    network = sequence_classifier(12, 8, 3, cell="lstm").eval().requires_grad_(False)
    moved = SpeedCase("BiLSTM", network, torch.randn(3, 5, 12), lengths=torch.tensor([2, 5, 3])).on(CPU)
    assert not any(layer.training for layer in moved.module.modules())


def test_memory_of_ten_times_as_many_rows_is_compared():
    assert memory_table([(1000, 100 * 2**20), (10_000, 105 * 2**20)]).rows == [
        (1000, 100.0, None),
        (10_000, 105.0, pytest.approx(1.05)),
    ]


@pytest.mark.gpu
def test_peak_memory_of_the_device_does_not_grow_with_the_rows():
    case, device = quick_size(500).digits, torch.device("cuda", 0)
    peak_memory(case, device, 1_000)  # libraries take their work space
    (_, few), (_, many) = (peak_memory(case, device, rows) for rows in (1_000, 10_000))
    assert few > 2**20
    assert many <= 1.1 * few


@pytest.mark.gpu
def test_every_table_is_made_on_the_device_too():
    tables = {table.title: table for table in tables_on(torch.device("cuda", 0), quick_size())}
    ways = {row[2]: row for row in tables["Ways of running a network"].rows}
    assert {"float32", "tf32", "float16", "bfloat16", "float32, compiled"} <= {*ways}
    assert ways["float32, compiled"][-1] in ("chosen", "slower")
    rows = {row[2]: row for row in tables["What TF32 does to captum's maps"].rows}
    assert rows["float32"][5] < 1e-5
    assert tables["Peak memory of the device"].rows[0][1] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_the_script_says_so_and_measures_nothing(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("no CUDA device here: ")
    assert said.out == ""
