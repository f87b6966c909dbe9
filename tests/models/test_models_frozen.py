"""A network that was lent out comes back as it was."""

from __future__ import annotations

import contextlib
import copy
import warnings

import pytest
import torch
from helpers.models import outputs, points, small
from torch import nn

from xattr_cli.models import frozen
from xattr_cli.models.zoo import mlp, sequence_classifier


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)))


def exported():
    batch = torch.export.Dim("batch")
    program = torch.export.export(small().eval(), (points(),), dynamic_shapes=({0: batch},))
    return program.module()


KINDS = {
    "module": small,
    "recurrent": lambda: nn.Sequential(nn.Unflatten(1, (3, 1)), sequence_classifier(1, 4, 2, "lstm", True)),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))),
    "scripted": scripted,
    "exported": exported,
}


@pytest.fixture(params=KINDS)
def network(request):
    torch.manual_seed(5)
    return KINDS[request.param]()


def used(module):
    """A network in the middle of its life: gradients, a frozen layer, mixed modes."""
    module(points()).sum().backward()
    parameters = list(module.parameters())
    parameters[-1].requires_grad_(False)
    for submodule in list(module.modules())[1::2]:
        submodule.training = False
    return module


def snapshot(module):
    """Everything that somebody could miss, and the identity of what must stay the same object."""
    return {
        "parameters": [(n, id(p), p.dtype, p.device, p.requires_grad) for n, p in module.named_parameters()],
        "pointers": [p.data_ptr() for p in module.parameters()],
        "weights": [p.detach().clone() for p in module.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "buffers": [(n, b.dtype, b.clone()) for n, b in module.named_buffers()],
        "training": [m.training for m in module.modules()],
        "hooks": [len(m._forward_hooks) for m in module.modules()],
        "tensors": [
            (n, v.dtype) for m in module.modules() for n, v in vars(m).items() if isinstance(v, torch.Tensor)
        ],
    }


def same(before, after):
    torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
    return True


def plain(found):
    """Parts of a snapshot that `assert_close` compares, and parts that == compares."""
    tensors = {"weights": found["weights"], "buffers": [b for _, _, b in found["buffers"]]}
    grads = [g for g in found["grads"] if g is not None]
    others = {k: found[k] for k in ("parameters", "pointers", "training", "hooks", "tensors")}
    others["buffers"] = [(n, d) for n, d, _ in found["buffers"]]
    others["grads"] = [g is None for g in found["grads"]]
    return {**tensors, "grads": grads}, others


def assert_as_found(before, module):
    tensors, others = plain(before)
    tensors_now, others_now = plain(snapshot(module))
    assert others_now == others
    assert same(tensors, tensors_now)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64, torch.bfloat16])
def test_everything_is_as_found(network, dtype):
    before = snapshot(used(network))
    with frozen(network, "cpu", dtype) as lent:
        assert lent is network
        assert not any(p.requires_grad for p in lent.parameters())
        assert {p.dtype for p in lent.parameters()} == {dtype or torch.float32}
        assert all(p.grad is None for p in lent.parameters())
        assert not any(m.training for m in lent.modules())
    assert_as_found(before, network)


def test_everything_is_as_found_after_an_exception(network):
    before = snapshot(used(network))
    with pytest.raises(KeyError), frozen(network, "cpu", torch.float64):
        raise KeyError
    assert_as_found(before, network)


def test_everything_is_as_found_if_the_device_fails(network):
    before = snapshot(used(network))
    with pytest.raises((RuntimeError, AssertionError)), frozen(network, "cuda:99"):
        raise AssertionError
    assert_as_found(before, network)


def test_lent_networks_compute_in_the_asked_precision(network):
    with contextlib.suppress(NotImplementedError):  # an exported program keeps the mode it has
        network.eval()
    with torch.no_grad():
        narrow = network(points())
    with frozen(network, "cpu", torch.float64), torch.no_grad():
        wide = network(points().double())
    assert wide.dtype == torch.float64
    assert torch.allclose(wide.float(), narrow, atol=1e-5)
    assert not torch.equal(wide.float(), wide)


def test_gradients_reach_the_inputs_and_no_weight(network):
    x = points().double().requires_grad_()
    with frozen(network, "cpu", torch.float64) as lent:
        (gradient,) = torch.autograd.grad(lent(x * 1).sum(), x)
        assert gradient.abs().sum() > 0
        assert all(p.grad is None for p in lent.parameters())


def test_buffers_that_a_forward_pass_writes_are_restored():
    network = small()
    with frozen(network) as lent:
        lent(points())
        lent.norm.train()
        lent(points())
        assert lent.calls == 2
    assert network.calls == 0
    assert torch.equal(network.norm.running_mean, torch.full((4,), 0.25))
    assert network.norm.num_batches_tracked == 0


def test_a_buffer_made_inside_is_gone_afterwards():
    network = small()
    with frozen(network) as lent:
        lent.norm.register_buffer("cache", torch.ones(3))
    assert not hasattr(network.norm, "cache")


def test_hooks_from_inside_are_removed_and_those_from_outside_kept():
    network = small().eval()
    seen = []
    outside = network.first.register_forward_hook(lambda *_: seen.append("outside"))
    with frozen(network) as lent:
        lent.first.register_forward_hook(lambda *_: seen.append("inside"))
        lent.register_forward_pre_hook(lambda _, x: seen.append("before"))
        lent(points())
    assert seen == ["before", "outside", "inside"]
    network(points())
    assert seen[3:] == ["outside"]
    outside.remove()
    network(points())
    assert len(seen) == 4


def test_shared_weights_and_buffers_stay_shared():
    network = small()
    network.norm.register_buffer("twin", network.calls)
    with frozen(network, "cpu", torch.float64) as lent:
        assert lent.again.weight is lent.square.weight
        assert lent.norm.twin is lent.calls
    assert network.norm.twin is network.calls


def test_integers_and_complex_numbers_keep_their_kind():
    network = small()
    network.register_buffer("phase", torch.ones(2, dtype=torch.complex64))
    with frozen(network, "cpu", torch.float64) as lent:
        assert lent.norm.num_batches_tracked.dtype == torch.int64
        assert lent.phase.dtype == torch.complex128
    assert network.phase.dtype == torch.complex64


def test_a_copy_and_the_lent_network_agree():
    network = small()
    expected = outputs(copy.deepcopy(network))
    with frozen(network) as lent:
        assert torch.equal(lent(points()), expected)
    assert network.training


def test_an_optimizer_goes_on_as_if_nothing_had_happened():
    torch.manual_seed(0)
    network = mlp(3, [4], 2, "tanh")
    twin = copy.deepcopy(network)
    steps = [torch.optim.Adam(m.parameters(), lr=0.1) for m in (network, twin)]
    for module, step in zip((network, twin), steps, strict=True):
        for _ in range(2):
            if module is network:
                with frozen(module, "cpu", torch.float64) as lent:
                    lent(points().double())
            step.zero_grad()
            module(points()).square().sum().backward()
            step.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


def test_lending_twice_at_once_is_undone_in_order():
    network = used(small())
    before = snapshot(network)
    with frozen(network, "cpu", torch.float64), frozen(network, "cpu", torch.bfloat16) as lent:
        assert lent.first.weight.dtype == torch.bfloat16
    assert_as_found(before, network)
