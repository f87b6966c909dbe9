"""A network without kinks is close to the original, curved, and leaves the original alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from xattr_cli.device.curvature.kinks import check_curved, locate_kinks
from xattr_cli.errors import JobError, ModelError
from xattr_cli.models.surgery.smoothing import smoothed
from xattr_cli.models.zoo import digits_cnn, mlp

BETA = 3.0
LINE = (torch.arange(401, dtype=torch.float64) - 200) / 25  # with 0 itself, on every processor


class Formula(nn.Module):
    """A function of tensors as a network."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, *inputs):
        return self.formula(*inputs)


def smooth(formula, *inputs, beta=BETA):
    return smoothed(Formula(formula), beta)(*inputs)


def derivatives(function, z):
    """Value, slope and curvature of an elementwise function, each (n,)."""
    leaf = z.clone().requires_grad_()
    value = function(leaf * 1)
    (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), leaf)
    return value.detach(), slope.detach(), curvature


def value_and_slope(function, z):
    leaf = z.clone().requires_grad_()
    value = function(leaf * 1)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def ramp(z):
    """Softplus in closed form: value, slope, curvature."""
    value = (z.clamp(min=0) * BETA + torch.log1p(torch.exp(-(z * BETA).abs()))) / BETA
    slope = 1 / (1 + torch.exp(-BETA * z))
    return torch.stack([value, slope, BETA * slope * (1 - slope)])


def line(z):
    return torch.stack([z, torch.ones_like(z), torch.zeros_like(z)])


def level(z, height):
    return torch.stack([torch.full_like(z, height), torch.zeros_like(z), torch.zeros_like(z)])


def product(u, v):
    return torch.stack([u[0] * v[0], u[0] * v[1] + u[1] * v[0], u[0] * v[2] + 2 * u[1] * v[1] + u[2] * v[0]])


def clipped(z, low, high):
    return level(z, low) + ramp(z - low) - ramp(z - high)


def elu(z):
    """The second derivative jumps at 0, where torch takes it from the right."""
    below = z.clamp(max=0).exp()
    return torch.stack([torch.where(z > 0, z, below - 1), below, torch.where(z < 0, below, 0)])


def inverse(u):
    return torch.stack([1 / u[0], -u[1] / u[0] ** 2, 2 * u[1] ** 2 / u[0] ** 3 - u[2] / u[0] ** 2])


FORMS = {
    "relu": (functional.relu, ramp),
    "leaky_relu": (lambda z: functional.leaky_relu(z, 0.2), lambda z: 0.2 * line(z) + 0.8 * ramp(z)),
    "prelu": (
        lambda z: functional.prelu(z, torch.tensor([0.3], dtype=z.dtype)),
        lambda z: 0.3 * line(z) + 0.7 * ramp(z),
    ),
    "rrelu": (lambda z: functional.rrelu(z, 0.1, 0.3), lambda z: 0.2 * line(z) + 0.8 * ramp(z)),
    "relu6": (functional.relu6, lambda z: clipped(z, 0, 6)),
    "hardtanh": (lambda z: functional.hardtanh(z, -2, 1), lambda z: clipped(z, -2, 1)),
    "hardsigmoid": (functional.hardsigmoid, lambda z: clipped(z + 3, 0, 6) / 6),
    "hardswish": (functional.hardswish, lambda z: product(line(z), clipped(z + 3, 0, 6)) / 6),
    "softshrink": (
        lambda z: functional.softshrink(z, 0.7),
        lambda z: torch.stack([1.0 * ramp(z - 0.7)[0] - ramp(-z - 0.7)[0], ramp(z - 0.7)[1] + ramp(-z - 0.7)[1],
                               ramp(z - 0.7)[2] - ramp(-z - 0.7)[2]]),
    ),
    "threshold": (lambda z: functional.threshold(z, 0.5, 0.5), lambda z: level(z, 0.5) + ramp(z - 0.5)),
    "elu": (lambda z: functional.elu(z, 2.5), lambda z: 2.5 * elu(z) - 1.5 * ramp(z)),
    "selu": (
        functional.selu,
        lambda z: 1.0507009873554805 * (1.6732632423543772 * elu(z) - 0.6732632423543772 * ramp(z)),
    ),
    "abs": (torch.abs, lambda z: 2 * ramp(z) - line(z)),
    "softsign": (functional.softsign, lambda z: product(line(z), inverse(level(z, 1.0) + 2 * ramp(z) - line(z)))),
    "clamp": (lambda z: z.clamp(-1, 2), lambda z: clipped(z, -1, 2)),
    "clamp(min)": (lambda z: z.clamp(min=0.5), lambda z: level(z, 0.5) + ramp(z - 0.5)),
    "clamp(max)": (lambda z: z.clamp(max=0.5), lambda z: line(z) - ramp(z - 0.5)),
    "clamp(0, huge)": (lambda z: z.clamp(0, 1e6), ramp),
    "clamp(huge, 0)": (lambda z: z.clamp(-1e6, 0), lambda z: line(z) - ramp(z)),
    "maximum": (lambda z: torch.maximum(z, -0.5 * z), lambda z: torch.stack(
        [ramp(1.5 * z)[0] - 0.5 * z, 1.5 * ramp(1.5 * z)[1] - 0.5, 2.25 * ramp(1.5 * z)[2]])),
    "minimum": (lambda z: torch.minimum(z, 0 * z), lambda z: line(z) - ramp(z)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms_have_the_values_slopes_and_curvatures_of_their_formulas(name):
    original, formula = FORMS[name]
    found = derivatives(lambda z: smooth(original, z), LINE)
    torch.testing.assert_close(torch.stack(found), formula(LINE), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", FORMS)
def test_forms_tend_to_the_original_with_its_slopes(name):
    original, _ = FORMS[name]
    away = LINE[(LINE[:, None] - torch.tensor([-3, -2, -1, -0.7, 0, 0.5, 0.7, 1, 2, 3, 6])).abs().amin(1) > 0.02]
    value, slope = value_and_slope(original, away)
    for beta, tolerance in ((1e2, 0.02), (1e4, 1e-9)):
        smooth_value, smooth_slope = value_and_slope(lambda z, b=beta: smooth(original, z, beta=b), away)
        torch.testing.assert_close(smooth_value, value, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(smooth_slope, slope, rtol=0, atol=20 * tolerance)


@pytest.mark.parametrize("name", FORMS)
def test_nothing_of_a_smooth_form_counts_as_a_kink(name):
    network = smoothed(Formula(FORMS[name][0]), BETA)
    assert locate_kinks(network, lambda: network(LINE.clone().requires_grad_())) == ()


ZERO = torch.zeros(1, dtype=torch.float64)
RELUS = {
    "functional": functional.relu,
    "functional in place": lambda z: functional.relu(z, inplace=True),
    "functional in place by position": lambda z: functional.relu(z, True),
    "relu_": functional.relu_,
    "torch": torch.relu,
    "torch by keyword": lambda z: torch.relu(input=z),
    "torch in place": torch.relu_,
    "method": lambda z: z.relu(),
    "method in place": lambda z: z.relu_(),
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "aten": torch.ops.aten.relu.default,
    "aten, any overload": torch.ops.aten.relu,
    "leaky without a leak": lambda z: functional.leaky_relu_(z, 0.0),
    "prelu": lambda z: torch.prelu(z, ZERO),
    "clamp": lambda z: torch.clamp(z, min=0),
    "clip": lambda z: z.clip(0),
    "clamp_min": lambda z: z.clamp_min(0),
    "clamp in place": lambda z: z.clamp_(min=0),
    "threshold": nn.Threshold(0, 0),
    "maximum": lambda z: torch.maximum(z, ZERO),
    "max of two": lambda z: torch.max(z, ZERO),
    "max by keyword": lambda z: z.max(other=ZERO),
    "max of a stack": lambda z: torch.stack([z, 0 * z]).amax(0),
    "max along an axis": lambda z: torch.stack([z, 0 * z]).max(dim=0).values,
    "min": lambda z: -torch.min(-z, ZERO),
    "half the sum with the magnitude": lambda z: (z + abs(z)) / 2,
    "two of three pieces": lambda z: functional.hardtanh(z, 0, 3) + functional.threshold(z, 3, 3) - 3,
    "pooled": lambda z: functional.max_pool1d(torch.stack([z, 0 * z], 1), 2)[:, 0],
}


@pytest.mark.parametrize("name", RELUS)
def test_one_function_written_in_many_ways_is_one_smooth_function(name):
    found = derivatives(lambda z: smooth(RELUS[name], z), LINE)
    torch.testing.assert_close(torch.stack(found), ramp(LINE), rtol=1e-11, atol=1e-11)


# --- numbers ------------------------------------------------------------------------------------


def test_a_ramp_lies_above_its_original_by_ln_2_over_beta_at_most():
    drift = smooth(torch.relu, LINE) - torch.relu(LINE)
    assert drift.min() >= 0 and drift.max() == pytest.approx(math.log(2) / BETA, rel=1e-12)


def test_curvature_is_smooth_where_torch_alone_would_cut_it_off():
    z = torch.tensor([6.5, 6.7, 8.0], dtype=torch.float64)  # torch's softplus is linear from 20 / β on
    *_, curvature = derivatives(lambda z: smooth(torch.relu, z), z)
    torch.testing.assert_close(curvature, BETA * torch.exp(-BETA * z), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forms_stay_finite_far_out(name, dtype):
    z = torch.tensor([-1e4, -100, -30, 0, 30, 100, 1e4], dtype=dtype)
    original, _ = FORMS[name]
    if name == "prelu":
        original = nn.PReLU(init=0.3).to(dtype).requires_grad_(False)
    for beta in (0.1, 10.0, 1000.0):
        value, slope, curvature = derivatives(lambda z, b=beta: smooth(original, z, beta=b), z)
        assert all(t.isfinite().all() for t in (value, slope, curvature))


def test_a_maximum_with_the_lowest_number_is_the_other_number():
    # as attention masks are made
    lowest = torch.tensor(torch.finfo(torch.float32).min)
    z = torch.tensor([-3.0, 0.1, 5.0])
    value, slope, curvature = derivatives(lambda z: smooth(torch.max, z, lowest), z)
    torch.testing.assert_close(value, z)
    assert slope.tolist() == [1, 1, 1] and curvature.tolist() == [0, 0, 0]


def test_a_softmax_that_subtracts_its_maximum_is_untouched_by_smoothing():
    def by_hand(z):
        powers = (z - z.max(-1, keepdim=True).values).exp()
        return powers / powers.sum(-1, keepdim=True)

    z = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(smooth(by_hand, z), z.softmax(-1), rtol=1e-13, atol=0)


# --- pooling ------------------------------------------------------------------------------------


def pooled_by_hand(z, axes, kernel, stride, padding, dilation, shape):
    """ln Σ e^{βz} / β over every window, one by one."""
    result = torch.empty(*z.shape[: z.ndim - axes], *shape, dtype=z.dtype)
    for place in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, axes).tolist():
        window = z
        for axis, (i, k, s, p, d) in enumerate(zip(place, kernel, stride, padding, dilation, strict=True)):
            taken = [j for j in range(i * s - p, i * s - p + d * k, d) if 0 <= j < z.shape[axis - axes]]
            window = window.index_select(axis - axes, torch.tensor(taken))
        index = (..., *place)
        result[index] = torch.logsumexp(BETA * window.flatten(-axes), -1) / BETA
    return result


@pytest.mark.parametrize("case", range(30))
def test_pooling_is_log_sum_exp_over_windows(case):
    generator = torch.Generator().manual_seed(case)

    def draw(low, high, count):
        return torch.randint(low, high + 1, (count,), generator=generator).tolist()

    axes = 1 + case % 3
    kernel, stride, dilation = draw(1, 3, axes), draw(1, 3, axes), draw(1, 2, axes)
    padding = [draw(0, k // 2, 1)[0] for k in kernel]
    ceil_mode = bool(case % 2)
    z = torch.randn(2, 3, *draw(7, 9, axes), dtype=torch.float64, generator=generator)
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes - 1]

    def call(z):
        return pool(z, kernel, stride, padding, dilation, ceil_mode)

    expected = pooled_by_hand(z, axes, kernel, stride, padding, dilation, call(z).shape[2:])
    torch.testing.assert_close(smooth(call, z), expected, rtol=1e-12, atol=1e-12)
    drift = smooth(call, z) - call(z)
    assert drift.min() > -1e-12 and drift.max() <= math.log(math.prod(kernel)) / BETA + 1e-12


@pytest.mark.parametrize("size", [(5, 7), 3, (None, 2), (1, 1)])
def test_adaptive_pooling_is_log_sum_exp_over_its_windows(size):
    z = torch.randn(2, 3, 7, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = smooth(lambda z: functional.adaptive_max_pool2d(z, size), z)
    original = functional.adaptive_max_pool2d(z, size)
    # a window's log-sum-exp is the average of exponentials, times its size
    n, m = found.shape[2:]
    sizes = torch.tensor([[-(-(i + 1) * 7 // n) - i * 7 // n] for i in range(n)])
    sizes = sizes * torch.tensor([-(-(j + 1) * 10 // m) - j * 10 // m for j in range(m)])
    expected = (functional.adaptive_avg_pool2d((BETA * z).exp(), (n, m)) * sizes).log() / BETA
    assert found.shape == original.shape
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


POOLS_WITH_INDICES = {
    "functional": lambda z: functional.max_pool2d(z, 2, return_indices=True),
    "module": nn.MaxPool2d(3, 2, 1, return_indices=True),
    "aten": lambda z: torch.ops.aten.max_pool2d_with_indices(z, [2, 2], [], [0, 0]),
    "adaptive": nn.AdaptiveMaxPool2d(2, return_indices=True),
    "adaptive aten": lambda z: torch.ops.aten.adaptive_max_pool2d(z, [3, 3]),
    "adaptive 1d": lambda z: torch.adaptive_max_pool1d(z[0], 3),
    "max": lambda z: z.max(dim=-1),
    "min": lambda z: torch.min(z, -1, keepdim=True),
}


@pytest.mark.parametrize("name", POOLS_WITH_INDICES)
def test_indices_are_those_of_the_original(name):
    z = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    call = POOLS_WITH_INDICES[name]
    values, indices = smooth(call, z, beta=1e5)
    original = call(z)
    assert torch.equal(indices, original[1])
    torch.testing.assert_close(values, original[0], rtol=0, atol=1e-4)


# --- networks -----------------------------------------------------------------------------------


def pixels(count=4, dtype=torch.float64):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(3)).to(dtype)


@pytest.fixture
def cnn():
    torch.manual_seed(0)
    return digits_cnn().double().eval().requires_grad_(False)


def test_scores_and_gradients_of_a_network_tend_to_the_original(cnn):
    x = pixels().requires_grad_()

    def score_and_gradient(network):
        score = network(x)[:, 0]
        return torch.cat([score, torch.autograd.grad(score.sum(), x)[0].flatten()]).detach()

    original = score_and_gradient(cnn)
    away = [(score_and_gradient(smoothed(cnn, beta)) - original).norm() for beta in (10, 100, 1e3, 1e6)]
    assert away[0] > 3 * away[1] > 6 * away[2]
    assert away[3] < 1e-5 * original.norm()


def test_what_was_replaced_is_told_with_how_often():
    shared = nn.ReLU(inplace=True)
    network = smoothed(nn.Sequential(nn.Linear(8, 8), shared, nn.Linear(8, 8), shared, nn.MaxPool1d(2), nn.ELU()))
    network(torch.randn(2, 8))
    assert network.replacements == ("relu -> softplus(β=10) ×2", "max_pool1d -> log-sum-exp pool(β=10) ×1")
    assert network.kept == ("elu(alpha=1) ×1",)


def test_the_original_is_not_touched(cnn):
    before = copy.deepcopy(cnn)
    expected = cnn(pixels())
    network = smoothed(cnn, 10)
    assert not torch.equal(network(pixels()), expected)
    assert torch.equal(cnn(pixels()), expected)
    assert [type(part) for part in cnn.modules()] == [type(part) for part in before.modules()]
    assert all(a is b for a, b in zip(cnn.parameters(), network.parameters(), strict=True))
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in cnn.modules())


def test_an_exception_in_the_network_leaves_nothing_smooth_behind():
    def fails(z):
        raise KeyError(functional.relu(z))

    with pytest.raises(KeyError):
        smooth(fails, LINE)
    assert torch.equal(functional.relu(LINE), LINE.clamp(min=0))


def hvp_by_double_backward(function, x, v):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, create_graph=True)
    return torch.autograd.grad((gradient * v).sum(), leaf)[0]


def hvp_by_differences(function, x, v, step=1e-5):
    def gradient(z):
        z = z.detach().requires_grad_()
        return torch.autograd.grad(function(z), z)[0]

    return (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)


NETWORKS = {
    "cnn": lambda: (digits_cnn(), pixels(2)),
    "mlp": lambda: (mlp(6, [8, 8], 3, "relu"), torch.randn(2, 6, dtype=torch.float64)),
    "in place": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(True), nn.MaxPool2d(2), nn.Hardswish(True),
            nn.Flatten(), nn.Linear(36, 5), nn.PReLU(5), nn.LeakyReLU(0.1, True), nn.Linear(5, 2),
        ),
        pixels(2),
    ),
    "transformer": lambda: (
        nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, activation="relu", batch_first=True), nn.Flatten()),
        torch.randn(2, 3, 4, dtype=torch.float64),
    ),
    "checkpointed": lambda: (
        Formula(lambda z: checkpoint(lambda u: functional.relu(u.cos()).square(), z, use_reentrant=False)),
        torch.randn(2, 3, dtype=torch.float64),
    ),
    "reentrant": lambda: (
        Formula(lambda z: checkpoint(lambda u: functional.relu(u.cos()).square(), z, use_reentrant=True)),
        torch.randn(2, 3, dtype=torch.float64),
    ),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def curved(request):
    torch.manual_seed(4)
    network, x = NETWORKS[request.param]()
    network = smoothed(network.double().eval().requires_grad_(False), 5)
    v = torch.randn(3, *x.shape, dtype=torch.float64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        yield (lambda z: network(z).square().sum()), x, v


def test_second_derivatives_are_those_of_the_smooth_network(curved):
    function, x, v = curved
    found = hvp_by_double_backward(function, x, v[0])
    assert found.abs().max() > 0
    torch.testing.assert_close(found, hvp_by_differences(function, x, v[0]), rtol=1e-5, atol=1e-7)


def test_forward_over_reverse_agrees_also_for_many_directions(curved):
    function, x, v = curved

    def product(direction):
        return torch.func.jvp(torch.func.grad(function), (x,), (direction,))[1]

    expected = torch.stack([hvp_by_double_backward(function, x, direction) for direction in v])
    torch.testing.assert_close(product(v[0]), expected[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.func.vmap(product)(v), expected, rtol=1e-9, atol=1e-11)


def test_in_place_operations_write_where_they_wrote():
    def residual(z):
        before = z * 1
        view = before.view(-1)
        after = functional.relu(before, inplace=True)
        return torch.stack([before, after, view])

    torch.testing.assert_close(smooth(residual, LINE), ramp(LINE)[0].expand(3, -1), rtol=1e-12, atol=1e-13)


def test_programs_of_torch_export_are_smoothed(cnn):
    program = torch.export.export(cnn, (pixels(),))
    for decomposed in (program, program.run_decompositions()):
        network = smoothed(decomposed.module(), BETA)
        torch.testing.assert_close(network(pixels()), smoothed(cnn, BETA)(pixels()), rtol=1e-12, atol=1e-12)
        assert locate_kinks(network, lambda n=network: n(pixels().requires_grad_())) == ()


@pytest.mark.parametrize("beta", [0, -1, math.inf, math.nan, "10", None])
def test_beta_must_be_positive(beta):
    with pytest.raises(JobError, match=r"smoothing.beta: .*: must be a positive number"):
        smoothed(nn.ReLU(), beta)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_all_small_networks_of_torchvision_become_smooth(name):
    weights = next(iter(torchvision.models.get_model_weights(name)))
    if weights.meta["num_params"] > 45e6:
        pytest.skip("large")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = torchvision.models.get_model(name, weights=None, **options).eval().requires_grad_(False)
    smooth_network = smoothed(network)
    size = 224 if name.startswith(("vit", "swin", "maxvit")) else 96
    assert (
        locate_kinks(smooth_network, lambda: smooth_network(torch.randn(1, 3, size, size).requires_grad_())) == ()
    )


# --- what stays as it is ------------------------------------------------------------------------


def test_guards_stay_as_they_are():
    network = smoothed(Formula(lambda z: functional.log_softmax(z, -1).exp().clamp(1e-7, 1 - 1e-7).log()), 10)
    assert torch.equal(network(LINE), network.network(LINE))
    assert network.replacements == () and network.kept == ("clamp(1e-07, 0.9999999) ×1",)
    assert locate_kinks(network, lambda: network(LINE.clone().requires_grad_())) == ()


def test_what_depends_on_weights_alone_stays_as_it_is():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([0.5, -0.5, 3.0]))
            self.register_buffer("limit", torch.ones(3))

        def forward(self, z):
            return z * self.scale.relu() * torch.maximum(self.limit, self.scale) * torch.zeros(3).clamp(min=1)

    network = smoothed(Scaled())
    assert torch.equal(network(torch.ones(2, 3)), network.network(torch.ones(2, 3)))
    assert network.replacements == ()


def mean_of_words(embedded, mask):
    return (embedded * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def test_context_is_not_smoothed():
    embedded, mask = torch.rand(2, 3, 4), torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    told = smoothed(Formula(mean_of_words), explained=[0])
    assert torch.equal(told(embedded, mask), mean_of_words(embedded, mask))
    untold = smoothed(Formula(mean_of_words))
    assert not torch.equal(untold(embedded, mask), mean_of_words(embedded, mask))
    assert untold.replacements == ("clamp -> clipped softplus(β=10) ×1",)


@pytest.mark.parametrize(
    "write",
    [
        lambda empty, z: empty.copy_(z),
        lambda empty, z: empty.__setitem__(slice(None), z),
        lambda empty, z: empty[:].copy_(z),
        lambda empty, z: empty.add_(z),
        lambda empty, z: empty.__iadd__(z),
    ],
)
def test_what_is_written_into_an_empty_array_is_smoothed(write):
    def fill(z):
        empty = torch.zeros(len(z), dtype=z.dtype)
        write(empty, z)
        return empty.relu()

    torch.testing.assert_close(smooth(fill, LINE), ramp(LINE)[0], rtol=1e-12, atol=1e-13)


def test_integers_and_random_slopes_are_left_alone():
    counts = torch.arange(-3, 4)
    assert torch.equal(smooth(lambda z: z.abs() + z.clamp(min=0).max(), counts), counts.abs() + 3)
    network = smoothed(Formula(lambda z: functional.rrelu(z, training=True)))
    network(LINE)
    assert network.replacements == ()


# --- what cannot be replaced --------------------------------------------------------------------


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 3 * ctx.saved_tensors[0] ** 2


KINKED = {
    "sort": lambda z: z.sort(-1).values,
    "topk": lambda z: z.topk(2, -1).values,
    "median": lambda z: z.median(-1).values,
    "round": torch.round,
    "sign": lambda z: z * z.sign(),
    "hardshrink": functional.hardshrink,
    "threshold": lambda z: functional.threshold(z, 0.5, 0.0),
    "linalg_vector_norm": lambda z: z / torch.linalg.vector_norm(z, ord=1, dim=-1, keepdim=True),
    "cummax": lambda z: z.cummax(-1).values,
    "where": lambda z: torch.where(z > 0, z, 0.1 * z),
    "mul": lambda z: z * (z > 0),
    "masked_fill": lambda z: z.masked_fill(z < 0, 0),
    "sub": lambda z: z - z.detach(),
    "gather": lambda z: z.gather(-1, z.argmax(-1, keepdim=True)),
    "item": lambda z: z if z.sum() > 0 else -z,
    "Cubed": Cubed.apply,
}


def inside(formula):
    return nn.Sequential(nn.Tanh(), nn.Sequential(nn.Sigmoid(), Formula(formula)))


@pytest.mark.parametrize("name", KINKED)
def test_what_cannot_be_replaced_is_an_error_that_names_operation_and_layer(name):
    network = smoothed(inside(KINKED[name]))

    def forward():
        return network(torch.linspace(-2, 2, 24).reshape(4, 6).requires_grad_())

    with pytest.raises(ModelError) as caught:
        check_curved(network, forward)
    assert f"{name} in layer '1.1'" in str(caught.value)
    assert f"smoothing.allow: [{name}]" in str(caught.value)
    assert [str(kink.operation) for kink in check_curved(network, forward, allowed=[name])] == [name]
    assert check_curved(network, forward, allowed=[f"1.1.{name}"])
    with pytest.raises(ModelError):
        check_curved(network, forward, allowed=[f"1.0.{name}"])


def windows(z):
    """A mask as window attention makes it: of the shape of the data, but not of its values."""
    labels = z.new_zeros(z.shape[-1])
    labels[2:] = 1
    return z.masked_fill(labels != labels[0], -100.0).softmax(-1)


SMOOTH = {
    "square root": lambda z: (z * z + 1).sqrt(),
    "norm": lambda z: functional.normalize(z, dim=-1),
    "standard deviation": lambda z: (z - z.mean(-1, keepdim=True)) / z.std(-1, keepdim=True),
    "interpolation": lambda z: functional.interpolate(z[:, None], scale_factor=2, mode="linear"),
    "a look for NaN": lambda z: z if not z.isnan().any() else -z,
    "a mask": lambda z: torch.where(torch.arange(6) > 2, z, 0),
    "a window's mask": windows,
    "indices": lambda z: z[:, torch.tensor([3, 1, 1]).sort().values],
    "elu": functional.elu,
    "celu": lambda z: functional.celu(z, 0.01),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_what_is_curved_or_constant_is_no_kink(name):
    network = smoothed(inside(SMOOTH[name]))
    forward = network(torch.linspace(-2, 2, 24).reshape(4, 6).requires_grad_())
    assert locate_kinks(network, lambda: forward) == ()
    assert locate_kinks(network, lambda: network(torch.linspace(-2, 2, 24).reshape(4, 6).requires_grad_())) == ()


def test_an_unsmoothed_network_is_refused_unless_asked_for(cnn):
    def forward():
        return cnn(pixels().requires_grad_())

    with pytest.raises(ModelError, match=r"relu in layer .* Let them be smoothed \(smoothing: \{beta: 10\}\)"):
        check_curved(cnn, forward)
    assert {kink.operation for kink in check_curved(cnn, forward, ["relu", "max_pool2d_with_indices"])} == {
        "relu",
        "max_pool2d_with_indices",
    }


@pytest.mark.parametrize("way", [torch.jit.script, lambda part: torch.jit.trace(part, torch.ones(2, 3))])
def test_torchscript_is_refused_with_its_layer_and_a_way_out(way):
    program = way(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Tanh()))
    network = smoothed(nn.Sequential(nn.Linear(3, 3), nn.Sequential(program)))
    for _ in range(3):  # later runs are of optimised code
        with pytest.raises(ModelError) as caught:
            check_curved(network, lambda: network(torch.ones(2, 3).requires_grad_()))
    assert "relu in layer '1.0' (in TorchScript)" in str(caught.value)
    assert "TorchScript cannot be changed: load the network with kind: python." in str(caught.value)
    smooth_program = way(nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
    assert check_curved(smooth_program, lambda: smooth_program(torch.ones(2, 3).requires_grad_())) == ()


def test_a_look_for_kinks_leaves_no_hooks_behind(cnn):
    with pytest.raises(KeyError):
        locate_kinks(cnn, lambda: {}["nothing"])
    registered = torch.nn.modules.module
    assert not registered._global_forward_hooks and not registered._global_forward_pre_hooks
