"""Targets with several places, sums over places, and noise: equal to captum, asked for in its own words."""

from __future__ import annotations

import captum.attr
import helpers.any_networks as networks
import numpy as np
import pytest
import torch
from captum.attr._core import noise_tunnel
from helpers.any_networks import CLASSES, FEATURES, STEPS
from helpers.cli import datasets, run, write_data, write_job

from xattr_cli.randomness import Purpose, sample_generator

ROWS, NODES = 7, 20
RNG = np.random.default_rng(11)
X = RNG.normal(size=(ROWS, FEATURES)).astype(np.float32)
START = torch.full((1, FEATURES), 0.2)
PLACES = np.stack([RNG.integers(0, CLASSES, ROWS), RNG.integers(0, 2, ROWS), RNG.integers(0, 3, ROWS)], 1)
FIXED = {"rule": "gauss_legendre", "nodes": NODES, "baseline": {"kind": "constant", "value": 0.2}}
MASK = np.array([1, 0, 1, 1, 0])


def found(folder, factory, target, engine="integrated_gradients", options=FIXED, **more):
    write_data(folder, X=X, places=PLACES, mask=np.tile(MASK, (ROWS, 1)))
    model = {"factory": f"helpers.any_networks:{factory}"}
    dataset = {"labels": None, "inputs": ["X"], **more}
    run(write_job(folder, model=model, dataset=dataset, target=target, engines={engine: options}))
    return {k.rpartition("/")[2]: v for k, v in datasets(folder / "out.h5").items() if k.startswith("engines/")}


def captums(forward, target, **options):
    method = captum.attr.IntegratedGradients(forward, **options)
    maps = method.attribute(torch.from_numpy(X), START, target=target, n_steps=NODES, method="gausslegendre")
    return maps.detach().numpy()


# (network, target of the job, captum's forward and target)
CASES = {
    "one place": ("segmentation", {"index": [1, 0, 2]}, lambda net: net, (1, 0, 2)),
    "one place of tokens": ("tokens", {"index": [4, 2]}, lambda net: net, (4, 2)),
    "a place of each row": (
        "segmentation", {"column": "places"}, lambda net: net, [tuple(map(int, place)) for place in PLACES],
    ),
    "the sum over pixels": (
        "segmentation", {"index": 3, "reduce": "sum"}, lambda net: lambda x: net(x).sum((2, 3)), 3,
    ),
    "the mean over tokens": ("tokens", {"index": 1, "reduce": "mean"}, lambda net: lambda x: net(x).mean(1), 1),
    "a mask of pixels, as in captum's tutorial of segmentation": (
        "segmentation",
        {"index": 1, "reduce": {"mask": "predicted"}},
        lambda net: _of_predicted_pixels(net),
        1,
    ),
}  # fmt: skip


def _of_predicted_pixels(net):
    """The tutorial's wrapper: pixels that are predicted as the class, of the sample itself."""
    with torch.no_grad():
        classes = net(torch.from_numpy(X)).argmax(dim=1, keepdim=True)
    selected = torch.zeros(ROWS, CLASSES, 2, 3).scatter_(1, classes, 1)

    def forward(x):
        return (net(x) * selected.repeat(len(x) // ROWS, 1, 1, 1)).sum(dim=(2, 3))

    return forward


@pytest.mark.parametrize("name", CASES)
def test_targets_with_several_places_are_captums(tmp_path, name):
    factory, target, wrapped, theirs = CASES[name]
    maps = found(tmp_path, factory, target)["attribution"]
    np.testing.assert_allclose(maps, captums(wrapped(getattr(networks, factory)().eval()), theirs), atol=1e-5)


def test_the_sum_over_places_is_the_sum_of_captums_maps_of_each(tmp_path):
    maps = found(tmp_path, "tokens", {"index": 2, "reduce": "sum"})["attribution"]
    net = networks.tokens().eval()
    np.testing.assert_allclose(maps, sum(captums(net, (step, 2)) for step in range(STEPS)), atol=1e-5)


def test_several_places_of_each_row_are_captums_one_after_the_other(tmp_path):
    places = [[3, 1, 1], [0, 0, 0]]
    maps = found(tmp_path, "segmentation", {"index": places})["attribution"]
    net = networks.segmentation().eval()
    each = [captums(net, tuple(place)) for place in places]
    np.testing.assert_allclose(maps, np.stack(each, axis=1).reshape(2 * ROWS, -1), atol=1e-5)


@pytest.mark.parametrize(
    "method", ["IntegratedGradients", "InputXGradient", "Saliency", "Occlusion", "FeatureAblation"]
)
def test_other_methods_at_a_place_are_captums(tmp_path, method):
    engine, options, theirs = {
        "IntegratedGradients": (
            "integrated_gradients",
            {**FIXED, "multiply_by_inputs": False},
            {"baselines": START, "n_steps": NODES, "method": "gausslegendre"},
        ),
        "InputXGradient": ("input_x_gradient", None, {}),
        "Saliency": ("saliency", None, {}),
        "Occlusion": (
            "occlusion",
            {"baseline": FIXED["baseline"]},
            {"sliding_window_shapes": (1,), "baselines": 0.2},
        ),
        "FeatureAblation": (
            "occlusion",
            {"baseline": FIXED["baseline"], "groups": {"left": [0, 1, 2], "rest": [3, 4, 5]}},
            {"feature_mask": torch.tensor([[0, 0, 0, 1, 1, 1]]), "baselines": 0.2},
        ),
    }[method]
    maps = found(tmp_path, "segmentation", {"index": [1, 0, 2]}, engine, options)["attribution"]
    net = networks.segmentation().eval()
    peer = getattr(captum.attr, method)
    made = peer(net, multiply_by_inputs=False) if method == "IntegratedGradients" else peer(net)
    wanted = made.attribute(torch.tensor(X, requires_grad=True), target=(1, 0, 2), **theirs)
    np.testing.assert_allclose(maps, wanted.detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("over", "kind"), [("mean", "smoothgrad"), ("square", "smoothgrad_sq"), ("variance", "vargrad")]
)
def test_the_noise_tunnel_of_captum_given_our_noise(tmp_path, monkeypatch, over, kind):
    """Captum's own loop, with its one call for normal numbers answered with those that ours draws."""
    draws, sigma = 12, 0.3
    options = {"draws": draws, "sigma": sigma, "relative": False, "over": over}
    maps = found(tmp_path, "segmentation", {"index": [1, 0, 2]}, "smooth_grad", options)["attribution"]
    ours = [
        sample_generator(0, row, Purpose.PLUGIN, draw).standard_normal(FEATURES) * sigma
        for row in range(ROWS)
        for draw in range(draws)
    ]
    noise = torch.from_numpy(np.array(ours)).float()
    monkeypatch.setattr(noise_tunnel.torch, "normal", lambda *_, **__: noise)
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(networks.segmentation().eval()))
    theirs = tunnel.attribute(
        torch.from_numpy(X), nt_type=kind, nt_samples=draws, stdevs=sigma, target=(1, 0, 2), abs=False
    ).detach()
    if over == "variance":
        theirs = theirs * draws / (draws - 1)  # captum divides by n, which is too little
    np.testing.assert_allclose(maps, theirs, rtol=1e-4, atol=1e-5)
