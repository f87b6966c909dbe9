"""Kinks are found wherever they hide; calling a kinked network smooth would understate its errors."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xattr_cli.device import kinked_operations


@torch.library.custom_op("attack::linear", mutates_args=())
def rectified(x: torch.Tensor) -> torch.Tensor:
    """A kink under a name that sounds smooth."""
    return x.clamp(min=0)


class Hidden(torch.autograd.Function):
    """A kink that torch cannot see: the forward pass leaves it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(x.detach().numpy().clip(0))

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


INPUT = torch.linspace(-2, 2, 24).reshape(4, 6)


def kinks(function):
    return kinked_operations(lambda: function(INPUT.clone().requires_grad_()))


@pytest.mark.parametrize(
    "function",
    [
        functional.relu,
        functional.relu6,
        functional.leaky_relu,
        functional.selu,
        functional.hardtanh,
        functional.hardswish,
        functional.hardsigmoid,
        lambda x: functional.elu(x, alpha=2),
        lambda x: functional.prelu(x, torch.tensor(0.3)),
        torch.abs,
        lambda x: x.clamp(min=0),
        lambda x: torch.where(x > 0, x, 0),
        lambda x: x * (x > 0),
        lambda x: x.masked_fill(x < 0, 0),
        lambda x: (x * x).sqrt(),
        lambda x: (x * x) ** 0.5,
        lambda x: x.max(dim=1).values,
        lambda x: x.amin(dim=1),
        lambda x: torch.maximum(x, -x),
        lambda x: x.sort(dim=1).values,
        lambda x: x.topk(2).values,
        lambda x: x.median(dim=1).values,
        lambda x: x.round() + x,
        lambda x: x.long() + x,
        lambda x: x.norm(dim=1, p=1),
        lambda x: functional.max_pool1d(x[:, None], 2),
        lambda x: functional.adaptive_max_pool1d(x[:, None], 2),
        lambda x: functional.l1_loss(x, torch.zeros_like(x)),
        nn.Sequential(nn.Linear(6, 6), nn.RReLU()).eval(),
        lambda x: functional.celu(x, alpha=1e-3),
        lambda x: functional.softplus(x, threshold=0),
        lambda x: torch.div(x, 0.5, rounding_mode="floor"),
        lambda x: torch.empty_like(x, dtype=torch.int64).copy_(x) + x,
        torch.ops.attack.linear,
        lambda x: Hidden.apply(x),
    ],
)
def test_kinks_are_found(function):
    assert kinks(function)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2), nn.Softmax(1)),
        nn.Sequential(nn.Linear(6, 8), nn.ELU(), nn.Linear(8, 8), nn.CELU(0.5), nn.Softplus(), nn.Mish()),
        nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.Sigmoid(), nn.AvgPool1d(2), nn.Flatten()),
        nn.Sequential(
            nn.Unflatten(1, (3, 2)), nn.TransformerEncoderLayer(2, 1, 4, activation="gelu", batch_first=True)
        ),
        nn.Sequential(nn.Unflatten(1, (3, 2)), nn.LSTM(2, 4, batch_first=True)),
        nn.Sequential(nn.Unflatten(1, (3, 2)), nn.GRU(2, 4, bidirectional=True, batch_first=True)),
    ],
)
def test_smooth_networks_are_recognised(module):
    assert kinks(module.eval()) == []


class Packed(nn.Module):
    """Sequences of several lengths through an LSTM: the sizes of its batches are whole numbers."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 4, batch_first=True)

    def forward(self, x):
        lengths = torch.tensor([3, 1, 2, 3])
        packed = nn.utils.rnn.pack_padded_sequence(
            x.view(4, 3, 2), lengths, batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


def test_packed_sequences_are_smooth_and_numbers_made_of_the_input_are_not():
    module, leaf = Packed().eval(), INPUT.clone().requires_grad_()
    assert kinked_operations(lambda: module(leaf), leaf) == []
    assert kinked_operations(lambda: module(leaf)[torch.arange(4), leaf.argmax(dim=1) // 2], leaf) == ["argmax"]
    assert kinked_operations(lambda: leaf * leaf.detach().sum().item(), leaf) == ["_local_scalar_dense"]


def test_a_transformer_with_relu_is_not_hidden_by_its_fused_kernel():
    layer = nn.TransformerEncoderLayer(6, 2, 8, activation="relu", batch_first=True).eval()
    assert kinks(lambda x: layer(x[:, None])) == ["relu"]


def test_powers_and_polynomials_are_smooth():
    assert kinks(lambda x: (x**2 + x**3 / (1 + x * x)).exp()) == []
