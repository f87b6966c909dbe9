"""Small networks that nobody tuned an error bar for, trained by seed; their integrals are exact, or nearly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn

__all__ = ["KINDS", "Untuned", "background_of", "drawn", "exact_map"]

ROWS = 40
STEPS = 300
WIDE_SCALES = (1e-3, 1e5)
FINE = 65536
SEARCHED = 4096
"""Intervals in which a kink is looked for, of networks whose gradient is constant between kinks."""
HALVINGS = 40


@dataclass(frozen=True)
class Untuned:
    """A trained network, some rows, and what is explained of them.

    Attributes:
        name: of the kind.
        network: in float32, (n, D) to (n, outputs).
        inputs, baselines: (rows, D).
        target: (rows,) int64.
        score: of the outputs.
        piecewise: whether its gradient is constant between kinks, so that its integrals are exact.
        smooth: whether it has no kinks.
    """

    name: str
    network: nn.Module
    inputs: Tensor
    baselines: Tensor
    target: Tensor
    score: str = "logit"
    piecewise: bool = False
    smooth: bool = False


class Maxout(nn.Module):
    """The largest of three linear maps, (n, d) to (n, width)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (3, -1)).amax(dim=1)


class Steep(nn.Module):
    """sigmoid(200 z)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(200 * x)


class Rounded(nn.Module):
    """Quantise and dequantise with slopes that are its own: piecewise linear, flat between narrow ramps."""

    def forward(self, x: Tensor) -> Tensor:
        cell = torch.floor(4 * x)
        return (cell + ((4 * x - cell - 0.5) * 5 + 0.5).clamp(0, 1)) / 4


class GraphNetwork(nn.Module):
    """Two rounds of messages along a ring of the features, then a read-out of all nodes."""

    def __init__(self, nodes: int, outputs: int) -> None:
        super().__init__()
        ring = torch.eye(nodes) + torch.eye(nodes).roll(1, 0) + torch.eye(nodes).roll(-1, 0)
        self.register_buffer("ring", ring / 3)
        self.first, self.second = nn.Linear(1, 8), nn.Linear(8, 8)
        self.read_out = nn.Linear(8 * nodes, outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(self.ring @ x[:, :, None]))
        return self.read_out(torch.relu(self.second(self.ring @ hidden)).flatten(1))


def mlp(widths: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def table(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Standardised features (n, D), labels or standardised values (n,), and the number of outputs."""
    if name == "friedman1":
        x, y = datasets.make_friedman1(400, random_state=seed)
    elif name == "moons":
        x, y = datasets.make_moons(400, noise=0.2, random_state=seed)
    else:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    if y.dtype.kind == "f" and name in ("diabetes", "friedman1"):
        return x, (y - y.mean()) / y.std(), 1
    return x, y.astype(np.int64), int(y.max()) + 1


def trained(network: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    """By Adam on all of the data."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(STEPS):
        optimiser.zero_grad()
        out = network(x)
        loss = nn.functional.cross_entropy(out, y) if y.dtype == torch.int64 else ((out[:, 0] - y) ** 2).mean()
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


HIDDEN = {
    "iris": [8], "wine": [24, 24], "breast_cancer": [24, 24], "diabetes": [24, 24], "digits": [32, 32],
    "friedman1": [24, 24], "moons": [24, 24],
}  # fmt: skip
OTHERS = {
    "Maxout": "wine", "SELU": "breast_cancer", "deep narrow ReLU": "friedman1", "sigmoid(200 z)": "wine",
    "unscaled features": "breast_cancer", "quantise, dequantise": "wine", "graph network": "wine",
    "log-probability": "digits", "least likely class": "digits", "sample as baseline": "breast_cancer",
    "pool behind convolution": "digits", "GELU": "digits", "tanh": "breast_cancer",
}  # fmt: skip
KINDS = (*(f"ReLU MLP, {name}" for name in HIDDEN), *OTHERS)


def drawn(kind: str, seed: int, count: int = ROWS) -> Untuned:
    """A network of one of `KINDS`, its first weights and `count` rows drawn by a seed."""
    torch.manual_seed(seed)
    data = OTHERS.get(kind, kind.removeprefix("ReLU MLP, "))
    x, y, outputs = table(data, seed)
    scale = np.logspace(*np.log10(WIDE_SCALES), x.shape[1]) if kind == "unscaled features" else 1.0
    inputs = torch.from_numpy(x).float()
    network = trained(_network(kind, data, x.shape[1], outputs), inputs, torch.as_tensor(y).float()
                      if y.dtype.kind == "f" else torch.from_numpy(y))  # fmt: skip
    if kind == "unscaled features":
        first = network[0]
        first.weight.data /= torch.from_numpy(scale).float()
        inputs = torch.from_numpy(x * scale).float()
    chosen = torch.randperm(len(inputs))[: 2 * count]
    rows, others = inputs[chosen[:count]], inputs[chosen[-count:]]
    out = network(rows)
    target = out.argmin(dim=1) if kind == "least likely class" else out.argmax(dim=1)
    return Untuned(
        kind, network, rows, others if kind in FROM_SAMPLES else torch.zeros_like(rows), target,
        score="log_probability" if kind == "log-probability" else "raw" if outputs == 1 else "logit",
        piecewise=kind not in OTHERS or kind in PIECEWISE,
        smooth=kind in ("GELU", "tanh", "sigmoid(200 z)"),
    )  # fmt: skip


def background_of(kind: str, seed: int, count: int) -> Tensor:
    """(count, D) rows of the data that a network of one of `KINDS` was trained on, but for unscaled ones."""
    x, _, _ = table(OTHERS.get(kind, kind.removeprefix("ReLU MLP, ")), seed)
    return torch.from_numpy(x[np.random.default_rng(seed).permutation(len(x))[:count]]).float()


FROM_SAMPLES = ("sample as baseline", "pool behind convolution")
"""Kinds whose baselines are rows: at zero, all numbers of a window are equal, and one wins for good."""
SEARCHED_KINDS = ("Maxout", "quantise, dequantise", "graph network", "pool behind convolution")
PIECEWISE = ("deep narrow ReLU", "unscaled features", "least likely class", "sample as baseline", *SEARCHED_KINDS)


def _network(kind: str, data: str, features: int, outputs: int) -> nn.Module:
    hidden = HIDDEN[data]
    if kind == "Maxout":
        return nn.Sequential(Maxout(features, 16), Maxout(16, 16), nn.Linear(16, outputs))
    if kind == "deep narrow ReLU":
        return mlp([features, *[8] * 8, outputs])
    if kind == "sigmoid(200 z)":
        return nn.Sequential(nn.Linear(features, 16), Steep(), nn.Linear(16, outputs))
    if kind == "quantise, dequantise":
        return nn.Sequential(nn.Linear(features, 16), Rounded(), nn.ReLU(), nn.Linear(16, outputs))
    if kind == "graph network":
        return GraphNetwork(features, outputs)
    if kind == "pool behind convolution":
        layers = nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(128, outputs)
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers)
    activation = {"SELU": nn.SELU, "GELU": nn.GELU, "tanh": nn.Tanh}.get(kind, nn.ReLU)
    return mlp([features, *hidden, outputs], activation)


# --- references -------------------------------------------------------------------------------------


def exact_map(case: Untuned) -> Tensor:
    """(rows, D) float64, Δ ⊙ ∫₀¹ ∇f: between all breakpoints, or by Gauss's rule on fine panels."""
    network = double(case.network)
    rows = zip(case.inputs.double(), case.baselines.double(), case.target.tolist(), strict=True)
    return torch.stack([(x - start) * _mean_gradient(case, network, x, start, t) for x, start, t in rows])


def double(network: nn.Module) -> nn.Module:
    """The same network in float64."""
    return copy.deepcopy(network).double()


def _mean_gradient(case: Untuned, network: nn.Module, x: Tensor, start: Tensor, target: int) -> Tensor:
    if case.piecewise:
        of_layers = isinstance(network, nn.Sequential) and case.name not in SEARCHED_KINDS
        edges = breakpoints(network, start, x) if of_layers else _searched(network, start, x, target)
        nodes, weights = (edges[1:] + edges[:-1]) / 2, torch.diff(edges)
    else:
        gauss, share = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(4))
        edges = torch.linspace(0, 1, FINE // 4 + 1, dtype=torch.float64)
        half = torch.diff(edges)[:, None] / 2
        nodes, weights = (edges[:-1, None] + half * (1 + gauss)).flatten(), (half * share).flatten()
    points = (start + nodes[:, None] * (x - start)).requires_grad_()
    out = network(points)
    out = out.log_softmax(dim=1) if case.score == "log_probability" else out
    (gradients,) = torch.autograd.grad(out[:, target].sum(), points)
    return weights @ gradients


def _searched(network: nn.Module, start: Tensor, stop: Tensor, target: int) -> Tensor:
    """All t in [0, 1] at which the gradient changes, with both ends: by halving intervals."""

    def gradients(t: Tensor) -> Tensor:
        points = (start + t[:, None] * (stop - start)).requires_grad_()
        (found,) = torch.autograd.grad(network(points)[:, target].sum(), points)
        return found

    t = torch.linspace(0, 1, SEARCHED + 1, dtype=torch.float64)
    t[0], t[-1] = 1e-14, 1 - 1e-14  # at a baseline of zeros a kink is likely
    at = gradients(t)
    left, right, g_left, g_right = t[:-1], t[1:], at[:-1], at[1:]
    for _ in range(HALVINGS):
        differs = (g_left - g_right).abs().amax(dim=1) > 1e-12 * at.abs().max()
        left, right, g_left, g_right = left[differs], right[differs], g_left[differs], g_right[differs]
        middle = (left + right) / 2
        g = gradients(middle)
        left, right = torch.cat([left, middle]), torch.cat([middle, right])
        g_left, g_right = torch.cat([g_left, g]), torch.cat([g, g_right])
    return torch.unique(torch.cat([torch.tensor([0.0, 1.0], dtype=torch.float64), (left + right) / 2]))


def breakpoints(network: nn.Module, start: Tensor, stop: Tensor) -> Tensor:
    """All t in [0, 1] at which a ReLU of a stack of linear layers switches, with both ends."""
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    layers = list(network)
    for depth, layer in enumerate(layers):
        if not isinstance(layer, nn.ReLU):
            continue
        z = start + t[:, None] * (stop - start)
        for before in layers[:depth]:
            z = before(z)
        a, b = z[:-1], z[1:]
        crosses = (a * b) < 0
        root = t[:-1, None] + torch.diff(t)[:, None] * a / (a - b)
        t = torch.unique(torch.cat([t, root[crosses]]))
    return t
