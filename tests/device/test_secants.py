"""Secants in place of derivatives: the cells of a path must account for the difference of the scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.blocks import scorer_of
from torch import nn
from torch.nn import functional

from xattr_cli.device import Packing, Rows
from xattr_cli.device.secant import SecantField, SecantMode, probe_secants
from xattr_cli.device.secant.elementwise import NEAR, RULES
from xattr_cli.device.secant.slopes import relu_slope
from xattr_cli.numerics.paths.straight import StraightPath

ROWS, NODES = 3, 6


class Between(nn.Module):
    """A function between linear layers, twice."""

    def __init__(self, function, width=16):
        super().__init__()
        self.function = function
        self.first, self.second = nn.Linear(6, 16), nn.Linear(width, 16)
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        return self.last(self.function(self.second(self.function(self.first(x)))))


class Whole(nn.Module):
    """A layer and a linear readout of its mean over the steps of a sequence."""

    def __init__(self, layer, width, *, last=False, lengths=None, second=False):
        super().__init__()
        self.layer, self.readout = layer, nn.Linear(width, 3)
        self.last, self.lengths, self.second = last, lengths, second

    def forward(self, x):
        if self.lengths is not None:
            lengths = self.lengths.repeat_interleave(len(x) // len(self.lengths))
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        found = self.layer(x.transpose(0, 1) if self.second else x)
        found = found[0] if isinstance(found, tuple) else found
        if self.lengths is not None:
            found, _ = nn.utils.rnn.pad_packed_sequence(found, batch_first=True)
        return self.readout(found.mean(0 if self.second else 1))


def nodes_of(shape, seed=0):
    """(rows · nodes, *shape) neighbours on straight paths, and the steps (rows, 1, *shape) between them."""
    generator = torch.Generator().manual_seed(seed)
    start, stop = torch.randn(2, ROWS, 1, *shape, generator=generator, dtype=torch.float64)
    t = torch.linspace(0, 1, NODES, dtype=torch.float64).view(1, -1, *[1] * len(shape))
    return start.lerp(stop, t).flatten(0, 1), (stop - start) / (NODES - 1)


def gaps(network, shape):
    """(rows, cells): how far the cells are from the difference of the scores; and the functions left."""
    torch.manual_seed(0)
    network = network.double().eval().requires_grad_(False)
    points, step = nodes_of(shape)
    leaf = points.clone().requires_grad_()
    with SecantMode(len(points)) as mode:
        outputs = network(leaf.clone())
    torch.testing.assert_close(outputs.detach(), network(points), rtol=1e-12, atol=1e-12)
    scores = outputs[:, 0]
    (gradients,) = torch.autograd.grad(scores.sum(), leaf)
    cells = (gradients.view(ROWS, NODES, *shape)[:, :-1] * step).flatten(2).sum(dim=2)
    differences = scores.detach().view(ROWS, NODES).diff(dim=1)
    assert differences.abs().max() > 1e-6
    return (cells - differences) / differences.abs().max(), mode.left


def assert_exact(network, shape):
    apart, left = gaps(network, shape)
    assert apart.abs().max() < 1e-11, left
    assert not left


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.LeakyReLU(0.1), nn.LeakyReLU(0.1, inplace=True),
    nn.ELU(), nn.ELU(inplace=True), nn.SELU(), nn.CELU(0.5), nn.GELU(), nn.GELU("tanh"), nn.SiLU(inplace=True),
    nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(10), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(),
    nn.LogSigmoid(), nn.Softsign(), nn.PReLU(16), nn.RReLU(), nn.Threshold(0, 0), nn.Softshrink(), nn.Tanhshrink(),
    nn.Softmax(1), nn.Softmin(1), nn.LogSoftmax(1), nn.LayerNorm(16), nn.RMSNorm(16), nn.GroupNorm(4, 16),
    nn.BatchNorm1d(16), nn.Dropout(0.5),
]  # fmt: skip


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=str)
def test_layers(layer):
    assert_exact(Between(layer), (6,))


FUNCTIONS = {
    "clamp": lambda z: z.clamp(-0.2, 0.5),
    "clamp below": lambda z: torch.clamp(z, min=-0.1),
    "clamp above": lambda z: z.clamp_max(0.1),
    "clamp by tensors": lambda z: z.clamp(min=torch.zeros((), dtype=z.dtype)),
    "abs": abs,
    "exp": torch.exp,
    "log": lambda z: (z * z + 0.1).log(),
    "log1p": lambda z: z.exp().log1p(),
    "sqrt": lambda z: (z.square() + 0.1).sqrt(),
    "rsqrt": lambda z: torch.rsqrt(z**2 + 1),
    "cube": lambda z: z**3,
    "fractional power": lambda z: (z.sigmoid() + 0.1) ** 2.5,
    "power of two": lambda z: 2**z,
    "sin": torch.sin,
    "erf": torch.erf,
    "square as product": lambda z: z * z,
    "quotient": lambda z: z / (1 + z.exp()),
    "reciprocal": lambda z: 1 / (1 + z * z),
    "maximum": lambda z: torch.maximum(z, z.flip(1)),
    "min of two": lambda z: torch.min(z, z.flip(1)),
    "where": lambda z: torch.where(z > 0, z, 0.1 * z),
    "where as a method": lambda z: z.where(z > z.mean(1, keepdim=True), z.mean(1, keepdim=True)),
    "amax": lambda z: z.amax(1, keepdim=True) + z,
    "max with indices": lambda z: z.max(1).values[:, None] + z.min(dim=1, keepdim=True)[0] + z,
    "logsumexp": lambda z: z + z.logsumexp(1)[:, None],
    "normalize": lambda z: functional.normalize(z),
    "division by norms": lambda z: z / z.norm(dim=1, keepdim=True) + z / z.norm(p=1, dim=1, keepdim=True),
    "std": lambda z: z / z.std(1, keepdim=True),
    "var": lambda z: z * z.var(dim=1, unbiased=False, keepdim=True),
    "product in place": lambda z: z.clone().mul_(z),
    "quotient in place": lambda z: (z + 0).div_(1 + z * z),
    "what a function has written": lambda z: (functional.relu_(z), z)[1] + z,
    "sigmoid in place, steep": lambda z: torch.sigmoid_(50 * z),
    "einsum": lambda z: torch.einsum("bi,bj->bij", z, z).mean(2),
    "matmul": lambda z: (z[:, :, None] @ z[:, None, :]).sum(2),
    "cosine": lambda z: z * functional.cosine_similarity(z, z.flip(1) + 1)[:, None],
    "addcmul": lambda z: torch.addcmul(z, z, z.exp(), value=0.5),
    "lerp": lambda z: torch.lerp(z, z.exp(), z.sigmoid()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert_exact(Between(FUNCTIONS[name]), (6,))


def test_gated_linear_units():
    assert_exact(Between(nn.GLU(), width=8), (6,))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8),
        nn.ReLU6(inplace=True), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip


def overlapping():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.GroupNorm(2, 8), nn.SiLU(),
        nn.Conv2d(8, 8, 2), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def in_one_dimension():
    return nn.Sequential(
        nn.Conv1d(2, 8, 3), nn.MaxPool1d(2), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 3)
    )


def in_three_dimensions():
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.MaxPool3d(2), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3))


CONVOLUTIONAL = [
    (cnn, (1, 12, 12)),
    (overlapping, (1, 12, 12)),
    (in_one_dimension, (2, 20)),
    (in_three_dimensions, (1, 8, 8, 8)),
]


@pytest.mark.parametrize(("network", "shape"), CONVOLUTIONAL)
def test_convolutional_networks(network, shape):
    assert_exact(network(), shape)


@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "norm_first": True}], ids=["relu", "gelu"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_transformers(options, batch_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, **options)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    assert_exact(Whole(encoder, 8, second=not batch_first), (7, 8))


@pytest.mark.parametrize("causal", [True, False])
def test_attention_with_masks(causal):
    class Attention(nn.Module):
        def forward(self, x):
            mask = None if causal else torch.ones(7, 7, dtype=torch.bool).triu(-2)
            heads = x.unflatten(2, (2, 4)).transpose(1, 2)
            found = functional.scaled_dot_product_attention(heads, heads, 2 * heads, mask, is_causal=causal)
            return found.transpose(1, 2).flatten(2)

    assert_exact(Whole(Attention(), 8), (7, 8))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=["one", "two"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 7, 5])], ids=["whole", "packed"])
def test_recurrent_networks(kind, options, lengths):
    layer = kind(4, 5, batch_first=True, **options)
    assert_exact(Whole(layer, 5 * (1 + options.get("bidirectional", False)), lengths=lengths), (7, 4))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_cells(kind):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = kind(4, 5)

        def forward(self, x):
            state, outputs = None, []
            for step in x.unbind(1):
                state = self.cell(step, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            return torch.stack(outputs, 1)

    assert_exact(Whole(Steps(), 5), (7, 4))


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


UNKNOWN = {
    "median": lambda z: z + z.median(1, keepdim=True).values,
    "a function of the user's own": _Doubled.apply,
    "a detached factor": lambda z: z * z.detach(),
    "a mask of its own": lambda z: z * (z > 0.1),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_shows_in_the_sums(name):
    apart, _ = gaps(Between(UNKNOWN[name]), (6,))
    assert apart.abs().max() > 1e-4


def test_units_on_one_side_have_slopes_without_rounding_and_those_that_do_not_move_the_derivative():
    left = torch.tensor([1e-30, -3.0, 5.0, 0.0, 2.0, -1.0, 1e30])
    right = torch.tensor([3e-30, -1e-9, 5.0, 0.0, -2.0, -1.0, 3.0])
    assert relu_slope(left, right).tolist() == [1, 0, 1, 0, 0.5, 0, 1]


# --- device calls ---------------------------------------------------------------------------------


class Chains:
    """Nodes on straight paths, those of several targets of a sample side by side."""

    def __init__(self, path, t, targets=1):
        samples, nodes = len(path.input) // targets, len(t)
        self.path = path
        node = torch.arange(nodes).repeat_interleave(targets).repeat(samples)
        self.row = (targets * torch.arange(samples)[:, None, None] + torch.arange(targets)).expand(-1, nodes, -1)
        self.row = self.row.reshape(-1)
        self.t, self.last = t[node], node == nodes - 1
        self.place = None if targets == 1 else torch.arange(samples * nodes).repeat_interleave(targets)

    def take(self, part):
        return self.path.at(self.row, self.t).take(part)


def maps_of(network, inputs, targets, *, rows, nodes=5):
    """Sums of the cells of every row, with calls of `rows` rows."""
    every = inputs.repeat_interleave(targets, dim=0).flatten(1)
    path = StraightPath(torch.zeros_like(every), every)
    block = Rows(every, {}, torch.arange(targets).repeat(len(inputs)), torch.arange(len(every)))
    field = SecantField(scorer_of(network.requires_grad_(False), inputs, rows=rows), block)
    chains = Chains(path, torch.linspace(0, 1, nodes, dtype=inputs.dtype), targets)
    found, count = torch.zeros_like(every), 0
    for cells in field.cells(chains):
        width = (chains.t[cells.part + targets] - chains.t[cells.part])[:, None]
        parts = cells.gradients * path.delta[chains.row[cells.part]] * width
        torch.testing.assert_close(parts.sum(1), cells.right - cells.left, rtol=1e-10, atol=1e-12)
        found.index_add_(0, chains.row[cells.part], parts)
        count += len(cells.part)
    assert count == len(every) * (nodes - 1)
    return found


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("rows", [2, 4, 8])
def test_paths_that_calls_cut_and_targets_that_share_them_get_the_same_maps(rows, targets):
    torch.manual_seed(0)
    network, inputs = cnn().double().eval(), torch.randn(7, 1, 12, 12, dtype=torch.float64)
    whole = maps_of(network, inputs, targets, rows=512)
    torch.testing.assert_close(maps_of(network, inputs, targets, rows=rows), whole, rtol=1e-10, atol=1e-12)


def probe(network, inputs, rows=16):
    flat = inputs.flatten(1)
    block = Rows(flat, {}, torch.zeros(len(flat), dtype=torch.int64), torch.arange(len(flat)))
    return probe_secants(
        scorer_of(network.requires_grad_(False), inputs, rows=rows), block, torch.zeros_like(flat)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_probe_lets_a_network_pass_whose_functions_are_known(dtype):
    torch.manual_seed(0)
    found = probe(cnn().to(dtype), torch.randn(3, 1, 12, 12, dtype=dtype))
    assert found.serves and found.gap < 64 * torch.finfo(dtype).eps and not found.reason


@pytest.mark.parametrize(("name", "says"), [("median", "median"), ("a detached factor", "unseen")])
def test_the_probe_says_what_is_not_known(name, says):
    torch.manual_seed(0)
    found = probe(Between(UNKNOWN[name]), torch.randn(3, 6))
    assert not found.serves and says in found.reason


def test_the_inside_of_torchscript_is_not_seen():
    torch.manual_seed(0)
    network = torch.jit.trace(cnn().eval(), torch.zeros(2, 1, 12, 12))
    found = probe(network, torch.randn(3, 1, 12, 12))
    assert not found.serves and "unseen" in found.reason


def test_a_network_that_takes_one_row_a_call_has_no_cells():
    network = cnn()
    inputs = torch.randn(2, 1, 12, 12)
    scorer = replace(scorer_of(network.requires_grad_(False), inputs), packing=Packing(1, fixed=True))
    block = Rows(inputs.flatten(1), {}, torch.zeros(2, dtype=torch.int64), torch.arange(2))
    found = probe_secants(scorer, block, torch.zeros(2, 144))
    assert not found.serves and "single row" in found.reason


class Across(nn.Module):
    """A layer whose features come first, as many as a device call has rows."""

    def __init__(self, features):
        super().__init__()
        self.first, self.last = nn.Linear(6, features), nn.Linear(features, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x).T).T)


@pytest.mark.parametrize("features", [16, 64])
def test_features_are_not_taken_for_rows_where_there_are_as_many(features):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    start, stop = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    scorer = scorer_of(Across(features).double(), stop, rows=features)
    rows = Rows(stop, {}, torch.zeros(5, dtype=torch.int64), torch.arange(5))
    found = probe_secants(scorer, rows, start)
    assert found.serves, found.reason


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "relu6", "abs", "hardsigmoid", "tanh"])
def test_slope_and_bends_told_at_once_are_what_each_is_alone(name):
    rule = RULES[name]()
    a, b = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    b[:10_000] = a[:10_000] + 0.3 * b[:10_000]
    a[:4], b[:4] = torch.tensor([0.0, 0.0, -1.0, 1.0]), torch.tensor([0.0, 2.0, -1.0, 1.0])
    slope, bends = rule.looked_at(a, b)
    assert torch.equal(slope, rule.slope(a, b))
    distance = (b - a).abs()
    expected = a != b
    if rule.kinks is not None:
        outside = [(kink - torch.minimum(a, b)) / distance for kink in rule.kinks]  # 0 and 1 at the ends
        expected = torch.stack([(each > -NEAR) & (each < 1 + NEAR) for each in outside]).any(dim=0)
    expected &= a != b
    assert torch.equal(bends, expected) and bends.sum() > 300


def test_cells_that_are_not_watched_are_the_same_and_none_is_taken_for_exact():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.LeakyReLU(), nn.Linear(16, 3))
    inputs = torch.randn(6, 5)
    rows = Rows(inputs, {}, torch.arange(6) % 3, torch.arange(6))
    chains = Chains(StraightPath(torch.zeros(6, 5), inputs), torch.linspace(0, 1, 8))
    field = SecantField(scorer_of(network.requires_grad_(False), inputs, rows=32), rows)
    exact = 0
    for watched, plain in zip(field.cells(chains), replace(field, watching=False).cells(chains), strict=True):
        assert torch.equal(watched.gradients, plain.gradients) and torch.equal(watched.left, plain.left)
        assert not plain.exact.any()
        exact += int(watched.exact.sum())
    assert 5 < exact < 6 * 7 - 5


def compiled(function):
    """A network that was compiled in parts, as people have them."""
    return Between(torch.compile(function, backend="aot_eager", dynamic=False))


def test_compiled_networks_one_after_another_have_secants_of_their_own():
    torch._dynamo.reset()
    point = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    for function in (lambda z: torch.relu(z) * z.tanh(), lambda z: torch.relu(z) * z.tanh() + z):
        for shape in (16, 8, 4):
            found = []
            for make in (Between, compiled):
                torch.manual_seed(0)
                found.append(maps_of(make(function).double(), point.double(), 1, rows=shape))
            torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
