"""DeepLIFT's rescale rule, against captum's and against integrated gradients."""

from __future__ import annotations

import pytest
import torch
from captum.attr import DeepLift as CaptumDeepLift
from helpers.blocks import block_of, digits, explain, trained
from torch import nn

from xattr_cli.engines.path.deeplift import DeepLift
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.errors import ModelError


def lengths(maps):
    return maps.double().norm(dim=1)


def relu_mlp():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10)
    )


def cnn_without_pools():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    )  # fmt: skip


def captum_map(network, images, start, targets):
    with pytest.warns(UserWarning):  # that it hooks the network
        return CaptumDeepLift(network).attribute(images, start, target=targets).detach().flatten(1)


@pytest.mark.parametrize("network", [relu_mlp, cnn_without_pools])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_equals_captums_where_there_are_no_pools(network, baseline):
    network, images = network().eval(), digits()[2][:40]
    targets = network(images).argmax(1)
    start = torch.zeros_like(images) if baseline == "zero" else digits()[0].mean(0).expand_as(images).clone()
    ours = explain(DeepLift(), network, images, target=targets, baseline=start)
    theirs = captum_map(network, images, start, targets)
    assert (lengths(ours.attribution - theirs) / lengths(theirs)).max() < 1e-5


def test_where_pools_have_other_winners_it_is_nearer_to_integrated_gradients_than_captums():
    network, images = trained("relu_cnn_maxpool"), digits()[2][:60]
    targets, start = network(images).argmax(1), digits()[0].mean(0).expand_as(images).clone()
    engines = IntegratedGradients(rtol=1e-3), DeepLift()
    truth, ours = (explain(e, network, images, target=targets, baseline=start).attribution for e in engines)
    theirs = captum_map(network, images, start, targets)
    assert lengths(ours - truth).mean() < lengths(theirs - truth).mean()


@pytest.mark.parametrize("name", ["relu_cnn_maxpool", "relu_mlp", "gelu_mlp", "gru"])
def test_sums_to_the_difference_of_the_scores_and_reports_its_distance_to_integrated_gradients(name):
    network, images = trained(name), digits()[2][:40]
    targets = network(images).argmax(1)
    found = explain(DeepLift(), network, images, target=targets)
    difference = found.score_input - found.score_baseline
    torch.testing.assert_close(found.attribution.sum(1), difference, rtol=1e-4, atol=1e-4)
    truth = explain(IntegratedGradients(rtol=1e-3), network, images, target=targets).attribution
    true = lengths(found.attribution - truth) / lengths(found.attribution)
    assert (true <= 1.25 * found.relative_error).double().mean() >= 0.95


def test_one_hidden_layer_is_exact():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double().eval()
    images = digits()[2][:20].double()
    found = explain(DeepLift(), network, images)
    truth = explain(IntegratedGradients(rule="midpoint", nodes=20_000), network, images[:2]).attribution
    assert (lengths(found.attribution[:2] - truth) / lengths(truth)).max() < 1e-4
    assert found.relative_error.max() < 0.5


def test_a_network_without_secants_is_refused():
    class Median(nn.Module):
        def forward(self, x):
            steps = x.flatten(1) + torch.linspace(0, 1, 64)
            return x.flatten(1).sum(1) * steps.median(1).values

    block = block_of(Median(), digits()[2][:4])
    with pytest.raises(ModelError, match=r"no rescale rule.*median.*integrated_gradients"):
        DeepLift().check(block)
