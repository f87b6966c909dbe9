"""Equality with captum, an independent implementation, rule for rule."""

import pytest
import torch
from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Saliency as CaptumSaliency
from helpers.blocks import digits, explain, trained

from xattr_cli.engines.path.gradients import InputXGradient, Saliency
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients

CAPTUM_NAMES = {
    "gauss_legendre": "gausslegendre",
    "midpoint": "riemann_middle",
    "riemann_right": "riemann_right",
}


def relative(found, truth):
    return ((found - truth).norm(dim=1) / truth.norm(dim=1)).max().item()


@pytest.mark.parametrize("rule", list(CAPTUM_NAMES))
@pytest.mark.parametrize("nodes", [5, 50])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_integrated_gradients(rule, nodes, baseline):
    network, images = trained("relu_cnn_maxpool"), digits()[2][:40]
    targets = network(images).argmax(1)
    start = torch.zeros_like(images) if baseline == "zero" else digits()[0].mean(0).expand_as(images).clone()
    peer = CaptumIntegratedGradients(network).attribute(
        images, start, target=targets, n_steps=nodes, method=CAPTUM_NAMES[rule]
    )
    engine = IntegratedGradients(rule=rule, nodes=nodes)
    ours = explain(engine, network, images, target=targets, baseline=start)
    assert relative(ours.attribution, peer.flatten(1)) < 1e-5


def test_trapezoid_up_to_captums_bias():
    """captum's trapezoid weights sum to (n − 1)/n instead of 1; nodes and relative weights are the same."""
    network, images = trained("gelu_mlp"), digits()[2][:20]
    targets = network(images).argmax(1)
    peer = CaptumIntegratedGradients(network).attribute(
        images, target=targets, n_steps=50, method="riemann_trapezoid"
    )
    ours = explain(IntegratedGradients(rule="trapezoid", nodes=50), network, images, target=targets)
    assert relative(ours.attribution, peer.flatten(1)) == pytest.approx(1 / 49, rel=1e-3)
    assert relative(ours.attribution * 49 / 50, peer.flatten(1)) < 1e-5


def test_gradient_methods():
    network, images = trained("relu_cnn_maxpool"), digits()[2][:40]
    targets = network(images).argmax(1)
    for engine, peer in (
        (Saliency(), CaptumSaliency(network)),
        (InputXGradient(), CaptumInputXGradient(network)),
    ):
        theirs = peer.attribute(images.clone().requires_grad_(), target=targets).flatten(1)
        assert relative(explain(engine, network, images, target=targets).attribution, theirs.detach()) < 1e-5


def test_the_nested_rule_agrees_with_a_fine_rule_of_captum():
    network, images = trained("gelu_mlp"), digits()[2][:40]
    targets = network(images).argmax(1)
    peer = CaptumIntegratedGradients(network).attribute(images, target=targets, n_steps=200)
    ours = explain(IntegratedGradients(rtol=0.002), network, images, target=targets)
    assert relative(ours.attribution, peer.flatten(1)) < 0.002
