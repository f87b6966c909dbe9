"""What jobs on a GPU rely on and a CPU can show: switches of rounding, copies, and which device is whose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.blocks import digits, scorer_of, trained
from torch import nn
from torch.backends import cudnn, mkldnn

from xattr_cli.device import Execution, Runner, page_locked
from xattr_cli.device.execution.rounding import rounded_products
from xattr_cli.device.select import own_device
from xattr_cli.samples import Batch

SWITCHES = {
    "matmul": torch.backends.cuda.matmul,
    "conv": cudnn.conv,
    "rnn": cudnn.rnn,
    "cpu matmul": mkldnn.matmul,
    "cpu conv": mkldnn.conv,
    "cpu rnn": mkldnn.rnn,
}
AT_FIRST = {name: switch.fp32_precision for name, switch in SWITCHES.items()}


# --- rounding of products -------------------------------------------------------------------------


def precisions():
    """What kernels obey."""
    return {name: switch.fp32_precision for name, switch in SWITCHES.items()}


def legacy(name):
    """What older code asks; "refused" where torch does not answer."""
    ask = {"matmul": torch.get_float32_matmul_precision, "cudnn": lambda: cudnn.allow_tf32}
    try:
        return ask[name]()
    except RuntimeError:
        return "refused"


@pytest.fixture
def switches():
    """Leaves everything as torch has it at first."""
    yield
    torch.backends.fp32_precision = cudnn.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32, cudnn.benchmark = True, False
    for name, switch in SWITCHES.items():
        switch.fp32_precision = "none"
        if switch.fp32_precision != AT_FIRST[name]:
            switch.fp32_precision = AT_FIRST[name]
    assert precisions() == AT_FIRST


def turn(owner, name, value):
    return lambda: setattr(owner, name, value)


WAYS = {
    "nothing": lambda: None,
    "allow_tf32 of products": turn(torch.backends.cuda.matmul, "allow_tf32", True),
    "allow_tf32 of cuDNN off": turn(cudnn, "allow_tf32", False),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "everything": turn(torch.backends, "fp32_precision", "tf32"),
    "CUDA": turn(cudnn, "fp32_precision", "tf32"),
    "matmul alone": turn(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "conv alone off": turn(cudnn.conv, "fp32_precision", "ieee"),
    "rnn alone off": turn(cudnn.rnn, "fp32_precision", "ieee"),
    "cpu bfloat16": turn(mkldnn.matmul, "fp32_precision", "bf16"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tf32", [False, True])
def test_float32_means_float32_however_a_user_has_switched(switches, way, tf32):
    WAYS[way]()
    before = precisions(), legacy("matmul"), legacy("cudnn")
    with pytest.raises(KeyError), rounded_products(tf32):
        on_cuda = "tf32" if tf32 else "ieee"
        assert precisions() == {name: "ieee" if "cpu" in name else on_cuda for name in SWITCHES}
        # the compiler asks the legacy switches, which refuse to answer where they disagree with the others
        assert torch.backends.cuda.matmul.allow_tf32 == cudnn.allow_tf32 == tf32
        assert legacy("matmul") == ("high" if tf32 else "highest")
        raise KeyError  # also an error leaves everything as it was
    assert (precisions(), legacy("matmul"), legacy("cudnn")) == before


def test_what_follows_the_switch_above_it_goes_on_following_it(switches):
    torch.backends.fp32_precision = "tf32"
    with rounded_products(False):
        assert precisions()["matmul"] == "ieee"
    torch.backends.fp32_precision = "ieee"
    assert precisions()["matmul"] == "ieee"


def test_algorithms_of_cudnn_are_not_chosen_by_timing(switches):
    cudnn.benchmark = True
    with rounded_products(False):
        assert not cudnn.benchmark
    assert cudnn.benchmark


def test_a_job_runs_in_a_process_that_has_switched_tf32_on(switches):
    network, images = trained("gelu_mlp"), digits()[2][:8]
    plain = scorer_of(network, images).scores(images.flatten(1), {})
    torch.backends.fp32_precision = "tf32"
    assert torch.equal(scorer_of(network, images).scores(images.flatten(1), {}), plain)
    assert torch.backends.fp32_precision == "tf32"


# --- CUDA graphs ----------------------------------------------------------------------------------


class Recorded(torch.autograd.Function):
    """Scores and gradients of x² in memory that every later call overwrites, as those of CUDA graphs are."""

    memory = torch.empty(8, 3), torch.empty(8, 3)

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.square(x, out=Recorded.memory[0][: len(x)].detach())

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.mul(grad, 2 * x, out=Recorded.memory[1][: len(x)])


class Graphed(nn.Module):
    def forward(self, x):
        return Recorded.apply(x)


class OnGraphs(Runner):
    """Thinks that its network is run by CUDA graphs."""

    def _records_graphs(self, tensors):
        return True


@pytest.mark.parametrize(("runner", "survives"), [(Runner, False), (OnGraphs, True)])
def test_no_later_call_overwrites_what_a_graph_has_found(runner, survives, monkeypatch):
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) + 1
    scorer = scorer_of(Graphed(), points, rows=8)
    monkeypatch.setattr("xattr_cli.device.scorer.Runner", runner)
    scores = scorer.scores(points, {})
    targets = [torch.zeros(8, dtype=torch.int64), torch.ones(8, dtype=torch.int64)]
    calls = [scorer.gradients_of_call(points[s : s + 8], {}, targets, 8) for s in range(0, 40, 8)]
    gradients = torch.cat([call[0][1] for call in calls])
    of_the_second = torch.cat([call[1][1] for call in calls])
    wanted = torch.zeros(2, 40, 3)
    wanted[0, :, 0], wanted[1, :, 1] = 2 * points[:, 0], 2 * points[:, 1]
    found = torch.equal(scores, points**2) and torch.equal(torch.stack([gradients, of_the_second]), wanted)
    assert found == survives


@pytest.mark.parametrize("runner", [Runner, OnGraphs])
def test_a_compiled_network_has_the_same_scores_and_gradients(runner, monkeypatch):
    monkeypatch.setattr("xattr_cli.device.scorer.Runner", runner)
    network, images = trained("gelu_mlp"), digits()[2][:8]
    found = []
    for how in (Execution(), Execution(compiled=True)):
        # the mode for CUDA graphs compiles the same way where there is no CUDA
        scorer = replace(scorer_of(network, images, rows=8), execution=how)
        with scorer.exact_arithmetic():
            targets = [torch.zeros(8, dtype=torch.int64), torch.ones(8, dtype=torch.int64)]
            found.append(scorer.gradients_of_call(images.flatten(1), {}, targets, 8))
    for plain, compiled in zip(*found, strict=True):
        for wanted, got in zip(plain, compiled, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


# --- copies ---------------------------------------------------------------------------------------


def batch():
    inputs = {"X": np.arange(12.0).reshape(4, 3), "ids": np.arange(8).reshape(4, 2)[::-1]}
    inputs["ids"].setflags(write=False)
    return Batch(np.arange(4), inputs, real={"X": np.ones((4, 3), dtype=bool)})


def test_samples_for_the_cpu_are_left_where_they_are():
    given = batch()
    assert page_locked(given, torch.device("cpu")) is given


def test_samples_in_page_locked_memory_are_the_same():
    """Where there is no CUDA device there is no such memory either: then they stay in the memory they are in."""
    given = batch()
    locked = page_locked(given, torch.device("cuda"))
    for name, values in given.inputs.items():
        assert locked.inputs[name].dtype == values.dtype
        np.testing.assert_array_equal(locked.inputs[name], values)
    np.testing.assert_array_equal(locked.real["X"], given.real["X"])
    np.testing.assert_array_equal(locked.index, given.index)
    if torch.cuda.is_available():
        assert torch.from_numpy(locked.inputs["X"]).is_pinned()


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "count", "own"), [(None, 2, 0), ("0", 2, 0), ("1", 2, 1), ("2", 2, 0), ("3", 1, 0), ("5", 4, 1)]
)
def test_processes_of_torchrun_share_the_devices_of_a_machine(rank, count, own):
    environment = {} if rank is None else {"LOCAL_RANK": rank}
    assert own_device(environment, count) == torch.device("cuda", own)
