"""Networks that job files of the tests name as `helpers.networks:...`: a good one, and one for every fault."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

FEATURES, CLASSES = 3, 4


class Formula(nn.Module):
    """A smooth network (n, 3) → (n, 4) wrapped into a formula of it and of its inputs."""

    def __init__(self, formula, features=FEATURES):
        super().__init__()
        self.formula = formula
        self.inner = nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    def forward(self, *inputs):
        return self.formula(self.inner, *inputs)


def plain():
    return Formula(lambda net, x: net(x))


def sleepy():
    """One that takes a fifth of a second for every call."""
    return Formula(lambda net, x: (time.sleep(0.2), net(x))[1])


def with_dropout_layer():
    return nn.Sequential(plain(), nn.Dropout(0.5)).train()


class _Median(nn.Module):
    """Images (n, 1, 8, 8) → (n, 10): a linear layer, times the median of what another one gives."""

    def __init__(self):
        super().__init__()
        self.scores, self.weights = nn.Linear(64, 10), nn.Linear(64, 9)

    def forward(self, images):
        flat = images.flatten(1)
        return self.scores(flat) * (1 + self.weights(flat).median(1, keepdim=True).values)


def weighs_by_the_median():
    torch.manual_seed(0)
    return _Median()


# --- what cannot be explained -------------------------------------------------------------------


def ignores_its_input():
    return Formula(lambda net, x: net(torch.zeros_like(x)))


def multiplies_by_zero():
    return Formula(lambda net, x: net(0 * x))


def rounds_its_input():
    return Formula(lambda net, x: net(torch.round(x)))


def gives_classes():
    return Formula(lambda net, x: net(x).argmax(dim=1))


def active_dropout():
    return Formula(lambda net, x: net(nn.functional.dropout(x, 0.5, training=True)))


def coupled_by_the_mean():
    return Formula(lambda net, x: net(x - x.mean(dim=0)))


def coupled_by_batch_norm():
    return nn.Sequential(plain(), nn.BatchNorm1d(CLASSES, track_running_stats=False))


def writes_into_its_input():
    return Formula(lambda net, x: net(x.mul_(2).clamp_(min=-1)))


def same_without_writing():
    return Formula(lambda net, x: net((2 * x).clamp(min=-1)))


def writes_into_its_context():
    return Formula(lambda net, a, b: net(a * b.abs_()))


def returns_a_tuple():
    return Formula(lambda net, x: (net(x), x))


def returns_a_mapping():
    return Formula(lambda net, x: {"logits": net(x), "hidden": x})


def returns_a_sequence():
    return Formula(lambda net, x: net(x)[:, None].expand(-1, 5, -1))


def takes_a_mapping():
    return Formula(lambda net, x: net(x.pixel_values))


def gives_nan():
    return Formula(lambda net, x: torch.sqrt(-1 - net(x) ** 2))


def rules_out_class_3():
    """As language models do with tokens that cannot follow."""
    ruled_out = torch.tensor([False, False, False, True])
    return Formula(lambda net, x: net(x).masked_fill(ruled_out, -torch.inf))


def fails_above_90():
    def formula(net, x):
        if bool((x > 90).any()):
            raise IndexError("token 91 is not in the vocabulary")
        return net(x)

    return Formula(formula)


# --- several inputs -----------------------------------------------------------------------------


def large_activations():
    """Of 4 MiB a row, made of digits: few rows make a full device call on a CPU."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Upsample(scale_factor=16), nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def half():
    """Weights in bfloat16."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(torch.bfloat16)


def two_inputs():
    """f(a, b) = net(a ⊙ b): every gradient by a needs the right row of b."""
    return Formula(lambda net, a, b: net(a * b))


def ignores_b():
    return Formula(lambda net, a, b: net(a))


class Looked(nn.Module):
    """Features scaled by an embedding of an integer: the embedding is context, the features explained."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, FEATURES)
        self.inner = plain()

    def forward(self, a: Tensor, kind: Tensor) -> Tensor:
        return self.inner(a * self.table(kind))


def looks_up():
    return Looked()


# --- outputs ------------------------------------------------------------------------------------


def single_output():
    """(n, 3) → (n, 1): a regression, or the log-odds of a binary classifier."""
    return Formula(lambda net, x: net(x)[:, :1])


def flat_output():
    """(n, 3) → (n,)."""
    return Formula(lambda net, x: net(x)[:, 0])


def wide():
    """Many activations for few weights: what runs out of memory."""
    return nn.Sequential(nn.Linear(FEATURES, 2**16), nn.Tanh(), nn.Linear(2**16, CLASSES))


# --- lent by the user ---------------------------------------------------------------------------


class Lent:
    """A network as a user has it in the middle of training."""

    network: nn.Module | None = None


def lent_network():
    assert Lent.network is not None
    return Lent.network


def linear():
    """(n, features) → (n, classes), without bias: its maps are weight times input."""
    torch.manual_seed(0)
    return nn.Linear(FEATURES, CLASSES, bias=False)


def linear_of_ones():
    """(n, 4) → (n, 1), the sum."""
    network = nn.Linear(4, 1, bias=False)
    nn.init.ones_(network.weight)
    return network


# --- one-hot sequences --------------------------------------------------------------------------


def motif_counter():
    """One-hot sequences (n, 4, positions) → (n, 2): how much of TGACTCA there is, and of GATAAG."""
    torch.manual_seed(0)
    scan = nn.Conv1d(4, 2, 7)
    weight = torch.full((2, 4, 7), -0.5)
    for number, motif in enumerate(("TGACTCA", "GATAAG")):
        for place, base in enumerate(motif):
            weight[number, "ACGT".index(base), place] = 1.5
    scan.weight, scan.bias = nn.Parameter(weight), nn.Parameter(torch.full((2,), -5.0))
    return nn.Sequential(scan, nn.Softplus(), nn.Flatten(2), _Sum())


class _Sum(nn.Module):
    def forward(self, x):
        return x.sum(-1)
