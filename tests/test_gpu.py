"""What only a CUDA device can show; run by `make test-gpu`."""

import pytest
import torch
from support import digits, explain, trained

from xattr_cli.device import Packing
from xattr_cli.engines.integrated_gradients import IntegratedGradients

pytestmark = pytest.mark.gpu

ENGINE = IntegratedGradients(rule="midpoint", nodes=32)


@pytest.mark.parametrize("name", ["relu_cnn_maxpool", "gelu_mlp", "gru"])
def test_maps_equal_those_of_the_cpu(name):
    """Also shows that recurrent networks, whose cuDNN kernels have no backward in eval mode, are explained."""
    network, images = trained(name), digits()[2][:40]
    on_cpu = explain(ENGINE, network, images).attribution
    on_gpu = explain(ENGINE, network.cuda(), images.cuda(), target=torch.zeros(40, dtype=torch.int64).cuda())
    network.cpu()
    assert ((on_gpu.attribution.cpu() - on_cpu).norm(dim=1) / on_cpu.norm(dim=1)).max() < 1e-4


def test_float32_means_float32():
    """TF32 keeps 10 bits of a factor; the maps of a convolution must not show that."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(64 * 30 * 30, 2)
    ).cuda()
    images = torch.rand(8, 3, 32, 32, device="cuda")
    target = torch.zeros(8, dtype=torch.int64, device="cuda")
    with torch.backends.cudnn.flags(allow_tf32=True):
        single = explain(ENGINE, network, images, target=target).attribution
    double = explain(ENGINE, network.double(), images.double(), target=target).attribution
    assert ((single - double).norm(dim=1) / double.norm(dim=1)).max() < 1e-5


def test_out_of_memory_halves_the_calls_and_loses_nothing():
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        free = int(torch.cuda.get_device_properties(0).total_memory * 0.02)
        packing = Packing(1024)

        def call(part, rows):
            torch.empty(rows * free // 100, dtype=torch.uint8, device="cuda").fill_(1)
            return part

        parts = list(packing.run(3000, call))
        assert packing.rows < 100
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == 3000
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
